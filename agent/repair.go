package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"usher/agent/record"
	"usher/agent/revision"
	"usher/systemd"
)

const (
	// repairJitter keeps a fleet that booted together from asking together.
	repairJitter = 0.2
	// repairSooner: how much sooner it is asked again while a deployment is under way in the group, which this
	// server may not be part of because it was launching when it began.
	repairSooner = 10
	// never is a time that no server sees.
	never = 100 * 365 * 24 * time.Hour
)

// repair brings a server that missed a deployment to its group's revision. It does nothing while a deployment
// is under way in the group, after a rollback by hand, and to a revision that has failed here. It returns
// when to look again.
func (a *agent) repair(ctx context.Context) (again time.Duration, err error) {
	again = a.nextRepair()
	if a.seen != "" && a.seen != "InService" {
		return again, nil // in a warm pool, in standby, on its way out: what comes then looks for itself
	}
	past := a.rec.State()
	rev, err := a.groupRevision(ctx)
	switch {
	case rev.Underway != "":
		return again / repairSooner, nil
	case errors.Is(err, revision.ErrNone):
		err = nil
	case err != nil:
		return again, fmt.Errorf("cannot see whether the group has moved on: %w", err)
	}
	if open := past.Open(); open != nil {
		if time.Since(a.obeyed) < again { // what CodeDeploy says of its group may be late
			return again, nil
		}
		if !a.giveUp(ctx, open, errors.New("CodeDeploy has ended this deployment, and did not finish it here")) {
			return again, nil
		}
		past = a.rec.State()
	}
	a.settle()
	last := past.Last
	switch {
	case rev.S3 == nil && rev.GitHub == nil, past.Good != nil && sameRelease(past.Good.Release, rev.ID()) && a.isLive(past.Good.Release):
		return again, nil
	case last != nil && last.By == record.ByOperator && last.End == record.Succeeded:
		return again, nil // what a person chose stays until the next deployment
	case last != nil && last.End == record.GaveUp && sameRelease(last.Release, rev.ID()):
		return again, nil // it has failed here, and was said to
	}
	a.log.Warn(fmt.Sprintf("the deployment group has moved on to %s without this server: deploying it", rev), systemd.ID(systemd.MessageDrift))
	err = a.deployLatest(ctx, record.ByRepair)
	if err == nil {
		a.prune()
	}
	return again, err
}

// nextRepair is when to look for drift next.
func (a *agent) nextRepair() time.Duration {
	if a.cfg.DriftRepair == 0 {
		return never
	}
	return a.cfg.DriftRepair + time.Duration((2*randomShare()-1)*repairJitter*float64(a.cfg.DriftRepair))
}
