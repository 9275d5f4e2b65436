package acceptance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
)

// What becomes of an instance whose deployment failed: on_failure.

const failing = "#!/bin/sh\nset -e\necho about to fail\nfalse\n"

// continue: the server goes into service with what was live before.
func TestOnFailureContinue(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"] = "continue"
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "1")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "base")
	s.said(r, "ApplicationStart failed", "on_failure is continue: the server goes into service with what was live before", "with CONTINUE")
}

// hold: the instance is kept for a person to look at, longer than its hook's timeout, and then abandoned.
func TestOnFailureHold(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "20s"
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	r.says("on_failure is hold: this instance is kept until")
	failed := time.Now()
	s.expect("live meanwhile", s.live(), "base")
	s.waitFor(server, standin.Terminated)
	if held := time.Since(failed); held < 19500*time.Millisecond {
		t.Errorf("it was held for %s, not for 20 s", held)
	}
	s.expect("exit code", itoa(r.wait()), "1")
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	if n := server.Answers()[0].Heartbeats; n < 2 {
		t.Errorf("%d heartbeats while it was held", n)
	}
}

// A person ends the hold: what they decide counts, and the agent does not hold on.
func TestHoldEndsWithADecision(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "1h"
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "-once")
	r.says("on_failure is hold")
	s.answersHook(server, "usher-launch", standin.Continue)
	s.waitFor(server, standin.InService)
	s.expect("exit code", itoa(r.wait()), "1")
	s.said(r, "Auto Scaling no longer waits: the state is InService", "was decided before usher could say ABANDON")
	s.expect("accepted of usher's", itoa(strings.Count(completions(s.cloud, server), "ABANDON accepted")), "0")
}

// The service is restarted while it holds: no verdict is sent, the hold goes on, and counts from the failure.
func TestHoldSurvivesARestart(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "8s"
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server)
	first.says("on_failure is hold")
	s.expect("exit code of the stopped service", itoa(first.stop()), "0")
	s.expect("completions", completions(s.cloud, server), "")
	s.expect("state", string(server.State()), "Pending:Wait")

	second := s.start(server, "-once")
	second.says("on_failure is hold")
	s.expect("completions when it holds again", completions(s.cloud, server), "")
	s.expect("exit code", itoa(second.wait()), "1")
	s.waitFor(server, standin.Terminated)
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStop 1 live=1")
	s.said(second, "ApplicationStart script scripts/start.sh failed with exit code 1")
}

// After ABANDON, Auto Scaling launches a replacement: on another disk, with a record of its own.
func TestReplacementAfterAbandon(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: "web"})
	s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": failing}))
	server, _, code := s.launch()
	s.expect("exit code", itoa(code), "1")
	s.waitFor(server, standin.Terminated)
	next, err := server.Replacement(s.ctx)
	s.must(err)

	disk := s.neighbour(2)
	disk.publish("shop-2", disk.app("2"))
	r := disk.start(next, "-once")
	s.expect("exit code of the replacement", itoa(r.wait()), "0")
	s.waitFor(next, standin.InService)
	s.expect("live on the replacement", disk.live(), "2")
	s.expect("live on the abandoned one", s.live(), "base")
}

// The reason of an ABANDON is what a person reads last.
func TestReasonOfAbandon(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": failing}))
	_, r, _ := s.launch()
	lines := strings.Split(r.text(), "\n")
	last := lines[len(lines)-1]
	for _, want := range []string{"error: ", "ValidateService", "scripts/validate.sh", "exit code 1", "its last line: about to fail"} {
		if !strings.Contains(last, want) {
			t.Errorf("the last line does not say %q: %s", want, last)
		}
	}
}

// A launch fails while its release is on the way to a disk that is slow: that is told at once.
func TestAFailureDoesNotWaitForTheDisk(t *testing.T) {
	s := newStage(t)
	needShell(t, "strace")        // which makes the disk slow
	const slow = 10 * time.Minute // longer than anything is waited for here
	s.inside = []string{"strace", "-D", "-f", "-qq", "-o", s.path("syncs"), "-e", "trace=syncfs", "-e", fmt.Sprintf("inject=syncfs:delay_enter=%d", slow.Microseconds())}
	app := s.app("1").with(files{"scripts/before.sh": failing})
	for n := range 200 { // so many that their file system is synced as a whole, in the background
		app[fmt.Sprintf("lib/%d", n)] = "content"
	}
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.Cleanup(func() { // else it holds on to what it has slowed down, whoever is killed, and to the agent's standard error
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, line := range lines {
			if text, _ := os.ReadFile(line); bytes.HasPrefix(text, []byte("strace\x00")) && bytes.Contains(text, []byte(s.path("syncs"))) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(line)))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	s.waitFor(server, standin.Terminated)
	s.expect("verdict", answers(server), "usher-launch ABANDON")
	s.said(r, "BeforeInstall failed")
	s.clean()
}
