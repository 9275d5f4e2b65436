package executor

import (
	"context"
	"fmt"
	"time"

	"usher/agent/deployment"
	"usher/agent/hostcommand"
	"usher/agent/record"
	"usher/agent/revision"
	"usher/hooks"
	"usher/systemd"
)

// understand gets what a command is about, as far as it can be carried out here.
func (e *Executor) understand(ctx context.Context, cmd hostcommand.Command) (todo work, err error) {
	err = e.inTime(ctx, func() (err error) {
		todo.Specification, err = e.Client.Specification(ctx, cmd)
		return err
	})
	if err == nil {
		err = e.validate(cmd, todo.Specification)
	}
	if past := e.past(); err == nil && past.GivenUp == todo.DeploymentID && past.Last.ID != todo.DeploymentID {
		err = fmt.Errorf("deployment %s was given up on this server, and %s came after it (usher rollback --force): nothing of it is carried out any more. Deploy again",
			todo.DeploymentID, past.Last.ID)
	}
	if err == nil {
		todo.rev, err = e.pinned(ctx, todo.Specification)
	}
	return todo, err
}

// inTime makes a call that must succeed before CodeDeploy takes the command for lost.
func (e *Executor) inTime(ctx context.Context, call func() error) error {
	began := time.Now()
	return e.Retries.DoIf(ctx, func(err error) bool {
		return hostcommand.Retryable(err) && time.Since(began) < acknowledgeTimeout && !e.Terminating(ctx)
	}, call)
}

// validate says whether a command is for this server's application and deployment group, and can be carried
// out at all.
func (e *Executor) validate(cmd hostcommand.Command, spec hostcommand.Specification) error {
	switch {
	case spec.Application != e.On.Application || spec.Group != e.On.Group:
		return fmt.Errorf("deployment %s is for deployment group %s of application %s, and this server is of deployment group %s of application %s: "+
			"nothing was done. Take the instance out of the one group (its tags or its Auto Scaling group), or correct usher's configuration",
			spec.DeploymentID, spec.Group, spec.Application, e.On.Group, e.On.Application)
	case !hooks.IsEvent(cmd.Event):
		return fmt.Errorf("usher does not know the host command %q: nothing was done. A newer usher may", cmd.Event)
	case spec.AppSpecFile != "" && spec.AppSpecFile != "appspec.yml" && spec.AppSpecFile != "appspec.yaml":
		return fmt.Errorf("deployment %s names %s as its appspec, and usher reads appspec.yml only: rename it", spec.DeploymentID, spec.AppSpecFile)
	}
	return nil
}

// pinned is the revision of a specification, with what its object is now where it was registered without. Once
// it was downloaded, what was downloaded counts.
func (e *Executor) pinned(ctx context.Context, spec hostcommand.Specification) (rev revision.Revision, err error) {
	if rev = revisionOf(spec); rev.Pinned() {
		return rev, nil
	}
	last := e.entry(spec.DeploymentID)
	was, err := e.Revisions.Pin(ctx, rev)
	if err != nil && (last == nil || !last.Finished[hooks.DownloadBundle]) {
		err = e.Retries.Do(ctx, func() (err error) { was, err = e.Revisions.Pin(ctx, rev); return err })
	}
	switch same := err == nil && last != nil && deployment.SameRevision(was.ID(), last.Release); {
	case last == nil, same:
		return was, err
	case last.Finished[hooks.DownloadBundle]:
		return rev, nil
	case err != nil:
		return rev, err
	}
	return rev, fmt.Errorf("%s was replaced in S3 during the deployment: register revisions with their version, and deploy again", rev)
}

// revisionOf is the revision that a specification names.
func revisionOf(spec hostcommand.Specification) revision.Revision {
	rev := revision.Revision{Application: spec.Application, Group: spec.Group, GroupID: spec.GroupID, DeploymentID: spec.DeploymentID}
	if s := spec.S3; s != nil {
		rev.S3 = &revision.S3{Bucket: s.Bucket, Key: s.Key, Version: s.Version, ETag: s.ETag, BundleType: s.BundleType}
	} else if g := spec.GitHub; g != nil {
		rev.GitHub = &revision.GitHub{Repository: g.Account + "/" + g.Repository, CommitID: g.CommitID}
	}
	return rev
}

// entry is the record of a deployment by commands, when it is the newest here.
func (e *Executor) entry(id string) *record.Deployment {
	if last := e.past().Last; last != nil && last.By == record.ByCommand && last.ID == id {
		return last
	}
	return nil
}

// skips says whether a deployment needs no work at all here, and puts into the journal why.
func (e *Executor) skips(todo work) bool {
	// What CodeDeploy starts by itself: for a new or outdated server, or to go back to what was good. What a
	// person starts is done, also again.
	startedByCodeDeploy := todo.Creator == "autoscaling" || todo.Creator == "CodeDeployAutoUpdate" || todo.Creator == "codeDeployRollback"
	if !startedByCodeDeploy || !todo.rev.Pinned() || !e.upToDate(todo.rev.ID()) || e.entry(todo.DeploymentID) != nil {
		return false
	}
	if e.lastSkipped != todo.DeploymentID { // once, and not at each of its events
		e.lastSkipped = todo.DeploymentID
		e.On.Log.Info(fmt.Sprintf("deployment %s needs nothing: release %s is live and good here already", todo.DeploymentID, e.past().Good.Release),
			systemd.ID(systemd.MessageCommandAnswered))
	}
	return true
}

// upToDate says whether a release is live, the newest deployment that succeeded was of it, and nothing is left of
// any after that: what was live was seen to serve again.
func (e *Executor) upToDate(id string) bool {
	past := e.past()
	return past.Good != nil && deployment.SameRevision(past.Good.Release, id) && e.On.Layout.IsLive(past.Good.Release) && past.Open() == nil &&
		(past.Last.Sequence == past.Good.Sequence || past.Last.Serving)
}
