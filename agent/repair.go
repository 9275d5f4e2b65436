package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"usher/agent/deployment"
	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/agent/revision"
	"usher/hooks"
	"usher/systemd"
)

const (
	// repairJitter keeps a fleet that booted together from asking together.
	repairJitter = 0.2
	// repairSooner: how much sooner it is asked again while a deployment is under way in the group, which this
	// server may not be part of because it was launching when it began.
	repairSooner = 10
	// repairMost is between repairs that fail for want of the bundle.
	repairMost = 4 * time.Hour
	// silenceMost: CodeDeploy sends the next command within seconds, and shows a new deployment as soon.
	silenceMost = 2 * time.Minute
	// settleAfter: CodeDeploy gives an event an hour. No traffic event follows a deployment after that.
	settleAfter = 90 * time.Minute
	// never is a time that no server sees.
	never = 100 * 365 * 24 * time.Hour
)

// repair brings a server that missed a deployment to its group's revision. It does nothing while a deployment
// is under way in the group or was a moment ago, after a rollback by hand, to a server that is ahead of its group,
// and to a revision that has failed here. It returns when to look again.
func (a *agent) repair(ctx context.Context) (again time.Duration, err error) {
	again = a.nextRepair()
	if a.seen != "" && a.seen != "InService" || time.Since(a.obeyed) < a.silence() {
		return again, nil // in a warm pool, in standby, on its way out: what comes then looks for itself
	}
	rev, err := a.revisions.Look(ctx)
	switch {
	case rev.Underway != "":
		return again / repairSooner, nil
	case errors.Is(err, revision.ErrNone), a.state().Open() != nil:
		return again, nil
	case err == nil && a.isBehind(rev):
		rev, err = a.revisions.Pin(ctx, rev)
	}
	if err != nil {
		return again, fmt.Errorf("cannot see whether the group has moved on: %w", err)
	}
	if last := a.state().Last; last != nil && last.ID == rev.DeploymentID {
		a.deploy.Finalize() // it has succeeded as a whole: nothing brings back what it replaced
	}
	if !a.isBehind(rev) {
		a.tries = 0
		return again, nil
	}
	a.log.Warn(fmt.Sprintf("this server missed a deployment: deploying %s", rev), systemd.ID(systemd.MessageDrift))
	work, done := lifecycle.WhileStaying(ctx, a.clients.Metadata)
	defer done()
	if err = a.deployLatest(work, record.ByRepair); err != nil {
		a.tries++
		return max(again, min(again<<min(a.tries, 10), repairMost)), err
	}
	a.tries = 0
	a.deploy.Prune()
	return again, nil
}

// isBehind says whether the group's revision is one that this server should run and does not.
func (a *agent) isBehind(rev revision.Revision) bool {
	past := a.state()
	good, last := past.Good, past.Last
	switch live := good != nil && a.deploy.Layout.IsLive(good.Release); {
	case live && good.ID == rev.DeploymentID: // by this very deployment, whatever lies in its place by now
		return false
	case live && rev.Pinned() && deployment.SameRevision(good.Release, rev.ID()):
		return false
	case last != nil && last.By == record.ByOperator && last.End == record.Succeeded:
		return false // what a person chose stays until the next deployment
	case live && good.By == record.ByCommand && rev.Deployed.Before(good.Ended):
		if a.ahead != good.Release { // its deployment failed elsewhere, or was stopped: what to do is CodeDeploy's
			a.ahead = good.Release
			a.log.Warn(fmt.Sprintf("release %s is newer than the deployment group's, which is %s: deployment %s succeeded here and not as a whole",
				good.Release, rev, good.ID), systemd.ID(systemd.MessageDrift))
		}
		return false
	case last != nil && last.End == record.Abandoned && deployment.SameRevision(last.Release, rev.ID()):
		// Its scripts have failed here, and that was said. A bundle that could not be had may be had now.
		// So may a disk that could not be written to; no script runs in Flip.
		return last.FailedStep == "" || last.FailedStep == hooks.DownloadBundle || last.FailedStep == record.StepFlip
	}
	return true
}

// silence is how long after a host command CodeDeploy's account of its group is not relied upon: it may be late.
func (a *agent) silence() time.Duration {
	if d := a.cfg.DriftCheckInterval; d > 0 && d < silenceMost {
		return d
	}
	return silenceMost
}

// abandoned rolls back a deployment by commands that CodeDeploy has ended, or stopped, without telling this
// server: it just sends no more. The application may have been stopped for it.
func (a *agent) abandoned(ctx context.Context) error {
	open := a.state().Open()
	if open == nil || open.By != record.ByCommand {
		if last := a.state().Last; last != nil && !last.Ended.IsZero() && time.Since(last.Ended) > settleAfter {
			a.deploy.Finalize()
		}
		return nil
	}
	if time.Since(a.obeyed) < a.silence() || time.Since(a.asked) < a.silence() {
		return nil
	}
	a.asked = time.Now()
	rev, err := a.revisions.Look(ctx)
	switch {
	case rev.Group == "" || err != nil && rev.GroupID == "":
		return fmt.Errorf("cannot see whether deployment %s goes on: %w", open.ID, err)
	case rev.Underway != open.ID:
		a.deploy.Abandon(ctx, open, errors.New("CodeDeploy has ended this deployment, and did not finish it here"))
	}
	return nil
}

// nextRepair is when to look for drift next.
func (a *agent) nextRepair() time.Duration {
	if a.cfg.DriftCheckInterval == 0 {
		return never
	}
	return a.cfg.DriftCheckInterval + time.Duration((2*rand.Float64()-1)*repairJitter*float64(a.cfg.DriftCheckInterval))
}
