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
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// How a deployment ends when it has failed: what was live before is live again, and serves.

// rollbackTimeout bounds putting back what was live. Almost all of it is the old ApplicationStart and its
// ValidateService, which rarely need more than a minute. It is less than what lifecycle keeps back of the hook's global
// timeout (verdictReserveMax, 5 minutes): the verdict must still be delivered after it.
//
// stopTimeout is how much of it the failed release's ApplicationStop may take: most of it is for what was live.
const (
	rollbackTimeout = 4 * time.Minute
	stopTimeout     = time.Minute
)

// rollBack puts back what was live after a step failed, on its own bounded context. It returns the
// step's error: the deployment failed, however well it was undone.
func (d *Deployment) rollBack(ctx context.Context, failed string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	failure := cause
	if !strings.HasPrefix(cause.Error(), failed+" ") { // a script's failure begins with its event
		failure = fmt.Errorf("%s: %w", failed, cause)
	}
	outcome := record.RolledBack
	switch err := d.do(ctx, step{record.StepRollback, d.restore}); {
	case errors.As(err, new(notServing)):
		failure, outcome = errors.Join(failure, fmt.Errorf("and what was live before does not work: %w", err)), record.NotServing
	case err != nil:
		failure, outcome = errors.Join(failure, fmt.Errorf("and the rollback failed: %w", err)), "not rolled back"
	}
	d.appendOrLog(record.Entry{What: record.Abandoned, Error: failure.Error(), Detail: outcome})
	d.log.With(zap.String("error", failure.Error())).Error(fmt.Sprintf("deployment %s failed: %v", d.entry.ID, failure), systemd.ID(systemd.MessageDeploymentFailed))
	return Logged(failure)
}

// restore puts back what was live: the link, the files outside it, and, where it was stopped or replaced,
// the application. What the failed release has started is stopped before that, while the link still leads to it: else it
// would go on serving, and hold the port. The failed release stays on disk for diagnosis, marked bad.
func (d *Deployment) restore(ctx context.Context, _ string) (string, error) {
	now, _, err := d.on.Layout.Live()
	if err != nil {
		return "", err
	}
	if slices.Contains(d.entry.Started, hooks.ApplicationStart) {
		d.stopFailed(ctx)
	}
	flipped := now == d.on.Layout.Dir(d.entry.Release) && now != d.fallback
	detail := "nothing to put back"
	if flipped {
		if err := d.on.Layout.Flip(d.fallback); err != nil {
			return "", err
		}
		detail = d.on.Layout.LinkPath() + " -> " + d.fallback
	}
	if d.release.ID != "" {
		status := release.Bad
		if d.release.Dir == d.fallback {
			status = release.Good // it was live and good before it was deployed again
		}
		if err := d.on.Layout.Mark(&d.release, status, d.on.Identity.InstanceID); err != nil {
			d.logError(err) // what is not marked good is not taken for it
		}
	}
	if err := d.on.restoreFiles(ctx, d.entry); err != nil {
		return "", err
	}
	if live, wasLive := d.liveRelease(); (flipped || d.entry.Finished[record.StepFlip] || wasLive && d.disturbed(live)) && d.fallback != "" {
		back, err := d.startAgain(ctx)
		if err != nil {
			return "", notServing{err}
		}
		detail += back
	}
	return detail, nil
}

// notServing is an error of a rollback after which what was live is live again, and was not seen to serve.
type notServing struct{ error }

func (n notServing) Unwrap() error { return n.error }

// stopFailed ends what the failed release has started: by its ApplicationStop scripts, whose failure is a warning, and
// whatever its scripts have left running after that. It does so once in a boot: later, what runs may be what was live.
func (d *Deployment) stopFailed(ctx context.Context) {
	done := d.scriptID(record.StepRollback, "stopped", 0)
	if d.release.ID == "" || d.entry.Scripts[done] == d.on.Identity.BootID {
		return
	}
	limited, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if _, err := d.runScriptsOf(limited, record.StepRollback, hooks.ApplicationStop, d.release); err != nil {
		d.log.Warn(fmt.Sprintf("ApplicationStop of the failed release %s failed, going on with what was live: %v", d.release.ID, retry.Cause(limited, err)),
			systemd.ID(systemd.MessageScriptWarning), zap.String("lifecycle_event", record.StepRollback))
	}
	var scripts []hooks.Script
	for _, event := range hooks.Events {
		list, err := d.listScripts(event, d.release)
		if err != nil || beforeDownload(event) && event != hooks.ApplicationStop {
			continue // it has run none then
		}
		step := event
		if event == hooks.ApplicationStop {
			step = record.StepRollback // before, it was what is live whose scripts were run
		}
		for n, s := range list {
			s.ID, s.Env = d.scriptID(step, event, n), d.env.Environ(event)
			scripts = append(scripts, s)
		}
	}
	ended, err := d.on.Runner.End(ctx, scripts)
	if len(ended) > 0 {
		d.log.Warn(fmt.Sprintf("%s was left running by the failed release, and is ended: TERM, and KILL %s later", format.Limited(ended), hooks.KillGrace),
			systemd.ID(systemd.MessageScriptLeftovers), zap.String("lifecycle_event", record.StepRollback))
	}
	if err != nil {
		d.log.Error("what the failed release left running does not end: "+err.Error(), systemd.ID(systemd.MessageScriptLeftovers))
	}
	d.appendOrLog(record.Entry{What: record.ScriptDone, Step: record.StepRollback, Script: done})
}

// startAgain starts what is live again, and asks it by its ValidateService scripts whether it serves.
func (d *Deployment) startAgain(ctx context.Context) (detail string, err error) {
	of, known := d.on.Layout.ByPath(d.fallback)
	base := !known && d.on.Layout.IsBase(d.fallback)
	if base {
		of = release.Release{Dir: d.fallback, Bundle: d.fallback}
	}
	if !known && !base {
		return "; ApplicationStart: none is run of what is neither a release nor the base", nil
	}
	for _, event := range []string{hooks.ApplicationStart, hooks.ValidateService} {
		if base && event == hooks.ValidateService && !d.validates(of) {
			break // the role's alone ask for an application that a base need not have
		}
		ran, err := d.runScriptsOf(ctx, record.StepRollback, event, of)
		if err != nil {
			return "", fmt.Errorf("%s failed: %w", event, retry.Cause(ctx, err))
		}
		detail += "; " + event + ": " + ran
	}
	return detail, nil
}

// validates says whether a release, or the base, has ValidateService scripts of its own.
func (d *Deployment) validates(of release.Release) bool {
	list, err := d.listScripts(hooks.ValidateService, of)
	return err != nil || slices.ContainsFunc(list, func(s hooks.Script) bool { return !s.Role })
}

// disturbed says whether what was live may have been stopped: by its own scripts, or by those of the new revision. A bundle
// that cannot be had is no reason to restart an application that nothing has touched.
func (d *Deployment) disturbed(live release.Release) bool {
	return slices.ContainsFunc(d.entry.Started, func(step string) bool {
		switch {
		case step == record.StepRollback, step == hooks.DownloadBundle:
			return false
		case beforeDownload(step):
			scripts, err := d.listScripts(step, live)
			return err != nil || len(scripts) > 0
		}
		return true
	})
}
