package acceptance

import (
	"testing"
	"time"

	"usher/agent/standin"
)

// Instances on their way out.

// drained gives the group a terminating hook and runs the agent as a service with on_terminate, up to the
// end of the launch.
func (s *stage) drained(onTerminate string) (*standin.Instance, *agentRun) {
	s.Helper()
	s.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate, HeartbeatTimeout: time.Minute})
	s.config["on_terminate"] = onTerminate
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	return server, r
}

// on_terminate: stop runs ApplicationStop while the terminating hook holds the instance, then lets it go.
func TestTerminateStopsTheApplication(t *testing.T) {
	s := newStage(t)
	server, r := s.drained("stop")
	server.Terminate()
	s.waitFor(server, standin.Terminated)
	s.expect("answers", answers(server), "usher-launch CONTINUE, drain CONTINUE")
	s.expect("the scripts saw", s.trace(), fullTrace+"\nApplicationStop 1 live=1")
	s.said(r, "Auto Scaling is terminating this instance: stopping the application", "ApplicationStop finished")
	s.expect("exit code when stopped", itoa(r.stop()), "0")
}

// ApplicationStop that fails ends nothing: the instance goes all the same, and its failure is said.
func TestTerminateWhenStopFails(t *testing.T) {
	s := newStage(t)
	s.cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate, HeartbeatTimeout: time.Minute})
	s.config["on_terminate"] = "stop"
	s.publish("shop-1", s.app("1").with(files{"scripts/stop.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	server.Terminate()
	s.waitFor(server, standin.Terminated)
	s.expect("answers", answers(server), "usher-launch CONTINUE, drain CONTINUE")
	s.said(r, "script scripts/stop.sh failed with exit code 1")
}

// The agent is started, or started again, when the instance is on its way out already.
func TestStartWhileTerminating(t *testing.T) {
	s := newStage(t)
	server, r := s.drained("stop")
	s.expect("exit code when stopped", itoa(r.stop()), "0")
	server.Terminate()
	s.expect("state", string(server.State()), "Terminating:Wait")
	again := s.start(server)
	s.waitFor(server, standin.Terminated)
	s.expect("answers", answers(server), "usher-launch CONTINUE, drain CONTINUE")
	s.expect("the scripts saw", s.trace(), fullTrace+"\nApplicationStop 1 live=1")
	s.said(again, "nothing to deploy: this instance is leaving its group (Terminated)")
}

// on_terminate: ignore, the default, leaves the terminating hook to whoever it belongs to.
func TestTerminateIsIgnored(t *testing.T) {
	s := newStage(t)
	server, r := s.drained("ignore")
	server.Terminate()
	s.expect("exit code when stopped", itoa(r.stop()), "0")
	again := s.start(server, "-once")
	s.expect("exit code of a start meanwhile", itoa(again.wait()), "3")
	s.expect("state", string(server.State()), "Terminating:Wait")
	s.expect("answers", answers(server), "usher-launch CONTINUE")
	s.expect("the scripts saw", s.trace(), fullTrace)
}

// Nothing is started on an instance that is leaving, even with nothing deployed on it.
func TestNothingIsStartedOnTheWayOut(t *testing.T) {
	for _, c := range []struct {
		name string
		go_  func(*standin.Instance)
		says string
	}{
		{"standby", (*standin.Instance).EnterStandby, "nothing to deploy: this instance is leaving its group (Standby)"},
		{"detached", (*standin.Instance).Detach, "nothing to deploy: this instance is leaving its group (Detached)"},
		{"terminated", (*standin.Instance).Terminate, "nothing to deploy: this instance is leaving its group (Terminated)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.noHook()
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("bare", standin.LaunchOptions{})
			c.go_(server)
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.wait()), "3")
			s.said(r, c.says)
			s.expect("calls", callsOf(s.cloud), "")
			s.expect("live", s.live(), "base")
			s.expect("the scripts saw", s.trace(), "")
		})
	}
}

// A root volume that was replaced is an empty disk with no hook to wait for: deployed, nothing completed.
func TestRootVolumeWasReplaced(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server, _, _ := s.launch()
	s.waitFor(server, standin.InService)
	server.ReplaceRootVolume()
	disk := s.neighbour(2)
	disk.publish("shop-1", disk.app("1"))
	r := disk.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("live on the new volume", disk.live(), "1")
	s.completed("completions", server, "CONTINUE accepted")
	s.said(r, "no lifecycle action to complete")
}

// Attached to a group after its launch: no hook fires, and the server is deployed to.
func TestAttachedInstance(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Standalone(standin.LaunchOptions{})
	s.cloud.Attach(server, "web")
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.expect("live", s.live(), "1")
	s.expect("completions", completions(s.cloud, server), "")
	s.expect("state", string(server.State()), "InService")
}
