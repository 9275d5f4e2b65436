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
	"usher/agent/format"
	"usher/agent/lifecycle"
	"usher/systemd"
)

// How often serve looks at metadata, which costs one request on the instance itself. A server in a warm
// pool is looked at more often: when it leaves the pool running or from hibernation there is no boot, and
// users are waiting for it.
const (
	serveEvery  = 10 * time.Second
	warmedEvery = 2 * time.Second
)

// serve is what comes after boot, until the service is stopped. One loop does all there is to do, so that
// two things are never done at once: it carries out CodeDeploy's host commands and an operator's requests,
// watches where Auto Scaling is taking the instance, and repairs drift. It also feeds the watchdog.
func (a *agent) serve(ctx context.Context) {
	if leaving(a.seen) {
		a.seen = "" // boot has nothing to do with that; this loop has
	}
	a.serving = true
	if err := a.goOn(ctx); ctx.Err() == nil { // before CodeDeploy is asked for more, which may be the same again
		a.complain(err)
	}
	a.obeyed = time.Now()
	orders, ended := a.receive(ctx)
	defer func() { <-ended }()
	first := a.nextRepair()
	if a.rolling { // a deployment is under way that this server is not part of
		first /= repairSooner
	}
	look, drift := time.NewTimer(0), time.NewTimer(first)
	rested := -1 // how many deployments there were when it was rested last; -1: rest at the next look
	for {
		a.notify.Alive()
		var err error
		select {
		case <-ctx.Done():
			return
		case r := <-a.control.requests:
			r.do(ctx)
		case o := <-orders:
			err = a.obey(ctx, o.Command)
			o.taken <- err
		case <-look.C:
			err = errors.Join(a.watch(ctx), a.goOn(ctx), a.abandoned(ctx))
			if past := a.state(); past.Open() == nil && past.Sequence != rested {
				rest()
				rested = past.Sequence
			}
			look.Reset(a.lookAgain())
		case <-drift.C:
			var again time.Duration
			again, err = a.repair(ctx)
			drift.Reset(again)
			rested = -1 // a repair runs through much of the program too, even when there is none to make
		}
		if ctx.Err() == nil {
			a.complain(err)
		}
	}
}

// complain puts an error of the loop into the journal, unless it is there. What could not be done now is tried
// again: the loop goes on.
func (a *agent) complain(err error) {
	if err == nil || deployment.IsLogged(err) || errors.Is(err, errNothingToDo) {
		return
	}
	a.logRetry("", 0, err)
}

// isLeaving says that Auto Scaling is terminating this instance, for work that would otherwise wait on.
func (a *agent) isLeaving(ctx context.Context) bool {
	if !a.serving {
		return false
	}
	target, err := a.clients.Metadata.TargetLifecycleState(ctx)
	return err == nil && leaving(target)
}

// lookAgain is when to look at metadata again.
func (a *agent) lookAgain() time.Duration {
	if strings.HasPrefix(a.seen, "Warmed:") {
		return warmedEvery
	}
	return serveEvery
}

// watch looks where Auto Scaling is taking the instance, and acts when that has changed.
func (a *agent) watch(ctx context.Context) error {
	target, err := a.clients.Metadata.TargetLifecycleState(ctx)
	a.atRest(target)
	switch {
	case err != nil, target == a.seen: // metadata that does not answer now will
		return nil
	case leaving(target):
		a.seen = target
		return a.terminate(ctx)
	}
	// Out of a warm pool, or into one; into a group; or what boot saw has changed since.
	err = a.boot(ctx)
	if a.seen = target; a.unsure {
		a.seen = "" // again at the next look
	}
	if target == "" {
		return nil
	}
	return err
}

// leaving are the target states of an instance that is being terminated.
func leaving(target string) bool { return target == "Terminated" || target == "Warmed:Terminated" }

// terminate lets a server go: with on_terminate: stop, its ApplicationStop scripts run first, while the
// group's terminating hook, if it has one, holds the instance.
func (a *agent) terminate(ctx context.Context) error {
	if a.cfg.OnTerminate != config.OnTerminateStop {
		return nil
	}
	a.log.Info("Auto Scaling is terminating this instance: stopping the application", systemd.ID(systemd.MessageTerminating))
	end, err := lifecycle.Find(ctx, a.clients.AutoScaling, a.clients.Metadata, a.me(), a.looking(lifecycle.Terminating))
	if err != nil {
		_ = a.logOnce(err) // the application is stopped all the same
	}
	work := end.Hold(ctx)
	defer end.Release()
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
