package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"usher/agent/appspec"
	"usher/agent/cli"
	"usher/agent/record"
	"usher/agent/release"
	"usher/hooks"
	"usher/systemd"
)

// A revision may install anywhere on the machine, with modes like 4755. The sandbox of usher.service allows the
// agent no more than releases and the link. So what reaches further is done by another usher, `usher place`, in
// a transient unit outside the sandbox, as scripts are run. The unit's name makes it happen once: an agent that is
// restarted in the middle takes it up.
//
// Both tell each other in files of the runtime directory what is to be done and what became of it. As a unit, they
// last until the next boot, and a full disk does not keep a rollback from them. The form may change with any version.

const (
	// placeUnits is how the names of these units begin.
	placeUnits = "usher-place-"
	// placementFile and placedFile are the files; there is one unit at a time.
	placementFile, placedFile = "placement.json", "placed.json"
	// stepKeep is what follows a deployment that succeeded, and stepPrune what follows that: it has to see every process
	// of the machine, which the sandbox hides. They are steps for nobody but a unit's name.
	stepKeep, stepPrune = "Keep", "Prune"
)

// placement is what is to be done to files: the step's call of release.Layout.
type placement struct {
	Unit    string // the unit that does it
	Step    string // hooks.Install, stepRollback, stepKeep or stepPrune
	Layout  release.Layout
	Release string             // its ID
	Before  string             // of Keep: the ID of the release before it, "" for none
	How     release.Installing // of Install
	Retain  int                // of Prune: how many good releases stay
	Protect []string           // of Prune: releases that stay whatever they are
}

// placed is what became of a placement.
type placed struct {
	Unit              string
	release.Installed          // of Install
	Outside, Dirs     []string // of Install: see release.Facts
	Owners            map[string]int
	Removed           []string // of Prune: the releases that are gone
	Left              string   // of Prune: why others are not; the unit has not failed for that
	Error             string   // "" for none
}

// apart does a placement in a unit outside the sandbox. done is false where it can be done here: there is no
// sandbox, or reaches says that the work stays within it. Then no unit of an earlier placement runs any more.
func (a *agent) apart(ctx context.Context, of *record.Deployment, p placement, reaches func() bool) (out placed, done bool, err error) {
	u, ok := a.runner.(*units)
	if !ok || !systemd.Sandboxed() {
		return out, false, nil
	}
	what := fmt.Sprintf("%s-%d-%s", of.ID, of.Sequence, p.Step)
	if p.Step == stepPrune { // it may follow a deployment more than once, and what it has done is not to be taken up
		what += "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if p.Unit, err = systemd.UnitName(placeUnits, what); err != nil {
		return out, true, err
	}
	needed := reaches()
	// Any other was begun by an agent that is gone, for a deployment that was given up, or is in the record.
	if err := u.manager.Tidy(ctx, placeUnits, u.grace, func(name string, _ bool) bool { return needed && name == p.Unit }); err != nil {
		return out, true, err
	}
	if !needed && !reaches() { // what was going on may have left something to put back
		return out, false, nil
	}
	p.Layout = a.layout
	out, err = u.place(ctx, p, map[string]string{"LIFECYCLE_EVENT": p.Step, "DEPLOYMENT_ID": of.ID, "REVISION": of.Revision,
		"RELEASE": of.Release, "APPLICATION": a.cfg.Application, "DEPLOYMENT_GROUP": a.cfg.DeploymentGroup})
	return out, true, err
}

// place runs the unit of a placement, or takes it up, and reads what became of it.
func (u *units) place(ctx context.Context, p placement, fields map[string]string) (out placed, err error) {
	dir := cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), u.agent.cfg.StateDir) // systemd's, of RuntimeDirectory=
	self, err := os.Executable()
	if err == nil {
		err = replaceJSON(filepath.Join(dir, placementFile), p)
	}
	if err != nil {
		return out, fmt.Errorf("cannot hand the files of %s to a unit: %w", p.Step, err)
	}
	ended, err := u.manager.Run(ctx, systemd.Unit{Name: p.Unit, Description: "usher: " + p.Step + ", for files outside the sandbox of usher.service",
		Argv: []string{self, "place", filepath.Join(dir, placementFile)}, Dir: "/", Timeout: hooks.DefaultTimeout, Grace: u.grace, Fields: fields,
	}, func(cause error) bool { return stopped(ctx, cause) })
	if ended.Attached {
		u.agent.log.Info(fmt.Sprintf("%s: its files were being placed before usher was started: that is not begun again", p.Step),
			systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", p.Step))
	}
	if err != nil {
		return out, err
	}
	text, err := os.ReadFile(filepath.Join(dir, placedFile))
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil || out.Unit != p.Unit || ended.OK() != (out.Error == "") {
		return placed{}, fmt.Errorf("cannot place files: unit %s %s", p.Unit, sayEnd(ended))
	}
	if out.Error != "" {
		return out, errors.New(out.Error)
	}
	return out, nil
}

