//go:build linux && !developer

package hooks_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"usher/hooks"
)

// TestCheck is what is said about a file before anything runs.
func TestCheck(t *testing.T) {
	const notExecutable = "warning: is not executable; it is run through its interpreter all the same: chmod +x"
	const large = "warning: is not checked further: it is larger than 64 KiB or has binary data in it"
	tests := []struct {
		name, content string
		mode          os.FileMode
		want          []string
	}{
		{"a good script", "#!/bin/bash\nset -euo pipefail\nls | cat\n", 0o755, nil},
		{"another language", "#!/usr/bin/env awk\nset +e (((\n", 0o755, nil},
		{"a program", "\x7fELF\x02\x01\x01\x00\x00", 0o755, nil},
		{"a program, not executable", "\x7fELF\x02\x01\x01\x00\x00", 0o644,
			[]string{"warning: is not executable; the bit is set before it is run: chmod +x"}},
		{"only comments", "#!/bin/sh\n# nothing yet\n", 0o755, nil},
		{"not executable", "#!/bin/sh\nset -e\n", 0o644, []string{notExecutable}},
		{"empty", "", 0o755, []string{"warning: is empty: it does nothing, and that succeeds"}},

		{"Windows line ends", "#!/bin/bash\r\nset -e\r\n", 0o755, []string{"1:1: has Windows line ends (CRLF): run dos2unix"}},
		{"Windows line ends, env", "#!/usr/bin/env python3\r\nprint()\r\n", 0o755, []string{"1:1: has Windows line ends (CRLF): run dos2unix"}},
		{"Windows line ends, no first line", "set -e\r\nls\r\n", 0o755, []string{"1:1: has Windows line ends (CRLF): run dos2unix"}},
		{"one Windows line end", "#!/bin/sh\nset -e\nls\r\n", 0o755,
			[]string{"3:1: warning: ends with a carriage return (CRLF), which the shell takes as part of the last word"}},
		{"byte order mark", "\xef\xbb\xbf#!/bin/sh\nset -e\n", 0o755,
			[]string{"1:1: starts with a byte order mark, which hides the `#!` line: save it as UTF-8 without one"}},
		{"UTF-16", "\xff\xfe#\x00!\x00/\x00", 0o755, []string{"1:1: is UTF-16: save it as UTF-8"}},

		{"no interpreter", "#!\nls\n", 0o755, []string{"1:1: names no interpreter after #!"}},
		{"relative interpreter", "#!bin/sh\nls\n", 0o755, []string{
			"1:1: warning: its interpreter is not an absolute path: it is taken as /bin/sh, because CodeDeploy's agent works in /: write #!/bin/sh",
			"2:1: no `set -e` before this: when it fails, the script goes on; put `set -e` at the top"}},
		{"interpreter that is no path", "#!sh\nls\n", 0o755, []string{"1:1: its interpreter sh is not a path: write #!/usr/bin/env sh"}},
		{"relative interpreter that is not there", "#!opt/nowhere\nls\n", 0o755, []string{
			"1:1: warning: its interpreter is not an absolute path: it is taken as /opt/nowhere, because CodeDeploy's agent works in /: write #!/opt/nowhere",
			"1:1: its interpreter /opt/nowhere is not a program on this machine: install it in the AMI"}},
		{"missing interpreter", "#!/opt/nowhere/ruby -w\n", 0o755,
			[]string{"1:1: its interpreter /opt/nowhere/ruby is not a program on this machine: install it in the AMI"}},
		{"missing interpreter of env", "#!/usr/bin/env no-such-ruby\n", 0o755,
			[]string{"1:1: its interpreter no-such-ruby is not in PATH (" + hooks.DefaultPath + "): install it in the AMI"}},
		{"missing interpreter of env -S", "#!/usr/bin/env -S A=b no-such-ruby -w\n", 0o755,
			[]string{"1:1: its interpreter no-such-ruby is not in PATH (" + hooks.DefaultPath + "): install it in the AMI"}},
		{"a folder as interpreter", "#!/usr\n", 0o755,
			[]string{"1:1: its interpreter /usr is not a program on this machine: install it in the AMI"}},
		{"missing env", "#!/opt/nowhere/env bash\n", 0o755,
			[]string{"1:1: its interpreter /opt/nowhere/env is not a program on this machine: install it in the AMI"}},
		{"env without interpreter", "#!/usr/bin/env\n", 0o755, []string{"1:1: names no interpreter after env"}},
		{"env with an option", "#!/usr/bin/env bash -e\nls\n", 0o755,
			[]string{"1:1: env gets `bash -e` as one word: write #!/usr/bin/env -S bash -e"}},
		{"env with something odd", "#!/usr/bin/env -S bash ${OPTIONS}\nls\n", 0o755,
			[]string{"1:1: warning: cannot tell which interpreter env starts: errexit is neither checked nor enforced"}},
		{"two options", "#!/bin/bash -euo pipefail\nls\n", 0o755,
			[]string{"1:1: /bin/bash gets `-euo pipefail` as one word and refuses it: put `set -euo pipefail` on the second line"}},
		{"an option without its name", "#!/bin/bash -euo\nls\n", 0o755,
			[]string{"1:1: `-euo` lacks its value, and /bin/bash takes the script for it: put `set -euo NAME` on the second line"}},

		{"does not parse", "#!/bin/bash\nset -e\nif true; then\n  ls\n", 0o755,
			[]string{"3:1: does not parse: `if` statement must end with `fi`"}},
		{"does not parse, a quote", "#!/bin/sh\nset -e\necho \"open\n", 0o755,
			[]string{"3:6: does not parse: reached EOF without closing quote `\"`"}},
		{"arrays in sh", "#!/bin/sh\nset -e\nlist=(a b)\n", 0o755,
			[]string{"3:6: warning: an array is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash"}},
		{"pipefail in sh", "#!/bin/sh\nset -euo pipefail\n", 0o755,
			[]string{"2:1: warning: pipefail is not in every POSIX sh: a /bin/sh that is dash stops here; use #!/bin/bash"}},
		{"ksh93 only", "#!/bin/ksh93\nset -e\nnamespace app { x=1; }\n", 0o755,
			[]string{"3:22: warning: does not parse: `}` can only be used to close a block; /bin/ksh93 -n accepts it, so it is run, with errexit not checked"}},
		{"an archive that unpacks itself", "#!/bin/sh\nset -e\ntail -n +5 \"$0\" | cat\nexit 0\n((( \"\n", 0o755,
			[]string{"3:1: warning: only the last command of this pipeline counts, and POSIX sh has no pipefail: use #!/bin/bash with `set -o pipefail`, or a file in between"}},
		{"binary data", "#!/bin/sh\nset -e\nexit\n\x00\x01", 0o755, []string{large}},
		{"large", "#!/bin/sh\nset -e\n" + strings.Repeat("# padding\n", hooks.MaxAnalysed/10), 0o755, []string{large}},
		{"many warnings", "#!/bin/sh\nset -e\n" + strings.Repeat("set +e\n", 30), 0o755,
			append(slices.Collect(everyLine(3, 22, "warning: errexit is off from here to the end of the script")), "warning: has 10 more warnings like these")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			needShell(t, test.content)
			s := script(t, test.content)
			if err := os.Chmod(s.File, test.mode); err != nil {
				t.Fatal(err)
			}
			if diff := differ(lines(hooks.Check([]hooks.Script{s}, hooks.Require)), test.want); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func everyLine(from, to int, message string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := from; i <= to; i++ {
			if !yield(strings.TrimPrefix(hooks.Problem{Line: i, Col: 1, Message: message}.String(), ":")) {
				return
			}
		}
	}
}

// A file that cannot be run at all, and a user who is not there.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "scripts", "migrate.sh"), "#!/bin/sh\nset -e\n", 0o755)
	fifo := filepath.Join(dir, "scripts", "fifo")
	if err := syscall.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ location, runAs, want string }{
		{"scripts/migrate.sh", "", ""},
		{"scripts/migrate.sh", "root", ""},
		{"scripts/migrate.sh", "no-such-user", "scripts/migrate.sh: runs as user no-such-user, who is not on this machine: create the user in the AMI"},
		{"scripts/migrat.sh", "", "scripts/migrat.sh: does not exist, and AfterInstall needs it: did you mean scripts/migrate.sh?"},
		{"scripts/other", "", "scripts/other: does not exist, and AfterInstall needs it"},
		{"nowhere/migrate.sh", "", "nowhere/migrate.sh: does not exist, and AfterInstall needs it"},
		{"scripts", "", "scripts: is not a regular file"},
		{"scripts/fifo", "", "scripts/fifo: is not a regular file"},
	}
	for _, test := range tests {
		s := hooks.Script{Event: hooks.AfterInstall, Location: test.location, File: filepath.Join(dir, test.location), RunAs: test.runAs}
		var got []string
		for _, p := range hooks.Check([]hooks.Script{s}, hooks.Enforce) {
			got = append(got, p.String())
		}
		if strings.Join(got, "\n") != test.want {
			t.Errorf("%s as %q: got %q, want %q", test.location, test.runAs, got, test.want)
		}
		// Where it will not run, its user does not matter.
		for _, p := range hooks.CheckSource([]hooks.Script{s}, hooks.Enforce) {
			if strings.Contains(p.Message, "on this machine") {
				t.Errorf("CheckSource says %s", p)
			}
		}
	}
	if _, err := hooks.Argv(hooks.Script{File: fifo}, hooks.Enforce); err == nil {
		t.Error("Argv takes a FIFO for a script")
	}

	// One script of two events is one problem.
	twice := []hooks.Script{
		{Event: hooks.AfterInstall, Location: "x.sh", File: write(t, filepath.Join(dir, "x.sh"), "ls", 0o755)},
		{Event: hooks.ValidateService, Location: "x.sh", File: filepath.Join(dir, "x.sh")},
	}
	if got := hooks.Check(twice, hooks.Require); len(got) != 1 {
		t.Errorf("one script under two events: %v", got)
	}
}

