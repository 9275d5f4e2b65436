package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/hooks"
	"usher/systemd"
)

// How often serve looks at metadata, which costs one request on the instance itself. A server in a warm
// pool is looked at more often: when it leaves the pool running or from hibernation there is no boot, and
// users are waiting for it.
const (
	serveEvery  = 10 * time.Second
	warmedEvery = 2 * time.Second
)

// serve is what comes after boot, until the service is stopped: it watches where Auto Scaling is taking
// the instance. Its loop feeds the watchdog.
func (a *agent) serve(ctx context.Context) {
	seen, err := a.metadata.TargetLifecycleState(ctx)
	for {
		every := serveEvery
		if len(seen) > 6 && seen[:6] == "Warmed" {
			every = warmedEvery
		}
		a.notify.Alive()
		if !a.pause(ctx, every) {
			return
		}
		var target string
		if target, err = a.metadata.TargetLifecycleState(ctx); err != nil || target == seen {
			continue // metadata that does not answer now will
		}
		seen = target
		switch target {
		case "Terminated", "Warmed:Terminated":
			err = a.terminate(ctx)
		default: // out of a warm pool, or into one; into a group
			err = a.boot(ctx)
		}
		if err != nil && !errors.Is(err, errNothingToDo) && ctx.Err() == nil {
			a.log.Error(err.Error())
		}
	}
}

// terminate lets a server go: with on_terminate: stop, its ApplicationStop scripts run first, while the
// group's terminating hook, if it has one, holds the instance.
func (a *agent) terminate(ctx context.Context) error {
	if a.cfg.OnTerminate != onTerminateStop {
		return nil
	}
	a.log.Info("Auto Scaling is terminating this instance: stopping the application", systemd.ID(systemd.MessageTerminating))
	leaving, err := lifecycle.Find(ctx, a.autoscaling, a.metadata, a.me, a.looking(lifecycle.Terminating))
	if err != nil {
		return err
	}
	work := leaving.Hold(ctx)
	defer leaving.Release()
	if _, err := leaving.Known(work); err != nil {
		return err
	}
	past := a.rec.State()
	if past.Good == nil {
		return a.complete(ctx, leaving, lifecycle.Continue)
	}
	live, _, err := a.layout.Live()
	if err != nil {
		return err
	}
	d := &deployment{agent: a, id: past.Good.ID, past: &record.Deployment{Run: past.Runs}, live: live, env: hooks.Environment{
		ApplicationName: a.cfg.Application, DeploymentID: past.Good.ID, DeploymentGroupName: a.cfg.DeploymentGroup,
		InstanceID: a.me.InstanceID, Region: a.me.Region, AutoScalingGroupName: leaving.Group()}}
	began := time.Now()
	detail, err := d.stopLive(work, hooks.ApplicationStop)
	if stopped(work, err) {
		return err
	}
	a.log.Info(sentence("ApplicationStop finished", time.Since(began), detail), systemd.ID(systemd.MessageStepFinished))
	// Both results terminate the instance; ABANDON would only skip the group's other terminating hooks.
	if err := a.complete(ctx, leaving, lifecycle.Continue); err != nil {
		return fmt.Errorf("the application was stopped, but: %w", err)
	}
	return nil
}
