package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// outputDelay is how long the output of a command is read on after its end, for what it left running in
// the background with the same output.
const outputDelay = time.Second

// environment is what a command run in a box has: root's at login.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
}

// Result is how a command in a box ended.
type Result struct {
	Stdout, Stderr string
	Code           int // its exit status; 128 and the signal's number if one ended it, as a shell says
}

// Exec runs a command in the box, as root, in all of its namespaces, and waits for its end. The box must be up.
func (b *Box) Exec(args ...string) Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := b.exec(ctx, args)
	if err != nil {
		b.check(fmt.Errorf("cannot run %q: %w", args, err))
	}
	return r
}

// Run runs a command in the box as Exec does, ends the test unless it exits with 0, and returns its output without
// white space around it.
func (b *Box) Run(args ...string) string {
	b.t.Helper()
	r := b.Exec(args...)
	if r.Code != 0 {
		b.t.Fatalf("%s: %q ended with %d:\n%s%s", b.name, args, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

func (b *Box) exec(ctx context.Context, args []string) (Result, error) {
	b.t.Helper()
	now := b.latest()
	select {
	case <-now.up:
	default:
		return Result{}, errors.New("the box is not up")
	}
	group, err := os.Open(b.execGroup())
	if err != nil {
		return Result{}, err
	}
	defer group.Close()
	enter := []string{"--target", strconv.Itoa(now.leader), "--all", "--root", "--wd", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = environment
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = outputDelay
	// In the box's control group, so that a power cut ends it too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // nsenter and its child
	err = cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("%w; so far it said:\n%s%s", context.Cause(ctx), r.Stdout, r.Stderr)
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			r.Code = 128 + int(status.Signal())
		}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return r, err
	}
	return r, nil
}
