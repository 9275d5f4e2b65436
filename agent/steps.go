package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"usher/agent/bundle"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/runner"
	"usher/agent/safepath"
	"usher/hooks"
	"usher/systemd"
)

// rollbackTimeout bounds putting back what was live. Almost all of it is the old ApplicationStart and its
// ValidateService, which rarely need more than a minute. It is less than what lifecycle keeps back of the hook's global
// timeout (verdictReserveMax, 5 minutes): the verdict must still be delivered after it.
//
// stopTimeout is how much of it the failed release's ApplicationStop may take: most of it is for what was live.
const (
	rollbackTimeout = 4 * time.Minute
	stopTimeout     = time.Minute
)

// ofLive runs the scripts that the release now live has for an event: ApplicationStop, and those that take
// traffic away. A failure is a warning: they belong to the old revision and cannot be corrected by a new
// one, which would never get in (the incumbent's best-known trap). The new revision's own scripts decide.
func (d *deployment) ofLive(ctx context.Context, event string) (string, error) {
	live, ok := d.liveRelease()
	if !ok {
		return "no release is live yet", nil
	}
	detail, err := d.scriptsOf(ctx, event, event, live)
	if stopped(ctx, err) {
		return "", err
	}
	if err != nil {
		d.log.Warn(fmt.Sprintf("%s of the live release %s failed, going on with the new one: %v", event, live.ID, err),
			systemd.ID(systemd.MessageScriptWarning), zap.String("lifecycle_event", event))
		return "failed, and passed over", nil
	}
	return detail, nil
}

// liveRelease is the release that was live when the deployment began.
func (d *deployment) liveRelease() (release.Release, bool) { return d.releaseAt(d.live) }

// download brings the revision to disk as a release, unless it is there, and checks all of it.
func (d *deployment) download(ctx context.Context, _ string) (string, error) {
	id := d.source.id
	usable := func(r release.Release) bool {
		return r.Status != release.Bad && (r.Status != release.InUse || r.Tree == d.live) || d.source.asIs
	}
	if r, ok := d.layout.Load(id); ok && d.source.pinned && usable(r) {
		if err := d.judged(release.CheckRelease(d.layout, r, d.cfg.RoleHooks, d.cfg.Errexit, d.checker())); err != nil {
			return "", err
		}
		d.release = r
		return "release " + id + " is on disk already", d.use()
	}
	dir, err := d.layout.Incoming(id)
	if err != nil {
		return "", err
	}
	defer safepath.RemoveAll(dir) // renamed away when all is well
	got, err := d.source.fetch(ctx, dir)
	if err != nil {
		return "", err
	}
	defer d.timings.Since(time.Now(), hooks.DownloadBundle, record.PartCheck)
	plan, err := d.judge(dir)
	if err != nil {
		return "", err
	}
	facts := release.Facts{ID: id, Revision: d.source.name, ETag: got.etag, Instance: d.me.InstanceID}
	if early := d.past.By != record.ByCommand && bundle.Many(got.stats.Files); !early {
		if d.release, err = d.layout.Accept(dir, facts, plan.Mapped); err != nil {
			return "", err
		}
		return got.detail, d.use()
	}
	// The disk works while the scripts do. After a command it must not: until the next comes, anything may happen.
	if err := d.rec.Append(record.Entry{What: record.SyncStarted}); err != nil {
		return "", err
	}
	if d.release, err = d.layout.Take(dir, facts, plan.Mapped); err != nil {
		return "", err
	}
	d.land()
	return got.detail, nil
}

// land brings the release to the disk in the background, and records when it is there.
func (d *deployment) land() {
	taken, run := d.release, d.past.Sequence
	d.landing.Go(func() {
		if d.crashed = d.layout.Settle(taken); d.crashed != nil {
			return // flip says it
		}
		d.rec.AppendOrLog(record.Entry{What: record.Synced, Sequence: run}, d.logError)
	})
}

// use marks the release as one whose scripts may have run: a later deployment must not take it for fresh.
func (d *deployment) use() error {
	if d.release.Tree == d.live {
		return nil // it is live, and stays what it is
	}
	return d.layout.Mark(&d.release, release.InUse, d.me.InstanceID)
}

// judge reads the appspec of the revision in dir and checks everything that can be before any script of
// it runs. All problems are said; any but a warning fails the deployment.
func (d *deployment) judge(dir string) (*release.Plan, error) {
	plan, problems := release.Check(d.layout, dir, d.cfg.RoleHooks, d.cfg.Errexit, d.checker())
	return plan, d.judged(plan, problems)
}

// checker is how scripts are checked here.
func (d *deployment) checker() release.Checker {
	if d.unprivileged {
		return hooks.CheckSource // what only root can do is left out and told, so it need not be possible
	}
	return hooks.Check
}

