package acceptance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The commands a person types, as they print.

// typed is what came of a command line.
type typed struct {
	stdout, stderr string
	code           int
}

// usher types a command line in a folder.
func usher(t *testing.T, dir string, args []string) typed {
	t.Helper()
	return usherAs(t, -1, binaries.usher, dir, args)
}

// usherAs types it as a user, by number, or as the one who runs the test for -1.
func usherAs(t *testing.T, user int, binary, dir string, args []string) typed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "SECRET=of the agent"}
	cmd.WaitDelay = 5 * time.Second
	if user >= 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run usher %s: %v", strings.Join(args, " "), err)
	}
	return typed{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// clock is the time a line begins with.
var clock = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `)

// What is typed wrong is said in one line, on standard error, with exit code 2.
func TestUsage(t *testing.T) {
	const check = "usher check [FLAGS] PATH | REF: check a revision (a directory, zip, tar, tgz or commit) as a server will.\n"
	const rehearse = "usher rehearse [FLAGS] PATH | REF: deploy a local revision under a scratch root, hooks run for real.\n"
	const run = "usher run [FLAGS]: bring this server up with its group's latest revision, then answer CodeDeploy's deployments.\nThis is what usher.service starts.\n"
	for _, c := range []struct{ line, stderr string }{
		{"chekc x", "usher: there is no command \"chekc\": did you mean check?\nusher help lists the commands\n"},
		{"ship production", "usher: there is no command \"ship\"\nusher help lists the commands\n"},
		{"help ship", "usher: there is no command \"ship\"\nusher help lists the commands\n"},
		{"check", "usher check: missing PATH | REF: name a revision: a directory, zip, tar or tgz, or a commit\n" + check},
		{"check a b", "usher check: too many arguments: expected PATH | REF, got a b\n" + check},
		{"check -erexit off a", "usher check: there is no flag --erexit: did you mean --errexit?\n" + check},
		{"check a --fast", "usher check: there is no flag --fast\n" + check},
		{"check -errexit", "usher check: flag needs an argument: --errexit\n" + check},
		{"check -errexit strict .", "usher check: cannot use errexit \"strict\": it is one of enforce, require, report, off\n"},
		{"check nowhere", "usher check: cannot open the revision: stat nowhere: no such file or directory\n"},
		{"rehearse", "usher rehearse: missing PATH | REF: name a revision: a directory, zip, tar or tgz, or a commit\n" + rehearse},
		{"rehearse nowhere", "usher rehearse: cannot open the revision: stat nowhere: no such file or directory\n"},
		{"rehearse . --errexit maybe", "usher rehearse: cannot use errexit \"maybe\": it is one of enforce, require, report, off\n"},
		{"run now", "usher run: too many arguments: expected none, got now\n" + run},
		{"run -once=maybe", "usher run: invalid boolean value \"maybe\" for --once: it must be true or false\n" + run},
		{"version 2", "usher version: too many arguments: expected none, got 2\nusher version: print usher's version; also usher --version.\n"},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			got := usher(t, t.TempDir(), strings.Fields(c.line))
			if got.code != 2 || got.stdout != "" || got.stderr != c.stderr {
				t.Errorf("exit %d, stdout %q\n got: %s\nwant: %s", got.code, got.stdout, got.stderr, c.stderr)
			}
		})
	}
}

// Help that was asked for is on standard output; without a command it is an answer to wrong usage.
func TestHelp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	help := usher(t, dir, []string{"help"})
	for _, command := range []string{"run", "check", "rehearse", "deploy", "rollback", "unhold", "version", "completion"} {
		if !strings.Contains(help.stdout, "\n  usher "+command+" ") {
			t.Errorf("help does not name %s:\n%s", command, help.stdout)
		}
		got := usher(t, dir, []string{command, "-h"})
		if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, "usher "+command) {
			t.Errorf("usher %s -h: exit %d, stdout %q, stderr %q", command, got.code, got.stdout, got.stderr)
		}
		if same := usher(t, dir, []string{"help", command}); same != got {
			t.Errorf("usher help %s: %+v, and with -h %+v", command, same, got)
		}
	}
	for _, line := range []string{"-h", "--help"} {
		if got := usher(t, dir, []string{line}); got != help {
			t.Errorf("usher %s: %+v", line, got)
		}
	}
	if help.code != 0 || help.stderr != "" {
		t.Errorf("usher help: exit %d, stderr %q", help.code, help.stderr)
	}
	if got := usher(t, dir, nil); got.code != 2 || got.stdout != "" || got.stderr != help.stdout {
		t.Errorf("usher: exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
}

// The version, in a form that a script can cut.
func TestVersion(t *testing.T) {
	t.Parallel()
	got := usher(t, t.TempDir(), []string{"version"})
	if same := usher(t, t.TempDir(), []string{"--version"}); same != got {
		t.Errorf("usher --version: %+v, and usher version %+v", same, got)
	}
	if !regexp.MustCompile(`^usher (devel(-[0-9a-f]{12})?|\d+\.\d+\.\d+\S*) linux/\w+ go1\S*\n$`).MatchString(got.stdout) || got.code != 0 || got.stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
}
