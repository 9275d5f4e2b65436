package acceptance

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// Which lifecycle action is ours.

func (s *stage) hooks(names ...string) {
	for _, name := range names {
		s.cloud.PutHook("web", standin.Hook{Name: name, HeartbeatTimeout: time.Minute})
	}
}

// noHook gives the group's instances a group without any hook.
func (s *stage) noHook() {
	s.cloud.CreateGroup(standin.Group{Name: "bare", NoReplacement: true})
}

// A group without a hook: deployed, and nothing to complete.
func TestGroupWithoutHook(t *testing.T) {
	s := newStage(t)
	s.noHook()
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("bare", standin.LaunchOptions{})
	r := s.start(server, "-once")

	s.expect("exit code", itoa(r.wait()), "0")
	s.said(r, "no lifecycle action to complete", "group bare")
	s.expect("state", string(server.State()), "InService")
	s.expect("live", s.live(), "1")
	s.expect("calls", callsOf(s.cloud), "DescribeAutoScalingInstances GetDeploymentGroup GetObject HeadObject")

	again := s.start(server, "-once")
	s.expect("exit code of the second run", itoa(again.wait()), "3")
	s.expect("the scripts saw", s.trace(), fullTrace)
}

// A group without a hook, and an instance that is still Pending when usher looks.
func TestGroupWithoutHookStillPending(t *testing.T) {
	s := newStage(t)
	s.noHook()
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("bare", standin.LaunchOptions{HoldPending: true})
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("completions", completions(s.cloud, server), "")
	s.expect("live", s.live(), "1")
}

// Hooks that are not ours are never answered.
func TestHookIsChosen(t *testing.T) {
	for _, c := range []struct {
		name   string
		others []string
		choice string // lifecycle_hook
		ours   string // whose action is completed
	}{
		{"the only one", nil, "", "usher-launch"},
		{"by its name", []string{"warm-cache"}, "usher-launch", "usher-launch"},
		{"by its name, the other one", []string{"warm-cache"}, "warm-cache", "warm-cache"},
		{"beside CodeDeploy's", []string{"CodeDeploy-managed-automatic-launch-deployment-hook-production-1234"}, "", "usher-launch"},
		{"by its name, though it is CodeDeploy's", []string{"CodeDeploy-managed-x"}, "CodeDeploy-managed-x", "CodeDeploy-managed-x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.hooks(c.others...)
			if c.choice != "" {
				s.config["lifecycle_hook"] = c.choice
			}
			s.publish("shop-1", s.app("1"))
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("verdict", answers(server), c.ours+" CONTINUE")
			s.completed("completions", server, "CONTINUE accepted")
			s.expect("live", s.live(), "1")
			if len(c.others) == 0 {
				s.waitFor(server, standin.InService)
				return
			}
			// Another hook is waited for: the server is up, and its launch is not ours to end.
			s.expect("state", string(server.State()), "Pending:Wait")
			again := s.start(server, "-once")
			s.expect("exit code of a second run", itoa(again.wait()), "3")
			s.said(again, "nothing to deploy: the action of hook "+c.ours+" was completed before")
			s.completed("completions after both", server, "CONTINUE accepted")
			s.expect("the scripts saw after both", s.trace(), fullTrace)
			for _, other := range append(c.others, "usher-launch") {
				if other != c.ours {
					s.answersHook(server, other, standin.Continue)
				}
			}
			s.waitFor(server, standin.InService)
		})
	}
}

// A hook that cannot be chosen is refused before anything is deployed; the others are left alone.
func TestHookIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		others []string
		choice string
		want   string
	}{
		{"two to choose from", []string{"warm-cache"}, "",
			"Auto Scaling group web has 2 autoscaling:EC2_INSTANCE_LAUNCHING hooks (usher-launch, warm-cache): set lifecycle_hook in the configuration to the one usher completes"},
		{"two beside CodeDeploy's", []string{"warm-cache", "CodeDeploy-managed-x"}, "",
			"Auto Scaling group web has 2 autoscaling:EC2_INSTANCE_LAUNCHING hooks (usher-launch, warm-cache): set lifecycle_hook in the configuration to the one usher completes"},
		{"a name the group does not have", nil, "usher-lunch",
			`Auto Scaling group web has no autoscaling:EC2_INSTANCE_LAUNCHING hook named "usher-lunch" (it has: usher-launch of autoscaling:EC2_INSTANCE_LAUNCHING): correct lifecycle_hook in the configuration, or add the hook`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.hooks(c.others...)
			if c.choice != "" {
				s.config["lifecycle_hook"] = c.choice
			}
			s.publish("shop-1", s.app("1"))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.said(r, c.want)
			s.expect("state", string(server.State()), "Pending:Wait")
			ahead := strings.NewReplacer(" GetDeploymentGroup", "", " HeadObject", "", " GetObject", "") // asked beside it, and nothing done with the answer
			s.expect("calls", ahead.Replace(callsOf(s.cloud)), "DescribeAutoScalingInstances DescribeLifecycleHooks")
			s.expect("live", s.live(), "base")
			s.expect("the scripts saw", s.trace(), "")
			s.expect("the reason is said once, at the end", itoa(strings.Count(r.text(), c.want)), "1")
		})
	}
}

// A hook of the other transition is no launch hook, even with the configured name.
func TestTerminatingHookIsNotALaunchHook(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: "drained", NoReplacement: true})
	s.cloud.PutHook("drained", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	s.config["lifecycle_hook"] = "drain"
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("drained", standin.LaunchOptions{HoldPending: true})
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "1")
	s.said(r, `has no autoscaling:EC2_INSTANCE_LAUNCHING hook named "drain" (it has: drain of autoscaling:EC2_INSTANCE_TERMINATING)`)
	s.expect("live", s.live(), "base")
}

// Only CodeDeploy's hook: its action is CodeDeploy's. The server is deployed to all the same.
func TestOnlyCodeDeploysHook(t *testing.T) {
	s := newStage(t)
	s.noHook()
	s.cloud.PutHook("bare", standin.Hook{Name: "CodeDeploy-managed-automatic-launch-deployment-hook-production-1234"})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("bare", standin.LaunchOptions{})
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.said(r, "no lifecycle action to complete: group bare waits in Pending:Wait, and none of its hooks is a launch hook that usher completes "+
		"(it has: CodeDeploy-managed-automatic-launch-deployment-hook-production-1234 of autoscaling:EC2_INSTANCE_LAUNCHING)")
	s.expect("completions", completions(s.cloud, server), "")
	s.expect("heartbeats", itoa(len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat"))), "0")
	s.expect("state", string(server.State()), "Pending:Wait")
	s.expect("live", s.live(), "1")
}

// The hook is taken away while the deployment is under way: as the service documents, that abandons the launches that
// wait. The deployment ends with them.
func TestHookIsDeletedMeanwhile(t *testing.T) {
	s := newStage(t)
	app, _ := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	r.says("at the gate")
	s.deleteHook("usher-launch")
	s.waitFor(server, standin.Terminated)
	s.expect("exit code", itoa(r.wait()), "1")
	s.said(r, "this instance is being terminated by Auto Scaling")
	s.expect("live", s.live(), "base")
}
