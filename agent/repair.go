//go:build linux && !developer

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
	// maxRepairPause is between repairs that fail for want of the bundle.
	maxRepairPause = 4 * time.Hour
	// quietPeriod: after a host command, how long GetDeploymentGroup may lag; the next command or a new deployment shows
	// within seconds.
	quietPeriod = 2 * time.Minute
	// noCheck is longer than any server lives.
	noCheck = 100 * 365 * 24 * time.Hour
)

// drift is what repair remembers from one check to the next.
type drift struct {
	failures    int    // repairs that failed in a row
	loggedNewer string // release already logged as newer than the group's, so that it is logged once
}

// repair brings a server that missed a deployment to its group's revision. It does nothing while a deployment
// is under way in the group or was a moment ago, after a rollback by hand, to a server that is ahead of its group,
// and to a revision that has failed here. It returns when to look again.
func (a *agent) repair(ctx context.Context, target string, d *drift) (again time.Duration, err error) {
	again = a.nextDriftCheck()
	if target != "" && target != "InService" || a.commands.Quiet() {
		return again, nil // in a warm pool, in standby, on its way out: what comes then looks for itself
	}
	rev, err := a.revisions.Look(ctx)
	switch {
	case rev.Underway != "":
		return again / repairSooner, nil
	case errors.Is(err, revision.ErrNone), a.state().Open() != nil:
		return again, nil
	case err == nil && !rev.Pinned() && a.isBehind(rev, d):
		rev, err = a.revisions.Pin(ctx, rev)
	}
	if err != nil {
		return again, fmt.Errorf("cannot see whether this server missed a deployment: %w", err)
	}
	if last := a.state().Last; last != nil && last.ID == rev.DeploymentID {
		a.deploy.Finalize() // it has succeeded as a whole: nothing brings back what it replaced
	}
	if !a.isBehind(rev, d) {
		d.failures = 0
		return again, nil
	}
	a.log.Warn(fmt.Sprintf("this server missed a deployment: deploying %s", rev), systemd.ID(systemd.MessageDrift))
	work, done := lifecycle.WhileStaying(ctx, a.clients.Metadata)
	defer done()
	if _, err = a.deployLatest(work, record.ByRepair); err != nil {
		d.failures++
		return max(again, min(again<<min(d.failures, 10), maxRepairPause)), err
	}
	d.failures = 0
	a.deploy.Prune()
	return again, nil
}

// isBehind says whether the group's revision is one that this server should run and does not.
func (a *agent) isBehind(rev revision.Revision, d *drift) bool {
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
		if d.loggedNewer != good.Release { // its deployment failed elsewhere, or was stopped: what to do is CodeDeploy's
			d.loggedNewer = good.Release
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

// nextDriftCheck is when to look for drift next.
func (a *agent) nextDriftCheck() time.Duration {
	if a.cfg.DriftCheckInterval == 0 {
		return noCheck
	}
	return a.cfg.DriftCheckInterval + time.Duration((2*rand.Float64()-1)*repairJitter*float64(a.cfg.DriftCheckInterval))
}
