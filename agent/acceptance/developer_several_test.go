package acceptance

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"usher/agent/rollout"
	"usher/agent/standin"
)

// One command for several environments.

// newShops is a repository with two environments, staging and production, that have a server each: the first is production's.
func newShops(t *testing.T) *shop {
	h := newShop(t, 1, production())
	h.cloud.CreateGroup(standin.Group{Name: "edge", NoReplacement: true})
	h.cloud.PutHook("edge", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Minute})
	h.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "staging", AutoScalingGroups: []string{"edge"}})
	h.group = "edge"
	s, server, r := h.launches(map[string]string{"deployment_group": "staging"})
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	h.environments(h.staging())
	h.commit("2", edition("2"))
	return h
}

func (h *shop) staging() string {
	return fmt.Sprintf("  staging:\n    deployment_group: staging\n    bucket: %s\n    region: %s\n    branch: origin/main\n", h.cloud.Bucket, h.cloud.Region)
}

// begun is how many deployments there were.
func (h *shop) begun() int { return len(h.cloud.CallsOf("CreateDeployment")) }

// One after the other, in the order that was typed, with one commit; the first that fails is the last.
func TestDeployToSeveralEnvironments(t *testing.T) {
	h := newShops(t)
	got := h.usher("deploy staging,production")
	h.ended(got, 0)
	h.expect("live", h.live(), "2 2")
	h.expect("stderr", got.stderr, "")
	at := -1
	for _, want := range []string{"Deploy to staging of shop", "Deploy to production of shop", "\nstaging:\n", "staging runs " + h.commits[1][:10] + " Version 2: 1 server in", "\nproduction:\n", "nothing to upload", "production runs " + h.commits[1][:10]} {
		next := strings.Index(got.stdout, want)
		if next <= at {
			t.Errorf("%q does not stand where it should in:\n%s", want, got.stdout)
		}
		at = next
	}

	h.commit("3", broken("3"))
	got = h.usher("deploy staging,production " + h.commits[2][:8])
	h.ended(got, 1, "production | usher deploy: not begun, because of staging\n", "staging | usher deploy: deployment d-")
	h.expect("begun", itoa(h.begun()), "3")
	last := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if !strings.Contains(last[len(last)-1], "staging | AfterInstall: script scripts/render.sh failed") {
		t.Errorf("the last line is %s", last[len(last)-1])
	}
	got = h.usher("deploy --keep-going --json staging,production")
	h.ended(got, 1)
	h.expect("begun", itoa(h.begun()), "5")
	h.expect("live", h.live(), "2 2")
	ends := ""
	for line := range strings.Lines(got.stdout) {
		var e rollout.Event
		h.must(json.Unmarshal([]byte(line), &e))
		if e.Environment == "" {
			t.Errorf("an event of no environment: %s", line)
		}
		if e.Type == rollout.Finished {
			ends += fmt.Sprintf("%s %s %d; ", e.Environment, e.Status, *e.ExitCode)
		}
	}
	h.expect("ends", ends, "staging failed 1; production failed 1; ")
	h.ended(h.usher("deploy --dry-run staging,production "+h.commits[0]), 0, "A dry run")
	h.expect("begun", itoa(h.begun()), "5")
}

// What refuses one of them is found before any is changed.
func TestDeployToSeveralEnvironmentsOrNone(t *testing.T) {
	h := newShops(t)
	h.ended(h.types("lock production", because("stocktaking")).ends(), 0)
	h.ended(h.usher("deploy staging,production"), 2, "staging | usher deploy: not begun, because of production\n", "production | usher deploy: production is locked by operator")
	h.ended(h.usher("unlock production"), 0)
	got := h.usher("deploy --json staging,production no-such-branch")
	h.ended(got, 2, `"type":"end","status":"not begun"`, `"environment":"production"`, "not begun, because of staging")
	h.ended(h.usher("deploy staging,prodution"), 2, `there is no environment "prodution": did you mean production?`)
	h.ended(h.usher("deploy staging,"), 2, `there is no environment ""`)
	h.ended(h.usher("deploy staging,production,staging"), 2, "staging is named twice")
	h.ended(h.usher("deploy --side-by-side production"), 2, "--side-by-side and --keep-going are for several environments, such as staging,production")
	h.ended(h.usher("deploy --side-by-side --keep-going staging,production"), 2, "all are begun at the same time")
	h.environments("    confirm: true\n" + h.staging())
	h.ended(h.usher("deploy staging,production"), 2, "staging | usher deploy: not begun, because of production\nproduction | usher deploy: staging,production must be confirmed by a person")
	h.expect("begun", itoa(h.begun()), "0")
	h.expect("uploads", itoa(len(h.cloud.CallsOf("PutObject"))), "1") // the lock
	h.environ = []string{"TERM=xterm", "LANG=C.UTF-8"}
	screen, tty := terminal(t)
	asks := h.types("deploy staging,production", func(c *exec.Cmd) { c.Stdin, c.Stdout, c.Stderr = tty, tty, tty })
	screen.says("Type staging,production to go ahead: ")
	screen.types("staging,production\n")
	h.expect("exit code", itoa(asks.ends().code), "0")
	for _, want := range []string{"staging runs " + h.commits[1][:10], "✓ " + h.ids[0] + " succeeded in ", "production runs " + h.commits[1][:10]} {
		screen.says(want)
	}
	h.expect("live", h.live(), "2 2")
	h.expect("completed", h.types("completion", func(c *exec.Cmd) { c.Args = append(c.Args, "--words", "--", "deploy", "staging,pro") }).ends().stdout, "staging,production\n")
}

