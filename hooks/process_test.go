//go:build linux && !developer

package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"usher/hooks"
)

// testGrace is long for a shell that is to end on TERM, on a machine under load, and short for a
// person who waits for the tests.
const testGrace = 700 * time.Millisecond

// patience is how long a test waits for what must come.
const patience = 5 * time.Minute

var shellsHere = []string{"/bin/sh", "/bin/bash", "/bin/dash", "/bin/ksh93", "/bin/mksh"}

func TestRun(t *testing.T) {
	for _, shell := range shellsHere {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			needShell(t, "#!"+shell)
			tests := []struct {
				name, script string
				want         hooks.Result // Duration aside
				lines        []string
			}{
				{"succeeds", "echo one; echo two >&2; printf three",
					hooks.Result{Lines: 3}, []string{"stdout one", "stdout three", "stderr two"}},
				{"says nothing", ":", hooks.Result{}, nil},
				{"fails", "echo no; exit 7; echo never",
					hooks.Result{ExitCode: 7, Lines: 1}, []string{"stdout no"}},
				{"fails in the middle", "echo a; sh -c 'exit 3'; echo never",
					hooks.Result{ExitCode: 3, Lines: 1}, []string{"stdout a"}},
				{"is killed", "kill -KILL $$", hooks.Result{ExitCode: -1, Signal: "SIGKILL"}, nil},
				{"empty lines", "echo; echo a; echo", hooks.Result{Lines: 3}, []string{"stdout ", "stdout ", "stdout a"}},
				{"reads no input", "cat; echo end", hooks.Result{Lines: 1}, []string{"stdout end"}},
				{"umask", "umask -S", hooks.Result{Lines: 1}, []string{"stdout u=rwx,g=rx,o=rx"}},
				{"colours", `printf '\033[31mred\033[0m \033]0;title\007\ttab\r\n'`,
					hooks.Result{Lines: 1}, []string{"stdout red \ttab"}},
				{"not UTF-8", `printf 'caf\351 \303\251 \001 \302\205 \033x\n'`,
					hooks.Result{Lines: 1}, []string{`stdout caf\xe9 é \x01 \xc2\x85 \x1bx`}},
			}
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					s := script(t, "#!"+shell+"\n"+test.script)
					g := groups(t)
					var got []string
					r, err := hooks.Run(t.Context(), g, s, hooks.Enforce, func(stream, text string) { got = append(got, stream+" "+text) })
					if failed := test.want.ExitCode != 0; failed != (err != nil) {
						t.Errorf("error is %v", err)
					}
					slices.Sort(got)
					slices.Sort(test.lines)
					if diff := differ(got, test.lines); diff != "" {
						t.Error(diff)
					}
					if len(r.Tail) != r.Lines || r.Duration <= 0 {
						t.Errorf("%d lines in the tail of %d, after %s", len(r.Tail), r.Lines, r.Duration)
					}
					r.Tail, r.Duration, r.Errexit = nil, 0, nil // of the last: TestErrexitEnded
					if fmt.Sprint(r) != fmt.Sprint(test.want) {
						t.Errorf("got %+v, want %+v", r, test.want)
					}
				})
			}
		})
	}
}

// A program is run as it is, and gets the bit that it lacks, as CodeDeploy's agent gives it.
func TestProgram(t *testing.T) {
	program, err := os.ReadFile("/bin/echo")
	if err != nil {
		t.Fatal(err)
	}
	s := script(t, "")
	s.File = write(t, filepath.Join(s.Dir, "program"), string(program), 0o640)
	if r, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, nil); err != nil || r.Lines != 1 {
		t.Errorf("got %+v and %v", r, err)
	}
	if info, err := os.Stat(s.File); err != nil || info.Mode() != 0o751 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
}

