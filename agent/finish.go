package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/agent/runner"
	"usher/hooks"
	"usher/systemd"
)

// How a deployment ends: its release is good, or what was live before is live again.

// succeed records that the release is good. From here on the verdict is CONTINUE; what goes wrong in
// tidying up is said, and no failure.
func (d *deployment) succeed(ctx context.Context) error {
	if err := d.rec.Append(record.Entry{What: record.Succeeded, Revision: d.source.name, Release: d.release.ID}); err != nil {
		return d.rollBack(ctx, "recording the success", err)
	}
	d.finishSuccess()
	if d.wouldEnd > 0 {
		d.log.Warn(fmt.Sprintf("with errexit: enforce, deployment %s would have failed: it would have ended scripts at %s, each named above",
			d.id, format.Plural(d.wouldEnd, "command")), systemd.ID(systemd.MessageScriptWarning))
	}
	d.log.Info(fmt.Sprintf("release %s of deployment %s is live and good", d.release.ID, d.id),
		systemd.ID(systemd.MessageDeploymentSucceeded))
	d.notify.Status("release %s is live", d.release.ID)
	d.reachTarget(ctx)
	return nil
}

// reachTarget lets systemd start what waits for a good release. The launch does not depend on it.
func (a *agent) reachTarget(ctx context.Context) {
	if err := systemd.StartTarget(ctx, systemd.DeployedTarget); err != nil {
		a.log.Warn(err.Error())
	}
}

// finishSuccess does what follows from a deployment that is recorded as a success. It is repeated at the
// next start when the agent died before it was done.
func (a *agent) finishSuccess() {
	last := a.rec.State().Last
	if last == nil || last.End != record.Succeeded {
		return
	}
	r, ok := a.layout.Load(last.Release)
	if !ok || r.Status == release.Good && r.Instance == a.me.InstanceID {
		return
	}
	var err error
	if last.By != record.ByCommand { // else its traffic events may follow, and fail: see settle
		err = a.keep(r, last)
	}
	// Marked last: until then all of it is done again.
	if err := errors.Join(err, a.layout.Mark(&r, release.Good, a.me.InstanceID)); err != nil {
		a.log.Warn("the deployment succeeded, but: "+err.Error(), systemd.ID(systemd.MessagePruneFailed))
	}
}

// settle lets go what a deployment by CodeDeploy's commands replaced, once nothing more can follow that
// would bring it back.
func (a *agent) settle() {
	last := a.rec.State().Last
	if last == nil || last.End != record.Succeeded || last.By != record.ByCommand || last.Finalized {
		return
	}
	if r, ok := a.layout.Load(last.Release); ok {
		if err := a.keep(r, last); err != nil {
			a.log.Warn("the deployment succeeded, but: "+err.Error(), systemd.ID(systemd.MessagePruneFailed))
			return
		}
	}
	a.rec.AppendOrLog(record.Entry{What: record.Finalized, Sequence: last.Sequence}, a.logError)
}

// keep ends a deployment that succeeded, for the files outside the link.
func (a *agent) keep(r release.Release, d *record.Deployment) error {
	before, ok := a.releaseAt(d.Live)
	if !ok || before.ID == r.ID {
		before = release.Release{}
	}
	return a.layout.Keep(r, before)
}

// restore puts back the files outside the link.
func (d *deployment) restore(ctx context.Context) error {
	id := d.source.id
	_, done, err := d.runUnsandboxed(ctx, d.past, runner.FileRequest{Step: runner.Restore, Release: id}, func() bool { return d.layout.RestoreReaches(id) })
	if !done {
		return d.layout.Restore(id)
	}
	return err
}

// undo puts back what was live: the link, the files outside it, and, where it was stopped or replaced,
// the application. What the failed release has started is stopped before that, while the link still leads to it: else it
// would go on serving, and hold the port. The failed release stays on disk for diagnosis, marked bad.
func (d *deployment) undo(ctx context.Context, _ string) (string, error) {
	now, _, err := d.layout.Live()
	if err != nil {
		return "", err
	}
	if d.hasStarted(hooks.ApplicationStart) {
		d.stopFailed(ctx)
	}
	flipped := now == d.layout.Tree(d.source.id) && now != d.fallback
	detail := "nothing to put back"
	if flipped {
		if err := d.layout.Flip(d.fallback); err != nil {
			return "", err
		}
		detail = d.layout.LinkPath() + " -> " + d.fallback
	}
	if d.release.ID != "" {
		status := release.Bad
		if d.release.Tree == d.fallback {
			status = release.Good // it was live and good before it was deployed again
		}
		if err := d.layout.Mark(&d.release, status, d.me.InstanceID); err != nil {
			d.logError(err) // what is not marked good is not taken for it
		}
	}
	if err := d.restore(ctx); err != nil {
		return "", err
	}
	if _, wasLive := d.liveRelease(); (flipped || d.past.Finished[record.StepFlip] || wasLive && d.hasBegun()) && d.fallback != "" {
		back, err := d.startAgain(ctx)
		if err != nil {
			return "", notServing{err}
		}
		detail += back
	}
	return detail, nil
}

