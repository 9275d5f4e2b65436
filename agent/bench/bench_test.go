package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// here is this package's directory.
var here, _ = os.Getwd()

// measured runs the bench and returns its report, and all it wrote.
func measured(t *testing.T, args ...string) (r report, stdout, out string) {
	t.Helper()
	t.Chdir(here) // also for the tests that come after: the S3 server moves the process into a directory of its own
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	out = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var table, said bytes.Buffer
	code := run(ctx, append([]string{"-usher", "/bin/true", "-out", out}, args...), &table, &said)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said.String())
	}
	text, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(scratch, "usher-bench-*")); len(left) > 0 {
		t.Errorf("the scratch directory is left behind: %v", left)
	}
	return r, table.String(), out
}

// What a run writes is well-formed, and every row has what it says. How fast anything was is nobody's business here.
func TestReport(t *testing.T) {
	r, table, out := measured(t, "-quick", "-only", "flip,unpack-small")

	var rows []string
	for _, w := range r.Rows {
		rows = append(rows, w.Part+": "+w.Name)
		if w.Entries[0].Who != whoUsher || w.Entries[0].Missing != "" {
			t.Errorf("%s: the first entry is %+v, not usher's", w.Name, w.Entries[0])
		}
		for i, e := range w.Entries {
			switch {
			case e.Missing != "":
				if e.Samples != nil || e.Ratio != nil {
					t.Errorf("%s: %s is missing and has figures: %+v", w.Name, e.Who, e)
				}
				continue
			case len(e.Samples) == 0 || e.Min > e.Median || e.Median > e.Max:
				t.Errorf("%s: %s has figures that cannot be: %+v", w.Name, e.Who, e)
			case w.Unit == "s" && e.Min <= 0:
				t.Errorf("%s: %s took no time", w.Name, e.Who)
			case w.Unit == "s" && (e.Ratio != nil) != (i > 0):
				t.Errorf("%s: %s has the ratio %v", w.Name, e.Who, e.Ratio)
			}
			if !strings.Contains(table, e.Who) {
				t.Errorf("the table does not name %s", e.Who)
			}
		}
	}
	want := []string{
		"unpack-small: zip, small, memory", "unpack-small: zip, small, disk",
		"unpack-small: tgz, small, memory", "unpack-small: tgz, small, disk",
		"unpack-small: tar, small, memory", "unpack-small: tar, small, disk",
		"flip: a link to another release", "flip: failed reads through the link",
	}
	if got := strings.Join(rows, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the rows are\n%s\nand should be\n%s", got, strings.Join(want, "\n"))
	}
	if last := r.Rows[len(r.Rows)-1]; last.Entries[0].Median != 0 || last.Goals[0].Outcome != reached {
		t.Errorf("reads failed while usher flipped: %+v", last)
	}
	if m := r.Machine; m.Cores == 0 || m.Memory == 0 || m.Kernel == "" || m.Disk == "" || len(m.Programs) != 1+len(versionsOf) {
		t.Errorf("the machine is %+v", m)
	}
	if text, err := os.ReadFile(filepath.Join(out, "report.txt")); err != nil || string(text) != table {
		t.Errorf("report.txt is not what was printed: %v", err)
	}

	svg, err := os.ReadFile(filepath.Join(out, "report.svg"))
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	for _, w := range r.Rows {
		if !bytes.Contains(svg, []byte(">"+w.Name+"<")) {
			t.Errorf("the picture does not show %s", w.Name)
		}
	}
}

func wellFormed(t *testing.T, document []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("the picture is not well-formed: %v", err)
		}
	}
}

// An usher is compared with another build of it, here itself: what each did is told, and that it is the same.
func TestBefore(t *testing.T) {
	t.Chdir(here)
	same, err := build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, _, _ := measured(t, "-quick", "-only", "before", "-usher", same, "-before", same)
	for _, w := range r.Rows {
		if len(w.Entries) != 2 || w.Entries[0].Who != whoUsher || w.Entries[1].Who != whoBefore || w.Entries[0].Median <= 0 || w.Entries[1].Median <= 0 {
			t.Errorf("%s: %+v", w.Name, w.Entries)
		}
	}
	if len(r.Rows) != 5 {
		t.Errorf("%d rows", len(r.Rows))
	}
}

// A report is judged by its figures: what is reached, what is missed, and what nobody could measure.
func TestGoals(t *testing.T) {
	var r report
	r.add(row{Part: "launch", Name: "a launch", Unit: "s", Entries: []entry{
		newEntry(whoUsher, 0.10, 0.30, 0.20), newEntry("script", 1.0, 2.0, 4.0), {Who: "other", Missing: "other"},
	}, Goals: []goal{{Against: "script", AtMost: 0.1}, {Against: "script", AtMost: 0.09}, {Against: "other", AtMost: 1}, {AtMost: 0.2}}})
	w := r.Rows[0]
	if e := w.Entries[1]; e.Median != 2 || e.Min != 1 || math.Abs(e.Ratio.Median-0.1) > 1e-12 || e.Ratio.Min != 0.05 || e.Ratio.Max != 0.15 {
		t.Errorf("the script's entry is %+v, ratio %+v", e, e.Ratio)
	}
	var got []string
	for _, g := range w.Goals {
		got = append(got, g.Outcome)
	}
	if want := "reached, missed, not measured, reached"; strings.Join(got, ", ") != want {
		t.Errorf("the goals are %v, and should be %s", got, want)
	}
	for _, want := range []string{"other is not installed", "4 goals: 2 reached, 1 missed, 1 not measured."} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("the table does not say %q:\n%s", want, r.text())
		}
	}
	wellFormed(t, []byte(r.svg()))
}

// An earlier report's ratios come to stand beside this one's.
func TestBeside(t *testing.T) {
	made := func(usher float64) (r report) {
		r.add(row{Part: "flip", Name: "a flip", Unit: "s", Entries: []entry{newEntry(whoUsher, usher), newEntry("ln", 2)}})
		return r
	}
	now := made(1)
	now.beside(made(3))
	if !strings.Contains(now.text(), "earlier") || !strings.Contains(now.text(), "1.50") {
		t.Errorf("the earlier ratio is missing:\n%s", now.text())
	}
}

// The corpora are the same each time, and as large as they are said to be.
func TestCorpora(t *testing.T) {
	for _, c := range []corpus{small, big, huge} {
		first, second := c.tree(newSource(c.name)), c.tree(newSource(c.name))
		names, bytesOf := map[string]bool{}, 0
		for i, f := range first {
			names[f.name] = true
			bytesOf += len(f.body)
			if f.name != second[i].name || !bytes.Equal(f.body, second[i].body) {
				t.Fatalf("%s: file %s is different the second time", c.name, f.name)
			}
		}
		if len(names) != c.files {
			t.Errorf("%s has %d files, and should have %d", c.name, len(names), c.files)
		}
		t.Logf("%s: %d bytes", c.name, bytesOf)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-only flop", `there is no part "flop": -only takes launch, distance, unpack-small,`},
		{"-only launch,", `there is no part ""`},
		{"more", "takes no arguments"},
		{"-fast", "flag provided but not defined: -fast"},
	} {
		var said bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), io.Discard, &said); code != 2 || !strings.Contains(said.String(), c.want) {
			t.Errorf("%s: exit code %d, %s", c.args, code, said.String())
		}
	}
}
