package main

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

// usher types a command line. nobody, when it is given, is the user who does.
func usher(t *testing.T, dir string, args []string, nobody ...uint32) typed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, binaries.usher, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "SECRET=of the agent"}
	cmd.WaitDelay = 5 * time.Second
	if len(nobody) == 1 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody[0], Gid: nobody[0]}}
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run usher %s: %v", strings.Join(args, " "), err)
	}
	return typed{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

var (
	clock    = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `)
	duration = regexp.MustCompile(`\b(\d+ms|\d+(\.\d+)?s|\d+m\d+s)\b`)
	stamp    = regexp.MustCompile(`rehearsal-\d{8}T\d{6}\.\d{3}Z`)
)
