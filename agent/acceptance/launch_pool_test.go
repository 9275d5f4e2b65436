package acceptance

import (
	"os"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// Warm pools: a launch hook fires twice, at Warmed:Pending:Wait on the way into the pool and at
// Pending:Wait on the way out of it.

// pool gives the group a warm pool.
func (s *stage) pool(rest standin.State) {
	s.cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true, PoolState: rest})
}

// rebooted makes the record one of an earlier boot, as it is when a stopped server is started again. The
// agent takes the boot id from the kernel, which a test cannot reboot.
func (s *stage) rebooted() {
	s.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	s.must(err)
	lines, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	was := strings.TrimSpace(string(id))
	if !strings.Contains(string(lines), was) {
		s.Fatal("the record does not name this boot")
	}
	s.must(os.WriteFile(s.path("state/record.jsonl"), []byte(strings.ReplaceAll(string(lines), was, "00000000-0000-4000-8000-000000000000")), 0o600))
}

const checkedTrace = fullTrace + "\nApplicationStart 1 live=1\nValidateService 1 live=1"

// Both waits: deployed on the way into the pool; on the way out the release is checked again, started and
// validated, and redeployed only when the group moved on.
func TestWarmPool(t *testing.T) {
	for _, c := range []struct {
		name    string
		reboot  bool
		movesOn bool
		trace   string
		live    string
		says    string
	}{
		{"stopped", true, false, checkedTrace, "1", "is still the group's revision: it is started and validated again"},
		{"running", false, false, checkedTrace, "1", "is still the group's revision: it is started and validated again"},
		{"stopped while the group moved on", true, true, fullTrace + "\nApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\n" +
			"ApplicationStart 2 live=2\nValidateService 2 live=2", "2", "deployment "},
		{"running while the group moved on", false, true, fullTrace + "\nApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\n" +
			"ApplicationStart 2 live=2\nValidateService 2 live=2", "2", "deployment "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			rest := standin.WarmedRunning
			if c.reboot {
				rest = standin.WarmedStopped
			}
			s.pool(rest)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
			into := s.start(server, "-once")
			s.expect("exit code on the way in", itoa(into.wait()), "0")
			s.waitFor(server, rest)
			s.said(into, "Auto Scaling waits for this instance (Warmed:Pending:Wait)", "with CONTINUE")
			s.expect("the scripts saw", s.trace(), fullTrace)

			if c.reboot {
				s.rebooted()
			}
			if c.movesOn {
				s.publish("shop-2", s.app("2"))
			}
			server.StartFromPool()
			out := s.start(server, "-once")
			s.expect("exit code on the way out", itoa(out.wait()), "0")
			s.waitFor(server, standin.InService)
			s.said(out, c.says, "Auto Scaling waits for this instance (Pending:Wait)")
			s.expect("states", history(server), "Warmed:Pending Warmed:Pending:Wait Warmed:Pending:Proceed "+string(rest)+
				" Pending Pending:Wait Pending:Proceed InService")
			s.completed("completions", server, "CONTINUE accepted, CONTINUE accepted")
			s.expect("the scripts saw in all", s.trace(), c.trace)
			s.expect("live", s.live(), c.live)
			s.clean()
		})
	}
}

// In the pool there is nothing to do, and the release is not checked again until the server is wanted.
func TestRestInTheWarmPool(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedRunning)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	again := s.start(server, "-once")
	s.expect("exit code of a run in the pool", itoa(again.wait()), "3")
	s.expect("the scripts saw", s.trace(), fullTrace)
	s.completed("completions", server, "CONTINUE accepted")
}

// A server that was hibernated resumes with its processes: the same agent finds out by itself.
func TestHibernatedPool(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedHibernated)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	r := s.start(server)
	s.waitFor(server, standin.WarmedHibernated)
	r.says("with CONTINUE")
	server.StartFromPool()
	_, err := s.cloud.WaitForCalls(s.ctx, "CompleteLifecycleAction", 2)
	s.must(err)
	s.expect("state", string(server.State()), "InService")
	s.completed("completions", server, "CONTINUE accepted, CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), checkedTrace)
	s.expect("exit code when stopped", itoa(r.stop()), "0")
}

// A server that was kept in the pool for longer than a launch may take: the second wait has its own clock.
func TestLongInTheWarmPool(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedRunning)
	s.hook(standin.Hook{HeartbeatTimeout: 30 * time.Second, GlobalTimeout: time.Minute})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	into := s.start(server, "-once")
	s.expect("exit code on the way in", itoa(into.wait()), "0")
	server.SetAge(time.Hour)
	server.StartFromPool()
	out := s.start(server, "-once")
	s.expect("exit code on the way out", itoa(out.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted, CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), checkedTrace)
}

// What was good on the way into the pool is not good on the way out: ABANDON.
func TestWarmPoolServerThatNoLongerWorks(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedStopped)
	s.write("works", "yes")
	s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\ntest -e " + s.path("works") + "\n"}))
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	into := s.start(server, "-once")
	s.expect("exit code on the way in", itoa(into.wait()), "0")
	s.must(os.Remove(s.path("works")))
	s.rebooted()
	server.StartFromPool()
	out := s.start(server, "-once")
	s.expect("exit code on the way out", itoa(out.wait()), "1")
	s.waitFor(server, standin.Terminated)
	s.completed("completions", server, "CONTINUE accepted, ABANDON accepted")
	s.said(out, "ValidateService failed")
}

// A server that returns to the pool waits at Warmed:Pending:Wait for the terminating hook: that action is
// not a launch's, and there is nothing for usher to complete.
func TestReturnToTheWarmPool(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedRunning)
	s.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate, HeartbeatTimeout: time.Minute})
	s.publish("shop-1", s.app("1"))
	server, _, _ := s.launch()
	s.waitFor(server, standin.InService)
	server.ReturnToPool()
	s.expect("state", string(server.State()), "Warmed:Pending:Wait")
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "3")
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), fullTrace)
}
