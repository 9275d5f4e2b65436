package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A bundle of 500 MB and 40,000 files on a machine with 128 MiB of memory: nothing is killed, and the agent needs half of it at most.
// The bench is a process of its own, because it is not the race detector's business to pack that.
func TestALaunchInLittleMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may limit memory")
	}
	dir := t.TempDir()
	bench := filepath.Join(dir, "bench")
	make := exec.CommandContext(t.Context(), "go", "build", "-o", bench, ".")
	make.Dir = here
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the bench: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), bench, "-only", "confined", "-out", dir)
	run.Dir, run.Env = here, append(os.Environ(), "TMPDIR="+t.TempDir())
	table, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, table)
	}
	r, err := readReport(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if counts, all := r.goals(); all != 4 || counts[reached] != all {
		t.Errorf("%d goals, of which were reached %v:\n%s", all, counts, table)
	}
	// The archive or its files written once more would be 600 or 700 MB. A page that the kernel writes before it is full, for want of
	// memory, is written again: how many are depends on how busy the disk is.
	const again = 200e6
	for _, w := range r.Rows {
		if wrote := w.Entries[0].Median; strings.HasSuffix(w.Name, "written beside the bundle") && (wrote < 0 || wrote > again) {
			t.Errorf("%s: %s", w.Name, figure(wrote, w.Unit))
		}
	}
}
