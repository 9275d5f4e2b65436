package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"usher/agent/hostcommand"
	"usher/agent/record"
	"usher/agent/revision"
	"usher/hooks"
	"usher/systemd"
)

// A deployment that CodeDeploy drives: it comes as one host command for each lifecycle event, and each is
// carried out by the same steps as at a launch. Between two commands the record alone knows where it is.

// order is a host command on its way to the loop that carries it out. The next one is asked for when taken
// is closed: until CodeDeploy knows that a command was taken, it gives out the same again.
type order struct {
	hostcommand.Command
	taken chan struct{}
}

// receive polls for host commands until ctx ends, and hands them over one at a time.
func (a *agent) receive(ctx context.Context) (orders chan order, ended chan struct{}) {
	orders, ended = make(chan order), make(chan struct{})
	go func() {
		defer close(ended)
		for a.commands != nil {
			next, err := a.commands.Next(ctx)
			if err != nil {
				return
			}
			o := order{next, make(chan struct{})}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
			select {
			case <-o.taken:
			case <-ctx.Done():
				return
			}
		}
	}()
	return orders, ended
}

// obey carries a host command out: it is recorded, acknowledged, done and answered, in this order. Recorded
// first, because CodeDeploy does not give out again what was acknowledged. The error is one that keeps
// CodeDeploy from knowing how the event ended; how it ended is no error here.
func (a *agent) obey(ctx context.Context, cmd hostcommand.Command) error {
	defer func() { a.obeyed = time.Now() }()
	if past := a.rec.State().Command; past != nil && past.ID == cmd.ID && past.Result != "" {
		return a.deliver(ctx, *past) // carried out before: answered, not repeated
	}
	var spec hostcommand.Specification
	passes := func(err error) bool { return !errors.Is(err, hostcommand.ErrUnacceptable) }
	err := a.insistWhile(ctx, passes, func() (err error) {
		spec, err = a.commands.Specification(ctx, cmd)
		return err
	})
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		err = a.accepts(cmd, spec)
	}
	var d *deployment
	if err == nil {
		if why := a.nothingToDoFor(cmd, spec); why != "" {
			if a.passedOver != spec.DeploymentID { // once, and not at each of its events
				a.passedOver = spec.DeploymentID
				a.log.Info(fmt.Sprintf("deployment %s needs nothing: %s", spec.DeploymentID, why), systemd.ID(systemd.MessageCommandAnswered))
			}
			return a.skip(ctx, cmd)
		}
		d, err = a.commanded(ctx, spec)
	}
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		return a.refuse(ctx, cmd, err)
	}
	if err := a.append(record.Entry{What: record.Commanded, Command: cmd.ID, Execution: cmd.Execution, Step: cmd.Event}); err != nil {
		return a.refuse(ctx, cmd, err)
	}
	noop := d.noop(cmd.Event)
	status, err := a.acknowledge(ctx, cmd, noop)
	switch ended := status == hostcommand.Succeeded || status == hostcommand.Failed; {
	case err != nil:
		return err
	case ended && !noop:
		a.log.Warn(fmt.Sprintf("CodeDeploy has ended %s of deployment %s already (%s): it is not run", cmd.Event, d.id, status),
			systemd.ID(systemd.MessageCommandRefused))
		a.note(record.Entry{What: record.Answered, Command: cmd.ID})
		return nil
	}
	failure := d.event(ctx, cmd.Event)
	if stopped(ctx, failure) {
		return failure // the next start goes on from the record
	}
	if noop && status == hostcommand.Succeeded { // CodeDeploy wants to know no more
		a.note(record.Entry{What: record.Answered, Command: cmd.ID})
		return nil
	}
	return a.answer(ctx, cmd.ID, failure)
}

