package acceptance

import (
	"testing"
	"time"

	"usher/agent/standin"
)

// A launch among many: Auto Scaling throttles. Where instance metadata shows the tag with the group's name, where a new instance is need
// not be asked: that it waits is presumed, and its verdict is answered by whether it did.
func TestALaunchInACrowd(t *testing.T) {
	const describe, hooks = "DescribeAutoScalingInstances", "DescribeLifecycleHooks"
	const presumed = "Auto Scaling was not asked whether it waits for this instance"
	throttled, ever := standin.Fault{Code: "Throttling"}, 1000
	fails := func(f files) files { return f.with(files{"scripts/start.sh": "#!/bin/sh\nset -e\nfalse\n"}) }
	for _, c := range []struct {
		name           string
		describe, list int  // how often the two calls are throttled
		untagged       bool // instance metadata shows no tags
		fails          bool
		served         string // how often the instance was described, and the hooks were listed
		verdict        string
		said           string
	}{
		{"it is never said where the instance is", ever, 0, false, false, "0 1", "CONTINUE accepted", presumed},
		{"nothing is said for a while", ever, 3, false, false, "0 1", "CONTINUE accepted", presumed},
		{"the deployment fails", ever, 0, false, true, "0 1", "ABANDON accepted", presumed},
		{"the hooks are not told for a while", 0, 3, false, false, "1 1", "CONTINUE accepted", "Auto Scaling waits for this instance (Pending:Wait)"},
		{"there is no tag", 2, 2, true, false, "1 1", "CONTINUE accepted", "Auto Scaling waits for this instance (Pending:Wait)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.config["retry_timeout"] = "30s"
			app, state := s.app("1"), standin.InService
			if c.fails {
				app, state = fails(app), standin.Terminated
			}
			s.publish("shop-1", app)
			s.cloud.Fail(describe, c.describe, throttled)
			s.cloud.Fail(hooks, c.list, throttled)
			server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: !c.untagged})
			r := s.start(server, "-once")
			r.wait()
			s.waitFor(server, state)
			s.completed("completions", server, c.verdict)
			s.expect("served", s.callsServed(describe)+" "+s.callsServed(hooks), c.served)
			s.said(r, c.said)
		})
	}
	t.Run("it is Pending still", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 1, throttled)
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, HoldPending: true})
		r := s.start(server, "-once")
		r.says("No active Lifecycle Action") // too early
		server.Release()
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
		s.expect("live", s.live(), "1")
	})
	t.Run("it is Pending still and not described for long", func(t *testing.T) {
		s := newStage(t, standin.Options{Eventual: 5 * time.Minute})
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 1, throttled)
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, HoldPending: true})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, "CompleteLifecycleAction", 8) // half a minute: longer than an action that is said to wait may be missing
		s.must(err)
		server.Release()
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
	t.Run("the verdict is refused in other words", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 1, throttled)
		s.cloud.Fail("CompleteLifecycleAction", 1, standin.Fault{Code: "ValidationError", Message: "The instance is not in a wait state"})
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.completed("completions", server, "CONTINUE ValidationError, CONTINUE accepted")
		s.said(r, presumed, "Auto Scaling waits for this instance (Pending:Wait)")
	})
	t.Run("it was in the warm pool without a revision", func(t *testing.T) {
		s := newStage(t)
		s.pool(standin.WarmedRunning)
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, WarmPool: true})
		s.expect("exit code on the way in", itoa(s.start(server, "-once").wait()), "0")
		s.waitFor(server, standin.WarmedRunning)
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 1, throttled)
		server.StartFromPool()
		r := s.start(server, "-once")
		s.expect("exit code on the way out", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.said(r, "Auto Scaling waits for this instance (Pending:Wait)") // which was asked: it is not new
		s.expect("live", s.live(), "1")
	})
	t.Run("it is in service already", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true})
		s.answersHook(server, "usher-launch", standin.Continue)
		s.waitFor(server, standin.InService)
		s.cloud.Fail(describe, 1, throttled)
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.completed("completions", server, "CONTINUE ValidationError")
		s.said(r, "was decided before usher could say CONTINUE (the state is InService)")
		s.expect("live", s.live(), "1")
	})
	t.Run("a heartbeat says that it is Pending still", func(t *testing.T) {
		s := newStage(t)
		s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		s.cloud.Fail(describe, 1, throttled)
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true, HoldPending: true})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, describe, 2) // by a heartbeat that was too early
		s.must(err)
		server.Release()
		open()
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
	t.Run("the group has no hook", func(t *testing.T) {
		s := newStage(t)
		s.cloud.CreateGroup(standin.Group{Name: "bare", NoReplacement: true})
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 3, throttled)
		server := s.cloud.Launch("bare", standin.LaunchOptions{MetadataTags: true})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("completions", completions(s.cloud, server), "")
		s.expect("live", s.live(), "1")
		s.said(r, "no lifecycle action to complete")
		s.expect("calls", s.callsServed(describe)+" "+s.callsServed(hooks), "1 1")
	})
	t.Run("the group gets its hook later", func(t *testing.T) {
		s := newStage(t)
		s.cloud.CreateGroup(standin.Group{Name: "late", NoReplacement: true})
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, ever, throttled)
		server := s.cloud.Launch("late", standin.LaunchOptions{MetadataTags: true, HoldPending: true})
		r := s.start(server, "-once")
		_, err := s.cloud.WaitForCalls(s.ctx, hooks, 1)
		s.must(err)
		_, err = s.cloud.WaitForCalls(s.ctx, describe, 3)
		s.must(err)
		s.cloud.PutHook("late", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Minute})
		server.Release()
		s.cloud.Heal(describe)
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
	t.Run("its verdict is throttled for long, and is too early then", func(t *testing.T) {
		s := newStage(t)
		s.config["retry_timeout"] = "10m"
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail(describe, 1, throttled)
		var first time.Time
		early := 1
		s.cloud.Intercept(func(r standin.Request) *standin.Fault {
			if r.Op != "CompleteLifecycleAction" {
				return nil
			}
			if first.IsZero() {
				first = time.Now()
			}
			if time.Since(first) < 21*time.Second { // longer than an action that is said to wait may be missing
				return &throttled
			}
			if early--; early == 0 {
				return &standin.Fault{Code: "ValidationError", Message: "No active Lifecycle Action found with instance ID " + r.InstanceID}
			}
			return nil
		})
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataTags: true})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.waitFor(server, standin.InService)
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
	})
}

// callsServed is how often an operation was not answered with an error.
func (s *stage) callsServed(op string) string {
	n := 0
	for _, call := range s.cloud.CallsOf(op) {
		if call.ErrorCode == "" {
			n++
		}
	}
	return itoa(n)
}
