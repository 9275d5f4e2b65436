package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"usher/hooks"
	"usher/systemd"
	"usher/systemd/box"
)

// TestMain is usher, as far as units of the tests start it.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "run-with-link" {
		fmt.Println(RunWithLink(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestUnits boots a systemd once, and runs all that needs it.
func TestUnits(t *testing.T) {
	if !box.Within(t) {
		return
	}
	t.Run("both runners", testBothRunners)
	t.Run("both runners refuse", testBothRunnersRefuse)
	t.Run("fields", testUnitFields)
	t.Run("flood", testFlood)
	t.Run("what is live is read-only", testWhatIsLiveIsReadOnly)
	t.Run("the link of a script", testTheLinkOfAScript)
	t.Run("restart in the middle", testRestartInTheMiddle)
}

// begun waits until what was started last is a sleep, and no longer the shell that starts it.
const begun = "until grep -qx sleep /proc/$!/comm; do :; done\n"

// What a script may rely on, and what usher says when it fails, is the same for both runners.
var runnerTable = []struct {
	name, script string
	change       func(s *hooks.Script)
	want         hooks.Result // apart from Duration, Lines and Dropped; of a success the Tail is the whole output
	leftovers    []string     // the names of processes left running
	failure      string       // the end of the error, after how long it took
}{
	{"succeeds", "#!/bin/sh\necho one\necho two >&2\nprintf three", nil, hooks.Result{Tail: []string{"one", "three", "two"}}, nil, ""},
	{"says nothing", "#!/bin/sh\n:", nil, hooks.Result{}, nil, ""},
	{"exit 7", "#!/bin/sh\necho first\necho no >&2\nexit 7", nil, hooks.Result{ExitCode: 7, Tail: []string{"first", "no"}}, nil, "its last line: no"},
	{"errexit", "#!/bin/sh\necho a\nfalse\necho never", nil, hooks.Result{ExitCode: 1, Tail: []string{"a"}}, nil, "its last line: a"},
	{"a number systemd uses itself", "#!/bin/sh\nexit 203", nil, hooks.Result{ExitCode: 203}, nil, "it wrote nothing"},
	{"killed", "#!/bin/sh\necho here\nkill -KILL $$", nil, hooks.Result{ExitCode: -1, Signal: "SIGKILL", Tail: []string{"here"}}, nil, "its last line: here"},
	{"ends itself with TERM", "#!/bin/sh\nkill -TERM $$", nil, hooks.Result{ExitCode: -1, Signal: "SIGTERM"}, nil, "it wrote nothing"},
	{"too slow", "#!/bin/sh\necho waiting\nsleep 600", timeout, hooks.Result{ExitCode: -1, Signal: "SIGTERM", TimedOut: true, Tail: []string{"waiting"}}, nil,
		"did not finish within its timeout of 3s (appspec `timeout:`) and was stopped; its last line: waiting"},
	{"too slow, cleans up on TERM", "#!/bin/sh\ntrap 'echo cleaned up; exit 0' TERM\nsleep 600 & wait", timeout,
		hooks.Result{TimedOut: true, Tail: []string{"cleaned up"}}, nil, "its last line: cleaned up"},
	{"too slow, deaf to TERM", "#!/bin/sh\ntrap '' TERM\nsleep 600", timeout, hooks.Result{ExitCode: -1, Signal: "SIGKILL", TimedOut: true}, nil, "it wrote nothing"},
	{"too slow, with a deaf daemon", "#!/bin/sh\nsetsid sh -c 'trap \"\" TERM; sleep 600' & wait", timeout,
		hooks.Result{ExitCode: -1, Signal: "SIGTERM", TimedOut: true}, nil, "it wrote nothing"},
	{"background child", "#!/bin/sh\nsleep 600 &\n" + begun + "echo started", nil, hooks.Result{Tail: []string{"started"}}, []string{"sleep"}, ""},
	{"setsid daemon", "#!/bin/sh\nsetsid sleep 600 >/dev/null 2>&1 &\n" + begun + "echo started", nil, hooks.Result{Tail: []string{"started"}}, []string{"sleep"}, ""},
	{"ends a moment later", "#!/bin/bash\nexec > >(sleep 0.05; sed 's/^/log: /')\necho one", nil, hooks.Result{Tail: []string{"log: one"}}, nil, ""},
	{"4 MB", "#!/bin/bash\nprintf -v line '%*s' 999 ''\nyes \"${line// /x}\" | head -n 4000\necho the end >&2\nexit 3", nil,
		hooks.Result{ExitCode: 3, Tail: append(slices.Repeat([]string{strings.Repeat("x", 999)}, 19), "the end")}, nil, "its last line: the end"},
	{"not UTF-8, and colours", `#!/bin/sh` + "\n" + `printf '\033[31mred\033[0m caf\351 \303\251 \001\t.\n'; exit 1`, nil,
		hooks.Result{ExitCode: 1, Tail: []string{`red caf\xe9 é \x01` + "\t."}}, nil, `its last line: red caf\xe9 é \x01` + "\t."},
	{"looks like a priority", "#!/bin/sh\necho '<3>x'", nil, hooks.Result{Tail: []string{"<3>x"}}, nil, ""},
	{"reads no input", "#!/bin/sh\nset -e\ncat\necho end", nil, hooks.Result{Tail: []string{"end"}}, nil, ""},
	{"working directory", "#!/bin/sh\n[ \"$PWD\" = \"$USHER_RELEASE_DIR\" ] && [ \"$(pwd -P)\" = \"$PWD\" ] && echo here", nil, hooks.Result{Tail: []string{"here"}}, nil, ""},
	{"umask", "#!/bin/sh\numask", nil, hooks.Result{Tail: []string{"0022"}}, nil, ""},
	{"SIGPIPE", "#!/bin/bash\nset +e\nyes | head -n 1\necho ${PIPESTATUS[0]}", nil, hooks.Result{Tail: []string{"141", "y"}}, nil, ""},
	{"environment", "#!/bin/sh\nenv -u PWD -u OLDPWD -u SHLVL -u _ -u USHER_SCRIPT -u USHER_RELEASE_DIR; exit 1", func(s *hooks.Script) {
		s.Env = append(s.Env, "EMPTY=", "DOLLAR=$HOME %n \\ \"q\"", "UTF8=é", "LINES=a\tb")
	}, hooks.Result{ExitCode: 1, Tail: []string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=" + shellOf("root"), "DEPLOYMENT_ID=d-1", "APPLICATION_NAME=shop",
		"DEPLOYMENT_GROUP_NAME=production", "LIFECYCLE_EVENT=AfterInstall", "PATH=" + hooks.DefaultPath, "LANG=C.UTF-8",
		"EMPTY=", "DOLLAR=$HOME %n \\ \"q\"", "UTF8=é", "LINES=a\tb"}}, nil, ""},
	{"tag", "#!/bin/sh\n[ -n \"$USHER_SCRIPT\" ] && echo tagged", nil, hooks.Result{Tail: []string{"tagged"}}, nil, ""},
	{"runas", "#!/bin/sh\nid -un; id -G; echo $HOME $USER $LOGNAME $SHELL; touch file 2>/dev/null || echo refused; exit 1", nobody,
		hooks.Result{ExitCode: 1, Tail: []string{"nobody", groupsOf("nobody"), "/nonexistent nobody nobody " + shellOf("nobody"), "refused"}}, nil, "its last line: refused"},
	{"a strange path", "#!/bin/sh\necho \"${0##*/}\"", func(s *hooks.Script) {
		to := filepath.Join(filepath.Dir(s.File), "a $HOME ${x} %n; b.sh")
		_ = os.Rename(s.File, to)
		s.File = to
	}, hooks.Result{Tail: []string{"a $HOME ${x} %n; b.sh"}}, nil, ""},
}

func timeout(s *hooks.Script) { s.Timeout = 3 * time.Second }
func nobody(s *hooks.Script)  { s.RunAs, s.Sudo = "nobody", true }

func shellOf(name string) string {
	out, _ := exec.Command("sh", "-c", "getent passwd "+name+" | cut -d: -f7").Output()
	return strings.TrimSpace(string(out))
}

func groupsOf(name string) string {
	out, _ := exec.Command("id", "-G", name).Output()
	return strings.TrimSpace(string(out))
}

// shortGrace is long enough for a shell to end on TERM, and short for a person who waits.
const shortGrace = 700 * time.Millisecond

// patience bounds everything a test waits for. It stands for a hang, and nothing waits this long unless it is broken.
const patience = 5 * time.Minute

// stopped takes every end for the agent's own, but that of a deployment whose time is up.
func stopped(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return err != nil && cause != nil && !errors.Is(cause, context.DeadlineExceeded)
}

// waitUntil waits for what a script does.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited %s, and it is not so: %s", patience, what)
		}
	}
}