// What the operator reads when a script failed, and the code CodeDeploy is told.
func TestFailure(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name, script string
		change       func(s *hooks.Script)
		code         int
		want         string // TIME for durations
	}{
		{"fails", "#!/bin/sh\necho first\necho cannot migrate >&2\nexit 3\n", nil, hooks.ScriptFailed,
			"AfterInstall script scripts/hook.sh failed with exit code 3 after TIME; its last line: cannot migrate"},
		{"role hook", "#!/bin/sh\nexit 3\n", func(s *hooks.Script) { s.Role, s.Location = true, "/etc/usher/hooks.d/AfterInstall/10-db" }, hooks.ScriptFailed,
			"AfterInstall role hook /etc/usher/hooks.d/AfterInstall/10-db failed with exit code 3 after TIME; it wrote nothing"},
		{"fails with a long line", "#!/bin/sh\nprintf 'x%.0s' $(seq 300)\nexit 3\n", nil, hooks.ScriptFailed,
			"AfterInstall script scripts/hook.sh failed with exit code 3 after TIME; its last line: " + strings.Repeat("x", 200) + "…"},
		{"killed", "#!/bin/sh\necho here\nkill -SEGV $$\n", nil, hooks.ScriptFailed,
			"AfterInstall script scripts/hook.sh was killed by SIGSEGV after TIME; its last line: here"},
		{"too slow", "#!/bin/sh\necho waiting\nsleep 60\n", func(s *hooks.Script) { s.Timeout = 2 * time.Second }, hooks.ScriptTimedOut,
			"AfterInstall script scripts/hook.sh did not finish within its timeout of 2s (appspec `timeout:`) and was stopped; its last line: waiting"},
		{"too slow, and pretends it was not", "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 60 & wait\n", func(s *hooks.Script) { s.Timeout, s.Role = 2*time.Second, true }, hooks.ScriptTimedOut,
			"AfterInstall role hook scripts/hook.sh did not finish within its timeout of 2s and was stopped; it wrote nothing"},
		{"not there", "", func(s *hooks.Script) { s.File = filepath.Join(dir, "none") }, hooks.ScriptMissing,
			"cannot start AfterInstall script scripts/hook.sh: cannot read the script: open " + dir + "/none: no such file or directory"},
		{"a folder", "", func(s *hooks.Script) { s.File = dir }, hooks.UnknownError,
			"cannot start AfterInstall script scripts/hook.sh: cannot read the script: " + dir + " is not a regular file"},
		{"no interpreter", "#!/opt/nowhere/ruby\n", func(s *hooks.Script) { s.Dir = "/" }, hooks.ScriptNotExecutable,
			"cannot start AfterInstall script scripts/hook.sh (its interpreter or its working directory / is missing): fork/exec /opt/nowhere/ruby: no such file or directory"},
		{"no program", "\x7fELF nonsense", nil, hooks.ScriptNotExecutable,
			"cannot start AfterInstall script scripts/hook.sh (it is neither a script nor a program of this machine's architecture): fork/exec FILE: exec format error"},
		{"no user", "#!/bin/sh\n", func(s *hooks.Script) { s.RunAs = "no-such-user" }, hooks.UnknownError,
			"cannot start AfterInstall script scripts/hook.sh: cannot run it as user no-such-user: user: unknown user no-such-user"},
		{"no ID", "#!/bin/sh\n", func(s *hooks.Script) { s.ID = "" }, hooks.UnknownError,
			"cannot start AfterInstall script scripts/hook.sh: it has no ID"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, test.script)
			if test.change != nil {
				test.change(&s)
			}
			_, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, nil)
			failure, ok := errors.AsType[*hooks.Failure](err)
			if !ok {
				t.Fatalf("the error is %v, no *Failure", err)
			}
			if failure.Code != test.code {
				t.Errorf("code %d, want %d", failure.Code, test.code)
			}
			want := strings.Replace(test.want, "FILE", s.File, 1)
			if before, after, ok := strings.Cut(want, "TIME"); ok {
				if !strings.HasPrefix(err.Error(), before) || !strings.HasSuffix(err.Error(), after) {
					t.Errorf("got  %s\nwant %s", err, want)
				}
			} else if err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

