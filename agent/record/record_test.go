package record

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var me = Owner{Instance: "i-0aaa", Image: "ami-1", Boot: "boot-1"}

func mustOpen(t testing.TB, dir string, owner Owner) *Record {
	t.Helper()
	r, err := Open(dir, owner)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustAppend(t testing.TB, r *Record, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		if err := r.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

// launch is the record of a deployment up to and including AfterInstall started.
func launch() []Entry {
	return []Entry{
		{What: Begun, Sequence: 1, Deployment: "d-1", Release: "app-1", Fallback: "/opt/app-base", Live: "/opt/app-base"},
		{What: Started, Sequence: 1, Step: "DownloadBundle"},
		{What: Finished, Sequence: 1, Step: "DownloadBundle", Seconds: 1.5},
		{What: Started, Sequence: 1, Step: "AfterInstall"},
		{What: ScriptDone, Sequence: 1, Step: "AfterInstall", Script: "d-1-1-AfterInstall-0"},
	}
}

func TestAnInterruptedDeploymentIsOpen(t *testing.T) {
	dir := t.TempDir()
	r := mustOpen(t, dir, me)
	mustAppend(t, r, launch()...)
	r.Close()

	open := mustOpen(t, dir, me).State().Open()
	if open == nil || open.ID != "d-1" || !open.Finished["DownloadBundle"] || open.Finished["AfterInstall"] ||
		!open.Interrupted("AfterInstall") || open.Interrupted("DownloadBundle") || open.Scripts["d-1-1-AfterInstall-0"] != "boot-1" {
		t.Fatalf("after a restart the open deployment is %+v", open)
	}
}

func TestVerdicts(t *testing.T) {
	good := append(launch(), Entry{What: Succeeded, Sequence: 1})
	bad := append(launch(), Entry{What: Failed, Sequence: 1, Step: "AfterInstall", Error: "exit code 3"}, Entry{What: Abandoned, Sequence: 1, Error: "AfterInstall: exit code 3"})
	deciding, decided := Entry{What: Completing, Sequence: 1, Verdict: "CONTINUE"}, Entry{What: Completed, Sequence: 1, Verdict: "CONTINUE", Detail: "completed"}
	for _, c := range []struct {
		name    string
		entries []Entry
		open    bool
		due     bool
		good    bool
		err     string
	}{
		{"nothing yet", nil, false, false, false, ""},
		{"under way", launch(), true, false, false, ""},
		{"succeeded, no verdict", good, false, true, true, ""},
		{"succeeded, verdict cut off", append(good, deciding), false, true, true, ""},
		{"succeeded, verdict taken", append(good, deciding, decided), false, false, true, ""},
		{"gave up, no verdict", bad, false, true, false, "AfterInstall: exit code 3"},
		{"superseded by another", append(launch(), Entry{What: Begun, Sequence: 2, Deployment: "d-2"}), true, false, false, ""},
		{"a step after the end counts for nothing", append(good, Entry{What: Started, Sequence: 1, Step: "AfterInstall"}), false, true, true, ""},
		{"a step of another deployment counts for nothing", append(launch(), Entry{What: Finished, Sequence: 7, Step: "AfterInstall"}), true, false, false, ""},
	} {
		s := Replay(c.entries)
		text := ""
		if err := s.Last.Err(); err != nil {
			text = err.Error()
		}
		if (s.Open() != nil) != c.open || (s.VerdictDue() != nil) != c.due || (s.Good != nil) != c.good || text != c.err {
			t.Errorf("%s: open %v, verdict due %v, good %v, error %q", c.name, s.Open() != nil, s.VerdictDue() != nil, s.Good != nil, text)
		}
	}
}

func TestCommands(t *testing.T) {
	and := func(entries []Entry, more ...Entry) []Entry { return slices.Concat(entries, more) }
	before := and(launch(), Entry{What: Succeeded, Sequence: 1})
	commanded := and(before, Entry{What: Begun, Sequence: 2, Deployment: "d-2", By: ByCommand, Release: "app-2"},
		Entry{What: Commanded, Sequence: 2, Command: "c1", Execution: "x", Step: "ValidateService"}, Entry{What: Finished, Sequence: 2, Step: "ValidateService"})
	succeeded := and(commanded, Entry{What: Succeeded, Sequence: 2})
	answering := and(succeeded, Entry{What: Reporting, Command: "c1", Result: "{}"})
	answered := and(answering, Entry{What: Reported, Command: "c1"})
	reopened := and(answered, Entry{What: Reopened, Sequence: 2}, Entry{What: Commanded, Sequence: 2, Command: "c2", Step: "BeforeAllowTraffic"})
	for _, c := range []struct {
		name    string
		entries []Entry
		due     string // the command whose result is due, with the result
		open    bool
		good    string // release
	}{
		{"nothing yet", before, "", false, "app-1"},
		{"being carried out", commanded, "c1 ", true, "app-1"},
		{"carried out", succeeded, "c1 ", false, "app-2"},
		{"the answer was cut off", answering, "c1 {}", false, "app-2"},
		{"answered", answered, "", false, "app-2"},
		{"an answer to another command counts for nothing", and(commanded, Entry{What: Reported, Command: "c0"}), "c1 ", true, "app-1"},
		{"another event after the success", reopened, "c2 ", true, "app-1"},
		{"it succeeds", and(reopened, Entry{What: Succeeded, Sequence: 2}), "c2 ", false, "app-2"},
		{"it fails: what was good before is", and(reopened, Entry{What: Abandoned, Sequence: 2}), "c2 ", false, "app-1"},
		{"one that failed is not opened again", and(reopened, Entry{What: Abandoned, Sequence: 2}, Entry{What: Reopened, Sequence: 2}), "c2 ", false, "app-1"},
	} {
		s := Replay(c.entries)
		due := ""
		if cmd := s.CommandDue(); cmd != nil {
			due = cmd.ID + " " + cmd.Result
		}
		if due != c.due || (s.Open() != nil) != c.open || s.Good.Release != c.good {
			t.Errorf("%s: due %q, open %v, good %s", c.name, due, s.Open() != nil, s.Good.Release)
		}
		if v := s.VerdictDue(); v != nil && v.By != "" {
			t.Errorf("%s: Auto Scaling is to be told of a deployment that CodeDeploy commanded", c.name)
		}
	}
}

func TestDamage(t *testing.T) {
	whole := func(t *testing.T) (dir string, text []byte) {
		dir = t.TempDir()
		r := mustOpen(t, dir, me)
		mustAppend(t, r, launch()...)
		r.Close()
		text, err := os.ReadFile(filepath.Join(dir, FileName))
		if err != nil {
			t.Fatal(err)
		}
		return dir, text
	}
	for _, c := range []struct {
		name   string
		damage func(text []byte) []byte
		lines  int    // that count afterwards
		notice string // part of what is said
		aside  string // pattern of the file set aside
	}{
		{"a last line cut short", func(b []byte) []byte { return b[:len(b)-9] }, 4, "", ""},
		{"a last line cut to nothing but a brace", func(b []byte) []byte { return append(b, '{') }, 5, "", ""},
		{"a last line of zeros, as some filesystems leave", func(b []byte) []byte { return append(b, make([]byte, 300)...) }, 5, "", ""},
		{"a bad line in the middle", func(b []byte) []byte { return bytes.Replace(b, []byte(`{"time"`), []byte(`?"time"`), 1) }, 0, "line 1", FileName + ".damaged-*"},
		{"an endless line", func(b []byte) []byte { return append(append(b, bytes.Repeat([]byte("x"), maxLine+1)...), "\n{}\n"...) }, 5, "line 6", FileName + ".damaged-*"},
		{"another instance's", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("i-0aaa"), []byte("i-0bbb")) }, 0, "of instance i-0bbb", FileName + ".of-i-0bbb-ami-1"},
		{"of an image of before", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("ami-1"), []byte("ami-0")) }, 0, "image ami-0", FileName + ".of-i-0aaa-ami-0"},
		{"another instance's, with a name like a path", func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("i-0aaa"), []byte("../../x")) }, 0, "", FileName + ".of-______x-ami-1"},
		{"empty", func([]byte) []byte { return nil }, 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, text := whole(t)
			damaged := c.damage(bytes.Clone(text))
			if err := os.WriteFile(filepath.Join(dir, FileName), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			r := mustOpen(t, dir, me)
			if !strings.Contains(r.Notice, c.notice) || (c.notice == "" && c.aside == "" && r.Notice != "") {
				t.Errorf("said %q, want %q", r.Notice, c.notice)
			}
			if c.aside != "" {
				kept, err := filepath.Glob(filepath.Join(dir, c.aside))
				if err != nil || len(kept) != 1 {
					t.Fatalf("set aside %v, want one %s", kept, c.aside)
				}
				if b, _ := os.ReadFile(kept[0]); !bytes.Equal(b, damaged) {
					t.Error("the file set aside is not what was found")
				}
			}
			mustAppend(t, r, Entry{What: Begun, Sequence: 9, Deployment: "d-9"}) // it goes on
			r.Close()
			f, err := os.Open(filepath.Join(dir, FileName))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			entries, _, bad, err := read(f)
			if err != nil || bad != nil || len(entries) != c.lines+1 {
				t.Errorf("afterwards %d lines, want %d (%v, %v)", len(entries), c.lines+1, bad, err)
			}
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	r := mustOpen(t, dir, me)
	if _, err := Open(dir, me); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second open: %v, want ErrLocked", err)
	}
	r.Close()
	mustOpen(t, dir, me).Close()
}

