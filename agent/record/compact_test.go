package record

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// deployed are the lines of a deployment as CodeDeploy's commands make them. outcome is Succeeded, Abandoned or "" for
// one that is left open.
func deployed(n int, outcome string) (all []Entry) {
	id := fmt.Sprintf("d-%d", n)
	for i, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"} {
		command := fmt.Sprintf("%d-%d", n, i)
		all = append(all, Entry{What: Commanded, Sequence: n, Command: command, Execution: "x/" + id, Step: event})
		if i == 0 {
			all[0].Sequence--
			all = append(all, Entry{What: Begun, Sequence: n, Deployment: id, By: ByCommand, Revision: "s3://revisions/app.zip?versionId=" + id, Release: "app-" + id,
				Live: fmt.Sprintf("/opt/app-releases/app-d-%d", n-1), Fallback: fmt.Sprintf("/opt/app-releases/app-d-%d", n-1)})
		}
		all = append(all, Entry{What: Started, Sequence: n, Step: event}, Entry{What: ScriptDone, Sequence: n, Step: event, Script: command,
			Parts: []Part{{Step: event, Name: "scripts/" + event + ".sh", Seconds: 1.25}}}, Entry{What: Finished, Sequence: n, Step: event, Seconds: 1.5, Detail: "1 script"})
		switch {
		case i == 6 && outcome == Succeeded:
			all = append(all, Entry{What: Succeeded, Sequence: n, Release: "app-" + id})
		case i == 6 && outcome == Abandoned:
			all = append(all, Entry{What: Failed, Sequence: n, Step: event, Error: "exit code 3"}, Entry{What: Started, Sequence: n, Step: StepRollback},
				Entry{What: Finished, Sequence: n, Step: StepRollback}, Entry{What: Abandoned, Sequence: n, Error: "exit code 3", Detail: RolledBack})
		case i == 6:
			return all
		}
		all = append(all, Entry{What: Reporting, Sequence: n, Command: command, Result: strings.Repeat("a line of output\n", 20)}, Entry{What: Reported, Sequence: n, Command: command})
	}
	if outcome == Succeeded {
		all = append(all, Entry{What: Finalized, Sequence: n})
	}
	return all
}

// launched are the lines of a launch.
func launched(n int) []Entry {
	id := fmt.Sprintf("d-%d", n)
	return []Entry{{What: Begun, Sequence: n, Deployment: id, Release: "app-" + id, Fallback: "/opt/app-base", Live: "/opt/app-base"},
		{What: Started, Sequence: n, Step: "ValidateService"}, {What: Finished, Sequence: n, Step: "ValidateService"}, {What: Succeeded, Sequence: n, Release: "app-" + id},
		{What: Completing, Sequence: n, Verdict: "CONTINUE", LifecycleState: "Pending:Wait"}, {What: Completed, Sequence: n, Verdict: "CONTINUE", Detail: "completed"}}
}

// refusedCommand is a host command for somebody else.
func refusedCommand(sequence int, id string) []Entry {
	return []Entry{{What: Commanded, Sequence: sequence, Command: id, Execution: "x/d-" + id, Step: "Install"}, {What: Reporting, Command: id, Sequence: sequence, Result: "no"},
		{What: Reported, Command: id, Sequence: sequence}}
}

