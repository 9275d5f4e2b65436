package deployment

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"usher/agent/record"
	"usher/agent/release"
	"usher/hooks"
	"usher/systemd"
)

// Request is a deployment that somebody wants.
type Request struct {
	ID         string // CodeDeploy's, d-...
	By         string // record.ByCommand, ByRepair or ByOperator, who may also have a release that has failed; "" for a launch
	Source     Source
	Revalidate bool        // when what is live and good is of this revision: it is only started and validated again
	FileExists string      // CodeDeploy's file_exists_behavior; "" for its default
	Log        *zap.Logger // nil: the deployer's
}

// SameRevision says whether two releases are of the same revision.
func SameRevision(id, other string) bool {
	return strings.TrimSuffix(id, release.Beside) == strings.TrimSuffix(other, release.Beside)
}

// place is the id of the release that a revision is unpacked as: its own, or the one beside it. What is live is never
// touched, and what is good here not without need: somebody may want to go back to it.
func (s *Deployer) place(id string) string {
	one, there := s.Layout.Load(id)
	other, beside := s.Layout.Load(id + release.Beside)
	isGood := func(r release.Release) bool { return r.Status == release.Good && r.Instance == s.Identity.InstanceID }
	switch {
	case s.Layout.IsLive(id):
		return id + release.Beside
	case !there, !isGood(one), s.Layout.IsLive(id + release.Beside):
		return id
	case !beside, !isGood(other), other.Time.Before(one.Time):
		return id + release.Beside
	}
	return id
}

// Begin starts the deployment of a revision, or takes up the one that was cut off if it is of the same. One
// of another revision is rolled back first: a deployment begins from what was good.
func (s *Deployer) Begin(ctx context.Context, want Request) (*Deployment, error) {
	if last := s.byCommand(want.ID); want.By == record.ByCommand && last != nil && !s.incomplete(last) {
		return s.deployment(last, want), nil
	}
	if err := systemd.CheckWritable(filepath.Dir(s.Layout.Link), s.Layout.Releases); err != nil {
		return nil, err
	}
	if err := s.Layout.Check(); err != nil {
		return nil, err
	}
	s.Finalize()
	past, id, from := s.Record.State(), want.Source.ID(), ""
	open := past.Open()
	switch {
	case open != nil && open.By == want.By && SameRevision(open.Release, id):
		id = open.Release
	case want.By == record.ByOperator: // the one that was chosen
	case want.Revalidate && past.Good != nil && SameRevision(past.Good.Release, id) && s.Layout.IsLive(past.Good.Release):
		id, from = past.Good.Release, hooks.ApplicationStart
	default:
		id = s.place(id)
	}
	same := open != nil && open.By == want.By && (want.By != record.ByCommand || open.ID == want.ID) && open.Release == id
	lost := same && s.incomplete(open)
	if same && !lost && (!hasRelease(open) || s.Layout.Has(id)) {
		return s.resume(open, want), nil
	}
	if open != nil && !lost && !s.abandon(ctx, open, want.Log, fmt.Errorf("cut off, and %s is to be deployed instead", id)) {
		return nil, fmt.Errorf("cannot begin deployment %s: what deployment %s left could not be put back", want.ID, open.ID)
	}
	if lost && s.Layout.IsLive(open.Release) {
		if err := s.Layout.Flip(s.Layout.Fallback(open.Fallback)); err != nil {
			return nil, err
		}
	}
	if lost && want.By == record.ByCommand {
		from = hooks.ApplicationStop
	}
	live, _, err := s.Layout.Live()
	if err != nil {
		return nil, err
	}
	entry, err := s.Record.Begin(record.Entry{Deployment: want.ID, By: want.By, Revision: want.Source.String(), Release: id, Live: live,
		Fallback: s.Layout.Fallback(live), From: from})
	if err != nil {
		return nil, err
	}
	d := s.deployment(entry, want)
	if lost {
		d.log.Info("the server was restarted in a deployment of release "+id+", and what was written may not be on its disk: the deployment begins again", systemd.ID(systemd.MessageResumed))
	}
	d.log.Info(fmt.Sprintf("deployment %s begins: %s", want.ID, want.Source), systemd.ID(systemd.MessageDeploymentStarted))
	if from != "" {
		s.Log.Info(fmt.Sprintf("release %s is still the group's revision: it is started and validated again", id), systemd.ID(systemd.MessageRevisionChecked))
	}
	return d, nil
}

