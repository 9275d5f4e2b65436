package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// Deploy is the lifecycle events of one deployment, in order; of one that validates again what is live and good, only the
// last two. Each is one step: said, timed and recorded in the same way, and not run again when the record has it as
// finished. Whatever fails, what was live before is live again when Deploy returns.
func (d *Deployment) Deploy(ctx context.Context) error {
	steps := d.steps()
	first := max(slices.IndexFunc(steps, func(s step) bool { return s.name == d.entry.From }), 0)
	for _, s := range steps[first:] {
		if err := d.run(ctx, s); err != nil {
			return err
		}
	}
	return d.succeed(ctx)
}

// steps are those of a deployment, in order.
func (d *Deployment) steps() []step {
	return []step{
		{hooks.ApplicationStop, d.runLiveScripts}, // scripts of the revision now live; none on a first launch
		{hooks.DownloadBundle, d.download},        // fetch, verify, unpack beside; every script is checked here
		{hooks.BeforeInstall, d.runScripts},       // from here on: scripts of the new revision
		{hooks.Install, d.install},                // files into the release directory, permissions
		{hooks.AfterInstall, d.runScripts},        //
		{record.StepFlip, d.flip},                 // the link, in one rename, to what is on the disk by then
		{hooks.ApplicationStart, d.runScripts},    //
		{hooks.ValidateService, d.runScripts},     //
	}
}

// step is one lifecycle event, or a step between two. do returns what a person wants to know of it.
type step struct {
	name string
	do   func(ctx context.Context, event string) (detail string, err error)
}

// run does one step. When it fails, what was live before is put back, and the deployment has failed.
func (d *Deployment) run(ctx context.Context, s step) error {
	if d.entry.FailedStep != "" { // the agent died while it was rolling back
		return d.rollBack(ctx, d.entry.FailedStep, errors.New(d.entry.Error))
	}
	err := d.do(ctx, s)
	if err == nil || retry.Stopped(ctx, err) {
		return err
	}
	return d.rollBack(ctx, s.name, err)
}

// finished says that a step need not be run again. What ApplicationStart has started, and ValidateService has seen, is gone
// when the server was restarted.
func (d *Deployment) finished(step string) bool {
	ofBoot := step == hooks.ApplicationStart || step == hooks.ValidateService
	return d.entry.Finished[step] && (!ofBoot || d.entry.FinishedIn[step] == d.on.Identity.BootID)
}

// do does one step, and is the one place that says what became of it.
func (d *Deployment) do(ctx context.Context, s step) error {
	if d.finished(s.name) {
		return nil
	}
	d.on.Notify.Alive()
	d.on.Notify.Status("%s of %s", s.name, d.entry.ID)
	log := d.log.With(zap.String("lifecycle_event", s.name))
	if err := d.append(record.Entry{What: record.Started, Step: s.name}); err != nil {
		return err
	}
	began := time.Now()
	detail, err := s.do(ctx, s.name)
	if err == nil && d.entry.By == record.ByCommand && s.name != record.StepRollback { // CodeDeploy goes on behind it, whatever happens to this server
		err = d.syncDisks()
	}
	err = retry.Cause(ctx, err)
	elapsed := time.Since(began)
	duration := zap.Duration("duration", elapsed)
	switch {
	case err == nil:
		log.Info(format.Summary(s.name+" finished", elapsed, detail), systemd.ID(finishedMessage(s.name)), duration)
		return d.append(record.Entry{What: record.Finished, Step: s.name, Seconds: elapsed.Seconds(), Detail: detail})
	case retry.Stopped(ctx, err):
		log.Warn(s.name+" interrupted: usher is stopping and resumes here at its next start", systemd.ID(systemd.MessageStopping))
		return err
	}
	log.With(zap.String("error", err.Error())).Error(fmt.Sprintf("%s failed after %s: %s", s.name, format.Duration(elapsed), strings.TrimPrefix(err.Error(), s.name+" ")), systemd.ID(systemd.MessageStepFailed),
		duration, zap.String("hook_script", hooks.ScriptOf(err)))
	d.appendOrLog(record.Entry{What: record.Failed, Step: s.name, Seconds: elapsed.Seconds(), Error: err.Error()})
	return err
}

// finishedMessage is the MESSAGE_ID of a step that finished.
func finishedMessage(step string) string {
	switch step {
	case record.StepFlip:
		return systemd.MessageFlipped
	case record.StepRollback:
		return systemd.MessageRolledBack
	}
	return systemd.MessageStepFinished
}
