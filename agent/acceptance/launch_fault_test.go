package acceptance

import (
	"fmt"
	"os"
	"testing"
	"time"

	"usher/agent/standin"
)

// AWS having a bad day: every launch below ends in service all the same.

func TestCallsThatFailForAWhile(t *testing.T) {
	throttled := standin.Fault{Code: "Throttling"}
	dropped := standin.Fault{DropConnection: true}
	for _, c := range []struct {
		name, op string
		n        int
		fault    standin.Fault
	}{
		{"Describe is throttled", "DescribeAutoScalingInstances", 5, throttled},
		{"DescribeLifecycleHooks is throttled", "DescribeLifecycleHooks", 5, throttled},
		{"Complete is throttled", "CompleteLifecycleAction", 5, throttled},
		{"GetDeploymentGroup is throttled", "GetDeploymentGroup", 5, standin.Fault{Code: "ThrottlingException"}},
		{"Complete meets contention", "CompleteLifecycleAction", 2, standin.Fault{Code: "ResourceContention"}},
		{"Describe meets contention", "DescribeAutoScalingInstances", 2, standin.Fault{Code: "ResourceContention"}},
		{"Auto Scaling is unavailable", "CompleteLifecycleAction", 4, standin.Fault{Status: 503}},
		{"Complete is not allowed yet", "CompleteLifecycleAction", 3, standin.Fault{Code: "AccessDenied"}},
		{"Describe is not allowed yet", "DescribeAutoScalingInstances", 2, standin.Fault{Code: "AccessDenied"}},
		{"DescribeLifecycleHooks is not allowed yet", "DescribeLifecycleHooks", 2, standin.Fault{Code: "AccessDenied"}},
		{"CodeDeploy fails", "GetDeploymentGroup", 4, standin.Fault{Status: 500}},
		{"Describe is cut off", "DescribeAutoScalingInstances", 1, dropped},
		{"DescribeLifecycleHooks is cut off", "DescribeLifecycleHooks", 1, dropped},
		{"Complete is cut off", "CompleteLifecycleAction", 1, dropped},
		{"GetDeploymentGroup is cut off", "GetDeploymentGroup", 1, dropped},
		{"HeadObject is cut off", "HeadObject", 1, dropped},
		{"GetObject is cut off", "GetObject", 1, dropped},
		{"the bundle is cut off", "GetObject", 1, standin.Fault{CutAfter: 100}},
		{"the bundle is damaged on the way once", "GetObject", 1, standin.Fault{Corrupt: true}},
		{"S3 is down for a while", "HeadObject", 4, standin.Fault{Code: "SlowDown"}},
		{"S3 goes down before the download", "GetObject", 4, standin.Fault{Code: "SlowDown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.config["retry_timeout"] = "30s"
			s.publish("shop-1", s.app("1"))
			s.cloud.Fail(c.op, c.n, c.fault)
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.waitFor(server, standin.InService)
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
			s.expect("the scripts saw", s.trace(), fullTrace)
			s.clean()
			if n := len(s.cloud.CallsOf(c.op)); n < c.n+1 {
				t.Errorf("%d calls of %s: the fault did not happen", n, c.op)
			}
		})
	}
}

// Every connection is cut off once, for each call there is: nothing is lost and nothing is done twice.
func TestEveryCallIsCutOffOnce(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "30s"
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	ops := []string{"DescribeAutoScalingInstances", "DescribeLifecycleHooks", "RecordLifecycleActionHeartbeat", "CompleteLifecycleAction",
		"GetDeploymentGroup", "HeadObject", "GetObject"}
	for _, op := range ops {
		s.cloud.Fail(op, 1, standin.Fault{DropConnection: true})
	}
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	server.FailMetadata("api/token", 1, standin.Fault{DropConnection: true})
	server.FailMetadata(targetState, 1, standin.Fault{DropConnection: true})
	server.FailMetadata("dynamic/instance-identity/document", 1, standin.Fault{DropConnection: true})
	r := s.start(server, "-once")
	_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 2)
	s.must(err)
	open()
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
	for _, op := range ops {
		if calls := s.cloud.CallsOf(op); len(calls) < 2 {
			t.Errorf("%s was called %d times: it was not cut off", op, len(calls))
		}
	}
}

// The verdict takes effect, and its answer is lost: it is sent again, refused, and known to be delivered.
func TestAnswerOfCompleteIsLost(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	s.cloud.Fail("CompleteLifecycleAction", 1, standin.Fault{DropConnection: true, AfterEffect: true})
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.completed("completions", server, "CONTINUE ConnectionDropped, CONTINUE ValidationError")
	s.said(r, "the lifecycle action of hook usher-launch was decided before usher could say CONTINUE (the state is InService)")
}

// Heartbeats that are throttled for a while cost nothing but lines.
func TestHeartbeatsAreThrottled(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second}) // the SDK's own three attempts may take 3 s
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	s.cloud.Fail("RecordLifecycleActionHeartbeat", 3, standin.Fault{Code: "Throttling"})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 4)
	s.must(err)
	open()
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
}

// Credentials that are refused in the middle of a launch: new ones are fetched from metadata.
func TestCredentialsExpire(t *testing.T) {
	s := newStage(t)
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	r.says("at the gate")
	server.ExpireCredentials()
	open()
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE ExpiredToken, CONTINUE accepted")
}

// Metadata has no credentials for the role yet: the launch waits for them.
func TestCredentialsComeLate(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "30s"
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	server.FailMetadata("meta-data/iam/security-credentials/usher-instance", 4, standin.Fault{Status: 404})
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
}

// neighbour is another server of the same AWS, with a disk of its own.
func (s *stage) neighbour(n int) *stage {
	s.Helper()
	other := *s
	other.dir = s.path(fmt.Sprintf("server-%d", n))
	other.config = map[string]string{}
	for k, v := range s.config {
		other.config[k] = v
	}
	for k, name := range map[string]string{"link": "opt/app", "base": "opt/app-base", "releases": "opt/app-releases", "role_hooks": "hooks.d", "state_dir": "state"} {
		other.config[k] = other.path(name)
	}
	other.write("opt/app-base/VERSION", "base")
	s.must(os.Symlink(other.path("opt/app-base"), other.path("opt/app")))
	return &other
}

// Several servers that launch together share one budget of requests, which is far too small for all at
// once: each gets its verdict through.
func TestFleetSharesABudget(t *testing.T) {
	const servers = 4
	s := newStage(t, standin.Options{Rate: 2, Burst: 2})
	s.publish("shop-1", files{
		"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  ValidateService: [{location: validate.sh, timeout: 20}]\n",
		"VERSION":     "1", "validate.sh": "#!/bin/sh\nset -e\ntest -s VERSION\n",
	})
	var fleet []*standin.Instance
	var disks []*stage
	var agents []*agentRun
	for n := range servers {
		fleet = append(fleet, s.cloud.Launch("web", standin.LaunchOptions{}))
		disks = append(disks, s.neighbour(n))
		agents = append(agents, disks[n].start(fleet[n], "-once"))
	}
	throttled := 0
	for n, r := range agents {
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(fleet[n], standin.InService)
		s.expect("verdict", answers(fleet[n]), "usher-launch CONTINUE")
		s.expect("live", disks[n].live(), "1")
	}
	for _, call := range s.cloud.Calls() {
		if call.ErrorCode == "Throttling" {
			throttled++
		}
	}
	if throttled == 0 {
		t.Error("nothing was throttled: the budget was large enough")
	}
}
