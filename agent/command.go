package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"usher/agent/deployment"
	"usher/agent/hostcommand"
	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/hooks"
	"usher/systemd"
)

// A deployment that CodeDeploy drives: it comes as one host command for each lifecycle event, and each is
// carried out by the same steps as at a launch. Between two commands the record alone knows where it is.

// obey carries a host command out: it is recorded, acknowledged, done and answered, in this order. Recorded
// first, because CodeDeploy does not give out again what was acknowledged. The error is one that keeps
// CodeDeploy from knowing how the event ended; how it ended is no error here.
func (a *agent) obey(ctx context.Context, cmd hostcommand.Command) error {
	if cmd.Event == hostcommand.UpdateAgent {
		return a.updateNothing(ctx, cmd)
	}
	defer func() { a.obeyed = time.Now() }()
	if past := a.state().Command; past != nil && past.ID == cmd.ID && past.Result != "" {
		return a.deliver(ctx, *past, cmd) // carried out before: answered, not repeated
	}
	spec, rev, err := a.understand(ctx, cmd)
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		if why := a.nothingToDoFor(spec, rev); why != "" {
			if a.passedOver != spec.DeploymentID { // once, and not at each of its events
				a.passedOver = spec.DeploymentID
				a.log.Info(fmt.Sprintf("deployment %s needs nothing: %s", spec.DeploymentID, why), systemd.ID(systemd.MessageCommandAnswered))
			}
			return a.skip(ctx, cmd)
		}
		err = a.appendCommand(cmd)
	}
	if err != nil {
		return a.refuse(ctx, cmd, err)
	}
	noop := a.deploy.Nothing(cmd.Event, spec.DeploymentID)
	status, err := a.acknowledge(ctx, cmd, noop)
	switch ended := status == hostcommand.Succeeded || status == hostcommand.Failed; {
	case err != nil:
		return err
	case ended && !noop:
		why := fmt.Errorf("CodeDeploy has ended %s of deployment %s already (%s): it is not run", cmd.Event, spec.DeploymentID, status)
		a.log.Warn(why.Error(), systemd.ID(systemd.MessageCommandRefused))
		if status == hostcommand.Failed {
			a.letGo(ctx, cmd, why)
		}
		a.deploy.Record.AppendOrLog(record.Entry{What: record.Reported, Command: cmd.ID}, a.logError)
		return nil
	}
	d, failure := a.commanded(ctx, spec, rev)
	if failure == nil {
		work, done := lifecycle.WhileStaying(ctx, a.clients.Metadata)
		failure = d.Event(work, cmd.Event)
		done()
	}
	if retry.Stopped(ctx, failure) {
		return failure // the next start goes on from the record
	}
	if failure == nil && noop && status == hostcommand.Succeeded { // CodeDeploy wants to know no more
		a.deploy.Record.AppendOrLog(record.Entry{What: record.Reported, Command: cmd.ID}, a.logError)
		return nil
	}
	return a.answer(ctx, cmd, failure)
}

// understand gets what a command is about, as far as it can be carried out here: its specification, and the
// revision, pinned.
func (a *agent) understand(ctx context.Context, cmd hostcommand.Command) (spec hostcommand.Specification, rev revision.Revision, err error) {
	began := time.Now()
	retryable := func(err error) bool {
		return hostcommand.Retryable(err) && time.Since(began) < pickUp && !a.isLeaving(ctx)
	}
	err = a.retries().DoIf(ctx, retryable, func() (err error) {
		spec, err = a.clients.Commands.Specification(ctx, cmd)
		return err
	})
	if err == nil {
		err = a.accepts(cmd, spec)
	}
	if past := a.state(); err == nil && past.GivenUp == spec.DeploymentID && past.Last.ID != spec.DeploymentID {
		err = fmt.Errorf("deployment %s was given up on this server, and %s came after it (usher rollback --force): nothing of it is carried out any more. Deploy again",
			spec.DeploymentID, past.Last.ID)
	}
	if err == nil {
		rev, err = a.pinned(ctx, spec)
	}
	return spec, rev, err
}

// pickUp is less than the five minutes that CodeDeploy gives a command to be acknowledged.
const pickUp = 4 * time.Minute