// A record cut off at any byte replays to the state of one of its prefixes of whole lines.
func TestReplayOfAnyCut(t *testing.T) {
	steps := []string{"ApplicationStop", "DownloadBundle", "AfterInstall", "Flip"}
	rapid.Check(t, func(rt *rapid.T) {
		what := rapid.SampledFrom([]string{Begun, Started, Finished, Failed, ScriptDone, Succeeded, Abandoned, Superseded, Completing, Completed})
		entries := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) Entry {
			return Entry{What: what.Draw(rt, "what"), Sequence: rapid.IntRange(1, 3).Draw(rt, "run"),
				Step: rapid.SampledFrom(steps).Draw(rt, "step"), Script: "s", Error: "x\ny", Release: "r"}
		}), 0, 25).Draw(rt, "entries")

		dir, err := os.MkdirTemp("", "record")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		r, err := Open(dir, me)
		if err != nil {
			rt.Fatal(err)
		}
		states := []State{r.State()}
		for _, e := range entries {
			if err := r.Append(e); err != nil {
				rt.Fatal(err)
			}
			states = append(states, r.State())
		}
		r.Close()
		path := filepath.Join(dir, FileName)
		text, err := os.ReadFile(path)
		if err != nil {
			rt.Fatal(err)
		}
		cut := rapid.IntRange(0, len(text)).Draw(rt, "cut")
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			rt.Fatal(err)
		}
		r, err = Open(dir, me)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		want := states[bytes.Count(text[:cut], []byte("\n"))]
		if got := r.State(); !reflect.DeepEqual(clearTimes(got), clearTimes(want)) {
			rt.Fatalf("cut at byte %d: got %+v, want %+v", cut, got, want)
		}
	})
}

