package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Kinds of scripts that CodeDeploy's agent runs to their end on a new server: what check says before, what the failure says
// under enforce, and what report says of the same command, at which line of the script.
func TestKindsOfScriptsThatGoOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		line         int  // that check names
		unseen       bool // check cannot know before
		tells        bool // its shell tells
	}{
		{"asks for a process", "#!/bin/bash\necho start\nPID=$(pgrep -f nobody-runs-1-of-these)\nif [ -n \"$PID\" ]; then kill $PID; fi\necho end\n", 3, false, true},
		{"ends a process", "#!/bin/bash\npkill -f nobody-runs-2-of-these\necho end\n", 2, false, true},
		{"looks for a line", "#!/bin/bash\ngrep -q nobody-runs-3-of-these /etc/hosts\necho end\n", 2, false, true},
		{"makes a folder again", "#!/bin/bash\nmkdir /tmp\necho end\n", 2, false, true},
		{"reads a status in the next line", "#!/bin/bash\nls /nowhere-at-all\nif [ $? -ne 0 ]; then echo none; fi\n", 2, false, true},
		{"throws errors away", "#!/bin/bash\ncat /nowhere-at-all 2>/dev/null\necho end\n", 2, false, true},
		{"counts from 0", "#!/bin/bash\ni=0\n((i++))\necho end\n", 3, false, true},
		{"a function that ends with a test", "#!/bin/bash\nf() {\n  [ -e /nowhere-at-all ] && echo there\n}\nf\necho end\n", 3, false, true},
		{"a folder that is not there", "#!/bin/bash\ncd /nowhere-at-all\necho end\n", 2, true, true},
		{"a program that is not there", "#!/bin/bash\nno-such-program-here\necho end\n", 2, true, true},
		{"in the Korn shell", "#!/usr/bin/env mksh\necho start\npkill -f nobody-runs-4-of-these\necho end\n", 3, false, true},
		{"in dash", "#!/usr/bin/env dash\necho start\npkill -f nobody-runs-5-of-these\necho end\n", 3, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range []string{"mksh", "dash"} {
				if strings.Contains(c.script, "env "+shell) {
					needShell(t, shell)
				}
			}
			dir := t.TempDir()
			revisionIn(t, dir, "1", asMe.with(files{"scripts/start.sh": c.script}))
			at := fmt.Sprintf("scripts/start.sh:%d", c.line)
			ends := strings.Replace(at, ":3", ":5", strings.Count(c.script, "f()")) // where the function is called

			if got := usher(t, dir, []string{"check", "shop"}); got.code != 0 || strings.Contains(got.stdout, at+":") == c.unseen {
				t.Errorf("check: exit %d, at %s: %v\n%s", got.code, at, !c.unseen, got.stdout)
			}
			got := usher(t, dir, []string{"rehearse", "--yes", "--root", filepath.Join(dir, "enforce"), "shop"})
			ended := "errexit (-e) ended it at " + ends + ", where `"
			if !c.tells {
				ended = fmt.Sprintf("perhaps errexit (-e) ended it, which its shell does not tell: line %d, `", c.line)
			}
			if got.code != 1 || !strings.Contains(got.stdout, ended) {
				t.Errorf("enforce: exit %d, no %q in\n%s", got.code, ended, got.stdout)
			}
			got = usher(t, dir, []string{"rehearse", "--yes", "--errexit", "report", "--root", filepath.Join(dir, "report"), "shop"})
			if would := "errexit would have ended scripts/start.sh at " + ends + ", where `"; got.code != 0 || strings.Contains(got.stdout, would) != c.tells {
				t.Errorf("report: exit %d, %q: %v\n%s", got.code, would, c.tells, got.stdout)
			}
		})
	}
}

// needShell skips a test whose shell is not installed; in CI it is.
func needShell(t *testing.T, shell string) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}
