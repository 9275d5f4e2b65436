//go:build linux && !developer

package hooks_test

import (
	"errors"
	"strings"
	"testing"

	"usher/hooks"
)

// What the Korn shells tell of errexit, and what is said where a shell tells nothing.

// lib is a file of the revision that scripts read.
var lib = map[string]string{"scripts/lib.sh": "load() {\n  false\n  echo never\n}\nload\n"}

func TestErrexitEndedInKsh(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		name, script string
		want         string // "" when it was not errexit
	}{
		{"a command", "echo start\nPID=$(pgrep -f nothing-of-that-name-runs)\necho never", "scripts/a.sh:3, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1"},
		{"its own set -e", "set -eu\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"a function", "f() {\n  sh -c 'exit 7'\n  echo never\n}\nf\n", "scripts/a.sh:3, where `sh -c 'exit 7'` had status 7"},
		{"a branch of a loop", "for i in 1 2 3; do\n  if [ $i = 2 ]; then\n    grep -q x /dev/null\n  fi\ndone\n", "scripts/a.sh:4, where `grep -q x /dev/null` had status 1"},
		{"its errors go nowhere", "exec 2>/dev/null >/dev/null\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"an EXIT trap of its own", "trap 'echo bye; rm -f lock' EXIT\nfalse\n", "scripts/a.sh:3, where `false` had status 1"},
		{"exit", "set -e\nfalse || exit 3\n", ""},
		{"failures that are caught", "if false; then :; fi\nfalse || true\n! true\n[ a = b ] || exit 5\n", ""},
		{"switched off", "set +e\nfalse\nexit 1\n", ""},
		{"the last command, though -e is off", "set +e\nfalse\n", ""},
		{"an ERR trap of its own", "trap 'echo mine' ERR\nf() { false; }\nf\n", ""},
		// Of these the line is another than LINENO's: nothing is better than that.
		{"a pipeline", "true\necho a |\n  grep -q b\n", ""},
		{"a subshell", "(\n  cd /\n  sh -c 'exit 4'\n  true\n)\n", ""},
		{"a test", "true\n[[ -e /nowhere ]]\n", ""},
		{"a file that is read", ". ./scripts/lib.sh\ntouch built\n", ""},
	} {
		for _, shell := range []string{"ksh93", "mksh"} {
			t.Run(c.name+"/"+shell, func(t *testing.T) {
				needs(t, shell)
				r, err := run(t, revision(t, "#!/usr/bin/env "+shell+"\n"+c.script, lib), hooks.Enforce)
				got := ""
				if r.Errexit != nil {
					got = r.Errexit.String()
				}
				if got != c.want {
					t.Errorf("got  %s\nwant %s\n%v", got, c.want, err)
				}
				if c.want != "" && !strings.Contains(err.Error(), ": errexit (-e) ended it at "+c.want) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

// What a script sees of itself is the same with the trap and without, but for the c in $-.
func TestTraceIsTransparentToKsh(t *testing.T) {
	const script = `set -u
echo "0=$0 line=$LINENO args=$# env=${ENV-unset} ${BASH_ENV-unset}"
f() { echo "in f at $LINENO"; false; echo "status $?"; }
function g { typeset x=1; false; echo "status $? $0"; }
set +e
f
g
(f)
echo "$(f)"
f 2>/dev/null | cat
false; echo $?
trap 'echo bye $?' EXIT
trap | grep -v ERR
ls /proc/self/fd | wc -l
env | grep -v '^_=' | sort
export X=1
alias ll=ls; type ll >/dev/null && echo alias
exec 2>&1
cd /
pwd
exit 9
tar archive that no shell reads ((
`
	for _, shell := range []string{"ksh93", "mksh"} {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			s := revision(t, "#!/usr/bin/env "+shell+"\n"+script, nil)
			var lines [2][]string
			for i, p := range []hooks.Policy{hooks.Off, hooks.Report} {
				g := &hooks.ProcessGroups{}
				r, err := hooks.Run(t.Context(), g, s, p, func(stream, text string) { lines[i] = append(lines[i], stream+": "+text) })
				g.Close()
				if f := (*hooks.Failure)(nil); !errors.As(err, &f) || f.Result.ExitCode != 9 {
					t.Fatal(err)
				}
				if p == hooks.Report && len(r.WouldEnd) > 0 {
					t.Errorf("it has switched -e off: %v", r.WouldEnd)
				}
			}
			if a, b := strings.Join(lines[0], "\n"), strings.Join(lines[1], "\n"); a != b {
				t.Errorf("without:\n%s\nwith:\n%s", a, b)
			}
		})
	}
}

// Under report the Korn shells say where enforce would have ended a script.
func TestErrexitReportInKsh(t *testing.T) {
	for _, c := range []struct {
		name, script string
		want         []string
		code         int
	}{
		{"two of them, one in a loop", "PID=$(pgrep -f nothing-of-that-name-runs)\nfor i in 1 2 3; do\n  [ $i = 2 ]\ndone\necho end\n",
			[]string{"scripts/a.sh:2, where `PID=$(pgrep -f nothing-of-that-name-runs)` had status 1", "scripts/a.sh:4, where `[ $i = 2 ]` had status 1"}, 0},
		{"a condition", "if grep -q nothing /dev/null; then :; fi\nfalse || true\n", nil, 0},
		{"set -e of its own", "set -e\nfalse\n", nil, 1},
		{"the last command", "false\n", []string{"scripts/a.sh:2, where `false` had status 1"}, 1},
		{"exit", "exit 3\n", nil, 3},
	} {
		for _, shell := range []string{"ksh93", "mksh"} {
			t.Run(c.name+"/"+shell, func(t *testing.T) {
				needs(t, shell)
				r, err := run(t, revision(t, "#!/usr/bin/env "+shell+"\n"+c.script, nil), hooks.Report)
				reports(t, r, err, c.want, c.code)
			})
		}
	}
}

// A shell that does not tell: the failure names what fails in normal operation, with the status that it had.
func TestErrexitSuspects(t *testing.T) {
	for _, shell := range []string{"dash", "mksh"} {
		t.Run(shell, func(t *testing.T) {
			needs(t, shell)
			more := ""
			if shell == "mksh" {
				more = ". ./scripts/lib.sh || true\n" // it does not say in which file it is
			}
			s := revision(t, "#!/usr/bin/env "+shell+"\n"+more+"echo start\ngetent passwd root\nPID=$(pgrep -f nothing-of-that-name-runs)\necho never\n", lib)
			_, err := run(t, s, hooks.Enforce)
			want := "; perhaps errexit (-e) ended it, which its shell does not tell: line 4, `pgrep -f nothing-of-that-name-runs`"
			if more != "" {
				want = strings.Replace(want, "line 4", "line 5", 1)
			}
			if err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%v\nwant %s", err, want)
			}
		})
	}
}
