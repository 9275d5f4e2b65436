package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
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
// the application. The failed release stays on disk for diagnosis, marked bad.
func (d *deployment) undo(ctx context.Context, _ string) (string, error) {
	now, _, err := d.layout.Live()
	if err != nil {
		return "", err
	}
	flipped := now == d.layout.Tree(d.source.id) && now != d.fallback
	detail := "nothing to put back"
	if flipped {
		if err := d.layout.Flip(d.fallback); err != nil {
			return "", err
		}
		detail = d.layout.LinkPath() + " -> " + d.fallback
	}
	errs := []error{d.restore(ctx)}
	if _, wasLive := d.liveRelease(); (flipped || wasLive && d.hasBegun()) && d.fallback != "" {
		of, known := d.releaseAt(d.fallback)
		if !known && d.layout.IsBase(d.fallback) {
			of, known = release.Release{Tree: d.fallback, Bundle: d.fallback}, true
		}
		started := "none is run of what is neither a release nor the base"
		if known {
			started, err = d.scriptsOf(ctx, record.StepRollback, hooks.ApplicationStart, of)
		}
		if err != nil {
			err = fmt.Errorf("ApplicationStart of what was live before failed: %w", err)
		}
		errs = append(errs, err)
		detail += "; ApplicationStart: " + started
	}
	if d.release.ID != "" {
		status := release.Bad
		if d.release.Tree == d.fallback {
			status = release.Good // it was live and good before it was deployed again
		}
		errs = append(errs, d.layout.Mark(&d.release, status, d.me.InstanceID))
	}
	return detail, errors.Join(errs...)
}

// hasBegun says whether any step of the deployment was started, but for its rollback: the application may
// have been stopped.
func (d *deployment) hasBegun() bool {
	last := d.rec.State().Last
	return last != nil && slices.ContainsFunc(last.Started, func(step string) bool { return step != record.StepRollback })
}
