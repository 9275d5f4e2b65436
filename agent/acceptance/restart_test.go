package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// The agent ends in the middle of a launch, one way or another, and is started again.

// nothingRuns checks that no process of the server's scripts is left.
func (s *stage) nothingRuns() {
	s.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	s.must(err)
	for _, file := range all {
		env, _ := os.ReadFile(file) // it may have ended meanwhile
		if strings.Contains(string(env), "USHER_SCRIPT=") && strings.Contains(string(env), s.dir+"/") {
			cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			s.Errorf("left running: %s %q", filepath.Dir(file), cmd)
		}
	}
}

// alone is a script that says when another of it is running already, and hangs the first time.
func (s *stage) alone() string {
	return "#!/bin/sh\nset -eu\n" +
		"if [ -e " + s.path("pid") + " ] && grep -q '^State:.[^ZX]' /proc/$(cat " + s.path("pid") + ")/status 2>/dev/null; then echo two at once >> " + s.path("trace") + "; fi\n" +
		"echo $$ > " + s.path("pid") + "\necho AfterInstall 1 begins >> " + s.path("trace") + "\n" +
		"first=\n[ -e " + s.path("hung") + " ] || { first=1; touch " + s.path("hung") + "; }\n" + // before it says that it runs: then it may be ended
		"echo it runs\n[ -z \"$first\" ] || exec sleep 300\n" +
		"echo AfterInstall 1 ends >> " + s.path("trace") + "\n"
}

// The agent is killed while a script runs. The orphan goes on; the next agent ends it before it runs the
// script again.
func TestKilledInAScript(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/after.sh": s.alone()}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.readsAlways()
	first := s.start(server, "-once")
	first.says("| it runs")
	s.must(first.cmd.Process.Kill())
	first.wait()
	orphan, err := os.ReadFile(s.path("pid"))
	s.must(err)
	if status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(orphan)) + "/status"); err != nil {
		t.Fatalf("the orphan did not outlive the agent: %v %s", err, status)
	}

	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted")
	s.said(second, "resuming deployment", "in AfterInstall after an agent restart")
	s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 begins\nAfterInstall 1 begins\nAfterInstall 1 ends\n"+
		"ApplicationStart 1 live=1\nValidateService 1 live=1")
	s.nothingRuns()
	s.clean()
}

// The service is restarted while a script runs: the script is stopped, no verdict is sent, and the next
// start goes on with the same event.
func TestStoppedInAScript(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/after.sh": s.alone()}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.readsAlways()
	first := s.start(server)
	first.says("| it runs")
	s.expect("exit code of the stopped service", itoa(first.stop()), "0")
	s.said(first, "AfterInstall interrupted: usher is stopping and resumes here at its next start")
	s.nothingRuns()
	s.expect("completions", completions(s.cloud, server), "")
	s.expect("state", string(server.State()), "Pending:Wait")
	s.expect("live", s.live(), "base")

	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions in all", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 begins\nAfterInstall 1 begins\nAfterInstall 1 ends\n"+
		"ApplicationStart 1 live=1\nValidateService 1 live=1")
}

// The service is stopped after the flip, in ApplicationStart: what is live stays as it is until the next
// start, which goes on.
func TestStoppedAfterTheFlip(t *testing.T) {
	s := newStage(t)
	app, _ := s.gate(s.app("1"), "scripts/start.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server)
	first.says("at the gate")
	s.expect("exit code of the stopped service", itoa(first.stop()), "0")
	s.expect("live", s.live(), "1")
	s.expect("completions", completions(s.cloud, server), "")

	// The group moves on meanwhile: the half-made deployment is put back, and the new revision is deployed.
	s.publish("shop-2", s.app("2"))
	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions in all", server, "CONTINUE accepted")
	s.expect("live at the end", s.live(), "2")
	s.expect("the last the scripts saw", s.trace()[strings.Index(s.trace(), "BeforeInstall 2"):],
		"BeforeInstall 2 live=base\nAfterInstall 2 live=base\nApplicationStart 2 live=2\nValidateService 2 live=2")
}

// The group moves on to a revision that fails: the server ends on the base, not on what was never validated.
func TestStoppedAfterTheFlipAndTheNextFails(t *testing.T) {
	s := newStage(t)
	app, _ := s.gate(s.app("1"), "scripts/start.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server)
	first.says("at the gate")
	s.expect("exit code of the stopped service", itoa(first.stop()), "0")
	s.publish("shop-2", s.app("2").with(files{"scripts/after.sh": failing}))
	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "1")
	s.waitFor(server, standin.Terminated)
	s.completed("completions in all", server, "ABANDON accepted")
	s.expect("live at the end", s.live(), "base")
}

// The service is stopped while the verdict waits for the wait state: nothing is sent, and the next start
// sends it without deploying again.
func TestStoppedBeforeTheVerdict(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true})
	first := s.start(server)
	first.says("is live and good")
	s.expect("exit code of the stopped service", itoa(first.stop()), "0")
	server.Release()
	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), fullTrace)
}

// The service is stopped while it waits for metadata, and while AWS does not answer.
func TestStoppedWhileWaiting(t *testing.T) {
	t.Run("for metadata", func(t *testing.T) {
		s := newStage(t)
		server := s.cloud.Launch("web", standin.LaunchOptions{MetadataRefused: true})
		r := s.start(server)
		r.says("waiting for instance metadata")
		s.expect("exit code", itoa(r.stop()), "0")
	})
	t.Run("for CodeDeploy", func(t *testing.T) {
		s := newStage(t)
		s.config["retry_timeout"] = "1h"
		s.publish("shop-1", s.app("1"))
		s.cloud.Fail("GetDeploymentGroup", -1, standin.Fault{Status: 503})
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server)
		r.says("trying again")
		s.expect("exit code", itoa(r.stop()), "0")
		s.expect("completions", completions(s.cloud, server), "")
		s.cloud.Heal("*")
		again := s.start(server, "-once")
		s.expect("exit code of the next start", itoa(again.wait()), "0")
		s.waitFor(server, standin.InService)
	})
}

// Two agents at once: the second refuses, and does nothing else.
func TestTwoAgents(t *testing.T) {
	s := newStage(t)
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server, "-once")
	first.says("at the gate")
	before := len(s.cloud.Calls())
	second := s.start(server, "-once")
	s.expect("exit code of the second", itoa(second.wait()), "1")
	s.said(second, "another usher holds the record", "systemctl stop usher")
	s.expect("its calls", callsSince(s.cloud, before), "")
	open()
	s.expect("exit code of the first", itoa(first.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), fullTrace)
}

// The daemon goes on after its launch, says nothing, and stops when it is told to, in the midst of a poll that AWS answers in an hour.
func TestDaemonStops(t *testing.T) {
	s := newStage(t, standin.Options{LongPoll: time.Hour})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	s.expect("exit code", itoa(r.stop()), "0")
	s.completed("completions", server, "CONTINUE accepted")
}