// Whatever a server went through, what is kept of its record tells the same of now, and of every deployment that is kept.
func TestWhatIsKeptTellsTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var all []Entry
		n := 0
		for range rapid.IntRange(1, 25).Draw(rt, "events") {
			switch rapid.SampledFrom([]string{"launch", "good", "bad", "bad", "open", "refused", "pool", "reopen"}).Draw(rt, "what") {
			case "launch":
				n++
				all = append(all, launched(n)...)
			case "good":
				n++
				all = append(all, deployed(n, Succeeded)...)
			case "bad":
				n++
				all = append(all, deployed(n, Abandoned)...)
			case "open":
				n++
				whole := deployed(n, "")
				all = append(all, whole[:rapid.IntRange(1, len(whole)).Draw(rt, "cut")]...)
			case "refused":
				all = append(all, refusedCommand(n, fmt.Sprint("r", len(all)))...)
			case "pool":
				all = append(all, Entry{What: Completing, Verdict: "CONTINUE", LifecycleState: "Warmed:Pending:Wait"}, Entry{What: Completed, Verdict: "CONTINUE"})
			case "reopen":
				if s := Replay(all); s.Last != nil && s.Last.End == Succeeded {
					all = append(all, Entry{What: Reopened, Sequence: n})
				}
			}
		}
		newest, refusals := rapid.IntRange(1, 4).Draw(rt, "newest"), rapid.IntRange(0, 2).Draw(rt, "refusals")
		var rest []Entry
		for i, keep := range kept(all, newest, refusals) {
			if keep {
				rest = append(rest, all[i])
			}
		}
		if got, want := Replay(rest), Replay(all); !reflect.DeepEqual(got, want) {
			rt.Fatalf("state %+v, want %+v", got, want)
		}
		before, after := history(all), history(rest)
		if len(after.Deployments) > newest+5 || len(after.Deployments) < min(newest, len(before.Deployments)) {
			rt.Fatalf("%d deployments of %d are left", len(after.Deployments), len(before.Deployments))
		}
		for i := range min(newest, len(before.Deployments)) {
			got, want := after.Deployments[len(after.Deployments)-1-i], before.Deployments[len(before.Deployments)-1-i]
			got.Lines, want.Lines = ofDeployment(got), ofDeployment(want)
			if got.before, want.before = nil, nil; !reflect.DeepEqual(got, want) {
				rt.Fatalf("deployment %s is told as\n%+v, before\n%+v", want.ID, got, want)
			}
		}
	})
}

// ofDeployment are the lines of a deployment but for those of commands, of which the refused ones go.
func ofDeployment(p DeploymentHistory) []Entry {
	return slices.DeleteFunc(p.Lines, func(e Entry) bool { return e.What == Commanded || e.What == Reporting || e.What == Reported })
}

