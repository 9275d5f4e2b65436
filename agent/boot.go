//go:build linux && !developer

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/systemd"
)

// launched is what the loop that comes after a launch has to know of it.
type launched struct {
	target   string // the target lifecycle state that was acted on
	unknown  bool   // Auto Scaling could not be asked: it is asked again
	underway bool   // a deployment is being rolled out to the group, which this server may not be part of
}

// boot is the launch of this instance: find its lifecycle action and hold it, deploy, complete it. It is
// also what a second wait (a warm pool) and a restart of the agent in the middle come through. The error
// is the deployment's; errNothingToDo says that there was none to make.
func (a *agent) boot(ctx context.Context) (was launched, err error) {
	defer a.requests.launching(ctx)()
	a.deploy.Reconcile()
	began := time.Now()
	options := a.lifecycleOptions(lifecycle.Launching)
	if a.state().Last == nil { // a new server: whatever Auto Scaling answers, the group's revision is what it needs
		asking, cancel := context.WithCancel(ctx)
		defer cancel()
		options.Ahead = func() { a.revisions.Ahead(asking) }
		if a.state().Decision == nil { // nor let in without a revision, of which a later wait knows nothing
			options.NewIn = a.me().AutoScalingGroup
		}
	}
	launch, err := lifecycle.Find(ctx, a.clients.AutoScaling, a.clients.Metadata, a.me(), options)
	a.deploy.Record.Timings.Since(began, "", record.PartLifecycle)
	was.target = launch.Target()
	if err != nil {
		return was, a.logOnce(err)
	}
	work := launch.Start(ctx) // heartbeats, from the moment Auto Scaling waits until Stop
	defer launch.Stop()
	a.logLaunch(launch)

	todo, err := a.nextAction(work, launch)
	switch {
	case err != nil:
		return was, err
	case todo == actionNone, todo == actionUnknown:
		was.unknown = todo == actionUnknown
		a.logNoAction("nothing to deploy: ", launch)
		if good := a.state().Good; good != nil && launch.Kind() != lifecycle.Leaving && a.deploy.Layout.IsLive(good.Release) {
			a.deploy.StartTarget(ctx)
		}
		return was, errNothingToDo
	case todo == actionComplete: // the deployment ended before the agent was restarted
		if err = a.state().Last.Err(); err == nil {
			a.deploy.StartTarget(work)
		}
	case todo == actionRevalidate:
		was.underway, err = a.revalidate(work)
	case todo == actionDeploy:
		was.underway, err = a.deployOrResume(work) // starts before the wait state is confirmed: only Complete needs it
	}
	if retry.Stopped(work, err) {
		return was, err // the service is being stopped: the next start goes on from the record
	}
	return was, errors.Join(a.logOnce(err), a.finishLaunch(ctx, launch, err))
}

// abandonWithoutRecord gives up a launch on a server that cannot keep a record. Nothing is deployed there, because it
// could not be known afterwards; and nobody is left waiting for the hook's timeout.
func (a *agent) abandonWithoutRecord(ctx context.Context, failure error) error {
	launch, err := lifecycle.Find(ctx, a.clients.AutoScaling, a.clients.Metadata, a.me(), a.lifecycleOptions(lifecycle.Launching))
	if err != nil {
		return errors.Join(failure, err)
	}
	launch.Start(ctx)
	defer launch.Stop()
	return errors.Join(a.logOnce(failure), a.finishLaunch(ctx, launch, failure))
}

// action is what the record and Auto Scaling together say is to be done.
type action int

const (
	actionNone       action = iota
	actionUnknown           // nothing for now: what Auto Scaling waits for could not be found out
	actionDeploy            // deploy the group's revision, or go on with the deployment that was cut off
	actionRevalidate        // a good release is here: see that it is still the group's, and that it works
	actionComplete          // the deployment has ended; only its lifecycle action is to be completed
)

// describeTimeout is how long a server in service waits for what Auto Scaling says of it.
const describeTimeout = 20 * time.Second

// nextAction decides. It waits for Auto Scaling's answer only where that matters: with nothing deployed,
// deploying is right whatever the answer.
func (a *agent) nextAction(ctx context.Context, launch *lifecycle.Launch) (action, error) {
	past := a.state()
	switch {
	case launch.Kind() == lifecycle.Leaving:
		return actionNone, nil
	case past.Last == nil, past.Open() != nil && past.Open().By != record.ByCommand:
		return actionDeploy, nil
	}
	// A server that was let into service before, and has no verdict to give, does not wait for an Auto Scaling that
	// does not answer: it has other work, and asks again.
	known, decided := ctx, past.Decision != nil && past.Decision.Done && past.VerdictDue() == nil
	if decided {
		var cancel context.CancelFunc
		known, cancel = context.WithTimeout(ctx, describeTimeout)
		defer cancel()
	}
	kind, err := launch.Known(known)
	if err != nil && decided && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return actionUnknown, nil
	}
	if err != nil {
		return actionNone, err
	}
	due := past.VerdictDue()
	switch {
	case past.Open() != nil && kind != lifecycle.Action:
		return actionNone, nil // CodeDeploy's commands go on with it
	case past.Open() != nil:
		return actionDeploy, nil
	case kind == lifecycle.Leaving:
		return actionNone, nil
	case due != nil && kind == lifecycle.Action && (due.Err() != nil || due.EndBoot == a.me().BootID):
		return actionComplete, nil // a success of before a reboot is checked again instead
	case past.Good == nil || !a.deploy.Layout.Has(past.Good.Release):
		return actionDeploy, nil
	case kind != lifecycle.Action:
		return actionNone, nil
	case past.Decision != nil && past.Decision.Done && past.Decision.Boot == a.me().BootID:
		// An action was completed since this boot: is this another, or the same seen again?
		if active, err := launch.Active(ctx); err != nil || !active {
			return actionNone, err
		}
	}
	return actionRevalidate, nil
}

