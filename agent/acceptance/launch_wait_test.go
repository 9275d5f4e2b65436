package acceptance

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// The clock of a lifecycle action: early, late, raced, decided by somebody else.

// noActive is how Auto Scaling answers for an action that is not there.
var noActive = standin.Fault{Code: "ValidationError", Message: "No active Lifecycle Action found with instance ID i-0"}

// hook gives the group's hook other timeouts.
func (s *stage) hook(h standin.Hook) {
	h.Name = "usher-launch"
	s.cloud.PutHook("web", h)
}

// The machine is up, and the deployment done, before Auto Scaling gets to the wait state: the verdict waits.
func TestVerdictWaitsForTheWaitState(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true})
	r := s.start(server, "-once")
	r.says("is live and good")
	s.expect("completions until then", completions(s.cloud, server), "")
	s.expect("heartbeats until then", itoa(len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat"))), "0")
	server.Release()

	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("states", history(server), "Pending Pending:Wait Pending:Proceed InService")
	s.completed("completions", server, "CONTINUE accepted")
	s.said(r, "Auto Scaling waits for this instance (Pending:Wait)")
}

// "No active Lifecycle Action" while the state is a wait state is too early, not too late.
func TestNoActiveActionYet(t *testing.T) {
	t.Run("at the verdict", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail("CompleteLifecycleAction", 1, noActive)
		server, _, code := s.launch()
		s.expect("exit code", itoa(code), "0")
		s.waitFor(server, standin.InService)
		s.completed("completions", server, "CONTINUE ValidationError, CONTINUE accepted")
	})
	t.Run("at the verdict after a heartbeat", func(t *testing.T) {
		s := newStage(t)
		s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		s.cloud.Fail("CompleteLifecycleAction", 1, noActive)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 1)
		s.must(err)
		open()
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.completed("completions", server, "CONTINUE ValidationError, CONTINUE accepted")
	})
	t.Run("at a heartbeat in the middle", func(t *testing.T) {
		s := newStage(t)
		s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 1)
		s.must(err)
		s.cloud.Fail("RecordLifecycleActionHeartbeat", 1, noActive)
		_, err = s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 6) // 20 s: heartbeats go on
		s.must(err)
		open()
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
	t.Run("at the first heartbeat", func(t *testing.T) {
		s := newStage(t)
		s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		s.cloud.Fail("RecordLifecycleActionHeartbeat", 1, noActive)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 3)
		s.must(err)
		open()
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
}