// hasRelease says that a deployment is past the unpacking of its release, or began with one that was there.
func hasRelease(d *record.Deployment) bool {
	return d.Finished[hooks.DownloadBundle] || d.From == hooks.ApplicationStart
}

// byCommand is the deployment by CodeDeploy's commands of this id, when it is the newest here; else nil.
func (s *Deployer) byCommand(id string) *record.Deployment {
	if last := s.Record.State().Last; last != nil && last.By == record.ByCommand && last.ID == id {
		return last
	}
	return nil
}

// incomplete says that a deployment that was cut off cannot be gone on with: the server was restarted in it, and what was
// written until then may not have survived, in the release and wherever its scripts write. What was live and good before is
// whole, and gone on with. So is what a command of CodeDeploy's did, which is on the disk before it counts, unless the server was
// restarted in the midst of one: its script would run again on what the restart has left of its own files.
func (s *Deployer) incomplete(open *record.Deployment) bool {
	boot := open.Boot
	if open.By == record.ByCommand {
		if n := len(open.Started); n == 0 || open.Finished[hooks.ValidateService] || !open.Interrupted(open.Started[n-1]) {
			return false
		}
		boot = open.StartedIn
	}
	return open.End == "" && open.FailedStep == "" && boot != s.Identity.BootID && s.Layout.Dir(open.Release) != open.Fallback
}

// deployment is the one that the record tells of.
func (s *Deployer) deployment(entry *record.Deployment, want Request) *Deployment {
	log := want.Log
	if log == nil {
		log = s.Log
	}
	d := &Deployment{on: s, entry: entry, source: want.Source, fallback: s.Layout.Fallback(entry.Fallback), env: want.Source.Environment(),
		fileExists: want.FileExists, log: log.With(zap.String("deployment_id", entry.ID), zap.String("revision", entry.RevisionField()),
			zap.String("release", entry.Release), zap.String("previous_release", filepath.Base(entry.Fallback)))}
	d.env.ApplicationName, d.env.DeploymentGroupName, d.env.DeploymentID = s.Application, s.Group, entry.ID
	d.env.InstanceID, d.env.Region, d.env.AutoScalingGroupName = s.Identity.InstanceID, s.Identity.Region, s.Identity.AutoScalingGroup
	d.env.PreviousRelease = d.fallback
	if hasRelease(entry) {
		d.release, _ = s.Layout.Load(entry.Release)
	}
	return d
}

// resume takes up a deployment that was cut off.
func (s *Deployer) resume(open *record.Deployment, want Request) *Deployment {
	d := s.deployment(open, want)
	restart, at := "an agent restart", "between two steps"
	if open.Boot != s.Identity.BootID {
		restart = "a server restart"
	}
	if n := len(open.Started); n > 0 && open.Interrupted(open.Started[n-1]) {
		at = "in " + open.Started[n-1]
	}
	d.log.Info(fmt.Sprintf("resuming deployment %s %s after %s", open.ID, at, restart), systemd.ID(systemd.MessageResumed))
	return d
}

// Abandon rolls back a deployment that was cut off and is not taken up. It says whether what was live
// before is live again.
func (s *Deployer) Abandon(ctx context.Context, open *record.Deployment, why error) bool {
	return s.abandon(ctx, open, s.Log, why)
}

func (s *Deployer) abandon(ctx context.Context, open *record.Deployment, log *zap.Logger, why error) bool {
	d := s.deployment(open, Request{Source: onDisk{open.Release, open.Revision}, Log: log})
	at := "begun"
	if n := len(open.Started); n > 0 {
		at = open.Started[n-1]
	}
	lost := s.incomplete(open) && open.By != record.ByOperator
	_ = d.rollBack(ctx, at, why) // said and recorded there
	if lost {                    // nobody shall take what is left of it for a release
		if err := s.Layout.Remove(open.Release); err != nil {
			d.log.Warn(err.Error(), systemd.ID(systemd.MessageCleanupFailed))
		}
	}
	return s.Record.State().RolledBack()
}

// OnDisk is a release that is here as a source: what an operator goes back to.
func OnDisk(r release.Release) Source { return onDisk{r.ID, r.Revision} }

type onDisk struct{ id, revision string }

func (o onDisk) ID() string                     { return o.id }
func (o onDisk) String() string                 { return o.revision }
func (o onDisk) Pinned() bool                   { return true }
func (o onDisk) Environment() hooks.Environment { return hooks.Environment{} }

func (o onDisk) Fetch(context.Context, string) (Fetched, error) {
	return Fetched{}, fmt.Errorf("release %s is not on this disk any more", o.id)
}
