package deployment

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"usher/agent/bundle"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/safepath"
	"usher/hooks"
	"usher/systemd"
)

// download brings the revision to disk as a release, and checks all of it. One that is there is taken only when none of
// its scripts has ever run: what a release is after that, they and the application have made of it. What an operator has
// chosen is taken as it was left.
func (d *Deployment) download(ctx context.Context, _ string) (string, error) {
	id := d.entry.Release
	if r, ok := d.on.Layout.Load(id); ok && d.source.Pinned() && (r.Status == release.Unpacked || d.entry.By == record.ByOperator) {
		_, problems := release.CheckRelease(d.on.Layout, r, d.on.RoleHooks, d.on.Errexit, d.checker())
		if err := d.check(problems); err != nil {
			return "", err
		}
		d.release = r
		if d.asLeft() {
			d.release.Built = true
			return "release " + id + " as it was left", d.markInUse()
		}
		return "release " + id + " is on disk already", d.markInUse()
	}
	dir, err := d.on.Layout.StagingDir(id)
	if err != nil {
		return "", err
	}
	defer safepath.RemoveAll(dir) // renamed away when all is well
	got, err := d.source.Fetch(ctx, dir)
	if bundle.IsFull(err) && d.makeRoom() {
		if dir, err = d.on.Layout.StagingDir(id); err == nil {
			got, err = d.source.Fetch(ctx, dir)
		}
	}
	if err != nil {
		return "", err
	}
	defer d.on.Record.Timings.Since(time.Now(), hooks.DownloadBundle, record.PartCheck)
	plan, problems := release.Check(d.on.Layout, dir, d.on.RoleHooks, d.on.Errexit, d.checker())
	if err := d.check(problems); err != nil {
		return "", err
	}
	facts := release.Metadata{ID: id, Revision: d.source.String(), ETag: got.ETag, Instance: d.on.Identity.InstanceID}
	if early := d.entry.By != record.ByCommand && bundle.NeedsSyncfs(got.Files); !early {
		if d.release, err = d.on.Layout.Add(dir, facts, plan.Separate); err != nil {
			return "", err
		}
		return got.Detail, d.markInUse()
	}
	// At a launch the sync overlaps with the scripts. Between host commands it does not: the agent may be stopped, or the power
	// cut, before the next command comes.
	if d.release, err = d.on.Layout.AddUnsynced(dir, facts, plan.Separate); err != nil {
		return "", err
	}
	d.startSync()
	return got.Detail, nil
}

// startSync brings the release to the disk in the background. Flip waits for it, and says what was wrong with it; a
// deployment that fails before does not wait, for a sync cannot be cancelled, and does no harm to what comes next.
func (d *Deployment) startSync() {
	taken := d.release
	d.syncing.Go(func() { d.syncErr = d.on.Layout.Sync(taken) })
}

// asLeft says that the release is a good one that an operator goes back to: what its BeforeInstall and AfterInstall
// scripts did to it is done, and may not be done twice.
func (d *Deployment) asLeft() bool {
	return d.entry.By == record.ByOperator && (d.release.Status == release.Good || d.release.Status == release.InUse && d.release.Built)
}

// markInUse marks the release as one whose scripts may have run: a later deployment must not take it for fresh.
func (d *Deployment) markInUse() error {
	if d.release.Dir == d.entry.Live {
		return nil // it is live, and stays what it is
	}
	return d.on.Layout.Mark(&d.release, release.InUse, d.on.Identity.InstanceID)
}

// check says what was found in the revision before any script of it runs. All problems are said; any but a warning fails the
// deployment.
func (d *Deployment) check(problems []hooks.Problem) error {
	for _, p := range problems {
		if p.Warning {
			p.Warning = false // the line is marked as one
			d.log.Warn(p.String(), systemd.ID(systemd.MessageScriptWarning))
		} else {
			d.log.Error(p.String(), systemd.ID(systemd.MessageStepFailed))
		}
	}
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		first := ""
		if len(fatal) > 1 {
			first = ", the first"
		}
		return fmt.Errorf("the revision has %s%s: %s", format.Plural(len(fatal), "problem"), first, fatal[0])
	}
	return nil
}