// Somebody else decides while the deployment is under way. usher sends no second verdict, or one that is
// refused, and says what it found.
func TestDecidedBySomebodyElse(t *testing.T) {
	for _, c := range []struct {
		name     string
		presumed bool // that it waits was not asked: calls were throttled
	}{{"a person continues", false}, {"a person continues in a crowd", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			app, open := s.gate(s.app("1"), "scripts/after.sh")
			s.publish("shop-1", app)
			if c.presumed {
				s.cloud.Fail("DescribeAutoScalingInstances", 1, standin.Fault{Code: "Throttling"})
			}
			server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: c.presumed})
			r := s.start(server, "-once")
			r.says("at the gate")
			s.answersHook(server, "usher-launch", standin.Continue)
			s.waitFor(server, standin.InService)
			open()
			s.expect("exit code", itoa(r.wait()), "0")
			s.said(r, "the lifecycle action of hook usher-launch was decided before usher could say CONTINUE (the state is InService)")
			s.expect("accepted", itoa(strings.Count(completions(s.cloud, server), "accepted")), "0")
			s.expect("live", s.live(), "1")
		})
	}
	t.Run("a person continues and another hook is still waited for", func(t *testing.T) {
		s := newStage(t)
		s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
		s.hooks("warm-cache")
		s.config["lifecycle_hook"] = "usher-launch"
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 1)
		s.must(err)
		s.answersHook(server, "usher-launch", standin.Continue)
		open()
		s.expect("exit code", itoa(r.wait()), "0")
		s.said(r, "was decided before usher could say CONTINUE (the state is Pending:Wait)")
		s.expect("verdicts so far", answers(server), "usher-launch CONTINUE")
		s.answersHook(server, "warm-cache", standin.Continue)
		s.waitFor(server, standin.InService)
		s.expect("live", s.live(), "1")
	})
	t.Run("a person continues and the deployment fails", func(t *testing.T) {
		s := newStage(t)
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app.with(files{"scripts/start.sh": "#!/bin/sh\nset -e\nfalse\n"}))
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "-once")
		r.says("at the gate")
		s.answersHook(server, "usher-launch", standin.Continue)
		s.waitFor(server, standin.InService)
		open()
		s.expect("exit code", itoa(r.wait()), "1")
		s.said(r, "was decided before usher could say ABANDON (the state is InService)")
		s.expect("live", s.live(), "base")
		s.expect("state", string(server.State()), "InService")
	})
	for _, c := range []struct {
		name  string
		drain bool // the group has a terminating hook, so the instance is seen on its way out
		state string
	}{
		{"a person abandons", false, "Terminated"},
		{"a person abandons and a terminating hook holds the instance", true, "Terminating:Wait"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
			if c.drain {
				s.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
			}
			app, _ := s.gate(s.app("1"), "scripts/after.sh")
			s.publish("shop-1", app)
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			r := s.start(server, "-once")
			r.says("at the gate")
			s.answersHook(server, "usher-launch", standin.Abandon)
			s.waitFor(server, standin.State(c.state))
			// The gate stays shut: a heartbeat or metadata finds out, and the script is stopped.
			s.expect("exit code", itoa(r.wait()), "1")
			s.said(r, "Auto Scaling no longer waits", "AfterInstall failed", "this instance is being terminated by Auto Scaling",
				"was decided before usher could say ABANDON")
			if said := completions(s.cloud, server); said != "" && said != "ABANDON ValidationError" { // metadata was first
				s.Errorf("completions: %s", said)
			}
			s.expect("live", s.live(), "base")
		})
	}
}

// A hook of twelve seconds, and a script that takes longer: heartbeats keep the wait alive.
func TestHeartbeatsKeepTheWait(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	began := time.Now()
	r := s.start(server, "-once")
	for n := 6; time.Since(began) < 24*time.Second; n++ {
		_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", n)
		s.must(err)
	}
	s.expect("state after 24 s", string(server.State()), "Pending:Wait")
	open()
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	if n := server.Answers()[0].Heartbeats; n < 4 || n > 12 {
		t.Errorf("%d heartbeats in about 24 s of a hook of 12 s: want one each 4 s", n)
	}
}

// Heartbeats that all fail: the action expires, the default result counts, and the journal has both.
func TestHeartbeatsFail(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 2 * time.Second})
	s.cloud.Fail("RecordLifecycleActionHeartbeat", -1, standin.Fault{Code: "AccessDenied"})
	app, _ := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "1")
	s.expect("verdict", answers(server), "usher-launch ABANDON (timeout)")
	s.said(r, "a heartbeat failed", "AccessDenied", "Auto Scaling no longer waits: the state is Terminated",
		"AfterInstall failed", "this instance is being terminated by Auto Scaling",
		"the lifecycle action of hook usher-launch was decided before usher could say ABANDON (the state is Terminated)")
	s.expect("live", s.live(), "base")
}

// The hook's global timeout comes near: the deployment is cut, and the ABANDON is ours, not the timeout's.
func TestGlobalTimeoutIsNear(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 20 * time.Second, GlobalTimeout: 30 * time.Second})
	app, _ := s.gate(s.app("1"), "scripts/start.sh")
	s.publish("shop-1", app)
	server, r, code := s.launch()

	s.expect("exit code", itoa(code), "1")
	s.waitFor(server, standin.Terminated)
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	s.expect("live", s.live(), "base")
	s.said(r, "at the gate", "ApplicationStart failed", "the lifecycle hook's global timeout is near: the deployment took too long", "Rollback finished")
	s.clean()
}
