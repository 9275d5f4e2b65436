//go:build linux && !developer

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/bundle"
	"usher/agent/deployment"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/revision"
	"usher/agent/source"
	"usher/systemd"
)

// deployOrResume deploys what the launch needs, or goes on with what was cut off: a rollback by hand with the
// release that was chosen, anything else with the group's revision.
func (a *agent) deployOrResume(ctx context.Context) (underway bool, err error) {
	open, by := a.state().Open(), ""
	if open != nil && open.By == record.ByOperator {
		if r, ok := a.deploy.Layout.Load(open.Release); ok {
			return false, a.deployRelease(ctx, r, nil)
		}
	}
	if open != nil && open.By == record.ByRepair {
		by = record.ByRepair
	}
	return a.deployLatest(ctx, by)
}

// deployLatest deploys the revision of this server's deployment group, or goes on with a deployment of it
// that was cut off. A group without a revision is no failure: the base stays live. underway: another is being
// rolled out to the group.
func (a *agent) deployLatest(ctx context.Context, by string) (underway bool, err error) {
	d, underway, err := a.latest(ctx, by, false)
	if err != nil || d == nil {
		return underway, err
	}
	return underway, d.Deploy(ctx)
}

// revalidate sees that the live release is still the group's, and starts and validates it: the server was
// prepared in a warm pool, and has been stopped or asleep since. If the group moved on, it deploys.
func (a *agent) revalidate(ctx context.Context) (underway bool, err error) {
	d, underway, err := a.latest(ctx, "", true)
	if err != nil || d == nil {
		return underway, err
	}
	return underway, d.Deploy(ctx)
}

// latest asks CodeDeploy for the group's revision and begins its deployment, or with revalidate that of what is live when it
// is that revision; nil when there is none.
func (a *agent) latest(ctx context.Context, by string, revalidate bool) (d *deployment.Deployment, underway bool, err error) {
	if err := a.awaitMachine(ctx); err != nil {
		return nil, false, err
	}
	began := time.Now()
	rev, err := a.revisions.Latest(ctx)
	a.deploy.Record.Timings.Since(began, "", record.PartRevision)
	if open := a.state().Open(); err != nil && open != nil && ctx.Err() == nil {
		a.deploy.Abandon(ctx, open, err) // what is live must not stay what was never validated
	}
	if errors.Is(err, revision.ErrNone) {
		a.log.Warn(fmt.Sprintf("deployment group %s of application %s has no revision yet: %s stays as it is",
			a.cfg.DeploymentGroup, a.cfg.Application, a.deploy.Layout.LinkPath()), systemd.ID(systemd.MessageNoRevision))
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	d, err = a.deploy.Begin(ctx, deployment.Request{ID: cmp.Or(rev.DeploymentID, "no-deployment-id"), By: by, Source: a.revisions.From(rev), Revalidate: revalidate})
	return d, rev.Underway != "", err
}

// deployRelease deploys a release that is on this disk, as an operator asked for, also one that has failed. It needs no network.
// What goes on is written to log, or to the journal alone.
func (a *agent) deployRelease(ctx context.Context, r release.Release, log *zap.Logger) error {
	id := fmt.Sprintf("rollback-%s-%d", time.Now().UTC().Format("20060102T150405Z"), a.state().Sequence+1)
	d, err := a.deploy.Begin(ctx, deployment.Request{ID: id, By: record.ByOperator, Source: deployment.OnDisk(r), Log: log})
	if err != nil {
		return err
	}
	return d.Deploy(ctx)
}

// finder is where the revisions of this server's deployment group are to be had.
func (a *agent) finder() *source.Finder {
	limits := bundle.Limits{MaxFiles: a.cfg.MaxFiles, MaxBytes: a.cfg.MaxBytes, Alive: a.notify.Alive,
		Narrow: true,
		Warn:   func(text string) { a.log.Warn(text, systemd.ID(systemd.MessageScriptWarning)) }}
	return &source.Finder{Application: a.cfg.Application, Group: a.cfg.DeploymentGroup, CodeDeploy: a.clients.CodeDeploy, S3: a.clients.S3, Bucket: a.cfg.Bucket, Has: a.deploy.Layout.Has,
		HTTP: a.clients.HTTP, GitHubAPI: a.cfg.GitHubAPI, Limits: limits, Retries: a.retries(), Timings: a.deploy.Record.Timings}
}