// finishLaunch gives Auto Scaling the verdict on a deployment that ended with failure, or nil, and tidies up.
func (a *agent) finishLaunch(ctx context.Context, launch *lifecycle.Launch, failure error) error {
	kind, err := launch.Known(ctx)
	if err != nil {
		return err
	}
	unconfirmed := error(nil)
	if failure == nil && kind == lifecycle.Action {
		if unconfirmed = a.deploy.Confirm(); unconfirmed != nil {
			unconfirmed = a.logOnce(fmt.Errorf("what was deployed cannot go into service: %w", unconfirmed))
			failure = unconfirmed
		}
	}
	result := lifecycle.VerdictOf(failure)
	held := false
	if failure != nil && kind == lifecycle.Action {
		_, held = a.requests.heldUntil(a.cfg, a.failedAt())
	}
	switch {
	case failure == nil, kind != lifecycle.Action:
	case held:
		began := time.Now()
		a.hold(ctx, launch)
		a.deploy.Record.Timings.Since(began, "", record.PartHold)
		if ctx.Err() != nil {
			return context.Cause(ctx) // the next start holds on, from the record
		}
	case a.cfg.OnFailure == config.OnFailureContinue && unconfirmed == nil && a.state().Serving():
		a.log.Warn("on_failure is continue: the server goes into service with what was live before")
		result = lifecycle.Continue
	case a.cfg.OnFailure == config.OnFailureContinue:
		a.log.Error("on_failure is continue, but what was live before could not be put back, or does not work: abandoned")
	}
	if err := a.complete(ctx, launch, result, failure); err != nil {
		return err
	}
	a.deploy.Prune() // after the verdict: it costs time, and creating files soon after is slow
	return unconfirmed
}

// complete is the only caller of Complete. What it is about to do is on disk before it does it.
func (a *agent) complete(ctx context.Context, launch *lifecycle.Launch, result lifecycle.Verdict, failure error) error {
	entry := record.Entry{What: record.Completing, Verdict: string(result), LifecycleState: launch.State()}
	if due := a.state().VerdictDue(); due != nil {
		entry.Sequence = due.Sequence
	}
	a.deploy.Record.AppendOrLog(entry, a.logError)
	a.notify.Status("completing the lifecycle action with %s", result)
	if result == lifecycle.Abandon && launch.Kind() == lifecycle.Action { // first: soon the instance is gone, and its journal with it
		a.writeConsole(failure)
	}
	outcome, err := launch.Complete(ctx, result)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Error("cannot complete the lifecycle action: "+err.Error(), systemd.ID(systemd.MessageCompleteFailed))
		}
		return deployment.Logged(err)
	}
	entry.What, entry.Detail = record.Completed, string(outcome)
	a.deploy.Record.AppendOrLog(entry, a.logError)
	log := a.log.With(zap.String("lifecycle_result", string(result)), zap.String("lifecycle_state", launch.State()))
	switch outcome {
	case lifecycle.Completed:
		text := fmt.Sprintf("completed the lifecycle action of hook %s with %s, %s after the launch",
			launch.Hook(), result, time.Since(a.me().PendingTime).Round(time.Second))
		if failure != nil { // the reason stands where it is looked for: in the last line
			log.Error(text+": "+format.FirstLine(failure), systemd.ID(systemd.MessageCompleted))
			break
		}
		log.Info(text, systemd.ID(systemd.MessageCompleted))
	case lifecycle.AlreadyDecided:
		log.Warn(fmt.Sprintf("the lifecycle action of hook %s was decided before usher could say %s (the state is %s)",
			launch.Hook(), result, launch.State()), systemd.ID(systemd.MessageAlreadyDecided))
	case lifecycle.Nothing:
		a.logNoAction("no lifecycle action to complete: ", launch)
	}
	return nil
}

// holdEvery is how often a hold looks whether somebody has decided in its place.
const holdEvery = time.Second

// failedAt is when the launch under way failed.
func (a *agent) failedAt() time.Time {
	if due := a.state().VerdictDue(); due != nil {
		return due.Ended
	}
	return time.Now()
}

// hold keeps a failed instance for a person to look at, while the heartbeats go on. The time counts from
// the failure, also over a restart of the agent; the operator may change it meanwhile.
func (a *agent) hold(ctx context.Context, launch *lifecycle.Launch) {
	failed, said := a.failedAt(), time.Time{}
	for {
		until, held := a.requests.heldUntil(a.cfg, failed)
		if end := launch.Deadline(); end.Before(until) {
			until = end
		}
		if !held || !time.Now().Before(until) || launch.Ended() {
			return
		}
		if !until.Equal(said) {
			said = until
			why := "on_failure is hold"
			if a.cfg.OnFailure != config.OnFailureHold {
				why = "an operator holds it"
			}
			clock := until.Local().Format(time.TimeOnly)
			a.log.Warn(why+": this instance is kept until "+clock+" for you to look, then abandoned", systemd.ID(systemd.MessageHeld))
			a.notify.Status("deployment failed; holding until %s", clock)
		}
		if !retry.Pause(ctx, min(time.Until(until), holdEvery)) {
			return
		}
		a.notify.Alive()
	}
}
