package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"usher/agent/standin"
)

// A burst is servers that are launched at once in one account. Each is usher's own rooms in this process, with clients,
// connections and credentials of its own, and a deployment that only takes a while: what a thousand processes do to
// the processors of one machine, which no fleet shares, would decide otherwise. All begin when all are up, so that
// not even the time that making them takes spreads their calls.
type burst struct {
	servers   int
	rate      float64       // of Auto Scaling and of CodeDeploy, each; 0: no limit
	burst     int           //
	heartbeat time.Duration // the hook's timeout
	work      time.Duration // of a deployment
	away      time.Duration // how long CodeDeploy answers nothing but errors
	untagged  bool          // instance metadata shows no tags
	behind    time.Duration // what describes something is behind what has happened
}

// A burstResult is what a burst left behind.
type burstResult struct {
	calls     []float64       // each server's, throttled ones included
	throttled []float64       // of them
	ops       map[string]int  // calls that were served, by operation
	last      time.Duration   // from metadata's first answer to the last CONTINUE
	bound     time.Duration   // what the budget allows at the least: of the calls no launch can do without, and of what comes between them
	asked     time.Duration   // the same with every instance described, which no launch with tags need be
	beats     []time.Duration // when heartbeats were asked for, in order
	lost      []string        // servers that did not get into service, and why
}

// neededCalls are Auto Scaling's of one launch: which hook, CONTINUE, and askedCalls those of one that asks where it is: metadata
// shows no tags, or, of the others, who is served before it is known that there is a crowd.
const neededCalls, askedCalls = 2, 3

// run lets the storm come over an account and waits until it is over.
func (s burst) run(ctx context.Context) (a burstResult, err error) {
	cloud, err := standin.Start(s.options())
	if err != nil {
		return a, fmt.Errorf("cannot start AWS on loopback: %w", err)
	}
	defer cloud.Close()
	return s.over(ctx, cloud, s.prepare)
}

func (s burst) options() standin.Options {
	return standin.Options{Silent: true, Rate: s.rate, Burst: s.burst, CodeDeployRate: s.rate, CodeDeployBurst: s.burst, Eventual: s.behind}
}

// over lets the storm come over an account whose servers are made by prepare.
func (s burst) over(ctx context.Context, cloud *standin.Cloud,
	prepare func(context.Context, *standin.Cloud, *standin.Instance) (func() error, error)) (a burstResult, err error) {
	cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true})
	cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: s.heartbeat})
	cloud.PublishRevision("shop", "production", standin.S3Revision(cloud.Bucket, "shop.zip", "zip", "", "0123456789abcdef"))
	fleet := make([]*standin.Instance, s.servers)
	launches := make([]func() error, s.servers)
	for i := range fleet {
		fleet[i] = cloud.Launch("web", standin.LaunchOptions{MetadataTags: !s.untagged})
		if launches[i], err = prepare(ctx, cloud, fleet[i]); err != nil {
			return a, err
		}
	}
	failures := make([]error, s.servers)
	began := time.Now()
	cloud.Intercept(func(r standin.Request) *standin.Fault {
		if r.Op == "GetDeploymentGroup" && time.Since(began) < s.away {
			return &standin.Fault{Status: 503, Code: "ServiceUnavailable"}
		}
		return nil
	})
	var group sync.WaitGroup
	for i, launch := range launches {
		group.Go(func() { failures[i] = launch() })
	}
	group.Wait()
	if ctx.Err() != nil {
		return a, context.Cause(ctx)
	}
	a = s.lookBack(cloud, fleet, began)
	for i, server := range fleet {
		if failures[i] != nil || server.State() != standin.InService {
			a.lost = append(a.lost, fmt.Sprintf("%s is %s (%+v): %v", server.ID, server.State(), server.Answers(), failures[i]))
		}
	}
	return a, nil
}

// lookBack sums up what AWS was asked.
func (s burst) lookBack(cloud *standin.Cloud, fleet []*standin.Instance, began time.Time) burstResult {
	a := burstResult{ops: map[string]int{}}
	calls, throttled := map[string]float64{}, map[string]float64{}
	for _, call := range cloud.Calls() {
		if call.InstanceID == "" {
			continue // of whoever published the revision
		}
		calls[call.InstanceID]++
		if call.Op == "RecordLifecycleActionHeartbeat" {
			a.beats = append(a.beats, call.At.Sub(began))
		}
		switch call.ErrorCode {
		case "Throttling", "ThrottlingException":
			throttled[call.InstanceID]++
		case "":
			a.ops[call.Op]++
			if call.Op == "CompleteLifecycleAction" {
				a.last = max(a.last, call.At.Sub(began))
			}
		}
	}
	for _, server := range fleet {
		a.calls = append(a.calls, calls[server.ID])
		a.throttled = append(a.throttled, throttled[server.ID])
	}
	slices.Sort(a.beats)
	if a.asked = s.bound(askedCalls); s.untagged {
		a.bound = a.asked
	} else {
		a.bound = s.bound(neededCalls)
	}
	return a
}

// bound is the least time of a storm whose launches need so many calls of Auto Scaling.
func (s burst) bound(calls int) time.Duration {
	if s.rate == 0 {
		return 0
	}
	bound := max(s.least(calls), s.least(calls-1)+s.work)
	if s.behind > 0 && calls == askedCalls { // until the servers are seen, what is asked is asked in vain
		bound = max(bound, s.behind+time.Duration(float64(s.servers*calls)/s.rate*float64(time.Second)))
	}
	if s.away > 0 {
		bound = max(bound, s.away+s.least(1)+s.work)
	}
	return bound
}

// least is how long so many calls of each server take at the least.
func (s burst) least(calls int) time.Duration {
	return max(0, time.Duration(float64(s.servers*calls-s.burst)/s.rate*float64(time.Second)))
}

// busiest is the largest number of heartbeats in a stretch of time, over what it would be if they came evenly.
func (a burstResult) busiest(stretch time.Duration) (most int, overEven float64) {
	for i, from := range a.beats {
		end, _ := slices.BinarySearch(a.beats, from+stretch)
		most = max(most, end-i)
	}
	if n := len(a.beats); n > 1 && a.beats[n-1] > a.beats[0] {
		overEven = float64(most) / (float64(n) * stretch.Seconds() / (a.beats[n-1] - a.beats[0]).Seconds())
	}
	return most, overEven
}