// fill writes a record with a launch, a deployment that was good, and failed ones after it.
func fill(t testing.TB, dir string, deployments int) {
	t.Helper()
	var text strings.Builder
	write := func(entries []Entry) {
		for _, e := range entries {
			e.Boot, e.Instance, e.Image = me.Boot, me.Instance, me.Image
			fmt.Fprintf(&text, "%s\n", mustJSON(t, e))
		}
	}
	write(launched(1))
	write(deployed(2, Succeeded))
	for n := 3; n <= deployments; n++ {
		write(deployed(n, Abandoned))
	}
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheRecordIsCompacted(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1000)
	path := filepath.Join(dir, FileName)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	group := os.Getgid()
	if os.Geteuid() == 0 {
		if group = 4; os.Chown(path, 1, group) != nil {
			t.Fatal("cannot give the record away")
		}
	}
	r := mustOpen(t, dir, me)
	before := r.State()
	if err := r.Compact(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 || int(info.Sys().(*syscall.Stat_t).Gid) != group || info.Size() > 3<<20 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := Open(dir, me); err == nil || !strings.Contains(err.Error(), "another usher") {
		t.Errorf("the lock was lost: %v", err)
	}
	mustAppend(t, r, launched(1001)...) // it goes on
	if r.Close(); !reflect.DeepEqual(before.Good.ID, "d-2") {
		t.Fatalf("good is %+v", before.Good)
	}
	h, err := ReadAll(dir)
	if err != nil || len(h.Deployments) != keepDeployments+3 || h.Deployments[0].ID != "d-1" || h.Deployments[0].Verdict != "CONTINUE" || h.Deployments[1].ID != "d-2" || h.Deployments[2].ID != "d-801" {
		t.Errorf("%d deployments, %v", len(h.Deployments), err)
	}
	again := mustOpen(t, dir, me)
	if again.State().Sequence != 1001 || again.State().Last.ID != "d-1001" {
		t.Errorf("afterwards %+v", again.State())
	}
	inode := func() uint64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	was := inode()
	if err := again.Compact(); err != nil || inode() != was {
		t.Errorf("compacted with little in it: %v", err)
	}
	if r := InMemory(me); r.Compact() != nil {
		t.Error("in memory there is nothing to compact")
	}
}

// A server whose commands are refused, one after the other, has a record that does not grow for ever either.
func TestRefusedCommandsAreNotKeptForEver(t *testing.T) {
	dir := t.TempDir()
	r := mustOpen(t, dir, me)
	mustAppend(t, r, launched(1)...)
	r.Close()
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 60_000; n++ {
		for _, e := range refusedCommand(1, fmt.Sprint(n)) {
			e.Boot, e.Instance, e.Image = me.Boot, me.Instance, me.Image
			fmt.Fprintf(f, "%s\n", mustJSON(t, e))
		}
	}
	f.Close()
	r = mustOpen(t, dir, me)
	defer r.Close()
	if err := r.Compact(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Size() > 1<<20 || r.State().Command.ID != "59999" {
		t.Errorf("%d bytes are left, the newest command is %+v", info.Size(), r.State().Command)
	}
}

// crashEnv tells the test binary, started again, at which step of a compaction to end itself.
const crashEnv = "RECORD_TEST_CRASH_AT"

// Killed at each step: the record is the old one or the new one, and nothing else is left.
func TestKilledInACompaction(t *testing.T) {
	if at := os.Getenv(crashEnv); at != "" {
		CrashHook = func(e Entry, _ bool) {
			if e.What == compacting && e.Step == at {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
		r := mustOpen(t, os.Getenv("RECORD_TEST_DIR"), me)
		t.Fatal("not killed: ", r.Compact())
	}
	for _, at := range []string{"made", "written", "synced", "renamed", "done"} {
		dir := t.TempDir()
		fill(t, dir, 300)
		before, err := ReadAll(dir)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledInACompaction$")
		cmd.Env = append(os.Environ(), crashEnv+"="+at, "RECORD_TEST_DIR="+dir)
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %s: %s", at, cmd.ProcessState, out)
		}
		want := 300
		if at == "renamed" || at == "done" {
			want = keepDeployments + 2
		}
		for _, when := range []string{"as it was left", "after an agent"} {
			h, err := ReadAll(dir)
			if err != nil || h.Damaged != nil || len(h.Deployments) != want || !reflect.DeepEqual(h.State, before.State) {
				t.Errorf("%s, %s: %d deployments, want %d (%v, %v)", at, when, len(h.Deployments), want, err, h.Damaged)
			}
			r := mustOpen(t, dir, me)
			if r.Notice != "" || !reflect.DeepEqual(r.State(), before.State) {
				t.Errorf("%s, %s: %q", at, when, r.Notice)
			}
			r.Close()
		}
		if names := namesIn(t, dir); !slices.Equal(names, []string{FileName}) {
			t.Errorf("%s: %q are left", at, names)
		}
	}
}

func mustJSON(t testing.TB, e Entry) []byte {
	t.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Who reads while an agent compacts sees the record of before or that of after: the newest deployments without a gap.
func TestHistoryBesideACompaction(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, mostDeployments-20)
	r := mustOpen(t, dir, me)
	defer r.Close()
	var writing sync.WaitGroup
	done := make(chan struct{})
	writing.Go(func() {
		defer close(done)
		for n := mostDeployments - 19; n < mostDeployments+200; n++ {
			for _, e := range launched(n) {
				if err := r.Append(e); err != nil {
					t.Error(err)
				}
			}
			if err := r.Compact(); err != nil {
				t.Error(err)
			}
		}
	})
	for newest, running := 0, true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		h, err := ReadAll(dir)
		if err != nil || h.Damaged != nil {
			t.Fatalf("%v, %v", err, h.Damaged)
		}
		last := h.Deployments[len(h.Deployments)-1].Sequence
		if last < newest {
			t.Fatalf("deployment %d was seen, and now %d is the newest", newest, last)
		}
		newest = last
		for i := range keepDeployments {
			if p := h.Deployments[len(h.Deployments)-1-i]; p.Sequence != last-i || i > 0 && p.End == "" {
				t.Fatalf("%d before the newest of %d is %d: %s", i, last, p.Sequence, p.End)
			}
		}
	}
	writing.Wait()
}

// What a record of a year costs, ten deployments a day, and one that was compacted: go test -bench Open ./agent/record
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name    string
		compact bool
	}{{"a year", false}, {"compacted", true}} {
		dir := b.TempDir()
		fill(b, dir, 3650)
		r := mustOpen(b, dir, me)
		if c.compact {
			if err := r.Compact(); err != nil {
				b.Fatal(err)
			}
		}
		r.Close()
		info, err := os.Stat(filepath.Join(dir, FileName))
		if err != nil {
			b.Fatal(err)
		}
		for what, read := range map[string]func(){
			"agent":   func() { mustOpen(b, dir, me).Close() },
			"history": func() { _, err = ReadAll(dir) },
		} {
			b.Run(c.name+"/"+what, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					read()
				}
				b.ReportMetric(float64(info.Size())/1e6, "MB-of-record")
			})
		}
	}
}
