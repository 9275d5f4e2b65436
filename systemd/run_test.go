package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/systemd/box"
)

// shell is a unit that runs a script.
func shell(t testing.TB, script string) Unit {
	name, err := UnitName("usher-hook-", t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return Unit{Name: name, Description: t.Name(), Argv: []string{"/bin/sh", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"},
		Timeout: patience, Grace: 500 * time.Millisecond, Fields: map[string]string{"DEPLOYMENT_ID": "d-" + name, "HOOK_SCRIPT": "a\nb"}}
}

// state is a property of a unit as systemctl shows it.
func state(name, property string) string {
	out, _ := exec.Command("systemctl", "show", "--value", "-p", property, name).Output()
	return strings.TrimSpace(string(out))
}

// healthy says that the test has left no failed unit.
func healthy(t testing.TB) {
	t.Helper()
	if out, _ := exec.Command("systemctl", "is-system-running").Output(); string(out) != "running\n" {
		failed, _ := exec.Command("systemctl", "--failed", "--plain").Output()
		t.Errorf("the system is %s%s", out, failed)
	}
}

func none(string, bool) bool { return false }

func TestUnitRunsOnce(t *testing.T) {
	if !box.Within(t) {
		return
	}
	dir := t.TempDir()
	u := shell(t, fmt.Sprintf("echo x >>%[1]s/runs; while [ ! -e %[1]s/go ]; do sleep 0.05; done; exit 0", dir))
	gone := &Manager{}
	ctx, cancel := context.WithCancelCause(t.Context())
	restart := errors.New("usher is being restarted")
	first := make(chan error, 1)
	go func() {
		_, err := gone.Run(ctx, u, func(cause error) bool { return errors.Is(cause, restart) })
		first <- err
	}()
	if err := until(func() bool { return exists(filepath.Join(dir, "runs")) }); err != nil {
		t.Fatal(err)
	}
	cancel(restart)
	if err := <-first; !errors.Is(err, restart) || state(u.Name, "ActiveState") != "activating" {
		t.Fatalf("%v; the unit is %s", err, state(u.Name, "ActiveState"))
	}
	gone.Close()

	// The successor takes it up while it runs, and again when it has ended but nobody has noted that.
	m := &Manager{}
	defer m.Close()
	time.AfterFunc(200*time.Millisecond, func() { _ = os.WriteFile(filepath.Join(dir, "go"), nil, 0o600) })
	var took []time.Duration
	for range 2 {
		out, err := m.Run(t.Context(), u, nil)
		if err != nil || !out.OK() || !out.Attached || out.Duration <= 0 {
			t.Fatalf("%+v and %v", out, err)
		}
		took = append(took, out.Duration)
	}
	if took[0] != took[1] {
		t.Errorf("one run took %v", took)
	}
	if runs, _ := os.ReadFile(filepath.Join(dir, "runs")); string(runs) != "x\n" {
		t.Errorf("it ran %d times", len(runs)/2)
	}
	if err := m.CleanUp(t.Context(), "usher-hook-", u.Grace, none); err != nil {
		t.Error(err)
	}
	if out, err := m.Run(t.Context(), u, nil); err != nil || out.Attached {
		t.Errorf("after CleanUp: %+v and %v", out, err)
	}
	healthy(t)
}

// Its timeout holds while no usher is there, and its end is found.
func TestUnitEndsAlone(t *testing.T) {
	if !box.Within(t) {
		return
	}
	for _, c := range []struct {
		name, script string
		want         Outcome
	}{
		{"too slow", "echo waiting; sleep 600", Outcome{ExitCode: -1, Signal: syscall.SIGTERM, TimedOut: true, Tail: [][]byte{[]byte("waiting")}}},
		{"fails", "sleep 0.3; echo no; exit 7", Outcome{ExitCode: 7, Tail: [][]byte{[]byte("no")}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := shell(t, c.script)
			u.Timeout = time.Second
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			m := &Manager{}
			defer m.Close()
			if _, err := m.Run(ctx, u, func(error) bool { return true }); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if err := until(func() bool { return state(u.Name, "ActiveState") == "failed" }); err != nil {
				t.Fatal(err)
			}
			out, err := m.Run(t.Context(), u, nil)
			out.Duration, out.InvocationID = 0, ""
			c.want.Attached = true
			if err != nil || fmt.Sprint(out) != fmt.Sprint(c.want) {
				t.Errorf("got %+v and %v, want %+v", out, err, c.want)
			}
			healthy(t)
		})
	}
}

func TestUnitIsStopped(t *testing.T) {
	if !box.Within(t) {
		return
	}
	why := errors.New("the deployment's time is up")
	for _, c := range []struct{ name, script string }{
		{"ends on TERM", "echo $$ >%[1]s/pid; sleep 600"},
		{"traps TERM", "trap '' TERM; echo $$ >%[1]s/pid; sleep 600"},
		{"its daemon traps TERM", "setsid sh -c 'trap \"\" TERM; echo $$ >%[1]s/pid; sleep 600' & wait"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			u := shell(t, fmt.Sprintf(c.script, dir))
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				_ = until(func() bool { b, _ := os.ReadFile(filepath.Join(dir, "pid")); return len(b) > 0 })
				cancel(why)
			}()
			m := &Manager{}
			defer m.Close()
			if _, err := m.Run(ctx, u, func(error) bool { return false }); !errors.Is(err, why) {
				t.Error(err)
			}
			pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
			if n, _ := strconv.Atoi(strings.TrimSpace(string(pid))); n == 0 || syscall.Kill(n, 0) == nil {
				t.Errorf("process %d is still there", n)
			}
			if _, err := m.Run(ctx, u, nil); !errors.Is(err, why) { // and none is started afterwards
				t.Error(err)
			}
			healthy(t)
		})
	}
}