// A script that does not end is stopped when its timeout is up, with all it has started.
func TestTimeout(t *testing.T) {
	tests := []struct {
		name, script, tail string
		signal             string // what ended the script itself
		grace              bool   // whether the grace was used up
	}{
		{"hangs", "sleep 600", "", "SIGTERM", false},
		{"cleans up on TERM", "trap 'echo cleaned up; exit 1' TERM\nsleep 600 & wait", "cleaned up", "", false},
		{"traps TERM", "trap '' TERM\necho deaf\nsleep 600", "deaf", "SIGKILL", true},
		{"its child traps TERM", "(trap '' TERM; sleep 600) & wait", "", "SIGTERM", true},
		{"its child has its own session and traps TERM", "setsid sh -c 'trap \"\" TERM; echo apart; sleep 600' & wait", "apart", "SIGTERM", true},
		{"forks without end", "trap '' TERM\nf() { sleep 0.01; sh -c ':' ; f & }\nf; sleep 600", "", "SIGKILL", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, "#!/bin/sh\n"+test.script)
			s.Timeout = 2 * time.Second
			r, err := groups(t).Run(t.Context(), s, []string{"/bin/sh", s.File}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !r.TimedOut || r.OK() || r.Signal != test.signal || strings.Join(r.Tail, "\n") != test.tail || len(r.BackgroundProcesses) > 0 {
				t.Errorf("got %+v", r)
			}
			if test.grace && r.Duration < s.Timeout+testGrace {
				t.Errorf("KILL came after %s", r.Duration)
			}
			if left := tagged(s.ID); len(left) > 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

// One runner serves several scripts at a time, and keeps them apart.
func TestTogether(t *testing.T) {
	g := groups(t)
	var all sync.WaitGroup
	for i := range 8 {
		s := script(t, fmt.Sprintf("#!/bin/sh\nfor n in 1 2 3; do echo %d; sleep 0.01; done\nsleep 600 &\nexit %[1]d", i))
		all.Go(func() {
			r, _ := g.Run(t.Context(), s, []string{"/bin/sh", s.File}, nil)
			if want := fmt.Sprintf("%d %[1]d %[1]d", i); strings.Join(r.Tail, " ") != want || r.ExitCode != i || len(r.BackgroundProcesses) != 1 {
				t.Errorf("%d: got %+v", i, r)
			}
			again := script(t, "#!/bin/sh\n:") // ends what is left
			again.ID = s.ID
			if r, err := g.Run(t.Context(), again, []string{"/bin/sh", again.File}, nil); err != nil || len(r.BackgroundProcesses) > 0 {
				t.Errorf("%d: got %+v and %v", i, r, err)
			}
		})
	}
	all.Wait()
}

// When the deployment is given up, so is its script.
func TestCancel(t *testing.T) {
	s := script(t, "#!/bin/sh\necho started\nsleep 600")
	why := errors.New("the deployment's time is up")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := hooks.Run(ctx, groups(t), s, hooks.Enforce, func(_, _ string) { cancel(why) })
	if !errors.Is(err, why) || r.Signal != "SIGTERM" || len(r.Tail) != 1 {
		t.Errorf("got %+v and %v", r, err)
	}
	if _, isFailure := errors.AsType[*hooks.Failure](err); isFailure {
		t.Error("a script that was given up counts as failed")
	}
	if left := tagged(s.ID); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	// And none is started afterwards.
	if _, err := hooks.Run(ctx, groups(t), s, hooks.Enforce, nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// Processes in the background do not hang a deployment. They are named, go on, and may go on writing.
func TestLeftovers(t *testing.T) {
	tests := []struct{ name, start string }{
		{"a child in the background", "sh -c '%s' &"},
		{"nohup", "nohup sh -c '%s' &"},
		{"a daemon of its own session", "setsid sh -c '%s' &"},
		{"a daemon that closed its output", "setsid sh -c '%s' >/dev/null 2>&1 &"},
		{"a daemon of its own group without the tag", "env -i sh -c '%s' &"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			// The daemon waits until it is told, writes more than a pipe holds, and says that it lived.
			daemon := fmt.Sprintf("echo up >%[1]s/pid.$$; mv %[1]s/pid.$$ %[1]s/up.$$; while [ ! -e %[1]s/go ]; do sleep 0.02; done; head -c 200000 /dev/zero && head -c 200000 /dev/zero >&2 && echo $$ >%[1]s/lived && while :; do sleep 0.1; done", dir)
			s := script(t, fmt.Sprintf("#!/bin/sh\necho starting\n"+test.start+"\nuntil ls %s/up.*; do sleep 0.02; done 2>/dev/null >&2\necho started", daemon, dir))
			g := groups(t)
			began := time.Now()
			r, err := hooks.Run(t.Context(), g, s, hooks.Enforce, nil)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("took %s", took)
			}
			ups, _ := filepath.Glob(filepath.Join(dir, "up.*"))
			pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(ups[0]), "."))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
			named := slices.ContainsFunc(r.BackgroundProcesses, func(l string) bool { return l == fmt.Sprintf("sh (pid %d)", pid) })
			if !named || strings.Join(r.Tail, " ") != "starting started" {
				t.Errorf("the daemon is pid %d; got %+v", pid, r)
			}
			write(t, filepath.Join(dir, "go"), "", 0o644)
			eventually(t, "the daemon has written and lives", func() bool {
				_, err := os.Stat(filepath.Join(dir, "lived"))
				return err == nil
			})
		})
	}
}

// What ends a moment after the script is waited for, and what it wrote is not lost.
func TestSettles(t *testing.T) {
	s := script(t, "#!/bin/bash\nexec > >(sleep 0.05; sed 's/^/log: /')\necho one\necho two")
	r, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, nil)
	if err != nil || len(r.BackgroundProcesses) > 0 || strings.Join(r.Tail, "\n") != "log: one\nlog: two" {
		t.Errorf("got %+v and %v", r, err)
	}
}

