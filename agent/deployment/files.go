package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"usher/agent/bundle"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/runner"
	"usher/systemd"
)

// What a deployment does to files that the agent's sandbox may keep it from: in a unit of its own then, and here otherwise.

// runUnsandboxed runs a file operation of a deployment outside the sandbox; done is false where the caller is to do it.
func (s *Deployer) runUnsandboxed(ctx context.Context, of *record.Deployment, q runner.FileRequest, needed func() bool) (out runner.FileResult, done bool, err error) {
	q.Layout = s.Layout
	return s.Runner.RunUnsandboxed(ctx, fmt.Sprintf("%s-%d", of.ID, of.Sequence), q, map[string]string{"LIFECYCLE_EVENT": q.Step, "DEPLOYMENT_ID": of.ID,
		"REVISION": of.RevisionField(), "RELEASE": of.Release, "APPLICATION": s.Application, "DEPLOYMENT_GROUP": s.Group}, needed)
}

// place is release.Layout.Install.
func (d *Deployment) place(ctx context.Context, plan *release.Plan, how release.Installing) (release.Installed, error) {
	out, done, err := d.on.runUnsandboxed(ctx, d.entry, runner.FileRequest{Step: runner.Install, Release: d.release.ID, How: how},
		func() bool { return d.on.Layout.InstallReaches(d.release.ID, plan, how) })
	if !done {
		return d.on.Layout.Install(ctx, &d.release, plan, how)
	}
	if out.Unit != "" {
		d.release.ExternalFiles, d.release.Dirs, d.release.Owners = out.Outside, out.Dirs, out.Owners
	}
	return out.Installed, err
}

// restoreFiles puts back the files outside the link that the deployment of a release has replaced.
func (s *Deployer) restoreFiles(ctx context.Context, of *record.Deployment) error {
	_, done, err := s.runUnsandboxed(ctx, of, runner.FileRequest{Step: runner.Restore, Release: of.Release},
		func() bool { return s.Layout.RestoreReaches(of.Release) })
	if !done {
		return s.Layout.Restore(of.Release)
	}
	return err
}

// pruneTimeout bounds removing old releases: 40,000 files take a second or two on a disk that is not busy.
const pruneTimeout = 10 * time.Minute

// Prune removes releases that are no longer needed, and the oldest lines of the record. It never fails a deployment.
func (s *Deployer) Prune() {
	var protect []string
	past := s.Record.State()
	for _, d := range []*record.Deployment{past.Good, past.Open()} {
		if d != nil {
			protect = append(protect, d.Release)
		}
	}
	keep, why := s.KeepReleases, ""
	if bundle.IsFull(bundle.CheckSpace(s.Layout.Dir(""), 0, 0)) { // what a script has filled it with goes with its release
		keep, why = release.MakeRoom, ", for the disk is full"
	}
	removed, err := s.prune(past.Last, keep, protect)
	if len(removed) > 0 {
		s.Log.Info("removed old releases" + why + ": " + format.Limited(removed))
	}
	if err != nil {
		s.Log.Warn("cannot remove old releases: "+err.Error(), systemd.ID(systemd.MessagePruneFailed))
	}
	if err := s.Record.Compact(); err != nil {
		s.Log.Warn(err.Error())
	}
}

// makeRoom removes releases that nothing needs, the one that failed too, for a release that has no room. It says whether
// there is more room now.
func (d *Deployment) makeRoom() bool {
	var protect []string
	if good := d.on.Record.State().Good; good != nil {
		protect = append(protect, good.Release)
	}
	removed, err := d.on.prune(d.entry, release.MakeRoom, protect)
	if err != nil {
		d.log.Warn("cannot remove old releases: "+err.Error(), systemd.ID(systemd.MessagePruneFailed))
	}
	if len(removed) > 0 {
		d.log.Warn("there is no room for release "+d.entry.Release+": removed old releases: "+format.Limited(removed), systemd.ID(systemd.MessageDiskFull))
	}
	return len(removed) > 0
}

// prune is release.Layout.Prune; outside the sandbox it sees all of the machine's processes.
func (s *Deployer) prune(last *record.Deployment, keep int, protect []string) (removed []string, err error) {
	if last != nil {
		ctx, cancel := context.WithTimeout(context.Background(), pruneTimeout)
		defer cancel()
		out, done, err := s.runUnsandboxed(ctx, last, runner.FileRequest{Step: runner.Prune, Retain: keep, Protect: protect},
			func() bool { return s.Layout.PruneReaches(keep, protect...) })
		if done && err == nil && out.Left != "" {
			err = errors.New(out.Left)
		}
		if done {
			return out.Removed, err
		}
	}
	return s.Layout.Prune(keep, protect...)
}
