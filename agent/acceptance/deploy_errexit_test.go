package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"usher/hooks"
)

// What a team that comes from CodeDeploy sees of errexit: the failure that explains itself, and the mode to run for a week first.
func TestErrexitModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := "#!/bin/bash\nPID=$(pgrep -f nothing-of-that-name-runs)\nif [ -n \"$PID\" ]; then\n  kill \"$PID\"\nfi\necho started\n"
	revisionIn(t, dir, "1", asMe.with(files{"scripts/start.sh": start}))

	got := usher(t, dir, []string{"rehearse", "-yes", "-root", "enforce", "shop"})
	want := "ApplicationStart script scripts/start.sh failed with exit code 1 after 0s: " +
		"errexit (-e) ended it at scripts/start.sh:2, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1; it wrote nothing\n"
	if is := rehearsed(dir, got.stdout); got.code != 1 || !strings.Contains(is, "deployment rehearsal-N failed: "+want) {
		t.Errorf("exit %d\n got: %s\nwant: %s", got.code, is, want)
	}

	got = usher(t, dir, []string{"rehearse", "-yes", "-errexit", "report", "-root", "report", "shop"})
	is := rehearsed(dir, got.stdout)
	for _, want := range []string{
		"errexit would have ended scripts/start.sh at scripts/start.sh:2, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1\n",
		"             | started\n",
		"ApplicationStart finished in 0s (1 script; errexit would have ended them at 1 command)\n",
		"with errexit: enforce, deployment rehearsal-N would have failed: it would have ended scripts at 1 command, each named above\n",
		"is live and good\n",
	} {
		if got.code != 0 || !strings.Contains(is, want) {
			t.Errorf("exit %d, no %q in\n%s", got.code, want, is)
		}
	}
}

// An interpreter that BeforeInstall brings is looked for when it is due, and not before.
func TestInterpreterOfBeforeInstall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec := strings.Replace(asMe["appspec.yml"], "hooks:\n", "hooks:\n  BeforeInstall:\n    - {location: scripts/tools.sh}\n  AfterInstall:\n    - {location: scripts/build.js}\n", 1)
	brings := files{"appspec.yml": spec, "scripts/build.js": "#!" + dir + "/shopnode\n",
		"scripts/tools.sh": "#!/bin/sh\nset -e\nprintf '#!/bin/sh\\necho built\\n' >" + dir + "/shopnode\nchmod +x " + dir + "/shopnode\n"}
	revisionIn(t, dir, "1", asMe.with(brings))
	got := usher(t, dir, []string{"rehearse", "-root", "brings", "shop"})
	if is := rehearsed(dir, got.stdout); got.code != 0 || !strings.Contains(is, "             | built\n") ||
		!strings.Contains(is, "scripts/build.js:1:1: its interpreter DIR/shopnode is not a program on this machine: BeforeInstall must have installed it by then, which is checked again\n") {
		t.Errorf("exit %d\n%s", got.code, is)
	}

	revisionIn(t, dir, "2", asMe.with(brings).with(files{"scripts/tools.sh": "#!/bin/sh\nset -e\nrm " + dir + "/shopnode\n"}))
	got = usher(t, dir, []string{"rehearse", "-root", "brings", "shop"})
	if is := rehearsed(dir, got.stdout); got.code != 1 || !strings.Contains(is, "AfterInstall failed after 0s: scripts/build.js:1:1: its interpreter DIR/shopnode is not a program on this machine: install it in the AMI\n") {
		t.Errorf("exit %d\n%s", got.code, is)
	}
}