// goOn takes up the host command that the record has as not answered: an earlier agent ended while it
// carried it out, or CodeDeploy could not be told.
func (a *agent) goOn(ctx context.Context) error {
	due := a.rec.State().CommandDue()
	switch {
	case due == nil, a.commands == nil:
		return nil
	case due.Result != "":
		return a.deliver(ctx, *due)
	}
	a.log.Info(fmt.Sprintf("going on with deployment %s: usher was restarted in %s", due.Execution[strings.LastIndexByte(due.Execution, '/')+1:], due.Event),
		systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", due.Event))
	return a.obey(ctx, hostcommand.Command{ID: due.ID, Execution: due.Execution, Event: due.Event})
}

// accepts says whether a command is for this server's application and deployment group, and can be carried
// out at all.
func (a *agent) accepts(cmd hostcommand.Command, spec hostcommand.Specification) error {
	switch {
	case spec.Application != a.cfg.Application || spec.Group != a.cfg.DeploymentGroup:
		return fmt.Errorf("deployment %s is for deployment group %s of application %s, and this server is of deployment group %s of application %s: "+
			"nothing was done. Take the instance out of the one group (its tags or its Auto Scaling group), or correct usher's configuration",
			spec.DeploymentID, spec.Group, spec.Application, a.cfg.DeploymentGroup, a.cfg.Application)
	case !knownEvent(cmd.Event) && !slices.Contains(spec.Events, cmd.Event):
		return fmt.Errorf("usher does not know the host command %q: nothing was done. A newer usher may", cmd.Event)
	case spec.AppSpecFile != "" && spec.AppSpecFile != "appspec.yml" && spec.AppSpecFile != "appspec.yaml":
		return fmt.Errorf("deployment %s names %s as its appspec, and usher reads appspec.yml only: rename it", spec.DeploymentID, spec.AppSpecFile)
	}
	return nil
}

func knownEvent(event string) bool {
	return slices.Contains(hooks.Events, event) || event == hooks.DownloadBundle || event == hooks.Install
}

// nothingToDoFor says why a command needs no work at all, "" when it does.
func (a *agent) nothingToDoFor(cmd hostcommand.Command, spec hostcommand.Specification) string {
	last, rev := a.rec.State().Last, revisionOf(spec)
	// What CodeDeploy starts by itself: for a new or outdated server, or to go back to what was good. What a
	// person starts is done, also again.
	ownDeed := spec.Creator == "autoscaling" || spec.Creator == "CodeDeployAutoUpdate" || spec.Creator == "codeDeployRollback"
	switch {
	case !knownEvent(cmd.Event):
		return "usher has nothing to run for this event"
	case ownDeed && rev.Pinned() && a.isGood(rev.ID()) && (last.By != record.ByCommand || last.ID != spec.DeploymentID):
		return "release " + a.rec.State().Good.Release + " is live and good here already"
	}
	return ""
}

// isGood says whether a release is live, the newest deployment that succeeded was of it, and nothing is left of
// any after that.
func (a *agent) isGood(id string) bool {
	past := a.rec.State()
	return past.Good != nil && sameRelease(past.Good.Release, id) && a.isLive(past.Good.Release) && past.Open() == nil &&
		(past.Last.Run == past.Good.Run || past.Last.Undone)
}

// commanded is the deployment that a specification is of: begun, or gone on with.
func (a *agent) commanded(ctx context.Context, spec hostcommand.Specification) (*deployment, error) {
	rev := revisionOf(spec)
	var d *deployment
	if last := a.rec.State().Last; last != nil && last.By == record.ByCommand && last.ID == spec.DeploymentID {
		src := a.sourceOf(rev)
		src.id = last.Release // also where the revision is not pinned, and another object is in its place by now
		d = a.deployment(last, src, a.environment(rev))
	} else {
		if !rev.Pinned() {
			if err := a.insist(ctx, func() (err error) { rev, err = a.pin(ctx, rev); return err }); err != nil {
				return nil, err
			}
		}
		var err error
		if d, err = a.begin(ctx, record.ByCommand, spec.DeploymentID, a.sourceOf(rev), a.environment(rev)); err != nil {
			return nil, err
		}
	}
	d.exists = spec.FileExists
	return d, nil
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

// event runs one lifecycle event of a deployment that CodeDeploy drives.
func (d *deployment) event(ctx context.Context, event string) error {
	steps := []step{{event, d.scripts}}
	switch event {
	case hooks.BeforeBlockTraffic, hooks.AfterBlockTraffic, hooks.ApplicationStop:
		steps[0].do = d.ofLive
	case hooks.DownloadBundle:
		steps[0].do = d.download
	case hooks.Install:
		steps[0].do = d.install
	case hooks.AfterInstall:
		steps = append(steps, step{stepFlip, d.flip})
	}
	if d.past.End == record.GaveUp {
		return fmt.Errorf("deployment %s has failed on this server and was rolled back: %s", d.id, d.past.Error)
	}
	if d.past.End == record.Succeeded {
		if d.past.Finished[event] {
			return nil
		}
		if err := d.append(record.Entry{What: record.Reopened}); err != nil {
			return err
		}
		d.past = d.rec.State().Last
	}
	if needs := steps[0].name != hooks.DownloadBundle && !beforeDownload(event); needs && d.release.ID == "" {
		return d.rollBack(ctx, event, errors.New("this server has not downloaded the revision in this deployment: deploy again"))
	}
	for _, s := range steps {
		if err := d.run(ctx, s); err != nil {
			return err
		}
	}
	if event == hooks.ValidateService || d.past.Finished[hooks.ValidateService] { // traffic events come after it
		return d.succeed(ctx)
	}
	return nil
}

// beforeDownload are the events whose scripts are of the release that is live.
func beforeDownload(event string) bool {
	return event == hooks.BeforeBlockTraffic || event == hooks.AfterBlockTraffic || event == hooks.ApplicationStop
}

// noop says that there is nothing to run for an event. Four of them do work of usher's own.
func (d *deployment) noop(event string) bool {
	dir := d.release.Bundle
	switch {
	case event == hooks.DownloadBundle, event == hooks.Install, event == hooks.AfterInstall, event == hooks.ValidateService:
		return false
	case beforeDownload(event):
		live, ok := d.liveRelease()
		if !ok {
			return true
		}
		dir = live.Bundle
	case dir == "":
		return false
	}
	scripts, err := d.listScripts(event, dir)
	return err == nil && len(scripts) == 0
}