// Whatever the lines, at most one deployment is open, a finished step stays finished, and a deployment
// that ended is not open again.
func TestReplayKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var s State
		what := rapid.SampledFrom([]string{Begun, Started, Finished, Failed, ScriptDone, Succeeded, Abandoned, Superseded, Completing, Completed, "of a later version"})
		for range rapid.IntRange(0, 60).Draw(rt, "n") {
			before := s.clone()
			e := Entry{What: what.Draw(rt, "what"), Sequence: rapid.IntRange(1, 4).Draw(rt, "run"), Step: rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "step")}
			s.apply(e)
			if b := before.Last; b != nil && b.End != "" && e.What != Begun && s.Last.End != b.End {
				rt.Fatalf("%+v changed the end %q to %q", e, b.End, s.Last.End)
			}
			if b := before.Open(); b != nil && e.What != Begun {
				for step := range b.Finished {
					if !s.Last.Finished[step] {
						rt.Fatalf("%+v unfinished %s", e, step)
					}
				}
			}
			if s.VerdictDue() != nil && s.Open() != nil {
				rt.Fatal("a verdict is due of a deployment that is open")
			}
		}
	})
}

func clearTimes(s State) State {
	s = s.clone()
	for _, d := range []*Deployment{s.Last, s.Good} {
		for ; d != nil; d = d.before {
			d.Began, d.Ended = d.Began.Round(0).UTC(), d.Ended.Round(0).UTC()
		}
	}
	if s.Decision != nil {
		s.Decision.At = s.Decision.At.Round(0).UTC()
	}
	return s
}

// The time of a server may be set while the agent runs: what passes since a line was written does not change with it.
func TestTimesAreMonotonic(t *testing.T) {
	r, err := Open(t.TempDir(), Owner{Instance: "i-1", Image: "ami-1", Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Begin(Entry{Deployment: "d-1", Release: "r"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Append(Entry{What: Abandoned}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{r.State().Last.Began, r.State().Last.Ended} {
		if !strings.Contains(at.String(), " m=") {
			t.Errorf("%s has no monotonic reading", at)
		}
	}
}