// The parser recurses: the largest script that is analysed must not end the agent by its nesting.
func TestCheckNesting(t *testing.T) {
	for _, open := range []string{"(", "((", "$(", "$((", "`", "{ ", "if ", "! ", "case x in x) ", "${a:-", "\"$(", "<(", "a=(", "[[ ( ", "f() ", "time ", "a|", "a&&", "$((a=", "$((-"} {
		nested := []byte("#!/bin/bash\n")
		if repeat, ok := strings.CutPrefix(open, "$(("); ok && repeat != "" {
			nested, open = append(nested, "$(("...), repeat
		}
		nested = append(nested, bytes.Repeat([]byte(open), (hooks.MaxAnalysed-len(nested))/len(open))...)
		s := script(t, string(nested))
		s.File = write(t, s.File, string(nested), 0o755)
		hooks.CheckSource([]hooks.Script{s}, hooks.Enforce)
	}
}

// TestArgv is how a file with this first line is started, under each policy.
func TestArgv(t *testing.T) {
	const f = "FILE"
	tests := []struct{ first, enforce, off string }{
		{"#!/bin/bash", "/bin/bash -e FILE", "/bin/bash FILE"},
		{"#! /bin/sh", "/bin/sh -e FILE", "/bin/sh FILE"},
		{"#!/bin/sh -", "/bin/sh -e - FILE", "/bin/sh - FILE"},
		{"#!/bin/bash -u \t", "/bin/bash -e -u FILE", "/bin/bash -u FILE"},
		{"#!/bin/bash +e", "/bin/bash +e -e FILE", "/bin/bash +e FILE"},
		{"#!/bin/bash --posix", "/bin/bash --posix -e FILE", "/bin/bash --posix FILE"},
		{"#!/bin/bash --", "/bin/bash -e -- FILE", "/bin/bash -- FILE"},
		{"#!/bin/busybox sh", "/bin/busybox sh -e FILE", "/bin/busybox sh FILE"},
		{"#!/bin/busybox awk -f", "/bin/busybox|awk -f FILE", "/bin/busybox|awk -f FILE"},
		{"#!/usr/bin/env bash", "/usr/bin/env bash -e FILE", "/usr/bin/env bash FILE"},
		{"#!/usr/bin/env -S bash -u", "/usr/bin/env bash -e -u FILE", "/usr/bin/env|-S bash -u FILE"},
		{"#!/usr/bin/env -Sbash", "/usr/bin/env bash -e FILE", "/usr/bin/env -Sbash FILE"},
		{"#!/usr/bin/env --split-string=bash -u", "/usr/bin/env bash -e -u FILE", "/usr/bin/env|--split-string=bash -u FILE"},
		{"#!/usr/bin/env -iS bash", "/usr/bin/env -i bash -e FILE", "/usr/bin/env|-iS bash FILE"},
		{"#!/usr/bin/env -S -u HOME -C / A=b 'C=d' ksh -o pipefail", "/usr/bin/env -u HOME -C / A=b C=d ksh -e -o pipefail FILE",
			"/usr/bin/env|-S -u HOME -C / A=b 'C=d' ksh -o pipefail FILE"},
		{"#!/usr/bin/env -S bash --rcfile x -u +eo errexit -x", "/usr/bin/env bash --rcfile x -u +eo errexit -e -x FILE",
			"/usr/bin/env|-S bash --rcfile x -u +eo errexit -x FILE"},
		{"#!/usr/bin/env -S bash $OPTIONS", "/usr/bin/env|-S bash $OPTIONS FILE", "/usr/bin/env|-S bash $OPTIONS FILE"},
		{"#!/usr/bin/env python3", "/usr/bin/env python3 FILE", "/usr/bin/env python3 FILE"},
		{"#!/usr/bin/python3 -u -x", "/usr/bin/python3|-u -x FILE", "/usr/bin/python3|-u -x FILE"},
		{"#!/bin/zsh", "/bin/zsh FILE", "/bin/zsh FILE"},
		{"ls", "/bin/sh -e FILE", "/bin/sh FILE"},
		{"", "/bin/sh -e FILE", "/bin/sh FILE"},
		{"#!", "FILE", "FILE"},
		{"\x7fELF\x02", "FILE", "FILE"},
		{"PK\x03\x04\x00", "FILE", "FILE"},
	}
	for _, test := range tests {
		s := script(t, test.first+"\nls\n")
		for p, want := range map[hooks.Policy]string{hooks.Enforce: test.enforce, hooks.Require: test.off, hooks.Off: test.off} {
			argv, err := hooks.Argv(s, p)
			if err != nil {
				t.Fatal(err)
			}
			argv[len(argv)-1] = strings.Replace(argv[len(argv)-1], s.File, f, 1)
			if got := strings.Join(argv, " "); got != strings.ReplaceAll(want, "|", " ") {
				t.Errorf("%q under %s: got %s, want %s", test.first, p, got, want)
			}
			if i := strings.IndexByte(want, '|'); i >= 0 && argv[0] != want[:i] {
				t.Errorf("%q under %s: starts %s", test.first, p, argv[0])
			}
			if strings.Contains(want, "|") && len(argv) != 3 {
				t.Errorf("%q under %s: %d words, as the kernel has it there are 3: %q", test.first, p, len(argv), argv)
			}
		}
	}
}

func write(t *testing.T, file, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return file
}