func TestUnitStoppedByAnOperator(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	u := shell(t, "sleep 600")
	go func() {
		_ = until(func() bool { return state(u.Name, "ActiveState") == "activating" })
		_ = exec.Command("systemctl", "stop", u.Name).Run()
	}()
	if out, err := m.Run(t.Context(), u, nil); err == nil && out.OK() {
		t.Errorf("a unit that was stopped counts as success: %+v", out)
	} else {
		t.Logf("%+v: %v", out, err)
	}
	healthy(t)
}

// systemd expands variables in a command line; a script's name is not one.
func TestNothingIsExpanded(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	u := shell(t, `printf '<%s>\n' "$@"; exit 3`) // the output of what fails is handed over
	words := []string{"$HOME", "${HOME}", "$$", "$", "a$b", "$$$", "%n", `\x41`, "two words"}
	u.Argv = slices.Concat(u.Argv, []string{"sh"}, words)
	out, err := m.Run(t.Context(), u, nil)
	if got, want := string(bytes.Join(out.Tail, nil)), "<"+strings.Join(words, "><")+">"; err != nil || got != want {
		t.Errorf("%s, want %s (%v): %+v", got, want, err, out)
	}
	healthy(t)
}

// An upgrade of systemd closes all connections in the middle of a script.
func TestReexec(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	for _, verb := range []string{"daemon-reload", "daemon-reexec"} {
		u := shell(t, "sleep 1; echo end; exit 3")
		u.Name = "usher-hook-" + verb + ".service"
		u.Fields = map[string]string{"DEPLOYMENT_ID": "d-1"}
		done := make(chan error, 1)
		go func() {
			_ = until(func() bool { return state(u.Name, "ActiveState") == "activating" })
			out, err := exec.Command("systemctl", verb).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			done <- err
		}()
		out, err := m.Run(t.Context(), u, nil)
		if err != nil || out.ExitCode != 3 || string(bytes.Join(out.Tail, []byte("|"))) != "end" {
			t.Errorf("%s: %+v and %v", verb, out, err)
		}
		t.Logf("systemctl %s: %v", verb, <-done)
		// It has read the unit's file again, and found nothing wrong with what it wrote there.
		said, err := exec.Command("journalctl", "--sync").CombinedOutput()
		if err == nil {
			said, err = exec.Command("journalctl", "--output=cat", "--priority=warning", "_PID=1", "UNIT="+u.Name).CombinedOutput()
		}
		if err != nil || bytes.Contains(said, []byte("ignoring")) || bytes.Contains(said, []byte("Refusing")) {
			t.Errorf("after systemctl %s systemd says (%v): %s", verb, err, said)
		}
	}
	healthy(t)
}

