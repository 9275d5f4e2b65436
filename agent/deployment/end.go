package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/hooks"
	"usher/systemd"
)

// How a deployment ends when its release is good, and what follows from that.

// succeed records that the release is good, once all that it consists of is on the disk. From here on the verdict is
// CONTINUE; what goes wrong in tidying up is said, and no failure.
func (d *Deployment) succeed(ctx context.Context) error {
	began := time.Now()
	if err := d.syncDisks(); err != nil {
		return d.rollBack(ctx, "bringing it to the disk", err)
	}
	d.on.Record.Timings.Since(began, "", record.PartSync)
	if err := d.on.confirm(d.entry); err != nil {
		return d.rollBack(ctx, "the last look at the release", err)
	}
	if err := d.append(record.Entry{What: record.Succeeded, Revision: d.source.String(), Release: d.release.ID}); err != nil {
		return d.rollBack(ctx, "recording the success", err)
	}
	d.on.reconcile(d.log)
	if d.wouldEnd > 0 {
		d.log.Warn(fmt.Sprintf("with errexit: enforce, deployment %s would have failed: it would have ended scripts at %s, each named above",
			d.entry.ID, format.Plural(d.wouldEnd, "command")), systemd.ID(systemd.MessageScriptWarning))
	}
	d.log.Info(fmt.Sprintf("release %s of deployment %s is live and good", d.release.ID, d.entry.ID),
		systemd.ID(systemd.MessageDeploymentSucceeded))
	d.on.Notify.Status("release %s is live", d.release.ID)
	startTarget(ctx, d.log)
	return nil
}

// Confirm looks, before Auto Scaling is told so, whether what the newest deployment has made live can go into service.
// The error says why not. A group that has no revision yet has nothing to confirm.
func (s *Deployer) Confirm() error {
	last := s.Record.State().Last
	if last == nil || last.End != record.Succeeded {
		return nil
	}
	return s.confirm(last)
}

// confirm looks for what a success rests on: the link leads to the release, that is whole, and its ValidateService passed
// since the server was started.
func (s *Deployer) confirm(d *record.Deployment) error {
	if err := s.Layout.Standing(d.Release); err != nil {
		return err
	}
	if d.FinishedIn[hooks.ValidateService] != s.Identity.BootID {
		return fmt.Errorf("release %s was not validated since the server was started", d.Release)
	}
	return nil
}

// StartTarget lets systemd start what waits for a good release. The launch does not depend on it.
func (s *Deployer) StartTarget(ctx context.Context) { startTarget(ctx, s.Log) }

func startTarget(ctx context.Context, log *zap.Logger) {
	if err := systemd.StartTarget(ctx, systemd.DeployedTarget); err != nil {
		log.Warn(err.Error())
	}
}

// Reconcile does what follows from a deployment that is recorded as a success: the facts beside the release say so too, for
// who has no record. It is repeated at the next start when the agent died before it was done.
func (s *Deployer) Reconcile() { s.reconcile(s.Log) }

func (s *Deployer) reconcile(log *zap.Logger) {
	last := s.Record.State().Last
	if last == nil || last.End != record.Succeeded {
		return
	}
	r, ok := s.Layout.Load(last.Release)
	if !ok || r.Status == release.Good && r.Instance == s.Identity.InstanceID {
		return
	}
	var err error
	if last.By != record.ByCommand { // else its traffic events may follow, and fail: see Finalize
		err = s.removeReplaced(r, last)
	}
	// Marked last: until then all of it is done again.
	if err := errors.Join(err, s.Layout.Mark(&r, release.Good, s.Identity.InstanceID)); err != nil {
		log.Warn("the deployment succeeded, but: "+err.Error(), systemd.ID(systemd.MessageCleanupFailed))
	}
}

// Finalize removes what the release before a deployment by CodeDeploy's commands had left outside the link, once no traffic
// event or rollback can need it any more. The caller knows when that is.
func (s *Deployer) Finalize() {
	last := s.Record.State().Last
	if last == nil || last.End != record.Succeeded || last.By != record.ByCommand || last.Finalized {
		return
	}
	if r, ok := s.Layout.Load(last.Release); ok {
		if err := s.removeReplaced(r, last); err != nil {
			s.Log.Warn("the deployment succeeded, but: "+err.Error(), systemd.ID(systemd.MessageCleanupFailed))
			return
		}
	}
	s.Record.AppendOrLog(record.Entry{What: record.Finalized, Sequence: last.Sequence}, s.logError)
}

// removeReplaced ends a deployment that succeeded, for the files outside the link.
func (s *Deployer) removeReplaced(r release.Release, d *record.Deployment) error {
	before, ok := s.Layout.ByPath(d.Live)
	if !ok || before.ID == r.ID {
		before = release.Release{}
	}
	return s.Layout.Keep(r, before)
}
