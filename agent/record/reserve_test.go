package record

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usher/agent/standin/disk"
)

// lastWords are how a deployment ends that failed: what a server must remember.
func lastWords(sequence int) []Entry {
	tail := strings.Repeat("a line of the script's output\n", 100)
	return []Entry{
		{What: Failed, Sequence: sequence, Step: "AfterInstall", Error: "no space left on device\n" + tail},
		{What: Started, Sequence: sequence, Step: StepRollback}, {What: ScriptDone, Sequence: sequence, Step: StepRollback, Script: "s"},
		{What: Finished, Sequence: sequence, Step: StepRollback}, {What: Abandoned, Sequence: sequence, Error: "AfterInstall: " + tail, Detail: RolledBack},
		{What: Completing, Sequence: sequence, Verdict: "ABANDON"}, {What: Completed, Sequence: sequence, Verdict: "ABANDON"},
	}
}

// speak appends last words, none of which may get lost.
func speak(t *testing.T, r *Record, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		r.AppendOrLog(e, func(err error) { t.Errorf("%s %s: %v", e.What, e.Step, err) })
	}
}

func TestLastWordsOnAFullDisk(t *testing.T) {
	for kind, size := range map[string]int64{"tmpfs": 1 << 20, "ext4": 16 << 20, "xfs": 300 << 20} {
		t.Run(kind, func(t *testing.T) {
			d := disk.New(t, kind, size, filepath.Join(t.TempDir(), "state"))
			r := mustOpen(t, d.Dir, me)
			mustAppend(t, r, launch()...)
			d.Fill()
			var err error
			for n := 0; err == nil && n < 10_000; n++ { // some of these still find room beside the reserve
				err = r.Append(Entry{What: Started, Sequence: 1, Step: "AfterInstall"})
			}
			if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(d.Dir, FileName)) || !strings.Contains(err.Error(), "make room") {
				t.Fatalf("a line that is no last word: %v", err)
			}
			speak(t, r, lastWords(1)...)
			r.Close()
			r = mustOpen(t, d.Dir, me) // and again with no room
			if s := r.State(); s.Last.End != Abandoned || !s.RolledBack() || s.VerdictDue() != nil || s.Last.FailedStep != "AfterInstall" || !s.Decision.Done {
				t.Errorf("remembered is %+v", s.Last)
			}
			if err := r.Append(Entry{What: Begun, Sequence: 2}); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("a deployment begins without room for its end: %v", err)
			}
			d.Empty()
			mustAppend(t, r, Entry{What: Begun, Sequence: 2, Deployment: "d-2"}) // there is room again, and the reserve is made anew
			d.Fill()
			speak(t, r, lastWords(2)...)
			r.Close()
			if s := mustOpen(t, d.Dir, me).State(); s.Last.ID != "d-2" || s.Last.End != Abandoned {
				t.Errorf("remembered the second time is %+v", s.Last)
			}
		})
	}
}

// Somebody has filled the disk before there was a reserve. What could not be written is known, and written when there is
// room: before the next line, or at the end.
func TestLastWordsWithoutAReserve(t *testing.T) {
	for _, closed := range []bool{false, true} {
		d := disk.New(t, "ext4", 16<<20, filepath.Join(t.TempDir(), "state"))
		var text bytes.Buffer
		for _, e := range launch() {
			e.Boot, e.Instance, e.Image = me.Boot, me.Instance, me.Image
			text.Write(append(mustJSON(t, e), '\n'))
		}
		if err := os.WriteFile(filepath.Join(d.Dir, FileName), text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Fill()
		r := mustOpen(t, d.Dir, me)
		var logged []string
		for _, e := range lastWords(1) {
			r.AppendOrLog(e, func(err error) { logged = append(logged, err.Error()) })
		}
		if len(logged) != 1 || !strings.Contains(logged[0], "make room") {
			t.Errorf("said %d times, not once: %q", len(logged), logged)
		}
		if s := r.State(); s.Open() != nil || !s.RolledBack() || s.VerdictDue() != nil {
			t.Errorf("forgotten, with nowhere to write it: %+v", s.Last)
		}
		d.Empty()
		if !closed {
			mustAppend(t, r, Entry{What: Begun, Sequence: 2, Deployment: "d-2"})
		}
		r.Close()
		h, err := ReadAll(d.Dir)
		if err != nil || h.Deployments[0].End != Abandoned || h.Deployments[0].Verdict != "ABANDON" || h.Damaged != nil {
			t.Errorf("written afterwards: %+v (%v, %v)", h.Deployments[0], err, h.Damaged)
		}
	}
}

// A compaction that finds no room leaves the record as it is, with its reserve.
func TestNoRoomToCompact(t *testing.T) {
	d := disk.New(t, "ext4", 16<<20, filepath.Join(t.TempDir(), "state"))
	fill(t, d.Dir, 300)
	r := mustOpen(t, d.Dir, me)
	d.Fill()
	if err := r.Compact(); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("compacted on a full disk: %v", err)
	}
	speak(t, r, lastWords(300)...)
	r.Close()
	if names := namesIn(t, d.Dir); strings.Join(names, " ") != "ballast lost+found "+FileName {
		t.Errorf("left are %q", names)
	}
	d.Empty()
	r = mustOpen(t, d.Dir, me)
	if err := r.Compact(); err != nil || r.begun != keepDeployments+1 { // and the one that is good
		t.Errorf("with room again %d deployments are left: %v", r.begun, err)
	}
	d.Fill()
	speak(t, r, lastWords(300)...) // its reserve came with it
}
