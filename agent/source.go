package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"usher/agent/bundle"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/hooks"
	"usher/systemd"
)

// source is a revision and where to get it.
type source struct {
	id     string                                                 // of its release on disk
	name   string                                                 // as a person reads it
	pinned bool                                                   // a release on disk with this id has this content
	asIs   bool                                                   // take the release on disk whatever became of it
	fetch  func(ctx context.Context, dir string) (fetched, error) // fills an empty directory with it
}

// fetched is what came of a fetch.
type fetched struct {
	stats  bundle.Stats
	etag   string
	detail string
}

// deployDue deploys what the launch needs, or goes on with what was cut off: a rollback by hand with the
// release that was chosen, anything else with the group's revision.
func (a *agent) deployDue(ctx context.Context) error {
	open, by := a.rec.State().Open(), ""
	if open != nil && open.By == record.ByOperator {
		if r, ok := a.layout.Load(open.Release); ok {
			return a.deployRelease(ctx, r)
		}
	}
	if open != nil && open.By == record.ByRepair {
		by = record.ByRepair
	}
	return a.deployLatest(ctx, by)
}

// deployLatest deploys the revision of this server's deployment group, or goes on with a deployment of it
// that was cut off. A group without a revision is no failure: the base stays live.
func (a *agent) deployLatest(ctx context.Context, by string) error {
	d, err := a.latest(ctx, by)
	if err != nil || d == nil {
		return err
	}
	return d.deploy(ctx)
}

// checkAgain sees that the live release is still the group's, and starts and validates it: the server was
// prepared in a warm pool, and has been stopped or asleep since. If the group moved on, it deploys.
func (a *agent) checkAgain(ctx context.Context) error {
	good := a.rec.State().Good
	d, err := a.latest(ctx, "")
	if err != nil || d == nil {
		return err
	}
	if live, ok := d.liveRelease(); ok && live.ID == d.source.id && good.Release == live.ID {
		a.log.Info(fmt.Sprintf("release %s is still the group's revision: it is started and validated again", live.ID),
			systemd.ID(systemd.MessageRevisionChecked))
		d.release = live
		for _, done := range []string{hooks.ApplicationStop, hooks.DownloadBundle, hooks.BeforeInstall, hooks.Install, hooks.AfterInstall, record.StepFlip} {
			if err := d.rec.Append(record.Entry{What: record.Finished, Step: done, Detail: "as before"}); err != nil {
				return err
			}
		}
		d.past = a.rec.State().Last
	}
	return d.deploy(ctx)
}

