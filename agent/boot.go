package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/systemd"
)

// boot is the launch of this instance: find its lifecycle action and hold it, deploy, complete it. It is
// also what a second wait (a warm pool) and a restart of the agent in the middle come through. The error
// is the deployment's; errNothingToDo says that there was none to make.
func (a *agent) boot(ctx context.Context) error {
	launch, err := lifecycle.Find(ctx, a.autoscaling, a.metadata, a.me, a.looking(lifecycle.Launching))
	if err != nil {
		return err
	}
	work := launch.Hold(ctx) // heartbeats, from the moment Auto Scaling waits until Release
	defer launch.Release()
	a.me.AutoScalingGroup = cmp.Or(launch.Group(), a.me.AutoScalingGroup) // the tag need not be shown in metadata

	todo, err := a.whatIsDue(work, launch)
	if err != nil {
		return err
	}
	switch todo {
	case dueNothing:
		a.log.Info("nothing to deploy: "+a.whyNothing(launch), systemd.ID(systemd.MessageNoLaunch))
		return errNothingToDo
	case dueVerdict: // the deployment ended before the agent was restarted
		err = a.rec.State().Last.Err()
	case dueCheck:
		err = a.checkAgain(work)
	case dueDeployment:
		err = a.deployLatest(work) // starts before the wait state is confirmed: only Complete needs it
	}
	if stopped(work, err) {
		return err // the service is being stopped: the next start goes on from the record
	}
	return errors.Join(err, a.conclude(ctx, launch, err))
}

// due is what the record and Auto Scaling together say is to be done.
type due int

const (
	dueNothing    due = iota
	dueDeployment     // deploy the group's revision, or go on with the deployment that was cut off
	dueCheck          // a good release is here: see that it is still the group's, and that it works
	dueVerdict        // the deployment has ended; only its verdict is due
)

// whatIsDue decides. It waits for Auto Scaling's answer only where that matters: with nothing deployed,
// deploying is right whatever the answer.
func (a *agent) whatIsDue(ctx context.Context, launch *lifecycle.Launch) (due, error) {
	past := a.rec.State()
	switch {
	case launch.Kind() == lifecycle.Leaving:
		return dueNothing, nil
	case past.Open() != nil, past.Last == nil:
		return dueDeployment, nil
	}
	kind, err := launch.Known(ctx)
	if err != nil {
		return dueNothing, err
	}
	switch {
	case kind == lifecycle.Leaving:
		return dueNothing, nil
	case past.VerdictDue() != nil && kind == lifecycle.Action:
		return dueVerdict, nil
	case past.Good == nil || !a.onDisk(past.Good.Release):
		return dueDeployment, nil
	case kind != lifecycle.Action:
		return dueNothing, nil
	case past.Decision != nil && past.Decision.Boot == a.me.BootID:
		// An action was completed since this boot: is this another, or the same seen again?
		if active, err := launch.Active(ctx); err != nil || !active {
			return dueNothing, err
		}
	}
	return dueCheck, nil
}

// conclude gives Auto Scaling the verdict on a deployment that ended with failure, or nil, and tidies up.
func (a *agent) conclude(ctx context.Context, launch *lifecycle.Launch, failure error) error {
	kind, err := launch.Known(ctx)
	if err != nil {
		return err
	}
	result := lifecycle.VerdictOf(failure)
	switch {
	case failure == nil, kind != lifecycle.Action:
	case a.cfg.OnFailure == onFailureContinue:
		a.log.Warn("on_failure is continue: the server goes into service with what was live before")
		result = lifecycle.Continue
	case a.cfg.OnFailure == onFailureHold:
		a.hold(ctx, launch)
	}
	if err := a.complete(ctx, launch, result); err != nil {
		return err
	}
	a.prune() // after the verdict: it costs time, and creating files soon after is slow
	return nil
}

// complete is the only caller of Complete. What it is about to do is on disk before it does it.
func (a *agent) complete(ctx context.Context, launch *lifecycle.Launch, result lifecycle.Verdict) error {
	entry := record.Entry{What: record.Deciding, Run: a.rec.State().Runs, Verdict: string(result), Wait: launch.State()}
	a.note(entry)
	a.notify.Status("completing the lifecycle action with %s", result)
	outcome, err := launch.Complete(ctx, result)
	if err != nil {
		a.log.Error("the verdict was not delivered: "+err.Error(), systemd.ID(systemd.MessageCompleteFailed))
		return err
	}
	entry.What, entry.Detail = record.Decided, string(outcome)
	a.note(entry)
	fields := []zap.Field{zap.String("verdict", string(result)), zap.String("lifecycle_state", launch.State())}
	switch outcome {
	case lifecycle.Completed:
		a.log.Info(fmt.Sprintf("completed the lifecycle action of hook %s with %s, %s after the launch",
			launch.Hook(), result, time.Since(a.me.PendingTime).Round(time.Second)), append(fields, systemd.ID(systemd.MessageCompleted))...)
	case lifecycle.AlreadyDecided:
		a.log.Warn(fmt.Sprintf("the lifecycle action of hook %s was decided before usher could say %s (the state is %s)",
			launch.Hook(), result, launch.State()), append(fields, systemd.ID(systemd.MessageAlreadyDecided))...)
	case lifecycle.Nothing:
		a.log.Info("no lifecycle action to complete: "+a.whyNothing(launch), append(fields, systemd.ID(systemd.MessageNoLaunch))...)
	}
	return nil
}

// hold keeps a failed instance for a person to look at, while the heartbeats go on. The time counts from
// the failure, also over a restart of the agent.
func (a *agent) hold(ctx context.Context, launch *lifecycle.Launch) {
	until := time.Now().Add(a.cfg.HoldFor)
	if due := a.rec.State().VerdictDue(); due != nil {
		until = due.Ended.Add(a.cfg.HoldFor)
	}
	if end := launch.Deadline(); end.Before(until) {
		until = end
	}
	clock := until.Local().Format(time.TimeOnly)
	a.log.Warn("on_failure is hold: this instance is kept until "+clock+" for you to look, then abandoned", systemd.ID(systemd.MessageHeld))
	a.notify.Status("deployment failed; holding until %s", clock)
	for time.Now().Before(until) && a.pause(ctx, min(time.Until(until), aliveEvery)) {
		a.notify.Alive()
	}
}
