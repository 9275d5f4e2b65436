package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// deploy is the lifecycle events of one deployment, in order. Each is one step: said, timed and recorded
// in the same way, and not run again when the record has it as finished. Whatever fails, what was live
// before is live again when deploy returns.
func (d *deployment) deploy(ctx context.Context) error {
	defer d.landing.Wait() // nobody else looks after it; a sync cannot be called off
	if d.past.Syncing != "" && d.release.ID != "" {
		d.land() // of an agent that ended before it knew
	}
	for _, s := range []step{
		{hooks.ApplicationStop, d.ofLive},   // scripts of the revision now live; none on a first launch
		{hooks.DownloadBundle, d.download},  // fetch, verify, unpack beside; every script is checked here
		{hooks.BeforeInstall, d.scripts},    // from here on: scripts of the new revision
		{hooks.Install, d.install},          // files into the release directory, permissions
		{hooks.AfterInstall, d.scripts},     //
		{record.StepFlip, d.flip},           // the link, in one rename, to what is on the disk by then
		{hooks.ApplicationStart, d.scripts}, //
		{hooks.ValidateService, d.scripts},  //
	} {
		if err := d.run(ctx, s); err != nil {
			return err
		}
	}
	return d.succeed(ctx)
}

// deployment is one deployment under way.
type deployment struct {
	*agent
	id       string             // CodeDeploy's deployment id, d-...
	source   source             // where the revision comes from
	past     *record.Deployment // what the record has of it, from before a restart
	release  release.Release    // from DownloadBundle on
	live     string             // where the link pointed when it began
	fallback string             // where the link goes back to
	env      hooks.Environment
	exists   string         // file_exists_behavior of the deployment; the appspec's own wins
	landing  sync.WaitGroup // of the new release on the disk
	crashed  error          // of landing
	wouldEnd int            // commands at which errexit would have ended scripts, with `errexit: report`
}

// step is one lifecycle event, or a step between two. do returns what a person wants to know of it.
type step struct {
	name string
	do   func(ctx context.Context, event string) (detail string, err error)
}

// run does one step. When it fails, what was live before is put back, and the deployment has failed.
func (d *deployment) run(ctx context.Context, s step) error {
	if d.past.FailedStep != "" { // the agent died while it was rolling back
		return d.rollBack(ctx, d.past.FailedStep, errors.New(d.past.Error))
	}
	err := d.do(ctx, s)
	if err == nil || stopped(ctx, err) {
		return err
	}
	return d.rollBack(ctx, s.name, err)
}

// do does one step, and is the one place that says what became of it.
func (d *deployment) do(ctx context.Context, s step) error {
	if d.past.Finished[s.name] {
		return nil
	}
	d.notify.Alive()
	d.notify.Status("%s of %s", s.name, d.id)
	log := d.log.With(zap.String("lifecycle_event", s.name))
	if err := d.remember(record.Entry{What: record.Started, Step: s.name}); err != nil {
		return err
	}
	began := time.Now()
	detail, err := s.do(ctx, s.name)
	err = retry.Cause(ctx, err)
	elapsed := time.Since(began)
	duration := zap.Duration("duration", elapsed)
	switch {
	case err == nil:
		log.Info(format.Summary(s.name+" finished", elapsed, detail), systemd.ID(finishedMessage(s.name)), duration)
		return d.remember(record.Entry{What: record.Finished, Step: s.name, Seconds: elapsed.Seconds(), Detail: detail})
	case stopped(ctx, err):
		log.Warn(s.name+" was cut off: the service is being stopped; the next start goes on from here", systemd.ID(systemd.MessageStopping))
		return err
	}
	log.With(zap.String("error", err.Error())).Error(fmt.Sprintf("%s failed after %s: %s", s.name, format.Duration(elapsed), strings.TrimPrefix(err.Error(), s.name+" ")), systemd.ID(systemd.MessageStepFailed),
		duration, zap.String("hook_script", scriptOf(err)))
	d.rec.AppendOrLog(record.Entry{What: record.Failed, Step: s.name, Seconds: elapsed.Seconds(), Error: err.Error()}, d.logError)
	return err
}

// rollBack puts back what was live after a step failed, on its own bounded context. It returns the
// step's error: the deployment failed, however well it was undone.
func (d *deployment) rollBack(ctx context.Context, failed string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	failure := cause
	if !strings.HasPrefix(cause.Error(), failed+" ") { // a script's failure begins with its event
		failure = fmt.Errorf("%s: %w", failed, cause)
	}
	outcome := record.RolledBack
	switch err := d.do(ctx, step{record.StepRollback, d.undo}); {
	case errors.As(err, new(notServing)):
		failure, outcome = errors.Join(failure, fmt.Errorf("and what was live before does not work: %w", err)), record.NotServing
	case err != nil:
		failure, outcome = errors.Join(failure, fmt.Errorf("and the rollback failed: %w", err)), "not rolled back"
	}
	d.rec.AppendOrLog(record.Entry{What: record.Abandoned, Error: failure.Error(), Detail: outcome}, d.logError)
	d.log.With(zap.String("error", failure.Error())).Error(fmt.Sprintf("deployment %s failed: %v", d.id, failure), systemd.ID(systemd.MessageDeploymentFailed))
	return said{failure}
}
