package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const (
	// lookEvery is how often a running unit is looked at. The news that it has ended comes by itself;
	// looking is for when that is lost (daemon-reexec), and it feeds the watchdog.
	lookEvery = time.Second

	// lookAttached is the same where no more news is to come: for a unit that was there already.
	lookAttached = 100 * time.Millisecond

	// settleTime is how long what a command left behind is waited for: the `tee` of a
	// `exec > >(tee log)` ends some milliseconds after the script. settleEvery is between two looks.
	settleTime, settleEvery = 250 * time.Millisecond, 20 * time.Millisecond

	// killTime is how long a unit may take to be gone after KILL. It is over at once, unless a process
	// waits for a device that does not answer.
	killTime = 10 * time.Second
)

// Outcome is how a unit's command ended.
type Outcome struct {
	Attached bool // it was there already, started by an earlier Run

	ExitCode int            // 0..255; -1 when a signal ended it, or that is not known
	Signal   syscall.Signal // that ended it; 0 for none
	TimedOut bool           // its timeout was up; ExitCode and Signal tell how it then ended
	Duration time.Duration  // from start to exit of the command itself

	InvocationID string   // of systemd's own lines about it in the journal
	Tail         [][]byte // its last lines, as it wrote them; of a command that failed only
	Flooded      bool     // it wrote so much at its end that journald may have dropped its last lines
	Leftovers    []string // processes that it left running, "sleep (pid 123)"
}

// OK reports whether the command did what it was asked.
func (o Outcome) OK() bool { return o.ExitCode == 0 && o.Signal == 0 && !o.TimedOut }

// Run starts a unit and waits for its command to end. If a unit of this name is there already, an earlier
// Run has started it, perhaps of a process that is gone: it is not started again but waited for, and its
// result is this one's.
//
// When ctx ends first, leave is asked with its cause. True leaves the unit running, for a Run of the same
// name to find: usher is restarted, and its successor goes on. False, and a nil leave, stops it with all its
// processes: its time is up.
//
// A command that fails is an Outcome. The error says that it could not be run at all, and is then the
// kernel's as systemd tells it (errors.Is(err, fs.ErrNotExist)), or why ctx ended. When Run returns, what
// the command wrote before it ended is in the journal.
//
// A unit whose command succeeded stays, until CleanUp: whoever has put its result on disk says that it may go.
// One that failed goes at once, because a failed unit makes the whole system `degraded`.
func (m *Manager) Run(ctx context.Context, u Unit, keepRunning func(cause error) bool) (Outcome, error) {
	if err := context.Cause(ctx); err != nil {
		return Outcome{}, fmt.Errorf("cannot start %s: %w", u.Name, err)
	}
	lasting := context.WithoutCancel(ctx) // whether it was started must be known, however ctx fares
	inherited, err := m.environment(lasting)
	if err != nil {
		return Outcome{}, fmt.Errorf("cannot ask systemd for its environment: %w", err)
	}
	properties, err := u.properties(inherited)
	if err != nil {
		return Outcome{}, err
	}
	ended := make(chan string, 1)
	err = m.call(lasting, func(ctx context.Context, conn *sd.Conn, _ *dbus.Conn) error {
		_, err := conn.StartTransientUnitContext(ctx, u.Name, "fail", properties, ended)
		return err
	})
	attached := busError(err, "org.freedesktop.systemd1.UnitExists")
	if err != nil && !attached {
		return Outcome{}, fmt.Errorf("cannot start unit %s: %w", u.Name, err)
	}
	s, err := m.wait(ctx, u.Name, ended, attached)
	switch cause := context.Cause(ctx); {
	case err == nil:
	case cause == nil:
		return Outcome{Attached: attached}, err
	case keepRunning != nil && keepRunning(cause):
		return Outcome{Attached: attached}, fmt.Errorf("unit %s goes on: %w", u.Name, cause)
	default:
		s, err = m.stop(lasting, u.Name, u.Grace)
		out := s.outcome()
		out.Attached = attached
		return out, errors.Join(fmt.Errorf("unit %s was stopped: %w", u.Name, cause), err, m.reset(lasting, u.Name))
	}
	return m.conclude(lasting, u.Name, s, attached)
}

