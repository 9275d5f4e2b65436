package main

import (
	"strings"
	"testing"
)

// What a team that comes from CodeDeploy sees of errexit: the failure that explains itself, and the mode to run for a week first.
func TestErrexitModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := "#!/bin/bash\nPID=$(pgrep -f nothing-of-that-name-runs)\nif [ -n \"$PID\" ]; then\n  kill \"$PID\"\nfi\necho started\n"
	revisionIn(t, dir, "1", asMe.with(files{"scripts/start.sh": start}))

	got := usher(t, dir, []string{"rehearse", "-root", "enforce", "shop"})
	want := "ApplicationStart script scripts/start.sh failed with exit code 1 after 0s: " +
		"errexit (-e) ended it at scripts/start.sh:2, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1; it wrote nothing\n"
	if is := rehearsed(dir, got.stdout); got.code != 1 || !strings.Contains(is, "deployment rehearsal-N failed: "+want) {
		t.Errorf("exit %d\n got: %s\nwant: %s", got.code, is, want)
	}

	got = usher(t, dir, []string{"rehearse", "-errexit", "report", "-root", "report", "shop"})
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