// sayEnd is how a command ended that said nothing of what it did.
func sayEnd(o systemd.Outcome) string {
	how := fmt.Sprintf("ended with exit code %d", o.ExitCode)
	switch {
	case o.TimedOut && o.Duration >= hooks.DefaultTimeout: // and not an operator's stop, which it did not obey
		how = fmt.Sprintf("was not done within %s", took(hooks.DefaultTimeout))
	case o.Signal != 0:
		how = "was killed by " + unix.SignalName(o.Signal)
	}
	if n := len(o.Tail); n > 0 {
		return how + "; its last line: " + hooks.Clean(o.Tail[n-1])
	}
	return how
}

// placeCommand is `usher place`, which is the agent's own and listed nowhere.
func placeCommand() cli.Command {
	c := cli.Command{Name: "place", Args: []string{"FILE"}, About: "not for use by hand",
		More: "The agent, which has a sandbox, starts it in a unit of its own for what a revision installs outside the link, for setuid\n" +
			"and setgid modes, and to remove old releases. FILE says what is to be done; what became of it is written to " + placedFile + " beside it."}
	c.Run = func(ctx context.Context, in cli.Call) int {
		var p placement
		text, err := os.ReadFile(in.Arg(0))
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			return in.Fail(exitFailed, fmt.Errorf("cannot read what is to be done: %v", err))
		}
		out, failure := p.do(ctx)
		if failure != nil {
			fmt.Fprintf(in.Stderr, "usher place: %v\n", failure)
			out.Error = failure.Error()
		}
		if err := replaceJSON(filepath.Join(filepath.Dir(in.Arg(0)), placedFile), out); err != nil {
			fmt.Fprintf(in.Stderr, "usher place: cannot tell what was done: %v\n", err)
			return exitFailed
		}
		if failure != nil {
			return exitFailed
		}
		return exitDone
	}
	return c
}

// do does a placement.
func (p placement) do(ctx context.Context) (out placed, err error) {
	out.Unit = p.Unit
	r, ok := p.Layout.Load(p.Release)
	switch {
	case p.Step == record.StepRollback: // whatever became of the release
		return out, p.Layout.Restore(p.Release)
	case p.Step == stepPrune:
		if out.Removed, err = p.Layout.Prune(p.Retain, p.Protect...); err != nil {
			out.Left = err.Error()
		}
		return out, nil
	case !ok:
		return out, fmt.Errorf("cannot find release %s", p.Release)
	case p.Step == stepKeep:
		before, _ := p.Layout.Load(p.Before)
		return out, p.Layout.Keep(r, before)
	case p.Step != hooks.Install:
		return out, fmt.Errorf("cannot do %q: this version knows nothing of it", p.Step)
	}
	by, err := p.Layout.SpecDir(r)
	if err != nil {
		return out, err
	}
	spec, problems := appspec.Read(by)
	if spec == nil {
		return out, errors.New(problems[0].String())
	}
	plan, problems := p.Layout.Plan(r.Bundle, spec)
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		return out, errors.New(fatal[0].String())
	}
	out.Installed, err = p.Layout.Install(ctx, &r, plan, p.How)
	out.Outside, out.Dirs, out.Owners = r.Outside, r.Dirs, r.Owners
	return out, err
}

// replaceJSON replaces a file in one rename. It need not be on disk: what it is about ends with the boot.
func replaceJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".next", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// readOnly says what to do where the sandbox keeps the agent from a folder that it has to write to: usher.service
// knows those that agent.yml has by default. It is nil where it does not.
func readOnly(dirs ...string) error {
	for _, dir := range dirs {
		at := dir
		for ; at != "/" && unix.Access(at, unix.F_OK) != nil; at = filepath.Dir(at) { // it is made there
		}
		if !systemd.Sandboxed() || !errors.Is(unix.Access(at, unix.W_OK), unix.EROFS) {
			continue
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real // systemd looks at no link in a path that is above the one it is given
		}
		return fmt.Errorf("cannot write to %s: it is outside the sandbox of usher.service. In the image, make the folder and add "+
			"ReadWritePaths=%[1]s below [Service]: systemctl edit usher.service", dir)
	}
	return nil
}