// A daemon that a script leaves behind lives on in its unit, until it ends itself.
func TestCleanUp(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	dir := t.TempDir()
	daemon := shell(t, fmt.Sprintf("setsid sh -c 'echo $$ >%[1]s/pid; while [ ! -e %[1]s/end ]; do sleep 0.05; done' & until [ -s %[1]s/pid ]; do sleep 0.02; done", dir))
	daemon.Name = "usher-hook-daemon.service"
	out, err := m.Run(t.Context(), daemon, nil)
	pid, _ := os.ReadFile(filepath.Join(dir, "pid"))
	if want := fmt.Sprintf("sh (pid %s)", strings.TrimSpace(string(pid))); err != nil || !slices.Contains(out.Leftovers, want) {
		t.Errorf("%+v and %v, want %s", out, err, want)
	}
	plain := shell(t, ":")
	plain.Name = "usher-hook-plain.service"
	if out, err := m.Run(t.Context(), plain, nil); err != nil || len(out.Leftovers) > 0 {
		t.Errorf("%+v and %v", out, err)
	}
	running := shell(t, "sleep 600")
	running.Name = "usher-hook-running.service"
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _ = m.Run(ctx, running, func(error) bool { return true })

	picture := func() string {
		return fmt.Sprintf("daemon %s, plain %s, running %s",
			state(daemon.Name, "ActiveState"), state(plain.Name, "ActiveState"), state(running.Name, "ActiveState"))
	}
	for _, step := range []struct {
		do   func(name string, running bool) bool
		want string
	}{
		{func(string, bool) bool { return true }, "daemon active, plain active, running activating"},
		{func(_ string, running bool) bool { return running }, "daemon active, plain inactive, running activating"},
		{none, "daemon active, plain inactive, running inactive"},
	} {
		if err := m.CleanUp(t.Context(), "usher-hook-", 500*time.Millisecond, step.do); err != nil {
			t.Error(err)
		}
		if got := picture(); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
	_ = os.WriteFile(filepath.Join(dir, "end"), nil, 0o600)
	if err := until(func() bool {
		_ = m.CleanUp(t.Context(), "usher-hook-", time.Second, none)
		return picture() == "daemon inactive, plain inactive, running inactive"
	}); err != nil {
		t.Errorf("%v: %s", err, picture())
	}
	healthy(t)
}

// Also what ends at once has all its lines in the journal, under the deployment's fields.
func TestFieldsOfShortScripts(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	const scripts = 30
	for i := range scripts {
		u := shell(t, "echo out; echo '<3>err' >&2")
		u.Name = fmt.Sprintf("usher-hook-short-%d.service", i)
		u.Fields = map[string]string{"DEPLOYMENT_ID": "d-short", "HOOK_SCRIPT": "two\nlines", "MESSAGE_ID": MessageScriptOutput}
		if _, err := m.Run(t.Context(), u, nil); err != nil {
			t.Fatal(err)
		}
		if err := m.CleanUp(t.Context(), "usher-hook-", time.Second, none); err != nil {
			t.Fatal(err)
		}
	}
	text, err := exec.Command("journalctl", "-o", "json", "--all", "-q", "DEPLOYMENT_ID=d-short").Output()
	if err != nil {
		t.Fatal(err)
	}
	entries := journalEntries(t, text)
	if len(entries) != 2*scripts {
		t.Errorf("%d lines carry the fields, want %d", len(entries), 2*scripts)
	}
	for _, e := range entries {
		if e["HOOK_SCRIPT"] != "two\nlines" || e["MESSAGE_ID"] != MessageScriptOutput || e["SYSLOG_IDENTIFIER"] != "usher" || e["_SYSTEMD_INVOCATION_ID"] == "" ||
			e["MESSAGE"] != "out" && e["MESSAGE"] != "<3>err" || e["PRIORITY"] != "6" {
			t.Fatalf("an entry is %v", e)
		}
	}
}

// A command that never stops writing does not push everything else out of the journal.
func TestFlood(t *testing.T) {
	if !box.Within(t) {
		return
	}
	m := &Manager{}
	defer m.Close()
	for _, c := range []struct {
		name, script string
		rateLimited  bool
		least, most  int // lines in the journal
	}{
		{"quiet", "echo one; echo end; exit 3", false, 2, 2},
		{"chatty", "seq 4000; echo end; exit 3", false, 4001, 4001},
		{"50 MB", "yes \"$(seq -s ' ' 35)\" | head -c 50000000; echo end; exit 3", true, burstLines, 6 * burstLines},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := shell(t, c.script)
			u.Name = "usher-hook-" + strings.ReplaceAll(c.name, " ", "-") + ".service"
			began := time.Now()
			out, err := m.Run(t.Context(), u, nil)
			if err != nil || out.ExitCode != 3 || out.Flooded != c.rateLimited {
				t.Errorf("%+v and %v", out, err)
			}
			if last := out.Tail[len(out.Tail)-1]; !c.rateLimited && string(last) != "end" {
				t.Errorf("its last line is %q", last)
			}
			text, err := exec.Command("journalctl", "--quiet", "--output=cat", "_TRANSPORT=stdout", "_SYSTEMD_UNIT="+u.Name).Output()
			if lines := bytes.Count(text, []byte("\n")); err != nil || lines < c.least || lines > c.most {
				t.Errorf("%d lines in the journal, want %d to %d: %v", lines, c.least, c.most, err)
			}
			t.Logf("%d bytes in the journal after %s", len(text), time.Since(began).Round(time.Millisecond))
		})
	}
	healthy(t)
}

func TestUnitName(t *testing.T) {
	for _, c := range []struct{ id, want string }{
		{"d-ABC-1-AfterInstall-0", "usher-hook-d-ABC-1-AfterInstall-0.service"},
		{"a@b/c d\\e\xff", `usher-hook-a\x40b\x2fc\x20d\x5ce\xff.service`},
		{"", "cannot name a unit: it has no ID"},
		{strings.Repeat("x", 240), "cannot name a unit for " + strings.Repeat("x", 240) + ": the name would have 259 bytes, systemd takes 255"},
	} {
		got, err := UnitName("usher-hook-", c.id)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.id, got, c.want)
		}
	}
}

// What a script costs as a unit, beside a plain fork and exec of the same.
func BenchmarkUnit(b *testing.B) {
	if !box.Within(b) {
		return
	}
	b.Run("fork", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/sh", "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unit", func(b *testing.B) {
		m := &Manager{}
		defer m.Close()
		u := shell(b, ":")
		u.Name = "usher-hook-benchmark.service"
		for b.Loop() {
			if _, err := m.Run(b.Context(), u, nil); err != nil {
				b.Fatal(err)
			}
			if err := m.CleanUp(b.Context(), "usher-hook-", time.Second, none); err != nil {
				b.Fatal(err)
			}
		}
	})
}