// unitRunner is the runner under test, of an agent that knows deployment d-1.
func unitRunner(t testing.TB) (*units, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	log := zap.New(core)
	r, err := New(Options{How: Units, StateDir: t.TempDir(), Alive: func() {}, Log: func() *zap.Logger { return log }, Stopped: stopped,
		Deployment: func(id string) (revision, release string) {
			if id != "d-1" {
				return "", ""
			}
			return "s3://bucket/shop.zip", "r-1"
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.units.grace = shortGrace
	return r.units, logs
}

var scriptsMade int

// hook is a script of deployment d-1, in a directory that every user may enter.
func hook(t testing.TB, text string) hooks.Script {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "usher-units-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "hook.sh")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(file, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
	scriptsMade++
	env := hooks.Environment{ApplicationName: "shop", DeploymentID: "d-1", DeploymentGroupName: "production", ReleaseDir: dir}
	return hooks.Script{ID: fmt.Sprintf("d-1-1-%s-%d", hooks.AfterInstall, scriptsMade), Event: hooks.AfterInstall, Location: "scripts/hook.sh",
		File: file, Dir: dir, Timeout: patience, Env: env.Environ(hooks.AfterInstall)}
}

// entries are a unit's lines in the journal.
func entries(t *testing.T, s hooks.Script) (all []map[string]any) {
	t.Helper()
	name, err := systemd.UnitName(hookUnits, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("journalctl", "-q", "-o", "json", "--all", "_TRANSPORT=stdout", "_SYSTEMD_UNIT="+name).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func testBothRunners(t *testing.T) {
	const withLink = "units with a link"
	for _, kind := range []string{Processes, Units, withLink} {
		t.Run(kind, func(t *testing.T) {
			for _, c := range runnerTable {
				t.Run(c.name, func(t *testing.T) {
					var runner hooks.Runner
					if kind != Processes {
						runner, _ = unitRunner(t)
					} else {
						g := &hooks.ProcessGroups{KillGrace: shortGrace}
						t.Cleanup(g.Close)
						runner = g
					}
					s := hook(t, c.script)
					if kind == withLink {
						s.Link, s.Shown, s.ReadOnly = linkToNowhere(t), s.Dir, []string{"/srv"}
					}
					if c.change != nil {
						c.change(&s)
					}
					var lines []string
					r, err := hooks.Run(t.Context(), runner, s, hooks.Enforce, func(_, text string) { lines = append(lines, text) })
					if kind != Processes && r.OK() {
						for _, e := range entries(t, s) {
							lines = append(lines, fmt.Sprint(e["MESSAGE"]))
						}
					}
					if r.OK() {
						r.Tail = lines
					}
					r.Tail = slices.Sorted(slices.Values(r.Tail)) // of stdout and stderr only one knows the order
					slices.Sort(c.want.Tail)
					var left []string
					for _, l := range r.BackgroundProcesses {
						name, pid, _ := strings.Cut(l, " (pid ")
						left = append(left, name)
						_ = exec.Command("kill", "-KILL", strings.TrimSuffix(pid, ")")).Run()
					}
					if fmt.Sprint(left) != fmt.Sprint(c.leftovers) {
						t.Errorf("left %v, want %v", left, c.leftovers)
					}
					if r.Duration <= 0 || r.Duration > patience/2 {
						t.Errorf("it took %s", r.Duration)
					}
					picture := func(r hooks.Result) string {
						return fmt.Sprintf("%d %s timed out: %v %q", r.ExitCode, r.Signal, r.TimedOut, r.Tail)
					}
					if got, want := picture(r), picture(c.want); got != want {
						t.Errorf("got  %s\nwant %s", got, want)
					}
					switch {
					case c.want.OK() != (err == nil):
						t.Errorf("the error is %v", err)
					case err != nil && !strings.HasSuffix(err.Error(), c.failure):
						t.Errorf("the error is %q, want …%q", err, c.failure)
					}
					runningWell(t)
				})
			}
		})
	}
}

// Both runners limit what one script puts into the journal. A process group's last lines are kept all the same; a
// unit's, which journald drops, are not, and both the warning and the error say so.
func testFlood(t *testing.T) {
	runner, logs := unitRunner(t)
	r, err := hooks.Run(t.Context(), runner, hook(t, "#!/bin/bash\nprintf -v line '%*s' 999 ''\nyes \"${line// /x}\" | head -n 50000\necho the end >&2\nexit 3"), hooks.Enforce, nil)
	const missing = "wrote more at its end than the journal takes: its last lines may be missing there"
	if err == nil || r.ExitCode != 3 || !strings.HasSuffix(err.Error(), "its last line: (it "+missing+")") {
		t.Errorf("the error is %v", err)
	}
	if logs.FilterMessageSnippet(missing).Len() != 1 {
		t.Errorf("no warning: %v", logs.All())
	}
	runningWell(t)
}

// runningWell says that no failed unit is left.
func runningWell(t *testing.T) {
	t.Helper()
	if out, _ := exec.Command("systemctl", "is-system-running").Output(); string(out) != "running\n" {
		failed, _ := exec.Command("systemctl", "--failed", "--plain").Output()
		t.Errorf("the system is %s%s", out, failed)
	}
}

// A script that cannot be run at all has the same diagnostics code, and names what is missing.
func testBothRunnersRefuse(t *testing.T) {
	for _, c := range []struct {
		name, script string
		change       func(s *hooks.Script)
		code         int
		is           error
		says         string
	}{
		{"no interpreter", "#!/opt/nowhere/ruby\n", nil, hooks.ScriptNotExecutable, fs.ErrNotExist, "/opt/nowhere/ruby"},
		{"no program", "\x7fELF nonsense", nil, hooks.ScriptNotExecutable, nil, "hook.sh"},
		{"no directory", "#!/bin/sh\n", func(s *hooks.Script) { s.Dir = "/nowhere" }, hooks.ScriptNotExecutable, fs.ErrNotExist, "scripts/hook.sh"},
		{"a directory closed to the user", "#!/bin/sh\n", func(s *hooks.Script) { s.RunAs, s.Dir = "nobody", "/root" }, hooks.ScriptNotExecutable, fs.ErrPermission, "scripts/hook.sh"},
		{"no user", "#!/bin/sh\n", func(s *hooks.Script) { s.RunAs = "no-such-user" }, hooks.UnknownError, nil, "cannot run it as user no-such-user"},
		{"no ID", "#!/bin/sh\n", func(s *hooks.Script) { s.ID = "" }, hooks.UnknownError, nil, "it has no ID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, _ := unitRunner(t)
			g := &hooks.ProcessGroups{}
			defer g.Close()
			for _, runner := range []hooks.Runner{g, u} {
				s := hook(t, c.script)
				if c.change != nil {
					c.change(&s)
				}
				_, err := hooks.Run(t.Context(), runner, s, hooks.Enforce, nil)
				f, ok := errors.AsType[*hooks.Failure](err)
				if !ok || f.Code != c.code || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%T: %v", runner, err)
				}
				t.Logf("%T: %v", runner, err)
			}
			runningWell(t)
		})
	}
}

// What a script is to see read-only it cannot change, by whatever path; what is its own among that it can, and one that
// mounts something mounts it for the machine.
// linkToNowhere is a link that leads nowhere.
func linkToNowhere(t testing.TB) string {
	link := filepath.Join(t.TempDir(), "app")
	if err := os.Symlink("/nowhere", link); err != nil {
		t.Fatal(err)
	}
	return link
}

// A script finds the new release at the link, whose real path it is. The machine does not, and nobody removes the link. What
// was live can be read at its own path, and is safe.
func testTheLinkOfAScript(t *testing.T) {
	u, _ := unitRunner(t)
	run := func(text, user string, change func(*hooks.Script)) (dir, link string, err error) {
		s := hook(t, text)
		dir = filepath.Dir(s.File)
		for _, name := range []string{"releases/live", "releases/next"} {
			at := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(at, 0o777), os.Chmod(at, 0o777), os.WriteFile(filepath.Join(at, "file"), []byte(name), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		link = filepath.Join(dir, "app")
		if err := os.Symlink(filepath.Join(dir, "releases/live"), link); err != nil {
			t.Fatal(err)
		}
		s.Link, s.Shown, s.RunAs = link, filepath.Join(dir, "releases/next"), user
		s.ReadOnly, s.Writable = []string{filepath.Join(dir, "releases")}, []string{s.Shown}
		s.Env = append(s.Env, "LINK="+link)
		if change != nil {
			change(&s)
		}
		_, err = hooks.Run(t.Context(), u, s, hooks.Enforce, nil)
		return dir, link, err
	}
	is := func(what, file, want string) {
		t.Helper()
		if text, err := os.ReadFile(file); string(text) != want {
			t.Errorf("%s: %q (%v), want %q", what, text, err, want)
		}
	}
	for _, user := range []string{"", "nobody"} {
		dir, link, err := run(`#!/bin/bash
set -e
test "$(cat "$LINK/file")" = releases/next
test "$(readlink -f "$LINK")" = "${LINK%/*}/releases/next"
cd "$LINK"
rm -rf "$LINK"/*
echo "built by $(id -un)" >built
test "$(pwd -P)" = "${LINK%/*}/releases/next"
test "$(cat "${LINK%/*}/releases/live/file")" = releases/live
`, user, nil)
		if err != nil {
			t.Errorf("as %q: %v", user, err)
		}
		is("at the machine's link", filepath.Join(link, "file"), "releases/live")
		is("built", filepath.Join(dir, "releases/next/built"), "built by "+map[string]string{"": "root", "nobody": "nobody"}[user]+"\n")
	}
	for _, moves := range []string{`rm -rf "$LINK"`, `ln -sfn /tmp "$LINK"`, `mv "$LINK" "$LINK.old"`} {
		_, link, err := run("#!/bin/bash\nset -e\n"+moves+"\n", "", nil)
		if err == nil || !strings.Contains(err.Error(), "Device or resource busy") {
			t.Errorf("%s: %v", moves, err)
		}
		is(moves, filepath.Join(link, "file"), "releases/live")
	}
	// A process that a script leaves behind holds up no flip, and finds what is live after it.
	dir, link, err := run("#!/bin/bash\nset -e\n(cd /; until test -e \"$LINK/go\"; do sleep 0.02; done; cat \"$LINK/file\" >\"${LINK%/*}/seen\") >/dev/null 2>&1 &\n", "", nil)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Join(dir, "later"), 0o755), os.WriteFile(filepath.Join(dir, "later/file"), []byte("later"), 0o644),
			os.Symlink(filepath.Join(dir, "later"), link+".new"), os.Rename(link+".new", link), os.WriteFile(filepath.Join(dir, "later/go"), nil, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "what was left behind sees the flip", func() bool { b, _ := os.ReadFile(filepath.Join(dir, "seen")); return string(b) == "later" })

	// Two kinds of scripts want the machine's, and without a link there is none.
	for _, own := range []string{"# usher: live\n", "# usher: mounts\n"} {
		if _, _, err := run("#!/bin/bash\nset -e\n"+own+"test \"$(cat \"$LINK/file\")\" = releases/live\n", "", nil); err != nil {
			t.Errorf("%q: %v", own, err)
		}
	}
	if _, _, err := run("#!/bin/bash\nset -e\ntest ! -e \"$LINK\"\n", "", func(s *hooks.Script) { _ = os.Remove(s.Link) }); err != nil {
		t.Errorf("without a link: %v", err)
	}
	runningWell(t)
}

// BenchmarkScript is what a script of nothing costs as a unit, with what is live read-only, and with a link of its own: go test
// ./agent/runner -run '^$' -bench Script. Who mounts the link is this test, which is slower to start than usher.
func BenchmarkScript(b *testing.B) {
	if !box.Within(b) {
		return
	}
	u, _ := unitRunner(b)
	link := linkToNowhere(b)
	for _, c := range []struct {
		name   string
		change func(s *hooks.Script)
	}{
		{"unit", func(*hooks.Script) {}},
		{"read-only", func(s *hooks.Script) { s.ReadOnly = []string{"/srv"} }},
		{"with a link", func(s *hooks.Script) { s.ReadOnly, s.Link, s.Shown = []string{"/srv"}, link, s.Dir }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				s := hook(b, "#!/bin/sh\n:\n")
				c.change(&s)
				if _, err := hooks.Run(b.Context(), u, s, hooks.Enforce, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func testWhatIsLiveIsReadOnly(t *testing.T) {
	u, _ := unitRunner(t)
	run := func(text string) (string, error) {
		s := hook(t, text)
		dir := filepath.Dir(s.File)
		for _, name := range []string{"releases/live", "releases/next", "base", "mounted", "elsewhere"} {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name, "file"), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(dir, "releases/live"), filepath.Join(dir, "app")); err != nil {
			t.Fatal(err)
		}
		s.ReadOnly = []string{filepath.Join(dir, "releases"), filepath.Join(dir, "base"), filepath.Join(dir, "missing")}
		s.Writable = []string{filepath.Join(dir, "releases/next"), filepath.Join(dir, "releases/next.bundle")}
		_, err := hooks.Run(t.Context(), u, s, hooks.Enforce, nil)
		return dir, err
	}
	content := func(dir, name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name, "file"))
		return string(b)
	}
	for _, destroys := range []string{"rm -rf app/*", "rm -rf base/file", "echo x >app/file", "chown -R daemon app/", "cd app && mkdir node_modules", "touch releases/new"} {
		dir, err := run("#!/bin/bash\nset -e\n" + destroys + "\n")
		if err == nil || !strings.Contains(err.Error(), "Read-only file system") {
			t.Errorf("%s: the error is %v", destroys, err)
		}
		if content(dir, "releases/live") != "releases/live" || content(dir, "base") != "base" {
			t.Errorf("%s: what is live was changed", destroys)
		}
	}
	dir, err := run("#!/bin/bash\nset -e\necho built >releases/next/file\necho there >elsewhere/file\ncat app/file\n")
	if err != nil || content(dir, "releases/next") != "built\n" || content(dir, "elsewhere") != "there\n" {
		t.Errorf("%v: it wrote %q and %q", err, content(dir, "releases/next"), content(dir, "elsewhere"))
	}
	for _, mounts := range []string{"mount --bind base mounted\n", "# usher: mounts\nM=mount\n$M --bind base mounted\n"} {
		dir, err = run("#!/bin/bash\nset -e\n" + mounts)
		if err != nil || content(dir, "mounted") != "base" {
			t.Errorf("%q: %v: the machine sees %q", mounts, err, content(dir, "mounted"))
		}
		_ = unix.Unmount(filepath.Join(dir, "mounted"), 0)
	}
	runningWell(t)
}

// Everything an operator may look for is on every line, and usher's own line about the script comes after.
func testUnitFields(t *testing.T) {
	u, _ := unitRunner(t)
	s := hook(t, "#!/bin/sh\necho hello")
	if _, err := hooks.Run(t.Context(), u, s, hooks.Enforce, nil); err != nil {
		t.Fatal(err)
	}
	all := entries(t, s)
	if len(all) != 1 {
		t.Fatalf("%d lines", len(all))
	}
	for name, value := range map[string]string{"MESSAGE": "hello", "SYSLOG_IDENTIFIER": "usher", "DEPLOYMENT_ID": "d-1", "REVISION": "s3://bucket/shop.zip",
		"RELEASE": "r-1", "APPLICATION": "shop", "DEPLOYMENT_GROUP": "production", "LIFECYCLE_EVENT": "AfterInstall", "HOOK_SCRIPT": "scripts/hook.sh",
		"HOOK_OUTPUT": "true", "MESSAGE_ID": systemd.MessageScriptOutput, "PRIORITY": "6"} {
		if all[0][name] != value {
			t.Errorf("%s=%v, want %s", name, all[0][name], value)
		}
	}
}

// The service is restarted in the middle of a script: it runs once, and the successor has its result. The
// deployment's time is up in the middle of a script: it is stopped.
func testRestartInTheMiddle(t *testing.T) {
	s := hook(t, "#!/bin/sh\necho run >>runs\nuntil [ -e go ]; do sleep 0.05; done\necho done\nexit 9")
	argv := []string{"/bin/sh", s.File}
	started := func() bool { _, err := os.Stat(filepath.Join(s.Dir, "runs")); return err == nil }

	u, _ := unitRunner(t)
	ctx, stop := context.WithCancelCause(t.Context())
	go func() { waitUntil(t, "the script runs", started); stop(errors.New("terminated signal received")) }()
	_, err := u.Run(ctx, s, argv, nil)
	if !stopped(ctx, err) {
		t.Fatalf("the error is %v", err)
	}
	u.close()

	successor, logs := unitRunner(t)
	time.AfterFunc(100*time.Millisecond, func() { _ = os.WriteFile(filepath.Join(s.Dir, "go"), nil, 0o600) })
	r, err := successor.Run(t.Context(), s, argv, nil)
	if err != nil || r.ExitCode != 9 || !slices.Equal(r.Tail, []string{"done"}) {
		t.Errorf("%+v and %v", r, err)
	}
	if runs, _ := os.ReadFile(filepath.Join(s.Dir, "runs")); string(runs) != "run\n" {
		t.Errorf("it ran %q", runs)
	}
	if n := logs.FilterMessageSnippet("is not started again").Len(); n != 1 {
		t.Errorf("said %d times: %v", n, logs.All())
	}

	// Its deployment is not taken up: the next script ends it.
	orphan := hook(t, "#!/bin/sh\necho $$ >pid\nsleep 600")
	ctx, stop = context.WithCancelCause(t.Context())
	pid := func() string {
		b, _ := os.ReadFile(filepath.Join(orphan.Dir, "pid"))
		return strings.TrimSpace(string(b))
	}
	go func() {
		waitUntil(t, "the orphan runs", func() bool { return pid() != "" })
		stop(errors.New("restart"))
	}()
	_, _ = successor.Run(ctx, orphan, []string{"/bin/sh", orphan.File}, nil)
	if _, err := os.Stat("/proc/" + pid()); err != nil {
		t.Errorf("the orphan did not go on: %v", err)
	}
	next := hook(t, "#!/bin/sh\n")
	if _, err := hooks.Run(t.Context(), successor, next, hooks.Enforce, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/proc/" + pid()); err == nil {
		t.Errorf("the orphan still runs")
	}

	late := hook(t, "#!/bin/sh\necho $$ >pid\nsleep 600")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := successor.Run(ctx, late, []string{"/bin/sh", late.File}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	b, _ := os.ReadFile(filepath.Join(late.Dir, "pid"))
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(b))); err == nil {
		t.Error("a script whose time is up still runs")
	}
	runningWell(t)
}