// wait waits until the unit's command has ended, or for the end of ctx, whose cause it then returns.
func (m *Manager) wait(ctx context.Context, name string, ended <-chan string, attached bool) (status, error) {
	every := lookEvery
	if attached {
		every = lookAttached
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for look := attached; ; look = true {
		if look {
			s, err := m.status(ctx, name)
			if cause := context.Cause(ctx); cause != nil {
				return s, cause
			}
			if err != nil || s.ended() {
				return s, err
			}
		}
		select {
		case <-ended:
			tick.Reset(lookAttached) // a job that was cancelled is over before the unit is
		case <-tick.C:
			m.alive()
		case <-ctx.Done():
			return status{}, context.Cause(ctx)
		}
	}
}

// conclude reads how an ended unit's command fared.
func (m *Manager) conclude(ctx context.Context, name string, s status, attached bool) (Outcome, error) {
	out := s.outcome()
	out.Attached = attached
	if s.active == "active" {
		left, err := m.waitForProcesses(ctx, name)
		if err != nil {
			return out, fmt.Errorf("cannot ask systemd what unit %s left running: %w", name, err)
		}
		for _, p := range left {
			out.Leftovers = append(out.Leftovers, p.String())
		}
	}
	// While the unit is there: journald takes the fields from it.
	began := time.Now()
	syncJournal(ctx)
	if out.Duration+time.Since(began) > burstLeast {
		out.Flooded = rateLimited(ctx, name, s.to)
	}
	if out.OK() && s.result == "success" && s.ran() {
		return out, nil
	}
	out.Tail = lastLines(ctx, name, s.invocation, s.from)
	err := s.spawnError(ctx, name)
	return out, errors.Join(err, m.reset(ctx, name))
}

// waitForProcesses waits a moment for the processes a command left to end, and returns those that stay.
func (m *Manager) waitForProcesses(ctx context.Context, name string) ([]process, error) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		left, err := m.processes(ctx, name)
		if err != nil || len(left) == 0 || time.Since(began) > settleTime {
			return left, err
		}
	}
}

// stop ends a unit with all its processes and waits until they are gone.
func (m *Manager) stop(ctx context.Context, name string, grace time.Duration) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, grace+killTime)
	defer cancel()
	ended := make(chan string, 1)
	if err := m.call(ctx, func(ctx context.Context, conn *sd.Conn, _ *dbus.Conn) error {
		_, err := conn.StopUnitContext(ctx, name, "replace", ended)
		return err
	}); busError(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return status{}, nil
	} else if err != nil {
		return status{}, fmt.Errorf("cannot stop unit %s: %w", name, err)
	}
	s, err := m.wait(ctx, name, ended, false)
	if err != nil {
		return s, fmt.Errorf("unit %s does not end: %w", name, err)
	}
	return s, nil
}

// reset lets a failed unit go. One that did not fail, or is gone, is none of its business.
func (m *Manager) reset(ctx context.Context, name string) error {
	err := m.call(ctx, func(ctx context.Context, conn *sd.Conn, _ *dbus.Conn) error {
		return conn.ResetFailedUnitContext(ctx, name)
	})
	if err != nil && !busError(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return fmt.Errorf("cannot reset unit %s: %w", name, err)
	}
	return nil
}

// CleanUp ends the units whose names begin with prefix, except those that keep wants to stay: running tells
// it that the unit's command has not ended. A running one is stopped with all its processes, grace before
// KILL. One whose command left processes behind is not touched while they live: it is their home, they are
// its only content, and `systemctl stop` ends them.
func (m *Manager) CleanUp(ctx context.Context, prefix string, grace time.Duration, keep func(name string, running bool) bool) error {
	var all []sd.UnitStatus
	if err := m.call(ctx, func(ctx context.Context, conn *sd.Conn, _ *dbus.Conn) (err error) {
		all, err = conn.ListUnitsByPatternsContext(ctx, nil, []string{prefix + "*.service"})
		return err
	}); err != nil {
		return fmt.Errorf("cannot list the units %s*: %w", prefix, err)
	}
	var errs []error
	for _, u := range all {
		running := u.JobId != 0 || u.ActiveState == "activating" || u.ActiveState == "deactivating"
		if keep(u.Name, running) {
			continue
		}
		if !running {
			if left, err := m.processes(ctx, u.Name); err != nil || len(left) > 0 {
				errs = append(errs, err)
				continue
			}
		}
		_, err := m.stop(ctx, u.Name, grace)
		errs = append(errs, err, m.reset(ctx, u.Name))
	}
	return errors.Join(errs...)
}

// End ends a unit with all its processes, grace before KILL, and lets it go. It returns those that its command had left
// running. A unit that is not there is none of its business.
func (m *Manager) End(ctx context.Context, name string, grace time.Duration) (left []string, err error) {
	found, err := m.processes(ctx, name)
	if busError(err, "org.freedesktop.systemd1.NoSuchUnit") {
		return nil, nil
	}
	for _, p := range found {
		left = append(left, p.String())
	}
	if err != nil {
		err = fmt.Errorf("cannot ask systemd what unit %s left running: %w", name, err)
	}
	_, stopped := m.stop(ctx, name, grace)
	return left, errors.Join(err, stopped, m.reset(ctx, name))
}

func (p process) String() string {
	name, _, _ := strings.Cut(p.Command, " ")
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID)); err == nil { // usher's sandbox may hide it
		name = strings.TrimSpace(string(comm))
	}
	return fmt.Sprintf("%s (pid %d)", printable(path.Base(name)), p.PID)
}
