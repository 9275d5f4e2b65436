package main

import (
	"errors"
	"fmt"
	"os"

	"usher/hooks"
	"usher/systemd"
)

// How hook scripts are run: the values of `usher run --runner`.
const (
	runnerAuto      = "auto"      // units under systemd, processes anywhere else
	runnerUnits     = "units"     // each script is a transient unit of its own
	runnerProcesses = "processes" // each script is a process group of usher's own
)

// scriptRunner runs hook scripts until it is closed. Close ends no script.
type scriptRunner interface {
	hooks.Runner
	Close()
}

// errConfined is why scripts are not run by an agent with a sandbox: it is made for the agent.
var errConfined = errors.New("cannot run scripts as processes of usher's: the sandbox of usher.service would confine them. " +
	"Run them as units (--runner auto), or take the sandbox away: systemctl edit usher.service")

// newRunner is the runner for a setting of --runner. The default takes units where usher itself is a
// service of a systemd: only there does a successor come that takes a running script up.
func (a *agent) newRunner(setting string) (scriptRunner, error) {
	processes := &hooks.ProcessGroups{Alive: a.notify.Alive}
	switch setting {
	case runnerProcesses:
		if systemd.Sandboxed() {
			return nil, errConfined
		}
		return processes, nil
	case runnerAuto:
		if os.Geteuid() != 0 || !systemd.Booted() || os.Getenv("INVOCATION_ID") == "" && os.Getenv("NOTIFY_SOCKET") == "" {
			return processes, nil
		}
		units, err := a.newUnits()
		if err != nil && systemd.Sandboxed() { // tried again when there is a script to run; else that is the failure
			a.log.Warn(err.Error())
			return units, nil
		}
		if err != nil { // a deployment with less comfort is better than none
			a.log.Warn(fmt.Sprintf("hook scripts run as processes of usher's, not as units: %v", err))
			return processes, nil
		}
		return units, nil
	case runnerUnits:
		if os.Geteuid() != 0 || !systemd.Booted() {
			return nil, errors.New("cannot run scripts as units: that needs root, and a machine whose init is systemd")
		}
		return a.newUnits()
	}
	return nil, fmt.Errorf("cannot use --runner %q: it is one of %s, %s, %s", setting, runnerAuto, runnerUnits, runnerProcesses)
}
