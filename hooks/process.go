//go:build linux && !developer

package hooks

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// KillGrace is how long a script that is being stopped has between TERM and KILL: enough to
	// remove a lock file, short beside the deadline of a launch.
	KillGrace = 5 * time.Second

	// settleTime is how long what a script left behind is waited for: the `tee` of a
	// `exec > >(tee log)` ends some milliseconds after the script.
	settleTime = 250 * time.Millisecond

	// drainTime bounds the wait for output a script wrote before it ended. It is there already;
	// only a process that reads the script's own output pipe could keep it from us.
	drainTime = 10 * time.Second

	// aliveEvery is how often Alive is called: a small part of any sensible watchdog time.
	aliveEvery = 5 * time.Second

	// scriptUmask is what a login has; the agent's own is stricter.
	scriptUmask = 0o022
)

// ProcessGroups runs scripts as process groups, on any Linux machine. The zero value is ready.
//
// It tells a script's processes by their group and by the variable USHER_SCRIPT in their environment.
// A process that leaves both escapes it.
type ProcessGroups struct {
	// Alive, when set, is called every few seconds while a script runs: a watchdog is fed by work
	// that goes on. From one goroutine at a time.
	Alive func()

	// KillGrace is the time between TERM and KILL; 0 is the constant KillGrace.
	KillGrace time.Duration

	mu       sync.Mutex
	captures []*capture // held open by processes that were left behind
	closed   bool
}

var _ Runner = (*ProcessGroups)(nil)

// Close stops reading the output of processes that scripts left behind. It does not end them: a
// daemon started by a script outlives the agent. One that goes on writing to the output it inherited
// gets SIGPIPE from then on. Call it when no Run is under way.
func (g *ProcessGroups) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, c := range g.captures {
		c.close()
	}
	g.captures = nil
}

// End ends what a script that has ended left running, and returns what that was; the error says what does not end.
func (g *ProcessGroups) End(s Script) (ended []string, err error) {
	for _, p := range processesOf(tagOf(s), 0) {
		ended = append(ended, p.String())
	}
	if len(ended) == 0 {
		return nil, nil
	}
	if left := stop(tagOf(s), 0, g.grace(), g.alive); len(left) > 0 {
		return ended, fmt.Errorf("%s, of %s", left[0], s)
	}
	return ended, nil
}

// Run is Runner's. Before it starts the script, it ends what an earlier agent that was killed left
// running under the same ID.
func (g *ProcessGroups) Run(ctx context.Context, s Script, argv []string, line func(stream, text string)) (Result, error) {
	if err := context.Cause(ctx); err != nil {
		return Result{}, fmt.Errorf("cannot start %s: %w", s, err)
	}
	if s.ID == "" || strings.ContainsRune(s.ID, 0) {
		return Result{}, fmt.Errorf("cannot start %s: it has no ID", s)
	}
	if left := stop(tagOf(s), 0, g.grace(), g.alive); len(left) > 0 {
		return Result{}, fmt.Errorf("cannot start %s: of its earlier run, %s does not end", s, left[0])
	}
	out := &output{line: line}
	cmd, err := command(s, argv)
	if err != nil {
		return Result{}, fmt.Errorf("cannot start %s: %w", s, err)
	}
	written, err := newCapture(out)
	if err != nil {
		return Result{}, fmt.Errorf("cannot start %s: %w", s, err)
	}
	defer g.release(written)
	cmd.Stdout, cmd.Stderr = written.w[0], written.w[1]

	began := time.Now()
	if err := startWithUmask(cmd, scriptUmask); err != nil {
		return Result{}, fmt.Errorf("cannot start %s%s: %w", s, startHint(s, err), err)
	}
	result, ended := g.wait(ctx, cmd, s, began)
	written.finish()
	result.Lines, result.Dropped, result.Tail = out.lines, out.dropped, out.tail()
	if ended != nil {
		return result, fmt.Errorf("%s was stopped after %s: %w", s, brief(result.Duration), ended)
	}
	return result, nil
}

// wait waits for the script, its timeout, or the end of ctx, whose cause it then returns; and sees to
// the processes that are left.
func (g *ProcessGroups) wait(ctx context.Context, cmd *exec.Cmd, s Script, began time.Time) (result Result, ended error) {
	pid := cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(pid)
	}()
	deadline := time.NewTimer(s.timeout())
	defer deadline.Stop()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for running := true; running; {
		select {
		case <-exited:
			running = false
		case <-deadline.C:
			result.TimedOut, running = true, false
		case <-ctx.Done():
			ended, running = context.Cause(ctx), false
		case <-alive.C:
			g.alive()
		}
	}
	// Until it is reaped below, the script's own process, if only a zombie, keeps the number of the
	// group from being given to another.
	var left []process
	if result.TimedOut || ended != nil {
		left = stop(tagOf(s), pid, g.grace(), g.alive)
		result.Duration = time.Since(began)
	} else {
		result.Duration = time.Since(began)
		left = waitForProcesses(tagOf(s), pid)
	}
	stuck := false
	for _, p := range left {
		result.BackgroundProcesses = append(result.BackgroundProcesses, p.String())
		stuck = stuck || p.pid == pid
	}
	if stuck { // KILL did not end it: it waits for a device, or became another user's
		result.ExitCode = -1
		return result, ended
	}
	_ = cmd.Wait() // the status tells
	<-exited
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	result.ExitCode = status.ExitStatus() // -1 when signalled
	if status.Signaled() {
		result.Signal = unix.SignalName(status.Signal())
	}
	return result, ended
}

// waitForProcesses waits a moment for the processes a script left to end, and returns those that stay.
func waitForProcesses(id tag, group int) []process {
	tick := time.NewTicker(pollProcesses)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		left := processesOf(id, group)
		if len(left) == 0 || time.Since(began) > settleTime {
			return left
		}
	}
}

// awaitExit waits for a child to end without reaping it. For a child that not even KILL ends, it waits
// for ever: nothing but the kernel can help that.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (g *ProcessGroups) grace() time.Duration {
	if g.KillGrace > 0 {
		return g.KillGrace
	}
	return KillGrace
}

func (g *ProcessGroups) alive() {
	if g.Alive != nil {
		g.Alive()
	}
}

// release lets go of a script's output: at once when no process holds it any more, else at Close.
func (g *ProcessGroups) release(c *capture) {
	c.release()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		c.close()
		return
	}
	g.captures = append(slices.DeleteFunc(g.captures, (*capture).isDone), c)
}

// startWithUmask starts cmd with a umask of its own. A umask belongs to the whole process, unless a
// thread takes its own copy: this one does, and ends with the goroutine, which never unlocks it.
func startWithUmask(cmd *exec.Cmd, mask int) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			started <- fmt.Errorf("cannot set its umask: %w", err)
			return
		}
		unix.Umask(mask)
		started <- cmd.Start()
	}()
	return <-started
}