// An MFA code is good once: of environments with one profile, the first asks for it, and the others have what it got.
func TestOneMFACodeForSeveralEnvironments(t *testing.T) {
	h := newShops(t)
	h.awsConfig("[profile acme]\nmfa_serial = " + standin.MFADevice + "\nrole_arn = " + standin.RoleARN("careful") + "\nsource_profile = me\n[profile me]\nKEYS\n")
	h.cloud.PutRole(standin.Role{Name: "careful", MFA: "123456"})
	h.environments("    profile: acme\n" + h.staging() + "    profile: acme\n")
	s, tty := terminal(t)
	both := h.types("deploy --dry-run staging,production", func(c *exec.Cmd) {
		c.Stdin, c.Stderr = tty, tty
		c.Env = append(c.Env, "TERM=xterm", "CI=")
	})
	s.says("MFA code of " + standin.MFADevice + " for profile acme: ")
	s.types("123456\n")
	h.ended(both.ends(), 0, "Deploy to staging", "Deploy to production", "assumed-role/careful/")
	h.expect("codes that were asked for", itoa(strings.Count(s.text(), "MFA code of ")), "1")
}

// Side by side all of them are under way at the same time, and every line says whose it is.
func TestDeploySideBySide(t *testing.T) {
	h := newShops(t)
	meet := fmt.Sprintf("#!/bin/sh\nset -eu\nmkdir -p %[1]s\n: > %[1]s/$INSTANCE_ID\nuntil [ \"$(ls %[1]s | wc -l)\" = 2 ]; do sleep 0.05; done\necho met\n", h.path("met"))
	h.commit("3", edition("3").with(files{"scripts/render.sh": meet}))
	h.environments("    on: {succeeded: echo told}\n" + h.staging())
	got := h.usher("deploy --side-by-side staging,production")
	h.ended(got, 0, "production | on.succeeded | told\n")
	h.expect("live", h.live(), "3 3")
	_, after, _ := strings.Cut(got.stdout, "\nstaging | ")
	for line := range strings.Lines("staging | " + after) {
		if !strings.HasPrefix(line, "staging | ") && !strings.HasPrefix(line, "production | ") {
			t.Errorf("whose is %q?", line)
		}
	}
	h.commit("4", broken("4"))
	got = h.usher("deploy --side-by-side staging,production")
	h.ended(got, 1, "staging | usher deploy: deployment d-", "production | usher deploy: deployment d-", "staging |     | migrating the database to 4\n")
}

// A rollback of several is what a deployment to several is: each goes back to what it ran before.
func TestRollBackSeveralEnvironments(t *testing.T) {
	h := newShops(t)
	for _, sha := range h.commits {
		h.ended(h.usher("deploy --side-by-side staging,production "+sha), 0)
	}
	h.commit("3", edition("3"))
	h.ended(h.usher("deploy production"), 0)
	h.expect("live", h.live(), "3 2")

	h.ended(h.types("lock production", because("stocktaking")).ends(), 0)
	h.ended(h.usher("rollback staging,production"), 2, "staging | usher rollback: not begun, because of production\n", "production | usher rollback: production is locked by operator")
	h.ended(h.usher("unlock production"), 0)
	h.ended(h.usher("rollback --keep-going production"), 2, "--side-by-side and --keep-going are for several environments, such as staging,production")
	h.ended(h.usher("rollback --dry-run staging,production"), 0, "Roll back staging of shop", "Roll back production of shop", "A dry run")
	h.expect("live", h.live(), "3 2")

	got := h.usher("rollback staging,production")
	h.ended(got, 0)
	h.expect("live", h.live(), "2 1")
	at := -1
	for _, want := range []string{"Roll back staging of shop", "Roll back production of shop", "\nstaging:\n", "staging runs " + h.commits[0][:10], "\nproduction:\n", "production runs " + h.commits[1][:10]} {
		next := strings.Index(got.stdout, want)
		if next <= at {
			t.Errorf("%q does not stand where it should in:\n%s", want, got.stdout)
		}
		at = next
	}
	got = h.usher("rollback --side-by-side --json staging,production " + h.commits[0][:8])
	h.ended(got, 0, `"type":"end"`)
	h.expect("live", h.live(), "1 1")
	for line := range strings.Lines(got.stdout) {
		var e rollout.Event
		if h.must(json.Unmarshal([]byte(line), &e)); e.Environment == "" {
			t.Errorf("an event of no environment: %s", line)
		}
	}
}

// A deployment that begins while another environment has its turn is stopped too.
func TestRollBackSeveralStopsWhatIsInTheWay(t *testing.T) {
	h := newShops(t)
	h.fifos()
	slow := h.commit("3", h.waiting("3"))
	begun := h.types("deploy staging")
	h.hasBegun()
	h.goOn()
	h.ended(begun.ends(), 0)
	for _, sha := range h.commits[:2] {
		h.ended(h.usher("deploy --side-by-side staging,production "+sha), 0)
	}
	back := h.types("rollback --stop staging,production " + slow[:10])
	h.hasBegun() // on staging
	h.ended(h.usher("deploy --no-wait production "+slow), 0)
	h.goOn()
	back.says("stopping deployment d-")
	h.hasBegun() // on production, of the deployment that is in the way
	h.goOn()
	h.hasBegun()
	h.goOn()
	h.ended(back.ends(), 0)
	h.expect("live", h.live(), "3 3")
}
