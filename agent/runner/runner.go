// Package runner is how work is run outside the agent: hook scripts, and what a revision does to files that the agent's
// sandbox keeps it from.
//
//	r, err := runner.New(options)
//	defer r.Close()
//	result, err := r.Run(ctx, script, argv, line)                   // hooks.Runner
//	done, ok, err := r.RunUnsandboxed(ctx, id, request, fields, needed) // files; ok is false where the caller may do it itself
//
// The contract:
//
//   - As units, each script and each file operation is a transient unit with a name of its own, and so it runs once: an agent
//     that is restarted in the middle takes it up. Close ends none that runs.
//   - What a unit of an earlier agent still does that is not gone on with is stopped before the next is begun.
//   - As processes, scripts are children of the agent, and end with it. Under a sandbox that is refused.
//   - `usher apply-files` ([ApplyFiles]) does the file operations: it is this binary, as another unit without the sandbox.
//   - A script with a Link finds it leading to Shown, as a unit: `usher run-with-link` ([RunWithLink]) is this binary too, and
//     becomes the script. Nobody else sees it.
//   - What a script wrote is in the journal under the fields of its deployment, whether or not an agent runs.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"usher/hooks"
	"usher/systemd"
)

// How hook scripts are run: the values of `usher run --runner`.
const (
	Auto      = "auto"      // units under systemd, processes anywhere else
	Units     = "units"     // each script is a transient unit of its own
	Processes = "processes" // each script is a process group of usher's own
)

// Options are what a runner is to know of the agent. All are needed.
type Options struct {
	How      string             // Auto, Units or Processes
	StateDir string             // path of a directory of the agent's own, for want of systemd's RUNTIME_DIRECTORY
	Alive    func()             // called while work goes on
	Log      func() *zap.Logger // the agent's, which learns its fields later than it starts
	// Deployment is the revision and the release of the deployment with this id, "" for one that is not known.
	Deployment func(id string) (revision, release string)
	// Stopped tells an end that comes of the agent being stopped, when what runs goes on, from any other.
	Stopped func(ctx context.Context, err error) bool
}

// Runner runs one thing at a time.
type Runner struct {
	hooks.Runner
	units  *units // nil: scripts are processes
	groups *hooks.ProcessGroups
	close  func()
}

// End ends what scripts that have ended left running: TERM, and KILL after [hooks.KillGrace]. It returns what that was;
// the error says what does not end.
func (r *Runner) End(ctx context.Context, scripts []hooks.Script) (ended []string, err error) {
	var errs []error
	for _, s := range scripts {
		var found []string
		if r.units != nil {
			found, err = r.units.end(ctx, s)
		} else {
			found, err = r.groups.End(s)
		}
		ended, errs = append(ended, found...), append(errs, err)
	}
	return ended, errors.Join(errs...)
}

// Units says whether scripts are units, and not processes of usher's.
func (r *Runner) Units() bool { return r.units != nil }

// Close lets the units go that have ended, or waits for what the processes wrote. It ends no script.
func (r *Runner) Close() { r.close() }

// errSandboxed is why scripts are not run by an agent with a sandbox: it is made for the agent.
var errSandboxed = errors.New("cannot run scripts as processes of usher's: the sandbox of usher.service would confine them. " +
	"Run them as units (--runner auto), or take the sandbox away: systemctl edit usher.service")

// New is the runner for a setting of --runner. The default takes units where usher itself is a
// service of a systemd: only there does a successor come that takes a running script up.
func New(o Options) (*Runner, error) {
	switch o.How {
	case Processes:
		if systemd.Sandboxed() {
			return nil, errSandboxed
		}
		return AsProcesses(o.Alive), nil
	case Auto:
		if os.Geteuid() != 0 || !systemd.Booted() || os.Getenv("INVOCATION_ID") == "" && os.Getenv("NOTIFY_SOCKET") == "" {
			return AsProcesses(o.Alive), nil
		}
		r, err := asUnits(o)
		if err != nil && systemd.Sandboxed() { // tried again when there is a script to run; else that is the failure
			o.Log().Warn(err.Error())
			return r, nil
		}
		if err != nil { // a deployment with less comfort is better than none
			o.Log().Warn(fmt.Sprintf("hook scripts run as processes of usher's, not as units: %v", err))
			return AsProcesses(o.Alive), nil
		}
		return r, nil
	case Units:
		if os.Geteuid() != 0 || !systemd.Booted() {
			return nil, errors.New("cannot run scripts as units: that needs root, and a machine whose init is systemd")
		}
		return asUnits(o)
	}
	return nil, fmt.Errorf("cannot use --runner %q: it is one of %s, %s, %s", o.How, Auto, Units, Processes)
}

// AsProcesses is a runner whose scripts are process groups of usher's own. alive is called while one runs; it may be nil.
func AsProcesses(alive func()) *Runner {
	groups := &hooks.ProcessGroups{Alive: alive}
	return &Runner{Runner: groups, groups: groups, close: groups.Close}
}

func asUnits(o Options) (*Runner, error) {
	u := &units{manager: &systemd.Manager{Alive: o.Alive}, opt: o, grace: hooks.KillGrace}
	return &Runner{Runner: u, units: u, close: u.close}, u.manager.Connect()
}
