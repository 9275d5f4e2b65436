package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
)

// The server itself restarts in the middle of a launch, or the service in the middle of a rollback.

// A reboot in the middle of an event: what was finished is not run again, the event that was cut off is run
// again from its first script, for what a script started has not survived.
func TestRebootInADeployment(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.readsAlways()
	s.expect("it died", s.killed(server, "12+"), "after script AfterInstall")
	s.rebooted()
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.said(r, "in AfterInstall after a server restart")
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nAfterInstall 1 live=base\n"+
		"ApplicationStart 1 live=1\nValidateService 1 live=1")
	s.clean()
}

// A power cut after a large release was unpacked. Had the disk been slower, files would be there with nothing in them,
// and nobody takes them for the release; had it not, what was finished is not run again.
func TestPowerCutWhileTheReleaseLands(t *testing.T) {
	for landed, times := range map[bool]int{false: 2, true: 1} {
		t.Run(map[bool]string{false: "not yet", true: "landed"}[landed], func(t *testing.T) {
			s := newStage(t)
			server := s.cutOffInTheAir(landed)
			s.readsAlways()
			if !landed {
				release, err := filepath.Glob(s.path("opt/app-releases/shop-1-????????"))
				s.must(err)
				for _, name := range []string{"VERSION", "lib/7", "scripts/after.sh", "appspec.yml"} {
					s.must(os.Truncate(filepath.Join(release[0], name), 0))
				}
			}
			s.rebooted()
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.wait()), "0")
			s.waitFor(server, standin.InService)
			s.completed("completions", server, "CONTINUE accepted")
			s.expect("live", s.live(), "1")
			content, err := os.ReadFile(s.path("opt/app/lib/7"))
			s.must(err)
			s.expect("a file of it", string(content), "content")
			s.expect("downloads", itoa(len(s.cloud.CallsOf("GetObject"))), itoa(times))
			s.expect("runs of BeforeInstall", itoa(strings.Count(s.trace(), "BeforeInstall 1 live=base")), itoa(times))
			s.clean()
		})
	}
}

// The agent alone is restarted: nothing is lost, and its successor brings to the disk what it left in the air.
func TestASuccessorLandsTheRelease(t *testing.T) {
	s := newStage(t)
	server := s.cutOffInTheAir(false)
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.expect("downloads", itoa(len(s.cloud.CallsOf("GetObject"))), "1")
	s.expect("runs of BeforeInstall", itoa(strings.Count(s.trace(), "BeforeInstall 1 live=base")), "1")
	lines, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	s.expect("times it landed", itoa(strings.Count(string(lines), `"what":"landed"`)), "1")
	s.clean()
}

// cutOffInTheAir launches a server with a large revision, kills its agent before the flip, and makes the record say that
// the release had landed by then, or that it had not.
func (s *stage) cutOffInTheAir(landed bool) *standin.Instance {
	s.Helper()
	app := s.app("1")
	for n := range 200 {
		app[fmt.Sprintf("lib/%d", n)] = "content"
	}
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.killed(server, "14+") // before the flip, whenever it landed
	content, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	var kept, landing string
	for line := range strings.Lines(string(content)) {
		switch {
		case strings.Contains(line, `"step":"Flip"`):
			s.Fatalf("it went as far as %s", line)
		case strings.Contains(line, `"what":"landed"`):
			continue
		case strings.Contains(line, `"what":"landing"`):
			landing = line
		}
		kept += line
	}
	if landing == "" {
		s.Fatalf("nothing says that it was on its way:\n%s", content)
	}
	if landed {
		kept += strings.Replace(landing, "landing", "landed", 1)
	}
	s.must(os.WriteFile(s.path("state/record.jsonl"), []byte(kept), 0o600))
	return server
}

// A reboot after the application was found to work, before the verdict: it is started and found to work
// again, for nothing that was started has survived.
func TestRebootBeforeTheVerdict(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true})
	first := s.start(server)
	first.says("is live and good")
	s.must(first.cmd.Process.Kill())
	first.wait()
	s.rebooted()
	server.Release()
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), checkedTrace)
}

// A reboot after a failure, before the verdict: the failure stands.
func TestRebootBeforeAnAbandon(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{HoldPending: true})
	first := s.start(server)
	first.says("Rollback finished")
	first.says("failed: ValidateService")
	s.must(first.cmd.Process.Kill())
	first.wait()
	s.rebooted()
	server.Release()
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "1")
	s.waitFor(server, standin.Terminated)
	s.completed("completions", server, "ABANDON accepted")
	s.expect("live", s.live(), "base")
	s.said(r, "ValidateService script scripts/validate.sh failed with exit code 1")
}

// A server in service is rebooted: no action, nothing deployed, nothing completed.
func TestRebootInService(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server, _, _ := s.launch()
	s.waitFor(server, standin.InService)
	s.rebooted()
	s.publish("shop-2", s.app("2"))
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "3")
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), fullTrace)
	s.expect("live", s.live(), "1") // an update of a server in service is a deployment's, not a boot's
}

// The service is stopped while the release of before is started again after a failure: that is finished
// first, and one ABANDON is sent in the end.
func TestStoppedInTheRollback(t *testing.T) {
	s := newStage(t)
	s.pool(standin.WarmedRunning)
	first := s.app("1")
	gated, open := s.gate(files{"scripts/start.sh": "if [ -e " + s.path("slow") + " ]; then\n"}, "scripts/start.sh")
	s.publish("shop-1", first.with(files{"scripts/start.sh": first["scripts/start.sh"] + gated["scripts/start.sh"] + "fi\n"}))
	server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
	s.expect("exit code on the way into the pool", itoa(s.start(server, "-once").wait()), "0")

	s.publish("shop-2", s.app("2").with(files{"scripts/validate.sh": failing}))
	s.write("slow", "")
	server.StartFromPool()
	s.readsAlways()
	r := s.start(server)
	r.says("at the gate")
	s.expect("live when the old release starts again", s.live(), "1")
	s.must(r.cmd.Process.Signal(syscall.SIGTERM))
	open()
	s.expect("exit code of the stopped service", itoa(r.wait()), "0")
	s.said(r, "Rollback finished")
	s.must(os.Remove(s.path("slow")))

	again := s.start(server, "-once")
	again.wait()
	s.waitFor(server, standin.Terminated)
	s.completed("completions", server, "CONTINUE accepted, ABANDON accepted")
	s.expect("live at the end", s.live(), "1")
	s.expect("the scripts saw", s.trace(), fullTrace+"\nApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\n"+
		"ApplicationStart 2 live=2\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1")
}