// checker is how scripts are checked here.
func (d *Deployment) checker() release.Checker {
	if d.on.Unprivileged {
		return hooks.CheckSource // what only root can do is left out and told, so it need not be possible
	}
	if d.on.WithoutUsers {
		return func(scripts []hooks.Script, policy hooks.Policy) []hooks.Problem {
			return hooks.Check(withUsers(scripts), policy)
		}
	}
	return hooks.Check
}

// withUsers are the scripts as they run where their users may be missing.
func withUsers(scripts []hooks.Script) []hooks.Script {
	scripts = slices.Clone(scripts)
	for i, s := range scripts {
		if s.RunAs != "" && !hooks.HasUser(s.RunAs) {
			scripts[i].RunAs = ""
		}
	}
	return scripts
}

// install puts the files in place. The release is not live yet, unless it is deployed again as it is.
func (d *Deployment) install(ctx context.Context, _ string) (string, error) {
	// Planned anew: BeforeInstall may have added, decrypted or removed files of the revision.
	plan, problems := release.CheckRelease(d.on.Layout, d.release, d.on.RoleHooks, hooks.Off, hooks.CheckSource)
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		return "", fmt.Errorf("the revision is no longer what it was when it was checked: %s", fatal[0])
	}
	live, _ := d.liveRelease()
	how := release.After(live)
	how.Unprivileged, how.Exists, how.Built = d.on.Unprivileged || d.on.WithoutUsers, d.fileExists, d.asLeft()
	done, err := d.place(ctx, plan, how)
	for _, note := range done.Notes {
		d.log.Warn(note, zap.String("lifecycle_event", hooks.Install))
	}
	if err != nil {
		return "", err
	}
	if done.Early > 0 {
		d.log.Info(fmt.Sprintf("%s that BeforeInstall left at %s came into the release", format.Plural(done.Early, "file"), d.on.Layout.Link), zap.String("lifecycle_event", hooks.Install))
	}
	if done.Files == 0 && d.asLeft() {
		return "the release as it was left", nil
	}
	if done.Files == 0 {
		return "the revision as it is", nil
	}
	return format.Plural(done.Files, "file"), nil
}

// flip makes the release live, once all of it survives a power cut, what its scripts made there too.
func (d *Deployment) flip(context.Context, string) (string, error) {
	began := time.Now()
	d.syncing.Wait()
	if err := cmp.Or(d.syncErr, d.on.Layout.Sync(d.release)); err != nil { // the kernel tells the first only, and once
		return "", err
	}
	d.on.Record.Timings.Since(began, record.StepFlip, record.PartSync)
	if err := systemd.NotMounted(filepath.Dir(d.on.Layout.LinkPath()), d.on.Layout.Releases); err != nil {
		return "", err
	}
	if err := d.on.Layout.Flip(d.release.Dir); err != nil {
		return "", err
	}
	if err := d.on.Layout.RemoveEarly(d.release); err != nil {
		d.log.Warn(err.Error(), systemd.ID(systemd.MessageCleanupFailed))
	}
	return d.on.Layout.LinkPath() + " -> " + d.release.Dir, nil
}

// syncDisks makes all that scripts have written survive a power cut, wherever it is. A rehearsal need not.
func (d *Deployment) syncDisks() error {
	if d.on.Layout.Root != "" {
		return nil
	}
	return systemd.SyncDisks(d.on.Notify.Alive, "/", d.on.Layout.Releases, filepath.Dir(d.on.Layout.LinkPath()))
}

// append records what became of the deployment; of a rollback as appendOrLog does: when the disk is full, what was live comes
// first.
func (d *Deployment) append(e record.Entry) error {
	if e.Step == record.StepRollback {
		d.appendOrLog(e)
		return nil
	}
	defer d.reload()
	return d.on.Record.Append(e)
}

// appendOrLog records what must be acted on even where it cannot be written.
func (d *Deployment) appendOrLog(e record.Entry) {
	d.on.Record.AppendOrLog(e, d.logError)
	d.reload()
}

// reload takes what the record has of the deployment by now. Of what runs apart from all deployments it has nothing.
func (d *Deployment) reload() {
	if last := d.on.Record.State().Last; last != nil && last.Sequence == d.entry.Sequence {
		d.entry = last
	}
}
