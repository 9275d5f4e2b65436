package acceptance

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
)

// The clock of a lifecycle action on servers as they are: rebooted in a warm pool, with a clock that is hours off,
// without the permission to complete, terminated in mid-script.

// soon is how long a test gives what takes seconds: less than a hang, and far more than a slow machine needs.
const soon = 2 * time.Minute

// endsSoon is wait, for what would hang where it is broken.
func (r *agentRun) endsSoon() int {
	r.s.Helper()
	select {
	case <-r.done:
	case <-time.After(soon):
		r.s.Fatalf("usher did not end within %s; it said:\n%s", soon, r.text())
	}
	return r.cmd.ProcessState.ExitCode()
}

// A server that rests in its warm pool is rebooted there, which changes neither its launch time nor its record. Days
// later it is wanted: the wait that counts begins then.
func TestRebootedInTheWarmPool(t *testing.T) {
	into := func(t *testing.T) (*stage, *standin.Instance) {
		s := newStage(t)
		s.pool(standin.WarmedRunning)
		s.hook(standin.Hook{HeartbeatTimeout: 5 * time.Minute}) // the global timeout is a hundred of it
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
		s.expect("exit code on the way in", itoa(s.start(server, "-once").wait()), "0")
		server.SetAge(2 * 24 * time.Hour)
		s.rebooted()
		return s, server
	}
	wanted := func(s *stage, server *standin.Instance, out *agentRun) {
		s.waitFor(server, standin.InService)
		s.completed("completions", server, "CONTINUE accepted, CONTINUE accepted")
		s.expect("the scripts saw", s.trace(), checkedTrace)
		if strings.Contains(out.text(), "context canceled") {
			s.Errorf("a reason that says nothing:\n%s", out.text())
		}
	}
	t.Run("the agent was started in the pool", func(t *testing.T) {
		s, server := into(t)
		s.expect("exit code of the boot in the pool", itoa(s.start(server, "-once").wait()), "3")
		server.StartFromPool()
		out := s.start(server, "-once")
		s.expect("exit code on the way out", itoa(out.endsSoon()), "0")
		wanted(s, server, out)
	})
	t.Run("the agent serves", func(t *testing.T) {
		s, server := into(t)
		out := s.start(server)
		out.says("nothing to deploy")
		server.StartFromPool()
		wanted(s, server, out)
	})
	t.Run("the agent is restarted in the middle", func(t *testing.T) {
		s := newStage(t)
		s.pool(standin.WarmedRunning)
		s.hook(standin.Hook{HeartbeatTimeout: 5 * time.Minute})
		app, shut, open := s.gateIf(s.app("1"), "scripts/start.sh")
		s.publish("shop-1", app)
		server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
		s.expect("exit code on the way in", itoa(s.start(server, "-once").wait()), "0")
		server.SetAge(2 * 24 * time.Hour)
		s.rebooted()
		shut()
		server.StartFromPool()
		first := s.start(server)
		first.says("at the gate")
		s.must(os.Remove(s.path("shut")))
		s.expect("exit code of the stopped agent", itoa(first.stop()), "0")
		out := s.start(server, "-once")
		s.expect("exit code on the way out", itoa(out.endsSoon()), "0")
		s.waitFor(server, standin.InService)
		_ = open
	})
}

// A hook that was put on the group after the server had come into the pool, days ago: no verdict was ever given, and
// the launch is no measure of the wait either.
func TestHookAfterThePool(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: "late", NoReplacement: true, PoolState: standin.WarmedRunning})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("late", standin.LaunchOptions{WarmPool: true})
	into := s.start(server, "-once")
	s.expect("exit code on the way in", itoa(into.wait()), "0")
	s.said(into, "no lifecycle action to complete")
	server.SetAge(2 * 24 * time.Hour)
	s.cloud.PutHook("late", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Minute})
	server.StartFromPool()
	out := s.start(server, "-once")
	s.expect("exit code on the way out", itoa(out.endsSoon()), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
}

// A clock that is hours off at boot: usher says so, counts by AWS's, and launches.
func TestTheClockIsOff(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead time.Duration // of AWS's clock
		says  string
	}{
		{"behind AWS's", 3 * time.Hour, "the clock of this server is 3h0m0s behind AWS's"},
		{"ahead of AWS's", -10 * time.Hour, "the clock of this server is 10h0m0s ahead of AWS's"},
		{"a day behind AWS's", 25 * time.Hour, "behind AWS's"},
		{"a day ahead of AWS's", -25 * time.Hour, "ahead of AWS's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, standin.Options{ClockAhead: c.ahead})
			s.hook(standin.Hook{HeartbeatTimeout: 5 * time.Minute})
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.endsSoon()), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.said(r, c.says)
			for _, never := range []string{"context canceled", "-2h", "3h0m0s after the launch", "10h0m"} {
				for line := range strings.Lines(r.text()) {
					if strings.Contains(line, never) && !strings.Contains(line, "clock") {
						t.Errorf("it says %q: %s", never, line)
					}
				}
			}
		})
	}
}

