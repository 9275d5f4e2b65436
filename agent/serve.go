//go:build linux && !developer

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/executor"
	"usher/agent/format"
	"usher/agent/lifecycle"
	"usher/systemd"
)

// How often serve looks at metadata, which costs one request on the instance itself. A server in a warm
// pool is looked at more often: when it leaves the pool running or from hibernation there is no boot, and
// users are waiting for it.
const (
	pollInterval     = 10 * time.Second
	warmPollInterval = 2 * time.Second
)

// serve is what comes after boot, until the service is stopped. One loop does all there is to do, so that
// two things are never done at once: it carries out CodeDeploy's host commands and an operator's requests,
// watches where Auto Scaling is taking the instance, and repairs drift. It also feeds the watchdog.
func (a *agent) serve(ctx context.Context, was launched) {
	target := was.target
	if terminating(target) {
		target = "" // boot has nothing to do with that; this loop has
	}
	if err := a.commands.Resume(ctx); ctx.Err() == nil { // before CodeDeploy is asked for more, which may be the same again
		a.logTryAgain(err)
	}
	polling, stop := context.WithCancel(ctx)
	commands, ended := a.commands.Poll(polling)
	defer func() { stop(); <-ended }() // also when the loop ends by a panic, which is to be seen
	first := a.nextDriftCheck()
	if was.underway { // a deployment is under way that this server is not part of
		first /= repairSooner
	}
	look, check := time.NewTimer(0), time.NewTimer(first)
	var missed drift
	releasedAfter := -1 // how many deployments there were when it was rested last; -1: rest at the next look
	for {
		a.notify.Alive()
		var err error
		select {
		case <-ctx.Done():
			return
		case r := <-a.requests.queue:
			r.do(ctx)
		case d := <-commands:
			err = a.commands.Take(ctx, d)
		case <-look.C:
			target, err = a.checkLifecycle(ctx, target)
			err = errors.Join(err, a.commands.Resume(ctx), a.commands.RollBackStopped(ctx))
			if past := a.state(); past.Open() == nil && past.Sequence != releasedAfter {
				releaseMemory()
				releasedAfter = past.Sequence
			}
			look.Reset(nextLook(target))
		case <-check.C:
			var again time.Duration
			again, err = a.repair(ctx, target, &missed)
			check.Reset(again)
			releasedAfter = -1 // a repair runs through much of the program too, even when there is none to make
		}
		if ctx.Err() == nil {
			a.logTryAgain(err)
		}
	}
}

// logTryAgain puts an error of the loop into the journal, unless it is there. What could not be done now is tried
// again: the loop goes on.
func (a *agent) logTryAgain(err error) {
	if err == nil || deployment.IsLogged(err) || errors.Is(err, errNothingToDo) {
		return
	}
	a.logRetry("", 0, err)
}

// executor carries out CodeDeploy's host commands here.
func (a *agent) executor() *executor.Executor {
	quiet := quietPeriod
	if d := a.cfg.DriftCheckInterval; d > 0 {
		quiet = min(quiet, d)
	}
	return &executor.Executor{On: a.deploy, Revisions: a.revisions, Client: a.clients.Commands, Retries: a.retries(), QuietPeriod: quiet, Terminating: a.isTerminating,
		Staying: func(ctx context.Context) (context.Context, func()) {
			return lifecycle.WhileStaying(ctx, a.clients.Metadata)
		}}
}

// isTerminating says that Auto Scaling is terminating this instance, for work that would otherwise wait on.
func (a *agent) isTerminating(ctx context.Context) bool {
	target, err := a.clients.Metadata.TargetLifecycleState(ctx)
	return err == nil && terminating(target)
}

// nextLook is when to look at metadata again.
func nextLook(target string) time.Duration {
	if strings.HasPrefix(target, "Warmed:") {
		return warmPollInterval
	}
	return pollInterval
}

// checkLifecycle looks where Auto Scaling is taking the instance, and acts when that is not where it was when it acted last. It
// returns the target lifecycle state that it has acted on.
func (a *agent) checkLifecycle(ctx context.Context, before string) (target string, err error) {
	target, err = a.clients.Metadata.TargetLifecycleState(ctx)
	a.atRest(target)
	switch {
	case err != nil, target == before: // metadata that does not answer now will
		return before, nil
	case terminating(target):
		return target, a.terminate(ctx)
	}
	// Out of a warm pool, or into one; into a group; or what boot saw has changed since.
	was, err := a.boot(ctx)
	if target == "" {
		err = nil // in no group any more
	}
	if was.unknown {
		return "", err // again at the next look
	}
	return target, err
}

// terminating are the target states of an instance that is being terminated.
func terminating(target string) bool { return target == "Terminated" || target == "Warmed:Terminated" }

// terminate lets a server go: with on_terminate: stop, its ApplicationStop scripts run first, while the
// group's terminating hook, if it has one, holds the instance.
func (a *agent) terminate(ctx context.Context) error {
	if a.cfg.OnTerminate != config.OnTerminateStop {
		return nil
	}
	a.log.Info("Auto Scaling is terminating this instance: stopping the application", systemd.ID(systemd.MessageTerminating))
	end, err := lifecycle.Find(ctx, a.clients.AutoScaling, a.clients.Metadata, a.me(), a.lifecycleOptions(lifecycle.Terminating))
	if err != nil {
		_ = a.logOnce(err) // the application is stopped all the same
	}
	work := end.Start(ctx)
	defer end.Stop()
	if a.state().Good == nil {
		return a.complete(ctx, end, lifecycle.Continue, nil)
	}
	a.deploy.Identity.AutoScalingGroup = cmp.Or(end.Group(), a.me().AutoScalingGroup)
	began := time.Now()
	detail, err := a.deploy.StopLive(work)
	if err != nil {
		return err
	}
	a.log.Info(format.Summary("ApplicationStop finished", time.Since(began), detail), systemd.ID(systemd.MessageStepFinished))
	// Both results terminate the instance; ABANDON would only skip the group's other terminating hooks.
	if err := a.complete(ctx, end, lifecycle.Continue, nil); err != nil {
		return fmt.Errorf("the application was stopped, but: %w", err)
	}
	return nil
}
