package acceptance

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"usher/agent/operator"
	"usher/agent/standin"
)

// What `usher status` says of a server in each of its states.

// status is `usher status --json`, which must be what serverStatus documents and nothing else.
func (s *stage) status() (operator.ServerStatus, int) {
	s.Helper()
	got := s.types("status --json")
	var status operator.ServerStatus
	in := json.NewDecoder(strings.NewReader(got.stdout))
	in.DisallowUnknownFields()
	if err := in.Decode(&status); err != nil || got.stderr != "" {
		s.Fatalf("usher status --json: %v; it printed %s%s", err, got.stdout, got.stderr)
	}
	return status, got.code
}

// printed is what `usher status` prints, where the instance and the version are fixed.
func (s *stage) printed() (string, int) {
	s.Helper()
	got := s.types("status")
	if got.stderr != "" {
		s.Errorf("usher status says %s", got.stderr)
	}
	out := regexp.MustCompile(`\bi-[0-9a-f]{17}\b`).ReplaceAllString(s.plain(got.stdout), "i-N")
	return regexp.MustCompile(`version devel(-[0-9a-f]+)?`).ReplaceAllString(out, "version V"), got.code
}

// A server from its first launch on, as it is printed.
func TestStatus(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"] = "continue"
	app, shut, open := s.gateIf(s.app("1"), "scripts/after.sh")
	shut()
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{ImageID: "ami-0123"})
	r := s.start(server)
	r.says("at the gate")
	s.answered("hold 10m", 0, "from now on: a launch that fails is kept for SPAN, then abandoned\n", "")
	now := func(when string, code int, want string) {
		s.Helper()
		if out, got := s.printed(); out != want || got != code {
			s.Errorf("%s: exit %d, want %d\n got:\n%s\nwant:\n%s", when, got, code, out, want)
		}
	}
	now("in its first launch", 3, `status      empty: nothing was deployed yet
instance    i-N (ami-0123)
group       production of shop
agent       running, version V; a deployment is under way: d-N, AfterInstall
live        DIR/opt/app-base, the base of the image
under way   launch d-N since TIME
            in AfterInstall, shop-1-N
hold        a launch that fails is kept for SPAN (by an operator)
record      DIR/state/record.jsonl
`)
	open()
	s.must(os.Remove(s.path("shut")))
	s.waitFor(server, standin.InService)
	r.says("with CONTINUE")
	now("in service", 0, `status      good
instance    i-N (ami-0123)
group       production of shop
agent       running, version V
live        shop-1-N since TIME (SPAN), by d-N
            s3://BUCKET/shop-1.zip
last        d-N succeeded at TIME
record      DIR/state/record.jsonl
`)
	s.expect("exit code of the agent", itoa(r.stop()), "0")
	s.publish("shop-2", s.app("2").with(files{"scripts/start.sh": failing}))
	s.takeOut(server)
	s.waitFor(server, standin.InService)
	now("after a deployment that failed, without an agent", 1, `status      bad: the last deployment failed
instance    i-N (ami-0123)
group       production of shop
agent       does not answer: systemctl status usher
live        shop-1-N since TIME (SPAN), by d-N
            s3://BUCKET/shop-1.zip
last        d-N failed in ApplicationStart, rolled back at TIME
            ApplicationStart script scripts/start.sh failed with exit code 1 after SPAN; its last line: about to fail
record      DIR/state/record.jsonl
`)
	s.publish("shop-3", s.app("3"))
	s.takeOut(server)
	s.waitFor(server, standin.InService)
	again := s.start(server)
	again.says("nothing to deploy")
	s.expect("exit code of a rollback", itoa(s.types("rollback").code), "0")
	now("after a rollback", 0, `status      good
instance    i-N (ami-0123)
group       production of shop
agent       running, version V
live        shop-1-N since TIME (SPAN), by rollback-TIME
            s3://BUCKET/shop-1.zip
last        rollback-TIME succeeded at TIME
record      DIR/state/record.jsonl
`)
	s.must(os.Remove(s.path("opt/app")))
	s.must(os.Symlink(s.path("elsewhere"), s.path("opt/app")))
	now("when somebody has changed the link", 1, `status      bad: the link leads to DIR/elsewhere, which is no good release
instance    i-N (ami-0123)
group       production of shop
agent       running, version V
live        DIR/elsewhere, which is no release of usher's
last        rollback-TIME succeeded at TIME
record      DIR/state/record.jsonl
`)
}

// The same for a program, while a launch that failed is held.
func TestStatusOfAHeldLaunch(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "1h"
	id := s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	r.says("on_failure is hold")
	got, code := s.status()
	s.expect("exit code", itoa(code), "1")
	if hold := got.Agent.Hold; hold == nil || !hold.Failed || hold.ByOperator || time.Until(hold.Until).Round(time.Hour) != time.Hour {
		t.Errorf("hold: %+v", hold)
	}
	if last := got.Last; last == nil || last.Deployment != id || last.What != "launch" || last.Outcome != "failed" || !last.RolledBack || last.Step != "ApplicationStart" ||
		last.Verdict != "" || last.Ended.Before(last.Began) || last.Steps[len(last.Steps)-1].Name != "Rollback" {
		t.Errorf("last: %+v", last)
	}
	if got.Health != "bad" || got.Instance != server.ID || got.Live.Status != "base" || got.UnderWay != nil || got.Agent.Doing != "the launch of this instance failed, and is held" {
		t.Errorf("status: %+v, agent %+v", got, got.Agent)
	}
	if out, _ := s.printed(); !strings.Contains(out, "hold        the failed launch is kept until TIME (on_failure is hold), for SPAN more: usher unhold ends it\n") {
		t.Errorf("the hold is not printed:\n%s", out)
	}
}

// Before there is a record, and with one that is torn or damaged, which is said.
func TestStatusOfOddRecords(t *testing.T) {
	s := newStage(t)
	s.write("agent.yml", "application: shop\ndeployment_group: production\nstate_dir: "+s.path("state")+
		"\nlink: "+s.path("opt/app")+"\nbase: "+s.path("opt/app-base")+"\nreleases: "+s.path("opt/app-releases")+"\n")
	odd := func(record, health, notice string, code int) {
		s.Helper()
		if record != "" {
			s.write("state/record.jsonl", record)
		}
		got, exit := s.status()
		if got.Health != health || !strings.HasPrefix(got.Notice, notice) || (got.Notice == "") != (notice == "") || exit != code || got.Agent != nil {
			t.Errorf("with record %q: exit %d, %+v", record, exit, got)
		}
	}
	odd("", "empty", "", 3)
	odd(aLine, "empty", "", 3)
	odd(aLine+anEnd, "bad", "", 1)
	odd(aLine+anEnd[:70], "empty", "", 3)
	odd(aLine+anEnd+rubble+aLine, "bad", "the record "+s.path("state/record.jsonl")+" is damaged: line 3: ", 1)
	s.must(os.Remove(s.path("opt/app")))
	s.expect("what is live without a link", strings.Split(s.types("status").stdout, "\n")[4], "live        nothing: there is no link")
}
