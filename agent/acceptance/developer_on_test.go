package acceptance

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"usher/agent/rollout"
)

// The commands of `on:` in usher.yml: what a team is told of its deployments.

// told are the events that such commands have written to a file, and forgets them.
func (h *shop) told() (all []rollout.Event) {
	h.Helper()
	text, err := os.ReadFile(h.path("told"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	h.must(err)
	h.must(os.Remove(h.path("told")))
	for line := range strings.Lines(string(text)) {
		var e rollout.Event
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		h.must(decoder.Decode(&e))
		all = append(all, e)
	}
	return all
}

// A team hears when a deployment begins and how it ends, and what it was: enough for a message without another question.
func TestATeamIsToldOfItsDeployments(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 1, group)
	tell := "cat >> " + h.path("told")
	h.environments("    on:\n      started: " + tell + "\n      succeeded: test -e usher.yml; " + tell + "\n      failed: " + tell + "\n")
	h.must(os.Mkdir(filepath.Join(h.repo, "docs"), 0o755))

	h.ended(h.usher("deploy --dry-run production"), 0)
	h.expect("told of a dry run", itoa(len(h.told())), "0")
	got := h.types("deploy production", func(c *exec.Cmd) { c.Dir = filepath.Join(h.repo, "docs") }).ends()
	h.ended(got, 0)
	h.expect("stderr", got.stderr, "")
	first := h.deploymentIn(got.stdout)
	all := h.told()
	h.expect("told", itoa(len(all)), "2")
	for i, want := range []rollout.Event{{Event: "started", Status: rollout.EndedStarted}, {Event: "succeeded", Status: rollout.EndedSucceeded}} {
		e := all[i]
		if e.Type != rollout.OnInput || e.Event != want.Event || e.Status != want.Status || e.Deployment != first || e.Commit != h.commits[0] || e.Subject != "Version 1" ||
			e.Command != "deploy" || e.By != "operator" || e.Environment != "production" || e.Application != "shop" || e.Account == "" || e.Region != h.cloud.Region ||
			e.Bundle == "" || e.Version == "" || e.Time.IsZero() || !strings.Contains(e.URL, first) {
			t.Errorf("told %+v, and not of %+v", e, want)
		}
	}
	if e := all[0]; e.ExitCode != nil || !strings.Contains(e.Message, "has begun") {
		t.Errorf("told at the beginning: %+v", e)
	}
	if e := all[1]; e.ExitCode == nil || *e.ExitCode != 0 || !strings.Contains(e.Message, "production runs ") {
		t.Errorf("told at the end: %+v", e)
	}

	h.commit("2", broken("2"))
	h.ended(h.usher("deploy production"), 3)
	all = h.told()
	h.expect("told", itoa(len(all)), "2")
	if e := all[1]; e.Event != "failed" || e.Status != rollout.EndedRolledBack || *e.ExitCode != 3 || !strings.Contains(e.Message, "cat: migrations/0042-add-orders.sql") || e.From != h.commits[0] || len(e.Adds) != 1 {
		t.Errorf("told of a failure: %+v", e)
	}

	h.commit("3", edition("3"))
	h.ended(h.usher("deploy --no-wait production"), 0)
	all = h.told()
	h.expect("told, when nobody waits", itoa(len(all))+" "+all[0].Event, "1 started")
	h.ended(h.usher("deploy status production"), 0)
	h.expect("told by one who only looks", itoa(len(h.told())), "0")
	h.ended(h.usher("deploy --skip-unchanged production"), 0)
	h.expect("told of nothing", itoa(len(h.told())), "0")
	h.ended(h.usher("rollback production"), 0)
	all = h.told()
	h.expect("told", itoa(len(all)), "2")
	if e := all[1]; e.Command != "rollback" || e.Event != "succeeded" || e.Commit != h.commits[0] || e.Subject != "Version 1" {
		t.Errorf("told of a rollback: %+v", e)
	}
}

// Whatever becomes of such a command: the deployment and the exit code are as without it, and what it prints is only text.
func TestACommandThatTellsNobodyChangesNothing(t *testing.T) {
	h := newShop(t, 1, production())
	text, err := os.ReadFile(filepath.Join(h.repo, "usher.yml"))
	h.must(err)
	h.write("shop/usher.yml", string(text)+`    on:
      succeeded: printf 'no \033[31mchat\n'; false; echo never
on:
  started: no-such-program
  succeeded: echo not this one
  failed: echo failed it has
`)
	got := h.usher("deploy production")
	h.ended(got, 0, "usher deploy: warning: on.started of usher.yml failed: exit status 127", "on.succeeded | no \\x1b[31mchat\n", "warning: on.succeeded of usher.yml failed: exit status 1", "production runs ")
	if strings.Contains(got.stderr, "never") || strings.Contains(got.stderr, "not this one") || strings.Contains(got.stdout, "on.") {
		t.Errorf("stdout:\n%s\nstderr:\n%s", got.stdout, got.stderr)
	}
	h.commit("2", broken("2"))
	got = h.usher("deploy --json production")
	h.ended(got, 1, "on.failed | failed it has\n", `"type":"notice","deployment_id":"d-`, "on.started of usher.yml failed: exit status 127")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if !strings.Contains(lines[len(lines)-1], `"type":"end"`) {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}

	h.write("shop/usher.yml", string(text)+"on:\n  succeded: echo\n")
	h.ended(h.usher("deploy production"), 2, `usher.yml:9:3: unknown key "succeded": did you mean succeeded?`)
}

// Ctrl-C ends a command that hangs, with what it has started, and is not taken for the end of the deployment.
func TestCtrlCEndsACommandThatHangs(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.must(syscall.Mkfifo(h.path("open"), 0o600))
	h.must(syscall.Mkfifo(h.path("never"), 0o600))
	h.environments("    on: {started: cat " + h.path("never") + " > " + h.path("open") + ", failed: echo failed, succeeded: echo succeeded}\n")
	h.commit("2", h.waiting("2"))
	going := h.types("deploy production")
	var open *os.File
	h.must(inTime(h.ctx, func() (err error) { open, err = os.Open(h.path("open")); return err })) // it hangs
	defer open.Close()
	h.hasBegun()
	going.interrupt()
	got := going.ends()
	h.ended(got, 130, "warning: on.started of usher.yml failed: it was interrupted", "goes on: `usher deploy status")
	h.must(inTime(h.ctx, func() error { _, err := io.ReadAll(open); return err })) // until nobody has it open for writing
	if strings.Contains(got.stderr, "on.failed") || strings.Contains(got.stderr, "on.succeeded") {
		t.Errorf("stderr:\n%s", got.stderr)
	}
	h.goOn()
	h.ended(h.usher("deploy status production"), 0)
}