// An agent that was killed has left its script running. It is ended before the script runs again.
func TestOrphans(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"ends on TERM", "sleep 600"},
		{"traps TERM", "trap '' TERM; while :; do sleep 0.1; done"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := script(t, "#!/bin/sh\necho again\n")
			orphan := exec.Command("/bin/sh", "-c", "echo up; "+test.script)
			orphan.Env = []string{"PATH=" + hooks.DefaultPath, hooks.Tag + "=" + s.ID}
			orphan.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			up, err := orphan.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := orphan.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := up.Read(make([]byte, 3)); err != nil { // the trap follows at once
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- orphan.Wait() }()

			other := script(t, "#!/bin/sh\n") // another script's ID ends nothing
			other.ID = s.ID + "0"
			if _, err := hooks.Run(t.Context(), groups(t), other, hooks.Enforce, nil); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
				t.Fatal("another script ended it")
			default:
			}

			r, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, nil)
			if err != nil || strings.Join(r.Tail, "\n") != "again" {
				t.Errorf("got %+v and %v", r, err)
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("the orphan is still there")
			}
		})
	}
}

// Nothing of the agent's environment, and nothing of its open files, reaches a script.
func TestEnvironmentOfScripts(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("NOTIFY_SOCKET", "/run/nowhere")
	secret, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	s := script(t, "#!/bin/bash\ncat /proc/self/environ | tr '\\0' '\\n'; ls -l /proc/self/fd | grep -c /dev/zero || true; pwd; readlink /proc/self/fd/0")
	s.Env = hooks.Environment{ApplicationName: "shop", InstanceID: "i-0abc", ReleaseDir: s.Dir}.Environ(hooks.AfterInstall)
	r, err := hooks.Run(t.Context(), groups(t), s, hooks.Off, nil)
	if err != nil {
		t.Fatal(err)
	}
	me := account(t, "")
	want := append([]string{
		"HOME=" + me.home, "USER=" + me.name, "LOGNAME=" + me.name, "SHELL=" + me.shell,
		hooks.Tag + "=" + s.ID, "PWD=" + s.Dir, "SHLVL=0", "_=/usr/bin/cat", "OLDPWD=" + s.Dir,
		"0", s.Dir, "/dev/null"}, s.Env...)
	for _, line := range r.Tail {
		if !slices.Contains(want, line) && !strings.HasPrefix(line, "SHLVL=") && !strings.HasPrefix(line, "_=") {
			t.Errorf("a script has %q", line)
		}
	}
	for _, v := range append(want[:5:5], "APPLICATION_NAME=shop", "INSTANCE_ID=i-0abc", "LIFECYCLE_EVENT=AfterInstall", "LANG=C.UTF-8", "USHER_RELEASE_DIR="+s.Dir, "/dev/null") {
		if !slices.Contains(r.Tail, v) {
			t.Errorf("a script has no %q: %q", v, r.Tail)
		}
	}
}

