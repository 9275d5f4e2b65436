//go:build linux && !developer

package hooks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/hooks"
)

// revision writes a revision's files, and returns the script in it.
func revision(t *testing.T, script string, more map[string]string) hooks.Script {
	t.Helper()
	dir := t.TempDir()
	for name, text := range more {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := hooks.Script{ID: strings.ReplaceAll(t.Name(), "/", "-"), Event: "AfterInstall", Location: "scripts/a.sh", File: filepath.Join(dir, "scripts/a.sh"), Dir: dir,
		Env: []string{"PATH=" + hooks.DefaultPath}}
	if err := os.WriteFile(s.File, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func needs(t *testing.T, shells ...string) {
	t.Helper()
	for _, shell := range shells {
		if _, err := exec.LookPath(shell); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", shell)
			}
			t.Skipf("%s is not installed", shell)
		}
	}
}

// TestErrexitEnded: what the failure of a script says that -e has ended.
func TestErrexitEnded(t *testing.T) {
	needs(t, "bash")
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		name, script string
		want         string // "" when it was not errexit
	}{
		{"a command", "#!/bin/bash\necho start\nPID=$(pgrep -f nothing-of-that-name-runs)\necho never", "scripts/a.sh:3, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1"},
		{"its own set -e", "#!/bin/bash\nset -euo pipefail\nfalse | true\n", "scripts/a.sh:3, where `false | true` had status 1"},
		{"a function", "#!/bin/bash\nf() {\n  local x=1\n  (exit 7)\n  echo never\n}\nf\n", "scripts/a.sh:4, where `( exit 7 )` had status 7"},
		{"a subshell", "#!/bin/bash\n(\n  cd /\n  (exit 4)\n  true\n)\n", "scripts/a.sh:4, where `( exit 4 )` had status 4"},
		{"a file that is sourced", "#!/bin/bash\n. ./scripts/runtime.sh\ntouch built\n", "scripts/runtime.sh:2, where `default=$(cat ./no-default 2> /dev/null)` had status 1"},
		{"its errors go nowhere", "#!/bin/bash\nexec 2>/dev/null >/dev/null\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"an EXIT trap of its own", "#!/bin/bash\ntrap 'echo bye; rm -f lock' EXIT\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"xtrace", "#!/bin/bash\nset -x\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"through env", "#!/usr/bin/env bash\nfalse\n", "scripts/a.sh:2, where `false` had status 1"},
		{"a long command", "#!/bin/bash\nfalse " + strings.Repeat("y", 200) + "\n", "scripts/a.sh:2, where `false " + strings.Repeat("y", 114) + " ...` had status 1"},
		{"a function that ends with a test", "#!/bin/bash\nlog() { [ -n \"$DEBUG\" ] && echo \"$@\"; }\nlog start\n", "scripts/a.sh:3, where `log start` had status 1"},
		{"a function that returns it", "#!/bin/bash\nretry() {\n  \"$@\" || return 3\n}\necho; retry false\n", "scripts/a.sh:5, where `retry false` had status 3"},
		{"an alias", "#!/bin/bash\nshopt -s expand_aliases\nalias ll='ls -l'\nll /nonexistent\n", "scripts/a.sh:4, where `ll /nonexistent` had status 2"},
		{"on several lines", "#!/bin/bash\ntrue\nls \\\n  /nonexistent \\\n  /other\n", "scripts/a.sh:3, where `ls /nonexistent /other` had status 2"},
		{"a pipeline on several lines", "#!/bin/bash\nset -o pipefail\nls /nonexistent |\n  sort |\n  head -1\n", "scripts/a.sh:3, where `ls /nonexistent | ...` had status 2"},
		{"the end of a pipeline", "#!/bin/bash\nseq 2 | while read -r n; do\n  [ $n = 2 ]\ndone\n", "scripts/a.sh:3, where `[ $n = 2 ]` had status 1"},
		{"a file that is sourced from where the script has gone", "#!/bin/bash\ncd scripts\n. ./runtime.sh\n", "scripts/runtime.sh:2, where `default=$(cat ./no-default 2> /dev/null)` had status 1"},
		{"a function whose options were its own", "#!/bin/bash\nf() {\n  local -\n  set +e\n  false\n  true\n}\nf\nfalse\n", "scripts/a.sh:9, where `false` had status 1"},
		{"behind a $(...) of several lines, which bash counts twice", "#!/bin/bash\nf() {\n  echo f\n}\n(\n  x=$(\n    f\n    for i in 1 2; do\n      (exit 4)\n    done\n  )\n)\ncase $# in 0)\n  f\n  ;;\nesac\n", "scripts/a.sh:6, where `x=$(f ...` had status 4"},
		{"within a $(...) of several lines", "#!/bin/bash\nset -o posix; set -e\nx=$(\n  echo 1\n  # two\n  # lines\n  (exit 4)\n  echo 2\n)\necho 3\necho 4\necho 5\necho 6\n", "scripts/a.sh:7, where `( exit 4 )` had status 4"},
		{"a group at the end of a pipeline", "#!/bin/bash\nf() {\n  (exit 3)\n}\ntrue | {\n  f && true\n}\n", "scripts/a.sh:5, where `true | { ...` had status 3"},
		{"behind a pipeline that nobody asks", "#!/bin/bash\n{\n  false\n  true\n} | cat\nexport A=1\nls /nonexistent | grep none\n", "scripts/a.sh:7, where `ls /nonexistent | grep none` had status 1"},
		{"in an EXIT trap, whose lines nobody knows", "#!/bin/bash\ntrap 'false; echo after' EXIT\ntrue\n", ""},
		{"exit", "#!/bin/bash\nset -e\nfalse || exit 3\n", ""},
		{"failures that are caught", "#!/bin/bash\nif false; then :; fi\nfalse || true\n! true\nx=$(false; true)\n[ a = b ] || exit 5\n", ""},
		{"switched off", "#!/bin/bash\nset +e\nfalse\nexit 1\n", ""},
		{"an ERR trap of its own", "#!/bin/bash\ntrap 'echo mine' ERR\nf() { false; }\nf\n", ""},
		{"the last command, though -e is off", "#!/bin/bash\nset +e\nfalse\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := revision(t, c.script, map[string]string{"scripts/runtime.sh": "runtime_auto() {\n  default=$(cat ./no-default 2>/dev/null)\n  [ -n \"$default\" ] || return 3\n}\nruntime_auto\n"})
			r, err := run(t, s, hooks.Enforce)
			got := ""
			if r.Errexit != nil {
				got = r.Errexit.String()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if c.want != "" && !strings.Contains(fmt.Sprint(err), ": errexit (-e) ended it at "+c.want) {
				t.Errorf("the failure says: %v", err)
			}
			if _, err := run(t, s, hooks.Off); strings.Contains(fmt.Sprint(err), "errexit") {
				t.Errorf("off says %v", err)
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "usher-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func run(t *testing.T, s hooks.Script, p hooks.Policy) (hooks.Result, error) {
	t.Helper()
	g := &hooks.ProcessGroups{}
	t.Cleanup(g.Close)
	r, err := hooks.Run(t.Context(), g, s, p, nil)
	if f := (*hooks.Failure)(nil); err != nil && !errors.As(err, &f) {
		t.Fatal(err)
	}
	return r, err
}

// bashAsSh is a link of the name sh that leads to bash, as on Amazon Linux.
func bashAsSh(t *testing.T) string {
	t.Helper()
	needs(t, "bash")
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	sh := filepath.Join(t.TempDir(), "sh")
	if err := os.Symlink(bash, sh); err != nil {
		t.Fatal(err)
	}
	return sh
}

// sh that is bash: told too, and still POSIX.
func TestErrexitEndedInSh(t *testing.T) {
	sh := bashAsSh(t)
	s := revision(t, "#!"+sh+"\ncase $SHELLOPTS in *posix*) echo posix $BASH;; esac\nfalse\n", nil)
	r, err := run(t, s, hooks.Enforce)
	if r.Errexit == nil || r.Errexit.String() != "scripts/a.sh:3, where `false` had status 1" || strings.Join(r.Tail, " ") != "posix "+sh {
		t.Errorf("%v: %v, %q", err, r.Errexit, r.Tail)
	}
}

// There $(...) has -e too, and a failure within it is one at which the script would have ended.
func TestErrexitReportInSh(t *testing.T) {
	sh := bashAsSh(t)
	s := revision(t, "#!"+sh+"\nx=$(false; echo 1)\nf() {\n  false\n  echo 1\n}\ny=$(f)\nf | cat\necho end\n", nil)
	r, err := run(t, s, hooks.Report)
	reports(t, r, err, []string{"scripts/a.sh:2, where `false` had status 1", "scripts/a.sh:4, where `false` had status 1"}, 0)
	if r, _ := run(t, s, hooks.Enforce); r.Errexit == nil || r.Errexit.String() != "scripts/a.sh:2, where `false` had status 1" {
		t.Errorf("%v", r.Errexit)
	}
}

// Only the trap itself shows: what a script sees of itself is the same with it and without.
func TestTraceIsTransparent(t *testing.T) {
	needs(t, "bash")
	script := `#!/bin/bash -u
echo "0=$0 source=${BASH_SOURCE[*]} depth=${#BASH_SOURCE[@]} functions=${FUNCNAME[*]-} line=$LINENO args=$# last=$_ env=${BASH_ENV-unset}"
f() { echo "in ${FUNCNAME[*]} at $LINENO from ${BASH_LINENO[*]}"; caller; false; echo "status $? of ${PIPESTATUS[*]}"; }
set +e
f
(f)
echo "$(f)"
f 2>/dev/null | cat
false; echo $? "${PIPESTATUS[@]}"; false | true; echo "${PIPESTATUS[@]}"
trap 'echo bye $? $LINENO' EXIT
trap -p EXIT
ls /proc/self/fd | wc -l
env | grep -v '^_=' | sort
return 2>/dev/null || echo no return here
exec 2>&1
set -x
false
set +x
bash -c 'false; echo ${BASH_ENV-unset} $- $(trap)'
exit 9
`
	s := revision(t, script, nil)
	var lines [2][]string
	for i, p := range []hooks.Policy{hooks.Off, hooks.Report} {
		g := &hooks.ProcessGroups{}
		_, err := hooks.Run(t.Context(), g, s, p, func(stream, text string) { lines[i] = append(lines[i], stream+": "+text) })
		g.Close()
		if f := (*hooks.Failure)(nil); !errors.As(err, &f) || f.Result.ExitCode != 9 {
			t.Fatal(err)
		}
	}
	if a, b := strings.Join(lines[0], "\n"), strings.Join(lines[1], "\n"); a != b {
		t.Errorf("without:\n%s\nwith:\n%s", a, b)
	}
}

// What the shell's own options show of a script does not show the trap.
func TestTraceIsNotShown(t *testing.T) {
	needs(t, "bash")
	for _, options := range []string{"-x", "-v", "-xv", "--verbose", "-o verbose"} {
		s := revision(t, "#!/bin/bash "+options+"\necho a\nfalse\n", nil)
		if strings.Contains(options, " ") {
			s = revision(t, "#!/usr/bin/env -S bash "+options+"\necho a\nfalse\n", nil)
		}
		off, _ := run(t, s, hooks.Off)
		for _, p := range []hooks.Policy{hooks.Enforce, hooks.Report} {
			if with, _ := run(t, s, p); len(off.Tail) == 0 || !slices.Equal(slices.Sorted(slices.Values(with.Tail)), slices.Sorted(slices.Values(off.Tail))) {
				t.Errorf("%s, %v: %q, and with the trap %q", options, p, off.Tail, with.Tail)
			}
		}
	}
}

// Under report scripts run to their end, and say where enforce would have ended them.
func TestErrexitReport(t *testing.T) {
	needs(t, "bash")
	for _, c := range []struct {
		name, script string
		want         []string
		code         int
	}{
		{"two of them, one in a loop", "#!/bin/bash\nPID=$(pgrep -f nothing-of-that-name-runs)\nfor i in 1 2 3; do\n  [ $i = 2 ]\ndone\necho end\n",
			[]string{"scripts/a.sh:2, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1", "scripts/a.sh:4, where `[ $i = 2 ]` had status 1"}, 0},
		{"set +e is the script's own way out", "#!/bin/bash\nset +e\nfalse\nset -e\necho end\n", nil, 0},
		{"a group in parentheses", "#!/bin/bash\n(false; true)\n", []string{"scripts/a.sh:2, where `false` had status 1"}, 0},
		{"within $(...)", "#!/bin/bash\nx=$(\n  false\n  echo 1\n)\n", nil, 0},
		{"a function within $(...)", "#!/bin/bash\nf() {\n  false\n  echo 1\n}\nx=$(f)\necho \"$(f)\"\n", nil, 0},
		{"a function that fails within $(...)", "#!/bin/bash\nf() {\n  echo 1\n  false\n}\nx=$(f)\necho end\n", []string{"scripts/a.sh:6, where `x=$(f)` had status 1"}, 0},
		{"what nobody waits for", "#!/bin/bash\nmapfile -t a < <(false; echo 1)\ncat <<END\n$(false)\nEND\n{ false; true; } &\nwait\ncat <(false)\ncoproc { false; }\nwait $!\necho end\n",
			[]string{"scripts/a.sh:10, where `wait $!` had status 1"}, 0},
		{"in a pipeline", "#!/bin/bash\nf() {\n  false\n  echo 1\n}\nf | cat\n{ false; true; } | cat\n", nil, 0},
		{"in a pipeline, with pipefail", "#!/bin/bash\nset -o pipefail\nf() {\n  false\n  echo 1\n}\nf | cat\n", []string{"scripts/a.sh:4, where `false` had status 1"}, 0},
		{"at the end of a pipeline", "#!/bin/bash\necho |\n  (false; true)\n", []string{"scripts/a.sh:3, where `false` had status 1"}, 0},
		{"a function that ends with it, and one that calls it", "#!/bin/bash\nf() {\n  (exit 4)\n}\ng() {\n  f\n  echo 1\n}\ng\n", []string{"scripts/a.sh:3, where `( exit 4 )` had status 4"}, 0},
		{"the same function twice, with another failure", "#!/bin/bash\nf() {\n  (exit $1)\n}\nf 4\nf 5\nfalse\n", []string{"scripts/a.sh:3, where `( exit $1 )` had status 4", "scripts/a.sh:7, where `false` had status 1"}, 1},
		{"in its own depths", "#!/bin/bash\nf() {\n  if [ $1 = 0 ]; then return 4; fi\n  f $(($1-1))\n}\nf 200\ntrue\n", []string{"scripts/a.sh:4, where `f $(($1-1))` had status 4"}, 0},
		{"set +e around what is read", "#!/bin/bash\nset +e\n. scripts/lib.sh\nset -e\nset +e\nlib\nset -e\n", nil, 0},
		{"set +e around functions", "#!/bin/bash\nf() {\n  false\n  true\n}\nset +e\nf\nset -e\n", nil, 0},
		{"a function whose failure is what is wanted", "#!/bin/bash\nf() {\n  false\n  false\n}\n! f\n! { f; f; }\n", nil, 0},
		{"set +e within a function", "#!/bin/bash\nf() {\n  set +e\n  false\n  set -e\n}\nf\n", nil, 0},
		{"set +e within a function of one line", "#!/bin/bash\nf() { set +e; false; set -e; }\nf\n", nil, 0},
		{"set +e within a function that has options of its own", "#!/bin/bash\nf() {\n  local -\n  set +e\n  false\n  true\n}\nf\nfalse\necho end\n", []string{"scripts/a.sh:9, where `false` had status 1"}, 0},
		{"set +e within a subshell", "#!/bin/bash\n(\n  set +e\n  false\n  true\n)\n", nil, 0},
		{"what is read leaves it off", "#!/bin/bash\n. scripts/off.sh\nfalse\nf() {\n  false\n  true\n}\nf\n", nil, 0},
		{"what is read leaves it off, after a failure", "#!/bin/bash\nfalse\n. scripts/off.sh\nfalse\ntrue\n", []string{"scripts/a.sh:2, where `false` had status 1"}, 0},
		{"set +e in what is read", "#!/bin/bash\n. scripts/island.sh\n", nil, 0},
		{"what is read", "#!/bin/bash\n. scripts/lib.sh\nlib\n", []string{"scripts/lib.sh:1, where `false` had status 1", "scripts/lib.sh:3, where `false` had status 1"}, 0},
		{"a condition", "#!/bin/bash\nif grep -q nothing /dev/null; then :; fi\nfalse || true\n", nil, 0},
		{"set -e of its own", "#!/bin/bash\nset -e\nfalse\n", nil, 1},
		{"the last command", "#!/bin/bash\nfalse\n", []string{"scripts/a.sh:2, where `false` had status 1"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := run(t, revision(t, c.script, map[string]string{"scripts/lib.sh": "false\nlib() {\n  false\n  echo lib\n}\n", "scripts/island.sh": "set +e\nfalse\nset -e\n", "scripts/off.sh": "set +e\nif false; then . scripts/off.sh; fi\n"}), hooks.Report)
			reports(t, r, err, c.want, c.code)
		})
	}
}

// reports compares where enforce would have ended a script.
func reports(t *testing.T, r hooks.Result, err error, want []string, code int) {
	t.Helper()
	var got []string
	for _, f := range r.WouldEnd {
		got = append(got, f.String())
	}
	if !slices.Equal(got, want) || r.ExitCode != code {
		t.Errorf("exit %d, %v\n got %q\nwant %q", r.ExitCode, err, got, want)
	}
}

// A runner that takes up a script of the agent before it finds what that one's script has told.
func TestTraceOutlivesTheAgent(t *testing.T) {
	needs(t, "bash")
	if os.Geteuid() != 0 {
		t.Skip("only root has a runtime directory that nobody else writes to")
	}
	t.Setenv("RUNTIME_DIRECTORY", t.TempDir())
	s := revision(t, "#!/bin/bash\nfalse\n", nil)
	ctx, stop := context.WithCancelCause(t.Context())
	leaving := errors.New("the service is being stopped")
	_, err := hooks.Run(ctx, runnerFunc(func(s hooks.Script, argv []string) (hooks.Result, error) {
		r, err := (&hooks.ProcessGroups{}).Run(t.Context(), s, argv, nil)
		if err != nil || r.ExitCode != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		stop(leaving)
		return hooks.Result{}, leaving
	}), s, hooks.Enforce, nil)
	if !errors.Is(err, leaving) {
		t.Fatal(err)
	}
	r, _ := hooks.Run(t.Context(), runnerFunc(func(hooks.Script, []string) (hooks.Result, error) { return hooks.Result{ExitCode: 1}, nil }), s, hooks.Enforce, nil)
	if r.Errexit == nil || r.Errexit.Line != 2 {
		t.Errorf("%+v", r)
	}
	if left, err := os.ReadDir(os.Getenv("RUNTIME_DIRECTORY")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type runnerFunc func(s hooks.Script, argv []string) (hooks.Result, error)

func (f runnerFunc) Run(_ context.Context, s hooks.Script, argv []string, _ func(stream, text string)) (hooks.Result, error) {
	return f(s, argv)
}