// What is live until the flip: a revision that would destroy it is refused before any of its scripts runs, where scripts are
// processes; to check, which speaks for servers, it is worth a warning.
func TestScriptsThatNameTheLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spec := strings.Replace(asMe["appspec.yml"], "hooks:\n", "hooks:\n  BeforeInstall:\n    - {location: scripts/clean.sh}\n", 1)
	revisionIn(t, dir, "1", asMe.with(files{"appspec.yml": spec, "scripts/clean.sh": "#!/bin/bash\nset -e\nrm -rf /opt/app/*\n"}))
	want := "scripts/clean.sh:3:1: warning: in BeforeInstall /opt/app is an empty directory for this script, and not in usher rehearse: "
	if got := usher(t, dir, []string{"check", "shop"}); got.code != 0 || !strings.Contains(got.stdout, want) {
		t.Errorf("check: exit %d\n%s", got.code, got.stdout)
	}
	want = "scripts/clean.sh:3:1: `rm -rf /opt/app/*` in BeforeInstall destroys what is live, and nothing is left to go back to: " +
		"leave it to the deployment, whose release directory is new each time, or do it in AfterInstall in $USHER_RELEASE_DIR\n"
	if got := usher(t, dir, []string{"rehearse", "--yes", "--root", "root", "shop"}); got.code != 1 || !strings.Contains(got.stdout, "the revision has 1 problem: "+want) {
		t.Errorf("rehearse: exit %d\n%s", got.code, got.stdout)
	}
}

// A command that errexit ended a script at arrives where people look: at CodeDeploy, in the diagnostics of the event, and in what
// `usher deploy` ends with. dash does not tell, and then that is said, with the commands that may have been it.
func TestWhatErrexitEndedReachesPeople(t *testing.T) {
	const command = "pgrep -f no-such-thing-N-here" // N is another one each time: pgrep finds the others' pgrep
	for n, c := range []struct{ shell, script, want string }{
		{"bash", "echo rendering\n" + command + "\necho rendered\n", "errexit (-e) ended it at scripts/render.sh:3, where `" + command + "` had status 1; its last line: rendering"},
		{"ksh93", "echo rendering\n" + command + "\necho rendered\n", "errexit (-e) ended it at scripts/render.sh:3, where `" + command + "` had status 1; its last line: rendering"},
		{"mksh", "echo rendering\n" + command + "\necho rendered\n", "errexit (-e) ended it at scripts/render.sh:3, where `" + command + "` had status 1; its last line: rendering"},
		{"mksh", "echo rendering\n" + command + " | sort | grep x\necho rendered\n", "perhaps errexit (-e) ended it, which its shell does not tell: line 3, `grep x`"},
		{"dash", "echo rendering\n" + command + "\ngrep -q nobody-has-this-name /etc/passwd\necho rendered\n",
			"perhaps errexit (-e) ended it, which its shell does not tell: line 3, `" + command + "`, or line 4, `grep -q nobody-has-this-name /etc/passwd`"},
		{"dash", "echo rendering\ncd /nowhere-at-all\necho rendered\n", "failed with exit code 2 after"}, // of which no line is known before
	} {
		c.script, c.want = strings.ReplaceAll(c.script, "-N-", fmt.Sprintf("-%d-", n)), strings.ReplaceAll(c.want, "-N-", fmt.Sprintf("-%d-", n))
		t.Run(c.shell, func(t *testing.T) {
			needShell(t, c.shell)
			h := newShop(t, 1, production())
			h.commit("2", edition("2").with(files{"scripts/render.sh": "#!/usr/bin/env " + c.shell + "\n" + c.script}))
			got := h.usher("deploy production")
			if got.code != 1 || !strings.Contains(got.stdout+got.stderr, c.want) {
				t.Errorf("usher deploy: exit %d, no %q in\n%s%s", got.code, c.want, got.stdout, got.stderr)
			}
			told := false
			for _, command := range h.cloud.HostCommands() {
				if command.Name == hooks.AfterInstall && command.Status == "Failed" {
					told = true
					if d := command.Diagnostics; !strings.Contains(d.Message, c.want) || d.Script != "scripts/render.sh" || !strings.Contains(d.Log, "rendering") {
						t.Errorf("CodeDeploy was told %+v, want %q", d, c.want)
					}
				}
			}
			if !told {
				t.Error("CodeDeploy was told of no failure")
			}
		})
	}
}