// runas: another user for root, and a clear refusal for everybody else.
func TestRunAs(t *testing.T) {
	nobody := account(t, "nobody")
	dir, err := os.MkdirTemp("/tmp", "hooks") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := script(t, "")
	s.File = write(t, filepath.Join(dir, "who.sh"), "#!/bin/sh\nid -un; id -G; echo $HOME $USER $LOGNAME $SHELL; touch file 2>/dev/null || echo refused", 0o644)
	s.Dir, s.RunAs = dir, "nobody"
	if os.Geteuid() != 0 {
		s.RunAs = "root"
		_, err := hooks.Run(t.Context(), groups(t), s, hooks.Off, nil)
		if err == nil || !strings.Contains(err.Error(), "cannot run it as user root: the agent is not root") {
			t.Errorf("got %v", err)
		}
		s.RunAs, s.Sudo = "", true
		if _, err = hooks.Run(t.Context(), groups(t), s, hooks.Off, nil); err == nil || !strings.Contains(err.Error(), "`sudo: true` needs an agent that runs as root") {
			t.Errorf("got %v", err)
		}
		return
	}
	s.Sudo = true // changes nothing
	r, err := hooks.Run(t.Context(), groups(t), s, hooks.Off, nil)
	want := []string{"nobody", nobody.gid, nobody.home + " nobody nobody " + nobody.shell, "refused"}
	if diff := differ(r.Tail, want); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Dir = closed
	_, err = hooks.Run(t.Context(), groups(t), s, hooks.Off, nil)
	if f, ok := errors.AsType[*hooks.Failure](err); !ok || f.Code != hooks.ScriptNotExecutable || !errors.Is(err, fs.ErrPermission) ||
		!strings.Contains(err.Error(), "(user nobody must be able to enter "+closed+" and to read the script)") {
		t.Errorf("got %v", err)
	}
}

// As a user who is not root, on a machine where the tests are.
func TestNotRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then the whole package is this test
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "hooks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "hooks.test"), string(program), 0o755)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "hooks.test"), "-test.run", "^(TestRun|TestRunAs|TestTimeout|TestOrphans|TestFailure|TestEnvironmentOfScripts)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + hooks.DefaultPath, "TMPDIR=" + dir}
	nobody := account(t, "nobody")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: number(t, nobody.uid), Gid: number(t, nobody.gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A watchdog is fed while a script is being stopped, not only while all is well.
func TestAlive(t *testing.T) {
	var calls atomic.Int64
	g := groups(t)
	g.Alive = func() { calls.Add(1) }
	s := script(t, "#!/bin/sh\ntrap '' TERM\nsleep 600")
	s.Timeout = 50 * time.Millisecond
	if r, err := g.Run(t.Context(), s, []string{"/bin/sh", s.File}, nil); err != nil || !r.TimedOut {
		t.Fatal(r, err)
	}
	if calls.Load() == 0 {
		t.Error("Alive was not called")
	}
}

// groups is a runner with a short grace, closed at the end of the test.
func groups(t *testing.T) *hooks.ProcessGroups {
	g := &hooks.ProcessGroups{KillGrace: testGrace}
	t.Cleanup(g.Close)
	return g
}

var scripts atomic.Int64

// unique is an ID no other script on this machine has.
func unique(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("d-TEST%d-%d", os.Getpid(), scripts.Add(1))
}

// tagged are the processes that carry an ID.
func tagged(id string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err == nil && slices.Contains(strings.Split(string(environ), "\x00"), hooks.Tag+"="+id) {
			found = append(found, file)
		}
	}
	return found
}

type entry struct{ name, uid, gid, home, shell string }

// account is a line of /etc/passwd: of the user of that name, or of our own.
func account(t *testing.T, name string) entry {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 7 && (f[0] == name || name == "" && f[2] == strconv.Itoa(os.Geteuid())) {
			return entry{f[0], f[2], f[3], f[5], f[6]}
		}
	}
	t.Fatalf("no user %q in /etc/passwd", name)
	return entry{}
}

func number(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// eventually polls a real condition until it holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited %s, and it is not so: %s", patience, what)
		}
	}
}
