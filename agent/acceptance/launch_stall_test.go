package acceptance

import (
	"testing"
	"time"

	"usher/agent/standin"
)

// An answer that begins and never ends: its head and half of its body arrive, and the connection stays open. Each call has
// its own end, and is made again.

// shortestHook is the shortest heartbeat timeout that Auto Scaling takes.
const shortestHook = 30 * time.Second

func TestAnswersThatStall(t *testing.T) {
	for _, c := range []struct {
		name, op, throttled string
		n                   int
	}{
		{"DescribeAutoScalingInstances", "DescribeAutoScalingInstances", "", 1},
		{"DescribeLifecycleHooks", "DescribeLifecycleHooks", "", 1},
		{"GetDeploymentGroup", "GetDeploymentGroup", "", 1},
		{"CompleteLifecycleAction", "CompleteLifecycleAction", "", 1},
		{"HeadObject", "HeadObject", "", 1},
		{"GetObject", "GetObject", "", 1},
		{"Describe, after a throttled call", "DescribeAutoScalingInstances", "GetDeploymentGroup", 1},
		{"GetDeploymentGroup, after a throttled call", "GetDeploymentGroup", "DescribeAutoScalingInstances", 1},
		{"heartbeats go on while CodeDeploy stalls", "GetDeploymentGroup", "", 5}, // 40 s: longer than the hook
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.config["retry_timeout"] = "5m"
			s.hook(standin.Hook{HeartbeatTimeout: shortestHook})
			s.publish("shop-1", s.app("1"))
			if c.throttled != "" {
				s.cloud.Fail(c.throttled, 1, standin.Fault{Code: "Throttling"})
			}
			s.cloud.Fail(c.op, c.n, standin.Fault{Stall: true})
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("live", s.live(), "1")
			if n := len(s.cloud.CallsOf(c.op)); n < c.n+1 {
				t.Errorf("%d calls of %s: none stalled", n, c.op)
			}
			if beats := len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat")); c.n > 1 && beats < 2 {
				t.Errorf("%d heartbeats while CodeDeploy stalled for longer than the hook", beats)
			}
		})
	}
}

// A heartbeat whose answer stalls is followed by another before the action expires, and the script ends no launch.
func TestAHeartbeatStalls(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: shortestHook})
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	s.cloud.Fail("RecordLifecycleActionHeartbeat", 1, standin.Fault{Stall: true})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 3)
	s.must(err)
	open()
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
}

// Metadata, of which the credentials come too.
func TestMetadataStalls(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "5m"
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	for _, path := range []string{"api/token", targetState, "dynamic/instance-identity/document", "meta-data/iam/security-credentials/"} {
		server.FailMetadata(path, 1, standin.Fault{Stall: true})
	}
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
}

// The calls of a host command.
func TestHostCommandsStall(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "5m"
	_, r := s.serving()
	ops := []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete", "HeadObject", "GetObject"}
	before := map[string]int{}
	for _, op := range ops {
		before[op] = len(s.cloud.CallsOf(op))
		s.cloud.Fail(op, 1, standin.Fault{Stall: true})
	}
	_, status := s.deploy(s.revision("shop-2", s.app("2")))
	s.expect("the deployment", status, "Succeeded")
	s.expect("live", s.live(), "2")
	for _, op := range ops {
		if n := len(s.cloud.CallsOf(op)) - before[op]; n < 2 {
			t.Errorf("%d calls of %s: none stalled", n, op)
		}
	}
	s.said(r, "is live and good")
}
