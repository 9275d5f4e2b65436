package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// told is a history as a person would tell it, a line for each deployment.
func told(h History) string {
	var b strings.Builder
	for _, p := range h.Deployments {
		fmt.Fprintf(&b, "%s %s:", p.ID, p.End)
		for _, s := range p.Steps {
			state := "under way"
			if s.Done {
				state = fmt.Sprintf("%gs", s.Seconds)
			}
			fmt.Fprintf(&b, " %s %s%s%s;", s.Name, state, s.Detail, s.Error)
		}
		if step := p.Step(); step != "" {
			fmt.Fprintf(&b, " at %s", step)
		}
		fmt.Fprintf(&b, " %s\n", p.Verdict)
	}
	return b.String()
}

func TestHistory(t *testing.T) {
	end := func(run int, what string) Entry {
		return Entry{What: what, Sequence: run, Error: "exit code 3", Detail: RolledBack}
	}
	failed := Entry{What: Failed, Sequence: 1, Step: "AfterInstall", Seconds: 2, Error: " exit code 3"}
	for _, c := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"nothing yet", nil, ""},
		{"under way", launch(), "d-1 : DownloadBundle 1.5s; AfterInstall under way; at AfterInstall \n"},
		{"cut off and gone on with", append(launch(), Entry{What: Started, Sequence: 1, Step: "AfterInstall"}, Entry{What: Finished, Sequence: 1, Step: "AfterInstall", Seconds: 3}, end(1, Succeeded)),
			"d-1 succeeded: DownloadBundle 1.5s; AfterInstall 3s; \n"},
		{"failed and undone", append(launch(), failed, Entry{What: Started, Sequence: 1, Step: "Rollback"},
			Entry{What: Finished, Sequence: 1, Step: "Rollback", Detail: " all"}, end(1, Abandoned), Entry{What: Completed, Sequence: 1, Verdict: "ABANDON"}),
			"d-1 gave-up: DownloadBundle 1.5s; AfterInstall 2s exit code 3; Rollback 0s all; at AfterInstall ABANDON\n"},
		{"superseded without a line that says so", append(launch(), Entry{What: Begun, Sequence: 2, Deployment: "d-2"}, end(2, Succeeded)),
			"d-1 superseded: DownloadBundle 1.5s; AfterInstall under way; at AfterInstall \nd-2 succeeded: \n"},
		{"a verdict that comes late", append(launch(), end(1, Succeeded), Entry{What: Begun, Sequence: 2, Deployment: "d-2"}, Entry{What: Completed, Sequence: 1, Verdict: "CONTINUE"}),
			"d-1 succeeded: DownloadBundle 1.5s; AfterInstall under way; at AfterInstall CONTINUE\nd-2 : \n"},
		{"a step after the end", append(launch(), end(1, Succeeded), failed), "d-1 succeeded: DownloadBundle 1.5s; AfterInstall under way; at AfterInstall \n"},
		{"a step of another deployment", append(launch(), Entry{What: Started, Sequence: 7, Step: "Flip"}), "d-1 : DownloadBundle 1.5s; AfterInstall under way; at AfterInstall \n"},
	} {
		if got := told(history(c.entries)); got != c.want {
			t.Errorf("%s:\n got: %q\nwant: %q", c.name, got, c.want)
		}
	}
}

// A history is read beside an agent that holds the lock, and changes nothing.
func TestHistoryBesideAnAgent(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAll(dir); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), dir) {
		t.Errorf("without a record: %v", err)
	}
	r := mustOpen(t, dir, me)
	defer r.Close()
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := range 300 {
			for _, e := range launch() {
				e.Sequence = n + 1
				if err := r.Append(e); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for seen := 0; seen < 300; {
		h, err := ReadAll(dir)
		if err != nil || h.Damaged != nil || len(h.Deployments) < seen {
			t.Fatalf("%d deployments after %d: %v, %v", len(h.Deployments), seen, err, h.Damaged)
		}
		seen = len(h.Deployments)
	}
	writing.Wait()
	h, err := ReadAll(dir)
	if err != nil || h.Owner != me || !reflect.DeepEqual(clearTimes(h.State), clearTimes(r.State())) {
		t.Errorf("%+v, %v: not what the agent has, %+v", h.Owner, err, r.State())
	}
	for _, p := range h.Deployments[:299] {
		if p.End != Superseded || p.Began.IsZero() || p.Took(time.Now().Add(time.Hour)) > time.Minute {
			t.Fatalf("superseded: %+v took %s", p, p.Took(time.Now()))
		}
	}
}

// A last line that is torn does not count; a bad one in the middle is said, and what is before it is told.
func TestHistoryOfADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	r := mustOpen(t, dir, me)
	mustAppend(t, r, launch()...)
	r.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, damaged string }{
		{"torn", string(text) + `{"what":"succ`, ""},
		{"damaged", string(text) + "rubble\n" + string(text), "line 6"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := ReadAll(dir)
		if err != nil || told(h) != told(history(launch())) || fmt.Sprint(h.Damaged) == "<nil>" != (c.damaged == "") || c.damaged != "" && !strings.Contains(h.Damaged.Error(), c.damaged) {
			t.Errorf("%s: %v, damaged %v, told\n%s", c.name, err, h.Damaged, told(h))
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != c.text {
			t.Errorf("%s: the record was changed (%v)", c.name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(FileName, path); err != nil { // as unreadable for root as for anybody
		t.Fatal(err)
	}
	if _, err := ReadAll(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record that cannot be opened: %v", err)
	}
}

// Whatever the lines, history ends in the state that Replay computes.
func TestHistoryAgreesWithReplay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		what := rapid.SampledFrom([]string{Begun, Started, Finished, Failed, ScriptDone, Succeeded, Abandoned, Superseded, Completing, Completed, "of a later version"})
		entries := rapid.SliceOf(rapid.Custom(func(rt *rapid.T) Entry {
			return Entry{What: what.Draw(rt, "what"), Sequence: rapid.IntRange(1, 4).Draw(rt, "run"), Step: rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "step")}
		})).Draw(rt, "entries")
		h, want := history(entries), Replay(entries)
		if want.Last == nil {
			if len(h.Deployments) != 0 {
				rt.Fatalf("deployments of no line: %+v", h.Deployments)
			}
			return
		}
		if last := h.Deployments[len(h.Deployments)-1]; !reflect.DeepEqual(h.State, want) || !reflect.DeepEqual(last.Deployment, *want.Last) {
			rt.Fatalf("got %+v, want %+v", h.State, want)
		}
	})
}
