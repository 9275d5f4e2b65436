package acceptance

import (
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
)

// A success is looked at before it is recorded, and again before CONTINUE is sent.

// lineOf is the number of the first line that a launch writes to its record with all of these.
func (s *stage) lineOf(what ...string) string {
	s.Helper()
	o := s.beside()
	o.publish("beside", o.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	o.start(server, "-once").wait()
	for n, line := range o.recordLines() {
		has := true
		for _, w := range what {
			has = has && strings.Contains(line, w)
		}
		if has {
			return itoa(n + 1)
		}
	}
	s.Fatalf("the record has no line with %q", what)
	return ""
}

// relink points the application's link to another directory.
func (s *stage) relink(to string) {
	s.Helper()
	s.must(os.Remove(s.path("opt/app")))
	s.must(os.Symlink(s.path(to), s.path("opt/app")))
}

// A launch failed, its link was put back, and nothing of that could be recorded. The next agent does not run its scripts
// against the base, and says so.
func TestAFailureThatCouldNotBeRecorded(t *testing.T) {
	s := newStage(t)
	flipped := s.lineOf(`"step":"Flip"`, `"what":"finished"`)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.killed(server, flipped+"+")
	s.relink("opt/app-base")
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "1")
	s.waitFor(server, standin.Terminated)
	s.completed("completions", server, "ABANDON accepted")
	s.said(r, "leads to "+s.path("opt/app-base")+", not to release shop-1-")
	if trace := s.trace(); strings.Contains(trace, "ApplicationStart 1") || strings.Contains(trace, "ValidateService 1") {
		t.Errorf("scripts of the release ran against the base:\n%s", trace)
	}
	s.expect("live", s.live(), "base")
}

// What is live is changed behind usher's back, in the last script: that is no success.
func TestTheLinkIsChangedWhileItIsValidated(t *testing.T) {
	for name, c := range map[string]struct{ script, said string }{
		"the link leads elsewhere": {"ln -sfn DIR/opt/app-base DIR/opt/app\n", "leads to DIR/opt/app-base, not to release shop-1-"},
		"the release is gone":      {"mv $(readlink DIR/opt/app) DIR/elsewhere\n", "that is not whole"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").appends("scripts/validate.sh", strings.ReplaceAll(c.script, "DIR", s.dir)))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.waitFor(server, standin.Terminated)
			s.completed("completions", server, "ABANDON accepted")
			s.said(r, strings.ReplaceAll(c.said, "DIR", s.dir))
			s.expect("live", s.live(), "base")
			now, _ := s.status()
			s.expect("the deployment", now.Last.Ending(), "failed, rolled back")
		})
	}
}

// The agent is killed after the success was recorded, and the link is changed before the next one tells Auto Scaling.
func TestTheLinkIsChangedBeforeTheVerdict(t *testing.T) {
	for _, onFailure := range []string{"abandon", "continue"} {
		t.Run(onFailure, func(t *testing.T) {
			s := newStage(t)
			s.config["on_failure"] = onFailure
			succeeded := s.lineOf(`"what":"succeeded"`)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.killed(server, succeeded+"+")
			s.relink("opt/app-base")
			r := s.start(server, "-once")
			s.expect("exit code", itoa(r.wait()), "1")
			s.waitFor(server, standin.Terminated)
			s.completed("completions", server, "ABANDON accepted")
			s.said(r, "what was deployed cannot go into service: ", "leads to "+s.path("opt/app-base"))
		})
	}
}

// The server is restarted between ValidateService and the success: the launch begins again.
func TestRebootBeforeTheSuccess(t *testing.T) {
	s := newStage(t)
	succeeded := s.lineOf(`"what":"succeeded"`)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	s.killed(server, succeeded+"-")
	s.rebooted()
	r := s.start(server, "-once")
	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.completed("completions", server, "CONTINUE accepted")
	s.expect("the scripts saw", s.trace(), fullTrace+"\n"+fullTrace)
}