// latest asks CodeDeploy for the group's revision and begins its deployment; nil when there is none.
func (a *agent) latest(ctx context.Context, by string) (*deployment, error) {
	var rev revision.Revision
	if err := a.awaitMachine(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	err := a.retries().Do(ctx, func() (err error) {
		rev, err = a.groupRevision(ctx)
		return err
	})
	a.timings.Since(began, "", record.PartRevision)
	if open := a.rec.State().Open(); err != nil && open != nil && ctx.Err() == nil {
		a.giveUp(ctx, open, err) // what is live must not stay what was never validated
	}
	if errors.Is(err, revision.ErrNone) {
		a.log.Warn(fmt.Sprintf("deployment group %s of application %s has no revision yet: %s stays as it is",
			a.cfg.DeploymentGroup, a.cfg.Application, a.layout.LinkPath()), systemd.ID(systemd.MessageNoRevision))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a.rolling = rev.Underway != ""
	return a.begin(ctx, by, cmp.Or(rev.DeploymentID, "no-deployment-id"), a.sourceOf(rev), a.environment(rev))
}

// groupRevision is the revision of this server's deployment group now, pinned.
func (a *agent) groupRevision(ctx context.Context) (revision.Revision, error) {
	var rev revision.Revision
	err := a.limiter.DoAfter(ctx, retry.CodeDeployDelay, func() (err error) {
		rev, err = revision.Latest(ctx, a.clients.CodeDeploy, a.cfg.Application, a.cfg.DeploymentGroup)
		return err
	})
	if err == nil && !rev.Pinned() {
		rev, err = a.pin(ctx, rev)
	}
	return rev, err
}

// sourceOf is a revision as a source: where its bundle is to be had.
func (a *agent) sourceOf(rev revision.Revision) source {
	fetch := func(ctx context.Context, dir string) (fetched, error) { return a.fetch(ctx, rev, dir) }
	return source{id: rev.ID(), name: rev.String(), pinned: rev.Pinned(), fetch: fetch}
}

// environment is what scripts are told of a revision and of this server.
func (a *agent) environment(rev revision.Revision) hooks.Environment {
	env := hooks.Environment{
		ApplicationName: rev.Application, DeploymentID: rev.DeploymentID, DeploymentGroupName: rev.Group, DeploymentGroupID: rev.GroupID,
		InstanceID: a.me.InstanceID, Region: a.me.Region, AutoScalingGroupName: a.me.AutoScalingGroup,
	}
	if s := rev.S3; s != nil {
		env.BundleBucket, env.BundleKey, env.BundleVersion, env.BundleETag = s.Bucket, s.Key, s.Version, s.ETag
	} else if rev.GitHub != nil {
		env.BundleCommit = rev.GitHub.CommitID
	}
	return env
}

// deployRelease deploys a release that is on this disk, as an operator asked for, also one that has failed.
func (a *agent) deployRelease(ctx context.Context, r release.Release) error {
	id := "rollback-" + time.Now().UTC().Format("20060102T150405Z")
	gone := func(context.Context, string) (fetched, error) {
		return fetched{}, fmt.Errorf("release %s is not on this disk any more", r.ID)
	}
	env := a.environment(revision.Revision{Application: a.cfg.Application, Group: a.cfg.DeploymentGroup})
	d, err := a.begin(ctx, record.ByOperator, id, source{id: r.ID, name: r.Revision, pinned: true, asIs: true, fetch: gone}, env)
	if err != nil {
		return err
	}
	return d.deploy(ctx)
}

// pin finds out which content a revision without ETag and version has now.
func (a *agent) pin(ctx context.Context, rev revision.Revision) (revision.Revision, error) {
	version, etag, err := bundle.FindS3(ctx, a.clients.S3, bundle.S3Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key})
	if err != nil {
		return rev, fmt.Errorf("the revision was registered without ETag and version: %w", err)
	}
	return rev.Pin(version, etag), nil
}

// again ends the id of a release that is made beside a live one of the same revision. A revision that is
// deployed again gets a directory of its own: its scripts write into it, and users are on the live one.
const again = ".2"

// sameRelease says whether two releases are of the same revision.
func sameRelease(id, other string) bool {
	return strings.TrimSuffix(id, again) == strings.TrimSuffix(other, again)
}

// begin starts the deployment of a revision, or takes up the one that was cut off if it is of the same. One
// of another revision is rolled back first: a deployment begins from what was good.
func (a *agent) begin(ctx context.Context, by, id string, src source, env hooks.Environment) (*deployment, error) {
	if err := systemd.CheckWritable(filepath.Dir(a.cfg.Link), a.cfg.Releases); err != nil {
		return nil, err
	}
	if err := a.layout.Check(); err != nil {
		return nil, err
	}
	a.settle()
	open := a.rec.State().Open()
	switch {
	case open != nil && open.By == by && sameRelease(open.Release, src.id):
		src.id = open.Release
	case by == "" && a.isLive(src.id+again), by != "" && a.isLive(src.id): // a launch goes on with what is live
		src.id += again
	}
	same := open != nil && open.By == by && (by != record.ByCommand || open.ID == id) && open.Release == src.id
	lost := same && a.lost(open)
	if same && !lost && (!open.Finished[hooks.DownloadBundle] || a.onDisk(src.id)) {
		return a.resume(open, src, env), nil
	}
	if open != nil && !lost && !a.giveUp(ctx, open, fmt.Errorf("cut off, and %s is to be deployed instead", src.id)) {
		return nil, fmt.Errorf("cannot begin deployment %s: what deployment %s left could not be put back", id, open.ID)
	}
	live, _, err := a.layout.Live()
	if err != nil {
		return nil, err
	}
	run := a.rec.State().Sequence + 1
	if err := a.rec.Append(record.Entry{What: record.Begun, Sequence: run, Deployment: id, By: by,
		Revision: src.name, Release: src.id, Live: live, Fallback: a.orBase(live)}); err != nil {
		return nil, err
	}
	d := a.deployment(a.rec.State().Last, src, env)
	if lost {
		d.log.Info("the server was restarted before release "+src.id+" was safe on its disk: the deployment begins again", systemd.ID(systemd.MessageResumed))
	}
	d.log.Info(fmt.Sprintf("deployment %s begins: %s", id, src.name), systemd.ID(systemd.MessageDeploymentStarted))
	return d, nil
}

// lost says that the release of a deployment that was cut off may not have survived: the server was restarted while it
// was on its way to the disk.
func (a *agent) lost(open *record.Deployment) bool {
	return open.End == "" && open.FailedStep == "" && open.Syncing != "" && open.Syncing != a.me.BootID && !a.isLive(open.Release)
}

// deployment is the one that the record tells of.
func (a *agent) deployment(past *record.Deployment, src source, env hooks.Environment) *deployment {
	with := *a // its lines carry the deployment
	with.log = a.log.With(zap.String("deployment_id", past.ID), zap.String("revision", src.name), zap.String("release", src.id),
		zap.String("previous_release", filepath.Base(past.Fallback)))
	d := &deployment{agent: &with, id: past.ID, source: src, env: env, past: past, live: past.Live, fallback: a.orBase(past.Fallback)}
	d.env.DeploymentID, d.env.PreviousRelease = past.ID, d.fallback
	if past.Finished[hooks.DownloadBundle] {
		d.release, _ = a.layout.Load(src.id)
	}
	return d
}

// resume takes up a deployment that was cut off.
func (a *agent) resume(open *record.Deployment, src source, env hooks.Environment) *deployment {
	d := a.deployment(open, src, env)
	why, at := "the agent was restarted", "between two steps"
	if open.Boot != a.me.BootID {
		why = "the server was restarted"
	}
	if n := len(open.Started); n > 0 && open.Interrupted(open.Started[n-1]) {
		at = "in " + open.Started[n-1]
	}
	d.log.Info(fmt.Sprintf("going on with deployment %s: %s %s", d.id, why, at), systemd.ID(systemd.MessageResumed))
	return d
}

// giveUp rolls back a deployment that was cut off and is not taken up. It says whether what was live
// before is live again.
func (a *agent) giveUp(ctx context.Context, open *record.Deployment, why error) bool {
	d := a.deployment(open, source{id: open.Release, name: open.Revision}, hooks.Environment{
		ApplicationName: a.cfg.Application, DeploymentGroupName: a.cfg.DeploymentGroup,
		InstanceID: a.me.InstanceID, Region: a.me.Region, AutoScalingGroupName: a.me.AutoScalingGroup})
	at := "begun"
	if n := len(open.Started); n > 0 {
		at = open.Started[n-1]
	}
	lost := a.lost(open)
	_ = d.rollBack(ctx, at, why) // said and recorded there
	if lost {                    // nobody shall take what is left of it for a release
		if err := a.layout.Discard(open.Release); err != nil {
			a.log.Warn(err.Error(), systemd.ID(systemd.MessagePruneFailed))
		}
	}
	return a.rec.State().RolledBack()
}