// The time of a server is set while its launch is at work, forward or back, as chrony does it once; and again, in a
// deployment. (Nothing here may set this machine's time: it is AWS's that changes, which a server sees the same.)
func TestTheTimeIsSetMeanwhile(t *testing.T) {
	for _, by := range []time.Duration{3 * time.Hour, -3 * time.Hour, 25 * time.Hour, -25 * time.Hour} {
		t.Run(itoa(int(by.Hours()))+" hours", func(t *testing.T) {
			s := newStage(t, standin.Options{LongPoll: time.Second})
			s.cloud.PutDeploymentGroup(fleetGroup())
			s.hook(standin.Hook{HeartbeatTimeout: 15 * time.Second}) // every five seconds one
			beats := func() {                                        // and the action lives on
				n := len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat"))
				_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", n+4)
				s.must(err)
			}
			app, open := s.gate(s.app("1"), "scripts/after.sh")
			s.publish("shop-1", app)
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			r := s.start(server)
			r.says("at the gate")
			beats()
			s.cloud.SetClockAhead(by)
			beats()
			open()
			s.waitFor(server, standin.InService)
			s.completed("completions", server, "CONTINUE accepted")
			app, open = s.gate(s.app("2"), "scripts/start.sh")
			id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", app))
			s.must(err)
			s.until(func() bool { return strings.Count(r.text(), "at the gate") == 2 })
			s.cloud.SetClockAhead(0)
			open()
			status, err := s.cloud.WaitForDeployment(s.ctx, id)
			s.must(err)
			s.expect("deployment", status, "Succeeded")
			s.expect("commands", s.commands(id), inPlace)
			s.expect("live", s.live(), "2")
			for line := range strings.Lines(r.text()) {
				if strings.Contains(line, "h0m") || strings.Contains(line, "h1m") {
					t.Errorf("a duration of hours: %s", line)
				}
			}
		})
	}
}

// CompleteLifecycleAction is denied, and stays so: said loudly, with what to allow, and the heartbeats end, so that the
// hook's timeout decides soon and not after its global timeout.
func TestCompleteIsDenied(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 2 * time.Second})
	s.publish("shop-1", s.app("1"))
	s.cloud.Fail("CompleteLifecycleAction", -1, standin.Fault{Code: "AccessDenied"})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	code := r.endsSoon()
	s.expect("exit code", itoa(code), "0")
	s.expect("verdict", answers(server), "usher-launch ABANDON (timeout)")
	s.said(r, "error: ", "allow autoscaling:CompleteLifecycleAction", "heartbeats end now", "was decided before usher could say CONTINUE (the state is Terminated)")
}

// A server that is scaled in in mid-script is noticed by its metadata, not by the next heartbeat, minutes later.
func TestTerminatedInTheMiddleOfAScript(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: time.Hour})
	app, _ := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	r.says("at the gate")
	server.Terminate()
	s.expect("exit code", itoa(r.endsSoon()), "1")
	s.said(r, "AfterInstall failed", "this instance is being terminated by Auto Scaling")
	s.expect("live", s.live(), "base")
	s.nobodyAtTheGate("scripts/after.sh")
}

// The same in service, in the middle of a deployment.
func TestTerminatedInTheMiddleOfADeployment(t *testing.T) {
	s := newStage(t)
	s.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate, HeartbeatTimeout: time.Hour})
	server, r := s.serving()
	app, _ := s.gate(s.app("2"), "scripts/after.sh")
	_, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", app))
	s.must(err)
	r.says("at the gate")
	server.Terminate()
	began := time.Now()
	r.says("this instance is being terminated by Auto Scaling")
	if took := time.Since(began); took > soon {
		t.Errorf("it was noticed after %s", took)
	}
	r.says("Rollback finished")
	s.expect("live", s.live(), "1")
	s.nobodyAtTheGate("scripts/after.sh")
}

// nobodyAtTheGate checks that no script waits at a gate any more: nobody reads from it.
func (s *stage) nobodyAtTheGate(script string) {
	s.Helper()
	fifo := s.path("gate-" + script[strings.LastIndexByte(script, '/')+1:])
	f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		f.Close()
		s.Errorf("a script still waits at %s", fifo)
	}
}

// A hook whose default result is CONTINUE lets a server without its code into service when the agent dies: said at
// every launch.
func TestAHookThatContinuesByDefault(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: time.Minute, DefaultResult: standin.Continue})
	s.publish("shop-1", s.app("1"))
	_, r, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.said(r, "warning: the default result of hook usher-launch is CONTINUE")
}

// A launch takes longer than CodeDeploy waits for a server to take a command of its own deployment to it, by which its
// own hook holds the launch beside usher's: the command is taken during the launch, and carried out after it.
func TestALongLaunchOfCodeDeploys(t *testing.T) {
	for _, c := range []struct{ name, group string }{{"its hook and usher's", "web"}, {"its hook alone", "bare"}} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.noHook()
			group := fleetGroup()
			group.Managed, group.AutoScalingGroups, group.PickUp = true, []string{c.group}, 90*time.Second
			app, open := s.gate(s.app("1"), "scripts/start.sh")
			s.publish("shop-1", app)
			s.cloud.PutDeploymentGroup(group)
			server := s.cloud.Launch(c.group, standin.LaunchOptions{})
			r := s.start(server)
			r.says("at the gate")
			s.until(func() bool { all := s.cloud.HostCommands(); return len(all) > 0 && all[0].Status != "Pending" })
			first := s.cloud.HostCommands()[0]
			s.expect("the first command while the launch goes on", first.Name+" "+first.Status, "ApplicationStop InProgress")
			open()
			s.waitFor(server, standin.InService)
			s.expect("commands", s.commands(first.DeploymentID), strings.ReplaceAll(inPlace, "Succeeded", "Succeeded noop"))
			for _, a := range server.Answers() {
				s.expect("hook "+a.Hook, a.Result, "CONTINUE")
			}
			// Once, by the launch.
			s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nValidateService 1 live=1")
			s.said(r, "picked up ApplicationStop of deployment "+first.DeploymentID, "needs nothing")
		})
	}
}