// judged says what was found.
func (d *deployment) judged(_ *release.Plan, problems []hooks.Problem) error {
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

// scripts runs the new revision's scripts of one event, and the role's after them.
func (d *deployment) scripts(ctx context.Context, event string) (string, error) {
	return d.scriptsOf(ctx, event, event, d.release)
}

// scriptsOf runs the scripts of an event of a release, or of the base, then the role hooks. A script
// that is recorded as finished in this boot is not run again.
func (d *deployment) scriptsOf(ctx context.Context, step, event string, of release.Release) (string, error) {
	list, err := d.listScripts(event, of)
	if err != nil {
		return "", err
	}
	if event != hooks.BeforeInstall && !d.unprivileged {
		if err := hooks.CheckDue(list); err != nil {
			return "", err
		}
	}
	env, before := d.env, d.wouldEnd
	env.ReleaseDir = of.Tree
	for n, s := range list {
		s.ID = d.scriptID(step, event, n)
		s.Dir, s.Env = of.Bundle, env.Environ(event)
		if boot, done := d.past.Scripts[s.ID]; done && boot == d.me.BootID {
			continue
		}
		began := time.Now()
		err := d.script(ctx, s)
		d.timings.Since(began, step, s.Location)
		if err != nil {
			return "", err
		}
		if err := d.remember(record.Entry{What: record.ScriptDone, Step: step, Script: s.ID}); err != nil {
			return "", err
		}
	}
	if len(list) == 0 {
		return "no scripts", nil
	}
	if n := d.wouldEnd - before; n > 0 {
		return fmt.Sprintf("%s; errexit would have ended them at %s", format.Plural(len(list), "script"), format.Plural(n, "command")), nil
	}
	return format.Plural(len(list), "script"), nil
}

// scriptID is a script's, the same each time that its deployment is gone on with.
func (d *deployment) scriptID(step, event string, n int) string {
	if step != event {
		step += "-" + event
	}
	return fmt.Sprintf("%s-%d-%s-%d", d.id, d.past.Sequence, step, n)
}

// script runs one script and passes its output on.
func (d *deployment) script(ctx context.Context, s hooks.Script) error {
	log := d.log.With(zap.String("lifecycle_event", s.Event), zap.String("hook_script", s.Location))
	if d.unprivileged && s.RunAs != "" {
		log.Warn(fmt.Sprintf("%s runs as you, not as %s: only root can change that", s.Location, s.RunAs))
		s.RunAs = ""
	}
	s.Sudo = s.Sudo && !d.unprivileged
	result, err := hooks.Run(ctx, d.runner, s, d.cfg.Errexit, func(stream, text string) {
		log.Info(text, systemd.ID(systemd.MessageScriptOutput), systemd.Output(), zap.String("stream", stream))
	})
	if result.Dropped > 0 {
		log.Warn(fmt.Sprintf("%s wrote %d more lines than are kept", s.Location, result.Dropped), systemd.ID(systemd.MessageScriptWarning))
	}
	for _, c := range result.WouldEnd {
		log.Warn(fmt.Sprintf("errexit would have ended %s at %s", s.Location, c), systemd.ID(systemd.MessageScriptWarning))
	}
	d.wouldEnd += len(result.WouldEnd)
	if len(result.BackgroundProcesses) > 0 {
		log.Warn(fmt.Sprintf("%s left %s running: %s", s.Location, format.Plural(len(result.BackgroundProcesses), "process"), format.Limited(result.BackgroundProcesses)),
			systemd.ID(systemd.MessageScriptLeftovers))
	}
	return err
}

// install puts the files in place. The release is not live yet, unless it is deployed again as it is.
func (d *deployment) install(ctx context.Context, _ string) (string, error) {
	// Planned anew: BeforeInstall may have added, decrypted or removed files of the revision.
	plan, problems := release.CheckRelease(d.layout, d.release, d.cfg.RoleHooks, hooks.Off, hooks.CheckSource)
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		return "", fmt.Errorf("the revision is no longer what it was when it was checked: %s", fatal[0])
	}
	live, _ := d.liveRelease()
	how := release.After(live)
	how.Unprivileged, how.Exists = d.unprivileged, d.exists
	done, err := d.place(ctx, plan, how)
	for _, note := range done.Notes {
		d.log.Warn(note, zap.String("lifecycle_event", hooks.Install))
	}
	if err != nil {
		return "", err
	}
	if done.Files == 0 {
		return "the revision as it is", nil
	}
	return format.Plural(done.Files, "file"), nil
}

// place is release.Layout.Install, here or in a unit of its own.
func (d *deployment) place(ctx context.Context, plan *release.Plan, how release.Installing) (release.Installed, error) {
	out, done, err := d.runUnsandboxed(ctx, d.past, runner.FileRequest{Step: runner.Install, Release: d.release.ID, How: how},
		func() bool { return d.layout.InstallReaches(d.release.ID, plan, how) })
	if !done {
		return d.layout.Install(ctx, &d.release, plan, how)
	}
	if out.Unit != "" {
		d.release.Outside, d.release.Dirs, d.release.Owners = out.Outside, out.Dirs, out.Owners
	}
	return out.Installed, err
}

// flip makes the release live, once all of it survives a power cut, what its scripts made there too.
func (d *deployment) flip(context.Context, string) (string, error) {
	began := time.Now()
	d.landing.Wait()
	if err := cmp.Or(d.crashed, d.layout.Settle(d.release)); err != nil { // the kernel tells the first only, and once
		return "", err
	}
	d.timings.Since(began, record.StepFlip, record.PartSync)
	if err := systemd.NotMounted(filepath.Dir(d.layout.LinkPath()), d.cfg.Releases); err != nil {
		return "", err
	}
	if err := d.layout.Flip(d.release.Tree); err != nil {
		return "", err
	}
	return d.layout.LinkPath() + " -> " + d.release.Tree, nil
}

// remember is record.Append, but for a rollback: when the disk is full, what was live comes first.
func (d *deployment) remember(e record.Entry) error {
	if e.Step == record.StepRollback {
		d.rec.AppendOrLog(e, d.logError)
		return nil
	}
	return d.rec.Append(e)
}