// notServing is an error of a rollback after which what was live is live again, and was not seen to serve.
type notServing struct{ error }

func (n notServing) Unwrap() error { return n.error }

// stopFailed ends what the failed release has started: by its ApplicationStop scripts, whose failure is a warning, and
// whatever its scripts have left running after that. It does so once in a boot: later, what runs may be what was live.
func (d *deployment) stopFailed(ctx context.Context) {
	done := d.scriptID(record.StepRollback, "stopped", 0)
	if d.release.ID == "" || d.past.Scripts[done] == d.me.BootID {
		return
	}
	limited, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if _, err := d.scriptsOf(limited, record.StepRollback, hooks.ApplicationStop, d.release); err != nil {
		d.log.Warn(fmt.Sprintf("ApplicationStop of the failed release %s failed, going on with what was live: %v", d.release.ID, retry.Cause(limited, err)),
			systemd.ID(systemd.MessageScriptWarning), zap.String("lifecycle_event", record.StepRollback))
	}
	var scripts []hooks.Script
	for _, event := range hooks.Events {
		list, err := d.listScripts(event, d.release)
		if err != nil || beforeDownload(event) && event != hooks.ApplicationStop {
			continue // it has run none then
		}
		step := event
		if event == hooks.ApplicationStop {
			step = record.StepRollback // before, it was what is live whose scripts were run
		}
		for n, s := range list {
			s.ID, s.Env = d.scriptID(step, event, n), d.env.Environ(event)
			scripts = append(scripts, s)
		}
	}
	ended, err := d.runner.End(ctx, scripts)
	if len(ended) > 0 {
		d.log.Warn(fmt.Sprintf("%s was left running by the failed release, and is ended: TERM, and KILL %s later", format.Limited(ended), hooks.KillGrace),
			systemd.ID(systemd.MessageScriptLeftovers), zap.String("lifecycle_event", record.StepRollback))
	}
	if err != nil {
		d.log.Error("what the failed release left running does not end: "+err.Error(), systemd.ID(systemd.MessageScriptLeftovers))
	}
	d.rec.AppendOrLog(record.Entry{What: record.ScriptDone, Step: record.StepRollback, Script: done}, d.logError)
}

// startAgain starts what is live again, and asks it by its ValidateService scripts whether it serves.
func (d *deployment) startAgain(ctx context.Context) (detail string, err error) {
	of, known := d.releaseAt(d.fallback)
	base := !known && d.layout.IsBase(d.fallback)
	if base {
		of = release.Release{Tree: d.fallback, Bundle: d.fallback}
	}
	if !known && !base {
		return "; ApplicationStart: none is run of what is neither a release nor the base", nil
	}
	for _, event := range []string{hooks.ApplicationStart, hooks.ValidateService} {
		if base && event == hooks.ValidateService && !d.validates(of) {
			break // the role's alone ask for an application that a base need not have
		}
		ran, err := d.scriptsOf(ctx, record.StepRollback, event, of)
		if err != nil {
			return "", fmt.Errorf("%s failed: %w", event, retry.Cause(ctx, err))
		}
		detail += "; " + event + ": " + ran
	}
	return detail, nil
}

// validates says whether a release, or the base, has ValidateService scripts of its own.
func (d *deployment) validates(of release.Release) bool {
	list, err := d.listScripts(hooks.ValidateService, of)
	return err != nil || slices.ContainsFunc(list, func(s hooks.Script) bool { return !s.Role })
}

// hasBegun says whether any step of the deployment was started, but for its rollback: the application may
// have been stopped.
func (d *deployment) hasBegun() bool {
	last := d.rec.State().Last
	return last != nil && slices.ContainsFunc(last.Started, func(step string) bool { return step != record.StepRollback })
}

// hasStarted says whether a step of the deployment was started.
func (d *deployment) hasStarted(step string) bool {
	last := d.rec.State().Last
	return last != nil && slices.Contains(last.Started, step)
}
