package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
)

// The server itself restarts in the middle of a launch, or the service in the middle of a rollback.

// A reboot in the middle of a launch: it begins again, from the bundle, for of what was written some may be lost, and what
// scripts started has not survived. Before the flip, and after it, when the link leads to what was begun.
func TestRebootInADeployment(t *testing.T) {
	for at, c := range map[string]struct{ died, trace string }{
		"12+": {"after script AfterInstall", "BeforeInstall 1 live=base\nAfterInstall 1 live=base\n"},
		"17-": {"before script ApplicationStart", "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\n"},
	} {
		t.Run(c.died, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.readsAlways()
			s.expect("it died", s.killed(server, at), c.died)
			release, err := filepath.Glob(s.path("opt/app-releases/shop-1-????????"))
			s.must(err)
			for _, name := range []string{"VERSION", "scripts/after.sh", "appspec.yml"} { // as a power cut leaves them
				if at == "12+" { // who reads always must not see the other
					s.must(os.Truncate(filepath.Join(release[0], name), 0))
				}
			}
			s.rebooted()
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.wait()), "0")
			s.waitFor(server, standin.InService)
			s.said(r, "the deployment begins again")
			s.completed("completions", server, "CONTINUE accepted")
			s.expect("downloads", itoa(len(s.cloud.CallsOf("GetObject"))), "2")
			s.expect("live", s.live(), "1")
			s.expect("the scripts saw", s.trace(), c.trace+fullTrace)
			s.clean()
		})
	}
}

// The agent alone is restarted before a large release is on the disk: nothing is lost, and nothing is done again.
func TestASuccessorLandsTheRelease(t *testing.T) {
	s := newStage(t)
	app := s.app("1")
	for n := range 200 {
		app[fmt.Sprintf("lib/%d", n)] = "content"
	}
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.expect("it died", s.killed(server, "12+"), "after script AfterInstall")
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.expect("downloads", itoa(len(s.cloud.CallsOf("GetObject"))), "1")
	s.expect("runs of BeforeInstall", itoa(strings.Count(s.trace(), "BeforeInstall 1 live=base")), "1")
	s.clean()
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

// A launch that the server was restarted in has put files of its own in the place of others. It begins again, fails,
// and what was there before the launch is there again.
func TestRebootThenFailureRestoresWhatWasThereFirst(t *testing.T) {
	s := newStage(t)
	s.must(os.MkdirAll(s.path("etc"), 0o755))
	s.write("etc/a.conf", "the image's")
	s.publish("shop-1", files{"VERSION": "1", "a.conf": "the revision's", "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: /VERSION, destination: " + s.path("opt/app") +
		"}\n  - {source: /a.conf, destination: " + s.path("etc") + "}\nfile_exists_behavior: OVERWRITE\nhooks:\n  AfterInstall: [{location: after.sh}]\n",
		"after.sh": "#!/bin/sh\nset -eu\n[ -e " + s.path("ran") + " ] || { echo $$ > " + s.path("ran") + "; echo it runs; exec sleep 300; }\nexit 1\n"})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server)
	first.says("| it runs")
	s.must(first.cmd.Process.Kill())
	first.wait()
	s.endOrphan("ran")
	b, err := os.ReadFile(s.path("etc/a.conf"))
	s.must(err)
	s.expect("in the middle", string(b), "the revision's")
	s.rebooted()
	second := s.start(server, "-once")
	s.expect("exit code", itoa(second.wait()), "1")
	s.said(second, "the deployment begins again")
	b, err = os.ReadFile(s.path("etc/a.conf"))
	s.must(err)
	s.expect("after the failure", string(b), "the image's")
	s.clean()
}

// The power is cut while a script of a deployment by CodeDeploy's commands runs, of which the events before were answered:
// what the script has written is torn. It is not run again on that, but the deployment is begun again, from the bundle.
func TestRebootInACommand(t *testing.T) {
	for _, c := range []struct{ event, script, trace string }{
		{"BeforeInstall", "before", ""},
		{"AfterInstall", "after", "BeforeInstall 2 live=1\n"},
		{"ApplicationStart", "start", "BeforeInstall 2 live=1\nAfterInstall 2 live=1\n"},
	} {
		t.Run(c.event, func(t *testing.T) {
			s := newStage(t)
			server, r := s.serving()
			s.readsAlways()
			app := s.app("2")
			app["scripts/"+c.script+".sh"] += "cd $USHER_RELEASE_DIR\n[ -e index ] || echo whole > index\n[ -e " + s.path("ran") + " ] || { echo $$ > " + s.path("ran") + "; echo it runs; exec sleep 300; }\n"
			id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", app))
			s.must(err)
			r.says("| it runs")
			s.must(r.cmd.Process.Kill())
			r.wait()
			s.endOrphan("ran")
			torn, err := filepath.Glob(s.path("opt/app-releases/shop-2-????????/index"))
			s.must(err)
			s.must(os.Truncate(torn[0], 0)) // as a power cut leaves it
			s.rebooted()
			again := s.start(server)
			status, err := s.cloud.WaitForDeployment(s.ctx, id)
			s.must(err)
			s.expect("deployment", status, "Succeeded")
			s.expect("commands", s.commands(id), inPlace)
			s.said(again, "the deployment begins again")
			s.expect("live", s.live(), "2")
			b, err := os.ReadFile(s.path("opt/app/index"))
			s.must(err)
			s.expect("what the script has made", string(b), "whole\n")
			once := "BeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\n"
			s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\n"+c.trace+c.event+" 2 live="+map[bool]string{true: "2", false: "1"}[c.event == "ApplicationStart"]+
				"\nApplicationStop 1 live=1\n"+once+"ValidateService 2 live=2")
			s.clean()
		})
	}
}

// endOrphan ends a script that outlived its agent and wrote its process id to a file, as a reboot does.
func (s *stage) endOrphan(file string) {
	s.Helper()
	text, err := os.ReadFile(s.path(file))
	s.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	s.must(err)
	s.must(syscall.Kill(pid, syscall.SIGKILL))
}
