package main

import (
	"context"
	"flag"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/instance"
	"usher/agent/retry"
	"usher/agent/standin"
)

var large = flag.Bool("large", false, "TestCrowds with the largest crowd, and that alone")

// Crowds on a simulated clock: no figure depends on the machine, and an hour takes as long as its calls take to be computed.
func TestCrowds(t *testing.T) {
	const minutes, twoPauses = time.Minute, 2 * time.Minute // a pause is at most a minute
	type crowd struct {
		name string
		burst
	}
	crowds := []crowd{
		{"200", burst{servers: 200, heartbeat: 5 * minutes}},
		{"400", burst{servers: 400, heartbeat: 5 * minutes}},
		{"1,000", burst{servers: 1000, heartbeat: 10 * minutes}},
		{"300, a tenth of the budget", burst{servers: 300, heartbeat: 30 * minutes, rate: budgetRate / 10, burst: budgetBurst / 10}},
		{"1,000, descriptions 10 s behind", burst{servers: 1000, heartbeat: 10 * minutes, behind: 10 * time.Second}},
		{"200, no tags", burst{servers: 200, heartbeat: 5 * minutes, untagged: true}},
		{"1,000, no tags", burst{servers: 1000, heartbeat: 10 * minutes, untagged: true}},
		{"1,000, no tags, descriptions 10 s behind", burst{servers: 1000, heartbeat: 10 * minutes, untagged: true, behind: 10 * time.Second}},
		{"1,000, S3 slow: 3 minutes a download", burst{servers: 1000, heartbeat: 10 * minutes, work: 3 * minutes}},
		{"1,000, CodeDeploy away for 5 minutes", burst{servers: 1000, heartbeat: 10 * minutes, away: 5 * minutes}},
	}
	if *large { // a minute of processor time, and some under the race detector
		crowds = []crowd{{"5,000", burst{servers: 5000, heartbeat: 50 * minutes}}}
	}
	for _, c := range crowds {
		t.Run(c.name, func(t *testing.T) {
			s := c.burst
			if s.work = max(s.work, 5*time.Second); s.rate == 0 {
				s.rate, s.burst = budgetRate, budgetBurst
			}
			synctest.Test(t, func(t *testing.T) {
				cloud := standin.Unserved(s.options())
				defer cloud.Close()
				a, err := s.over(t.Context(), cloud, s.simulated)
				if err != nil {
					t.Fatal(err)
				}
				for _, lost := range a.lost[:min(len(a.lost), 5)] {
					t.Error(lost)
				}
				if len(a.lost) > 0 {
					t.Errorf("%d servers did not get into service", len(a.lost))
				}
				t.Logf("last CONTINUE after %s, %.2f of the bound %s, %.2f of that with every instance described; calls %v, at the most %v (throttled %v, %v); heartbeats %d",
					a.last.Round(time.Second), a.last.Seconds()/a.bound.Seconds(), a.bound.Round(time.Second), a.last.Seconds()/a.asked.Seconds(),
					median(a.calls), slices.Max(a.calls), median(a.throttled), slices.Max(a.throttled), len(a.beats))
				for _, op := range []string{"DescribeLifecycleHooks", "CompleteLifecycleAction", "GetDeploymentGroup"} {
					if a.ops[op] != s.servers && s.behind == 0 {
						t.Errorf("%s was served %d times, for %d launches", op, a.ops[op], s.servers)
					}
				}
				switch described := a.ops["DescribeAutoScalingInstances"]; {
				case s.behind > 0:
				case s.untagged && described != s.servers:
					t.Errorf("instances were described %d times, for %d launches", described, s.servers)
				case !s.untagged && described > s.burst: // those that were served before anybody was throttled
					t.Errorf("instances were described %d times, which a crowd need not ask for", described)
				}
				// Pauses are random: how late the last is differs from run to run, and SCALE.md has the figures. It is never that pauses were
				// waited for one after the other when the budget was back long since.
				if late := a.last - a.bound; late > twoPauses {
					t.Errorf("the last CONTINUE came %s later than the budget allows", late.Round(time.Second))
				}
			})
		})
	}
}

// simulated makes the launch of one server without a network: an answer takes 20 to 200 ms, and servers start within 0.3 s.
func (s burst) simulated(ctx context.Context, cloud *standin.Cloud, server *standin.Instance) (func() error, error) {
	role := server.Credentials(cloud)
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return role, nil })
	endpoint, client := aws.String("http://aws.invalid"), far20to200{cloud}
	scaling := autoscaling.New(autoscaling.Options{Region: cloud.Region, BaseEndpoint: endpoint, Credentials: credentials, HTTPClient: client, Retryer: retry.WithoutThrottleRetries()})
	deploy := codedeploy.New(codedeploy.Options{Region: cloud.Region, BaseEndpoint: endpoint, Credentials: credentials, HTTPClient: client, Retryer: retry.WithoutThrottleRetries()})
	me := instance.Identity{InstanceID: server.ID, Region: cloud.Region, PendingTime: time.Now()}
	if !s.untagged {
		me.AutoScalingGroup = server.GroupName()
	}
	return func() error {
		time.Sleep(rand.N(300 * time.Millisecond))
		return s.launch(ctx, scaling, deploy, targetOf{server}, me)
	}, nil
}

type far20to200 struct{ *standin.Cloud }

func (f far20to200) Do(r *http.Request) (*http.Response, error) {
	time.Sleep(20*time.Millisecond + rand.N(180*time.Millisecond))
	return f.Cloud.Do(r)
}

type targetOf struct{ *standin.Instance }

func (t targetOf) TargetLifecycleState(context.Context) (string, error) { return t.TargetState(), nil }