// pinned is the revision of a specification, with what its object is now where it was registered without. Once
// it was downloaded, what was downloaded counts.
func (a *agent) pinned(ctx context.Context, spec hostcommand.Specification) (rev revision.Revision, err error) {
	if rev = revisionOf(spec); rev.Pinned() {
		return rev, nil
	}
	last := a.under(spec)
	was, err := a.revisions.Pin(ctx, rev)
	if err != nil && (last == nil || !last.Finished[hooks.DownloadBundle]) {
		err = a.retries().Do(ctx, func() (err error) { was, err = a.revisions.Pin(ctx, rev); return err })
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

// under is the deployment of a specification, when it is the newest here.
func (a *agent) under(spec hostcommand.Specification) *record.Deployment {
	if last := a.state().Last; last != nil && last.By == record.ByCommand && last.ID == spec.DeploymentID {
		return last
	}
	return nil
}

// appendCommand records a command, unless it is there from an earlier try.
func (a *agent) appendCommand(cmd hostcommand.Command) error {
	if due := a.state().CommandDue(); due != nil && due.ID == cmd.ID {
		return nil
	}
	return a.deploy.Record.Append(record.Entry{What: record.Commanded, Command: cmd.ID, Execution: cmd.Execution, Step: cmd.Event})
}

// letGo rolls the deployment of a command back that will not go on: CodeDeploy has given it up here, or is about
// to. An application that was stopped for it is started again.
func (a *agent) letGo(ctx context.Context, cmd hostcommand.Command, why error) {
	open := a.state().Open()
	if open != nil && open.By == record.ByCommand && (cmd.Execution == "" || strings.HasSuffix(cmd.Execution, "/"+open.ID)) {
		a.deploy.Abandon(ctx, open, why)
	}
}

// goOn takes up the host command that the record has as not answered: an earlier agent ended while it
// carried it out, or CodeDeploy could not be told.
func (a *agent) goOn(ctx context.Context) error {
	due := a.state().CommandDue()
	if due == nil || a.clients.Commands == nil || due.ID == a.told { // told, and the disk did not take it
		return nil
	}
	cmd := hostcommand.Command{ID: due.ID, Execution: due.Execution, Event: due.Event}
	if due.Result != "" {
		return a.deliver(ctx, *due, cmd)
	}
	if a.obeyed.IsZero() {
		a.log.Info(fmt.Sprintf("resuming deployment %s in %s after an agent restart", due.Execution[strings.LastIndexByte(due.Execution, '/')+1:], due.Event),
			systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", due.Event))
	}
	return a.obey(ctx, cmd)
}

// accepts says whether a command is for this server's application and deployment group, and can be carried
// out at all.
func (a *agent) accepts(cmd hostcommand.Command, spec hostcommand.Specification) error {
	switch {
	case spec.Application != a.cfg.Application || spec.Group != a.cfg.DeploymentGroup:
		return fmt.Errorf("deployment %s is for deployment group %s of application %s, and this server is of deployment group %s of application %s: "+
			"nothing was done. Take the instance out of the one group (its tags or its Auto Scaling group), or correct usher's configuration",
			spec.DeploymentID, spec.Group, spec.Application, a.cfg.DeploymentGroup, a.cfg.Application)
	case !hooks.IsEvent(cmd.Event):
		return fmt.Errorf("usher does not know the host command %q: nothing was done. A newer usher may", cmd.Event)
	case spec.AppSpecFile != "" && spec.AppSpecFile != "appspec.yml" && spec.AppSpecFile != "appspec.yaml":
		return fmt.Errorf("deployment %s names %s as its appspec, and usher reads appspec.yml only: rename it", spec.DeploymentID, spec.AppSpecFile)
	}
	return nil
}

// nothingToDoFor says why a command needs no work at all, "" when it does.
func (a *agent) nothingToDoFor(spec hostcommand.Specification, rev revision.Revision) string {
	// What CodeDeploy starts by itself: for a new or outdated server, or to go back to what was good. What a
	// person starts is done, also again.
	ownDeed := spec.Creator == "autoscaling" || spec.Creator == "CodeDeployAutoUpdate" || spec.Creator == "codeDeployRollback"
	if ownDeed && rev.Pinned() && a.isGood(rev.ID()) && a.under(spec) == nil {
		return "release " + a.state().Good.Release + " is live and good here already"
	}
	return ""
}

// isGood says whether a release is live, the newest deployment that succeeded was of it, and nothing is left of
// any after that: what was live was seen to serve again.
func (a *agent) isGood(id string) bool {
	past := a.state()
	return past.Good != nil && deployment.SameRevision(past.Good.Release, id) && a.deploy.Layout.IsLive(past.Good.Release) && past.Open() == nil &&
		(past.Last.Sequence == past.Good.Sequence || past.Last.Serving)
}

// commanded is the deployment that a specification is of: begun, or gone on with.
func (a *agent) commanded(ctx context.Context, spec hostcommand.Specification, rev revision.Revision) (*deployment.Deployment, error) {
	return a.deploy.Begin(ctx, deployment.Request{ID: spec.DeploymentID, By: record.ByCommand, Source: a.revisions.From(rev), FileExists: spec.FileExists})
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
