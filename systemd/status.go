package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// status is what systemd knows of a unit.
type status struct {
	load, active string // LoadState, ActiveState
	job          uint32 // the job that is queued for it, 0 for none
	result       string // Result: success, exit-code, signal, core-dump, timeout, oom-kill, resources, …
	code, status int32  // of the main process, as in siginfo: how it ended, and exit code or signal
	from, to     uint64 // its start and exit, µs of the monotonic clock
	invocation   string
}

// How a process ended (si_code of SIGCHLD).
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

func (m *Manager) status(ctx context.Context, name string) (s status, err error) {
	var all map[string]any
	if err := m.call(ctx, func(ctx context.Context, conn *sd.Conn, _ *dbus.Conn) (err error) {
		all, err = conn.GetAllPropertiesContext(ctx, name)
		return err
	}); err != nil {
		return s, fmt.Errorf("cannot ask systemd about unit %s: %w", name, err)
	}
	s.load, _ = all["LoadState"].(string)
	s.active, _ = all["ActiveState"].(string)
	if job, ok := all["Job"].([]any); ok && len(job) > 0 {
		s.job, _ = job[0].(uint32)
	}
	s.result, _ = all["Result"].(string)
	s.code, _ = all["ExecMainCode"].(int32)
	s.status, _ = all["ExecMainStatus"].(int32)
	s.from, _ = all["ExecMainStartTimestampMonotonic"].(uint64)
	s.to, _ = all["ExecMainExitTimestampMonotonic"].(uint64)
	id, _ := all["InvocationID"].([]byte)
	s.invocation = hex.EncodeToString(id)
	return s, nil
}

// ended reports whether the unit's command has run, or will not.
func (s status) ended() bool {
	return s.active == "active" || s.active == "failed" || s.active == "inactive" && s.job == 0
}

// ran reports whether there was a process at all.
func (s status) ran() bool { return s.from != 0 }

// outcome is the status as the caller of Run wants it.
func (s status) outcome() Outcome {
	out := Outcome{ExitCode: -1, TimedOut: s.result == "timeout", InvocationID: s.invocation}
	if s.to > s.from {
		out.Duration = time.Duration(s.to-s.from) * time.Microsecond
	}
	switch s.code {
	case cldExited:
		out.ExitCode = int(s.status)
	case cldKilled, cldDumped:
		out.Signal = syscall.Signal(s.status)
	}
	return out
}

// systemdStatuses is where the exit codes begin with which systemd says that it could not start a
// command (systemd.exec(5): 200 CHDIR, 203 EXEC, 217 USER, …). A script may use them as well: the journal
// tells which of the two it was.
const systemdStatuses = 200

// spawnError is why the command never ran, nil when it did.
func (s status) spawnError(ctx context.Context, name string) error {
	switch {
	case !s.ran() && (s.load == "not-found" || s.result == "success"):
		return fmt.Errorf("unit %s is gone and its result with it: somebody stopped it (systemctl stop?)", name)
	case !s.ran():
		return fmt.Errorf("systemd did not start unit %s: %s (systemctl status, journalctl -u)", name, s.result)
	case s.code == cldExited && s.status >= systemdStatuses:
		return spawnFailure(ctx, s.invocation)
	}
	return nil
}
