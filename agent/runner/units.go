package runner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"usher/hooks"
	"usher/systemd"
)

// hookUnits is how the names of all units of hook scripts begin: `systemctl list-units 'usher-hook-*'`.
const hookUnits = "usher-hook-"

// closeTimeout bounds letting go of the units that have ended: milliseconds, and well inside the unit's
// TimeoutStopSec when systemd is busy.
const closeTimeout = 10 * time.Second

// units is hooks.Runner with a transient unit for each script. The script's ID is the unit's name, so it
// runs once: an agent that is restarted in the middle of it takes it up. It runs one script at a time.
//
// What a script writes goes straight to the journal, with the deployment's fields, also while no agent
// runs; line is not called. A Result tells neither Lines nor Dropped, and has a Tail when the script failed.
// What one script may put there is limited by journald, and by time: a daemon that it leaves behind goes on
// writing there.
type units struct {
	manager *systemd.Manager
	opt     Options
	grace   time.Duration // between TERM and KILL
}

// close lets go of the units that have ended. A running one goes on: usher is being restarted.
func (u *units) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	defer u.manager.Close()
	for _, prefix := range []string{hookUnits, fileUnits} {
		if err := u.manager.CleanUp(ctx, prefix, u.grace, func(_ string, running bool) bool { return running }); err != nil {
			u.opt.Log().Warn(err.Error())
		}
	}
}

// Run is hooks.Runner's. It stops a script that an earlier agent left running and that is not this one:
// its deployment was given up.
func (u *units) Run(ctx context.Context, s hooks.Script, argv []string, _ func(stream, text string)) (hooks.Result, error) {
	unit, err := u.unit(s, argv)
	if err != nil {
		return hooks.Result{}, fmt.Errorf("cannot start %s: %w", s, err)
	}
	// By now the results of all others are in the record.
	if err := u.manager.CleanUp(ctx, hookUnits, u.grace, func(name string, _ bool) bool { return name == unit.Name }); err != nil {
		return hooks.Result{}, fmt.Errorf("cannot start %s: %w", s, err)
	}
	out, err := u.manager.Run(ctx, unit, func(cause error) bool { return u.opt.Stopped(ctx, cause) })
	if out.Attached {
		u.opt.Log().Info(fmt.Sprintf("%s was started before usher was: it is not started again", s),
			systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", s.Event), zap.String("hook_script", s.Location))
	}
	result := hooks.Result{ExitCode: out.ExitCode, TimedOut: out.TimedOut, Duration: out.Duration, BackgroundProcesses: out.Leftovers}
	for _, line := range out.Tail {
		result.Tail = append(result.Tail, hooks.Clean(line))
	}
	if out.Flooded {
		const missing = "wrote more at its end than the journal takes: its last lines may be missing there"
		u.opt.Log().Warn(s.Location+" "+missing, systemd.ID(systemd.MessageScriptWarning),
			zap.String("lifecycle_event", s.Event), zap.String("hook_script", s.Location))
		if !out.OK() { // what stands last there is not what it said last
			result.Tail = append(result.Tail, "(it "+missing+")")
		}
	}
	if out.Signal != 0 {
		result.Signal = unix.SignalName(out.Signal)
	}
	if err != nil {
		return result, fmt.Errorf("cannot run %s: %w", s, err)
	}
	return result, nil
}

// end ends what a script's unit has left.
func (u *units) end(ctx context.Context, s hooks.Script) ([]string, error) {
	name, err := systemd.UnitName(hookUnits, s.ID)
	if err != nil {
		return nil, err
	}
	return u.manager.End(ctx, name, u.grace)
}

// unit is a script as a unit.
func (u *units) unit(s hooks.Script, argv []string) (systemd.Unit, error) {
	name, err := systemd.UnitName(hookUnits, s.ID)
	if err != nil {
		return systemd.Unit{}, err
	}
	// systemd sets them as well, but not where it thinks they say nothing (SHELL=/usr/sbin/nologin), and scripts run
	// with `set -u`.
	login, err := hooks.Login(s.RunAs)
	if err != nil {
		return systemd.Unit{}, err
	}
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = hooks.DefaultTimeout
	}
	env := append(append(login, s.Env...), hooks.Tag+"="+s.ID)
	unit := systemd.Unit{Name: name, Description: "usher: " + s.String(), Argv: argv, Env: env, Dir: s.Dir, User: s.RunAs,
		Timeout: timeout, Grace: u.grace, Fields: u.fields(s)}
	if hooks.Mounts(s) { // in a namespace of its own nobody else would see what it mounts
		return unit, nil
	}
	unit.ReadOnly, unit.Writable = s.ReadOnly, s.Writable
	if s.Link == "" || hooks.SeesLive(s) {
		return unit, nil
	}
	return u.withLink(unit, s)
}

// fields are what usher's own lines about a script carry, for the lines it writes itself.
func (u *units) fields(s hooks.Script) map[string]string {
	fields := map[string]string{"MESSAGE_ID": systemd.MessageScriptOutput, "HOOK_OUTPUT": "true",
		"LIFECYCLE_EVENT": s.Event, "HOOK_SCRIPT": s.Location}
	for _, kv := range s.Env {
		switch name, value, _ := strings.Cut(kv, "="); name {
		case "DEPLOYMENT_ID":
			fields["DEPLOYMENT_ID"] = value
		case "APPLICATION_NAME":
			fields["APPLICATION"] = value
		case "DEPLOYMENT_GROUP_NAME":
			fields["DEPLOYMENT_GROUP"] = value
		}
	}
	if revision, release := u.opt.Deployment(fields["DEPLOYMENT_ID"]); release != "" {
		fields["REVISION"], fields["RELEASE"] = revision, release
	}
	return fields
}
