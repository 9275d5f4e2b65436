//go:build linux && !developer

package hooks_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/hooks"
)

// TestErrexit is a picture of what is said about a script. Every script has a `false` that should end
// it, and `echo survived` at its end: where the script goes on in its real shell, something must have
// been said, and where nothing is said it must have ended.
func TestErrexit(t *testing.T) {
	const none = "no `set -e` before this: when it fails, the script goes on; put `set -e` at the top"
	const late = "errexit is not on yet: when this fails, the script goes on; move `set -e` up from line "
	tests := []struct {
		name     string
		script   string
		want     []string
		survives bool
	}{
		// On from the start.
		{"set -e", "#!/bin/sh\nset -e\nfalse", nil, false},
		{"first line", "#!/bin/sh -e\nfalse", nil, false},
		{"first line with others", "#!/bin/bash -ue\nfalse", nil, false},
		{"first line through env", "#!/usr/bin/env -S bash -eu -o pipefail\nfalse | true", nil, false},
		{"first line with variables", "#!/usr/bin/env -S FOO=bar bash -e\nfalse", nil, false},
		{"long name", "#!/bin/sh\nset -o errexit\nfalse", nil, false},
		{"cluster", "#!/bin/bash\nset -Eeuo pipefail\nfalse", nil, false},
		{"cluster that ends in o", "#!/bin/bash\nset -uo errexit\nfalse", nil, false},
		{"several options", "#!/bin/bash\nset -u -o pipefail -o errexit\nfalse", nil, false},
		{"quoted", "#!/bin/sh\nset '-e'\nfalse", nil, false},
		{"builtin", "#!/bin/bash\nbuiltin set -e\nfalse", nil, false},
		{"command", "#!/bin/sh\ncommand set -e\nfalse", nil, false},
		{"shopt", "#!/bin/bash\nshopt -so errexit\nfalse", nil, false},
		{"in a block", "#!/bin/sh\n{ set -e; }\nfalse", nil, false},
		{"before &&", "#!/bin/sh\nset -e && set -u\nfalse", nil, false},
		{"with a redirection", "#!/bin/sh\nset -e 2>/dev/null\nfalse", nil, false},
		{"ksh", "#!/bin/ksh\nset -e\nfalse", nil, false},

		// What may stand before it.
		{"harmless first", "#!/bin/bash\n# a comment\nNAME=web; umask 022\nshopt -s nullglob\nexport A=1 B=\"$HOME\"\nreadonly C=3\n" +
			"f() { false; }\necho hello\n: ${X:=1}\ntrue\nset -u\nset -e\nfalse", nil, false},
		{"a condition first", "#!/bin/sh\nif [ -n \"$DEBUG\" ]; then set -x; fi\nset -e\nfalse", nil, false},
		{"a guarded command first", "#!/bin/sh\ncd /nowhere 2>/dev/null || echo no\nset -e\nfalse", nil, false},
		{"a redirected shell first", "#!/bin/sh\nexec 2>&1\nset -e\nfalse", nil, false},
		{"nothing that can fail", "#!/bin/sh\necho hello", nil, true},
		{"another program", "#!/bin/sh\nexec false", nil, false},

		// Not on.
		{"never", "#!/bin/sh\nfalse", []string{"2:1: " + none}, true},
		{"no first line", "echo start\nfalse", []string{"2:1: " + none}, true},
		{"first line of env", "#!/usr/bin/env bash\nfalse", []string{"2:1: " + none}, true},
		{"first line without e", "#!/bin/bash -u\nfalse", []string{"2:1: " + none}, true},
		{"a comment", "#!/bin/sh\n# set -e\nfalse # set -e", []string{"3:1: " + none}, true},
		{"a heredoc", "#!/bin/sh\ncat >/dev/null <<END\nset -e\nEND\nfalse", []string{"2:1: " + none}, true},
		{"a string", "#!/bin/sh\necho 'set -e\nset -e'\nfalse", []string{"4:1: " + none}, true},
		{"echoed", "#!/bin/sh\necho set -e\nfalse", []string{"3:1: " + none}, true},
		{"a function", "#!/bin/sh\nf() { set -e; }\nfalse", []string{"3:1: " + none}, true},
		{"a branch", "#!/bin/sh\nif [ -n \"$NOT_SET\" ]; then set -e; fi\nfalse", []string{"3:1: " + none}, true},
		{"after ||", "#!/bin/sh\ntrue || set -e\nfalse", []string{"3:1: " + none}, true},
		{"a subshell", "#!/bin/sh\n(set -e)\nfalse", []string{"3:1: " + none}, true},
		{"a pipeline", "#!/bin/sh\nset -e | cat\nfalse", []string{"2:10: " + none}, true},
		{"the background", "#!/bin/sh\nset -e &\nfalse", []string{"3:1: " + none}, true},
		{"a command substitution", "#!/bin/sh\nx=$(set -e)\nfalse", []string{"3:1: " + none}, true},
		{"arguments", "#!/bin/sh\nset -- -e\nfalse", []string{"3:1: " + none}, true},
		{"another option", "#!/bin/sh\nset -u\nfalse", []string{"3:1: " + none}, true},
		{"a loop", "#!/bin/sh\nfor x in; do set -e; done\nfalse", []string{"3:1: " + none}, true},
		{"late", "#!/bin/sh\nfalse\nset -e", []string{"2:1: " + late + "3"}, true},
		{"late, after cd", "#!/bin/sh\n\n  cd /nowhere 2>/dev/null\nset -e", []string{"3:3: " + late + "4",
			"3:3: warning: `cd /nowhere` throws its errors away, so it is expected to fail, and -e ends the script: write `cd /nowhere || true`"}, true},
		{"late, in an assignment", "#!/bin/sh\nX=$(false)\nset -e", []string{"2:1: " + late + "3"}, true},
		{"late, in a redirection", "#!/bin/bash\necho x 2>/dev/null >/nowhere/x\nset -e", []string{"2:1: " + late + "3"}, true},
		{"late, in a branch", "#!/bin/sh\nif true; then\n  false\nfi\nset -e", []string{"3:3: " + late + "5"}, true},
		{"late, a test", "#!/bin/bash\n[[ -f /nowhere ]]\nset -e", []string{"2:1: " + late + "3"}, true},
		{"late, arithmetic", "#!/bin/bash\n((0))\nset -e", []string{"2:1: " + late + "3"}, true},

		// On, and defeated.
		{"local", "#!/bin/bash\nset -e\nf() {\n  local x=$(false)\n}\nf",
			[]string{"4:9: warning: `local` hides the status of $(...) here: assign first, then local"}, true},
		{"export", "#!/bin/sh\nset -e\nexport X=$(false)",
			[]string{"3:8: warning: `export` hides the status of $(...) here: assign first, then export"}, true},
		{"quoted export", "#!/bin/bash\nset -e\nexport X=\"a $(false)\"",
			[]string{"3:8: warning: `export` hides the status of $(...) here: assign first, then export"}, true},
		{"declare", "#!/bin/bash\nset -e\ndeclare -r X=`false`",
			[]string{"3:12: warning: `declare` hides the status of $(...) here: assign first, then declare"}, true},
		{"readonly", "#!/bin/sh\nset -e\nreadonly X=$(false)",
			[]string{"3:10: warning: `readonly` hides the status of $(...) here: assign first, then readonly"}, true},
		{"typeset", "#!/bin/mksh\nset -e\ntypeset X=$(false)",
			[]string{"3:9: warning: `typeset` hides the status of $(...) here: assign first, then typeset"}, true},
		{"assigned, then exported", "#!/bin/sh\nset -e\nX=$(false)\nexport X", nil, false},
		{"export of what cannot fail", "#!/bin/sh\nset -e\nexport X=$(echo hello)\nfalse", nil, false},

		{"pipeline", "#!/bin/bash\nset -e\nfalse | true",
			[]string{"3:1: warning: only the last command of this pipeline counts: add `set -o pipefail`"}, true},
		{"pipelines", "#!/bin/bash\nset -e\nfalse | cat | cat\nx=$(false | cat)",
			[]string{"3:1: warning: only the last command of this pipeline counts: add `set -o pipefail` (and 1 more pipelines)"}, true},
		{"pipeline in sh", "#!/bin/sh\nset -e\nfalse | true",
			[]string{"3:1: warning: only the last command of this pipeline counts, and POSIX sh has no pipefail: use #!/bin/bash with `set -o pipefail`, or a file in between"}, true},
		{"pipeline in ksh", "#!/bin/mksh\nset -e\nset -o pipefail\nfalse | true", nil, false},
		{"pipefail later", "#!/bin/bash\nset -e\nfalse | true\nset -o pipefail",
			[]string{"3:1: warning: only the last command of this pipeline counts: add `set -o pipefail`"}, true},
		{"pipefail before a function is called", "#!/bin/bash\nf() { false | true; }\nset -eo pipefail\nf", nil, false},
		{"pipeline of what cannot fail", "#!/bin/sh\nset -e\necho hello | cat >/dev/null\nfalse", nil, false},

		{"set +e", "#!/bin/sh\nset -e\nset +e\nfalse",
			[]string{"3:1: warning: errexit is off from here to the end of the script"}, true},
		{"set +e and -e again", "#!/bin/sh\nset -e\nset +e\nfalse\n\nset -e",
			[]string{"3:1: warning: errexit is off from line 3 to line 6"}, true},
		{"set +o errexit", "#!/bin/bash\nset -e\nset +o errexit\nfalse",
			[]string{"3:1: warning: errexit is off from here to the end of the script"}, true},
		{"set +e in a subshell", "#!/bin/sh\nset -e\n(\n  set +e\n  false\n  true\n)",
			[]string{"4:3: warning: errexit is off from here to the end of the subshell, line 7"}, true},

		{"set +e in a function that has options of its own", "#!/bin/bash\nset -e\nf() {\n  local -\n  set +e\n  false\n  true\n}\nf",
			[]string{"5:3: warning: errexit is off from here to the end of the function, line 8"}, true},
		{"the same in sh", "#!/bin/sh\nset -e\nf() {\n  local x -\n  set +e\n  false\n  true\n}\nf",
			[]string{"5:3: warning: errexit is off from here to the end of the function, line 8"}, true},

		{"function in if", "#!/bin/sh\nset -e\nf() {\n  false\n  true\n}\nif f; then :; fi",
			[]string{"7:4: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function before ||", "#!/bin/sh\nset -e\nf() { false; true; }\nf || exit 1",
			[]string{"4:1: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function before &&", "#!/bin/sh\nset -e\nf() { false; true; }\nf && true",
			[]string{"4:1: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function after !", "#!/bin/sh\nset -e\nf() { false; true; }\n! f",
			[]string{"4:3: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function in until", "#!/bin/sh\nset -e\nf() { false; true; }\nuntil f; do :; done",
			[]string{"4:7: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function with a loop", "#!/bin/sh\nset -e\nf() { for x in false true; do $x; done; }\nf || exit 1",
			[]string{"4:1: warning: function f (line 3) runs here with errexit off, because this is a condition: only its last command counts"}, true},
		{"function of one command", "#!/bin/sh\nset -e\nf() { false; }\nf || exit 1", nil, false},
		{"function that guards", "#!/bin/sh\nset -e\nf() { false || return 1; true; }\nf || exit 1", nil, false},
		{"function on its own", "#!/bin/sh\nset -e\nf() { false; true; }\nf", nil, false},
		{"function after ||", "#!/bin/sh\nset -e\nf() { false; true; }\n[ -n \"$NOT_SET\" ] || f", nil, false},
		{"group in a condition", "#!/bin/sh\nset -e\n{ false; true; } || exit 1",
			[]string{"3:1: warning: this group runs with errexit off, because it is a condition: only its last command counts"}, true},

		{"several commands in $()", "#!/bin/bash\nset -e\nx=$(false; true)",
			[]string{"3:3: warning: bash switches errexit off inside $(...), and only its last command counts: join the commands with &&"}, true},
		{"several commands in $() with inherit_errexit", "#!/bin/bash\nset -e\nshopt -s inherit_errexit\nx=$(false; true)", nil, false},
		{"several commands in $() with set -e", "#!/bin/bash\nset -e\nx=$(set -e; false; true)", nil, false},
		{"several commands in $() in sh", "#!/bin/sh\nset -e\nx=$(false; true)", nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			needShell(t, test.script)
			s := script(t, test.script+"\necho survived\n")
			got := hooks.Check([]hooks.Script{s}, hooks.Require)
			if diff := differ(lines(got), test.want); diff != "" {
				t.Error(diff)
			}
			// What its real shell does, with the script as it is and with errexit enforced.
			if survived := survives(t, s, hooks.Off); survived != test.survives {
				t.Errorf("its shell went on after the failure: %v, the table says %v", survived, test.survives)
			}
			if len(hooks.Errors(got)) > 0 && survives(t, s, hooks.Enforce) {
				t.Error("with errexit enforced, its shell still went on after the failure")
			}
			// Switched off, nothing is said; enforced, all of it is a warning.
			if off := hooks.Check([]hooks.Script{s}, hooks.Off); len(off) > 0 {
				t.Errorf("errexit: off still says %v", off)
			}
			// That a script does not say set -e is no fault when usher does.
			enforced := hooks.Check([]hooks.Script{s}, hooks.Enforce)
			if want := slices.DeleteFunc(slices.Clone(got), func(p hooks.Problem) bool { return !p.Warning }); !slices.Equal(enforced, want) {
				t.Errorf("errexit: enforce says %v, want %v", enforced, want)
			}
		})
	}
}

// survives runs a script and tells whether it came to its end.
func survives(t *testing.T, s hooks.Script, p hooks.Policy) bool {
	t.Helper()
	argv, err := hooks.Argv(s, p)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(argv[0], argv[1:]...).Output() // it may fail
	return strings.HasSuffix(string(out), "survived\n")
}

// needShell looks for the shells that not every machine has. CI installs them: there, they are missed.
func needShell(t *testing.T, content string) {
	t.Helper()
	for shell, name := range map[string]string{"/bin/ksh": "ksh", "/bin/ksh93": "ksh", "/bin/mksh": "mksh", "/bin/dash": "dash"} {
		line, _, _ := strings.Cut(content, "\n")
		if _, err := os.Stat(shell); line != "#!"+shell || err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: install %s", shell, name)
		}
		t.Skipf("%s is not on this machine: install %s", shell, name)
	}
}

// script is a file with this content, made executable.
func script(t *testing.T, content string) hooks.Script {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hook.sh")
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return hooks.Script{
		ID: unique(t), Event: hooks.AfterInstall, Location: "scripts/hook.sh", File: file,
		Dir: filepath.Dir(file), Env: hooks.Environment{}.Environ(hooks.AfterInstall),
	}
}

// lines are problems without the name of the file.
func lines(problems []hooks.Problem) []string {
	var got []string
	for _, p := range problems {
		got = append(got, strings.TrimPrefix(strings.TrimPrefix(p.String(), "scripts/hook.sh:"), " "))
	}
	return got
}

func differ(got, want []string) string {
	if g, w := strings.Join(got, "\n  "), strings.Join(want, "\n  "); g != w {
		return fmt.Sprintf("got\n  %s\nwant\n  %s", g, w)
	}
	return ""
}
