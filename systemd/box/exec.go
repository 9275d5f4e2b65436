package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// outputDelay is how long the output of a command is read on after its end, for what it left running in
// the background with the same output.
const outputDelay = time.Second

// kinds are the namespaces a box has of its own: nsenter's option, the file in /proc/PID/ns.
var kinds = []struct{ option, file string }{
	{"mount", "mnt"}, {"pid", "pid"}, {"net", "net"}, {"ipc", "ipc"}, {"uts", "uts"}, {"cgroup", "cgroup"},
}

// open opens the door to a boot whose PID 1 has this folder in /proc. That it is kept open is what makes sure
// that a command is never run in the namespaces of another process, which has the number by then.
func (b *Box) open(now *boot, leader string) error {
	id, err := os.ReadFile(filepath.Join(leader, "root/proc/sys/kernel/random/boot_id"))
	var door []*os.File
	for _, kind := range kinds {
		f, openErr := os.Open(filepath.Join(leader, "ns", kind.file))
		err = errors.Join(err, openErr)
		door = append(door, f)
	}
	if err != nil { // it has ended already
		for _, f := range door {
			f.Close()
		}
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now.door = door
	now.id = strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")
	return nil
}

// environment is what a command run in a box has: root's at login.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=dumb",
	"SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
}

// Result is how a command in a box ended.
type Result struct {
	Stdout, Stderr string
	Code           int // its exit status; 128 and the signal's number if one ended it, as a shell says
}

// Exec runs a command in the box, as root, in all of its namespaces, and waits for its end.
func (b *Box) Exec(args ...string) Result {
	b.t.Helper()
	b.await(b.latest().up, "its PID 1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := b.exec(ctx, args)
	if err != nil {
		b.check(fmt.Errorf("cannot run %q: %w", args, err))
	}
	return r
}

// WaitFor runs a command in the box again and again until it exits with 0.
func (b *Box) WaitFor(args ...string) {
	b.t.Helper()
	var r Result
	if err := until(context.Background(), func() bool { r = b.Exec(args...); return r.Code == 0 }); err != nil {
		b.t.Fatalf("%s: %q does not succeed %v: it ended with %d:\n%s%s", b.name, args, err, r.Code, r.Stdout, r.Stderr)
	}
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

// exec runs a command in the boot that goes on. It is an error if that ends before the command.
func (b *Box) exec(ctx context.Context, args []string) (Result, error) {
	b.t.Helper()
	group, err := os.Open(b.execGroup())
	if err != nil {
		return Result{}, err
	}
	defer group.Close()
	var enter []string
	for i, kind := range kinds {
		enter = append(enter, fmt.Sprintf("--%s=/proc/self/fd/%d", kind.option, 3+i)) // where ExtraFiles begin
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(append(enter, "--"), args...)...)
	cmd.Env = environment
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = outputDelay
	// In the box's control group, so that a power cut ends it too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // nsenter and its child

	now := b.latest()
	b.mu.Lock()
	cmd.ExtraFiles = now.door
	err = errors.New("the box is off")
	if now.door != nil {
		err = cmd.Start()
	}
	b.mu.Unlock()
	if err != nil {
		return Result{}, err
	}
	err = cmd.Wait()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return r, fmt.Errorf("it did not end within %s; so far it said:\n%s%s", patience, r.Stdout, r.Stderr)
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			r.Code = 128 + int(status.Signal())
		}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return r, err
	}
	if r.Code != 0 && now.ended() {
		return r, fmt.Errorf("the box went off meanwhile (exit status %d): %s", r.Code, r.Stderr)
	}
	return r, nil
}
