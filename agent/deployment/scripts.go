package deployment

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"

	"usher/agent/appspec"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// runLiveScripts runs the scripts that the release now live has for an event: ApplicationStop, and those that take
// traffic away. A failure is a warning: they belong to the old revision and cannot be corrected by a new
// one, which would never get in (the incumbent's best-known trap). The new revision's own scripts decide.
func (d *Deployment) runLiveScripts(ctx context.Context, event string) (string, error) {
	live, ok := d.liveRelease()
	if !ok {
		return "no release is live yet", nil
	}
	detail, err := d.runScriptsOf(ctx, event, event, live)
	if retry.Stopped(ctx, err) {
		return "", err
	}
	if err != nil {
		d.log.Warn(fmt.Sprintf("%s of the live release %s failed, going on with the new one: %v", event, live.ID, err),
			systemd.ID(systemd.MessageScriptWarning), zap.String("lifecycle_event", event))
		return "failed, ignored", nil
	}
	return detail, nil
}

// liveRelease is the release that was live when the deployment began.
func (d *Deployment) liveRelease() (release.Release, bool) { return d.on.Layout.ByPath(d.entry.Live) }

// runScripts runs the new revision's scripts of one event, and the role's after them.
func (d *Deployment) runScripts(ctx context.Context, event string) (string, error) {
	if d.asLeft() && (event == hooks.BeforeInstall || event == hooks.AfterInstall) {
		return "not again: the release is as it was left", nil
	}
	if afterFlip(event) { // an agent may have failed to record that it put back what was live
		if err := d.on.Layout.Standing(d.release.ID); err != nil {
			return "", err
		}
	}
	return d.runScriptsOf(ctx, event, event, d.release)
}

// afterFlip are the events whose scripts find the release live.
func afterFlip(event string) bool {
	return !beforeDownload(event) && event != hooks.BeforeInstall && event != hooks.AfterInstall
}

// runScriptsOf runs the scripts of an event of a release, or of the base, then the role hooks. A script
// that is recorded as finished in this boot is not run again.
func (d *Deployment) runScriptsOf(ctx context.Context, step, event string, of release.Release) (string, error) {
	list, err := d.listScripts(event, of)
	if err != nil {
		return "", err
	}
	if err := d.checkDue(event, list); err != nil {
		return "", err
	}
	env, before := d.env, d.wouldEnd
	env.ReleaseDir = of.Dir
	for n, s := range list {
		s.ID = d.scriptID(step, event, n)
		s.Dir, s.Env = of.Bundle, env.Environ(event)
		if event == hooks.BeforeInstall || event == hooks.AfterInstall {
			s.ReadOnly, s.Writable = d.on.Layout.Kept(of)
			s.Link, s.Shown = d.on.Layout.LinkPath(), of.Dir
		}
		if event == hooks.BeforeInstall && !d.on.Layout.Processes {
			if err := d.on.Layout.MakeEarly(of); err != nil {
				return "", err
			}
			s.Shown = d.on.Layout.Early(of)
		}
		if boot, done := d.entry.Scripts[s.ID]; done && boot == d.on.Identity.BootID {
			continue
		}
		if n > 0 || s.RunAs != "" { // listScripts has just looked on behalf of root
			if s.File, err = d.fileOf(s, of); err != nil {
				return "", err
			}
		}
		if err := d.checkDue(event, []hooks.Script{s}); n > 0 && err != nil { // one before it may have been to bring it
			return "", err
		}
		if s.File != filepath.Join(of.Bundle, filepath.FromSlash(s.Location)) && d.on.Layout.Changed(of, s.Location) {
			d.log.Warn(fmt.Sprintf("a hook has changed %s, and it is run as it was when it was checked: give it what it needs in the environment or in another file", s.Location),
				systemd.ID(systemd.MessageScriptWarning), zap.String("lifecycle_event", s.Event), zap.String("hook_script", s.Location))
		}
		began := time.Now()
		err := d.script(ctx, s)
		d.on.Record.Timings.Since(began, step, s.Location)
		if err != nil {
			return "", err
		}
		if err := d.append(record.Entry{What: record.ScriptDone, Step: step, Script: s.ID}); err != nil {
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

// checkDue looks whether the users and interpreters are there that Check has left to scripts which have run by now.
func (d *Deployment) checkDue(event string, due []hooks.Script) error {
	if event == hooks.BeforeInstall || d.on.Unprivileged {
		return nil
	}
	if d.on.WithoutUsers {
		due = withUsers(due)
	}
	return hooks.CheckDue(due)
}

// scriptID is a script's, the same each time that its deployment is gone on with.
func (d *Deployment) scriptID(step, event string, n int) string {
	if step != event {
		step += "-" + event
	}
	return fmt.Sprintf("%s-%d-%s-%d", d.entry.ID, d.entry.Sequence, step, n)
}

// script runs one script and passes its output on.
func (d *Deployment) script(ctx context.Context, s hooks.Script) error {
	log := d.log.With(zap.String("lifecycle_event", s.Event), zap.String("hook_script", s.Location))
	if d.on.Unprivileged && s.RunAs != "" {
		log.Warn(fmt.Sprintf("%s runs as you, not as %s: only root can change that", s.Location, s.RunAs))
		s.RunAs = ""
	}
	if d.on.WithoutUsers && s.RunAs != "" && !hooks.HasUser(s.RunAs) {
		log.Warn(fmt.Sprintf("%s runs as you, not as %s: there is no such user here", s.Location, s.RunAs))
		s.RunAs = ""
	}
	s.Sudo = s.Sudo && !d.on.Unprivileged
	result, err := hooks.Run(ctx, d.on.Runner, s, d.on.Errexit, func(stream, text string) {
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

// listScripts are the scripts of an event: those of a release, or of the base, then the role's. Which file each is run from is
// seen when it is its turn: see fileOf.
func (d *Deployment) listScripts(event string, of release.Release) (list []hooks.Script, err error) {
	dir, err := d.on.Layout.ScriptsDir(of, 0)
	if err != nil {
		return nil, err
	}
	if spec, problems := appspec.Read(dir); dir == "" { // it has none
	} else if spec != nil {
		list = release.ScriptsIn(dir, spec, event)
	} else if len(problems) > 0 && of.ID != "" { // the base need not have one
		return nil, errors.New(problems[0].String())
	}
	if problems := release.RoleHooksOfOthers(d.on.RoleHooks); len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	role, problems := hooks.RoleHooks(d.on.RoleHooks, event)
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	return append(list, role...), nil
}

// fileOf is the file that a script is run from, by who can write where it lies now: a script before it may have given that
// away. One that runs as another user may lie where that user can write.
func (d *Deployment) fileOf(s hooks.Script, of release.Release) (string, error) {
	if s.Role {
		return s.File, nil
	}
	uid := 0
	if u, err := user.Lookup(s.RunAs); err == nil { // else the run says it
		if n, err := strconv.Atoi(u.Uid); err == nil {
			uid = n
		}
	}
	dir, err := d.on.Layout.ScriptsDir(of, uid)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.FromSlash(s.Location)), nil
}

// StopLive runs the live release's ApplicationStop scripts before its server goes. That they fail is a warning. It returns what a
// person wants to know of it.
func (s *Deployer) StopLive(ctx context.Context) (detail string, err error) {
	past := s.Record.State()
	live, _, err := s.Layout.Live()
	if err != nil || past.Good == nil {
		return "no release is live", err
	}
	d := s.deployment(&record.Deployment{ID: past.Good.ID, Live: live}, Request{Source: onDisk{}})
	d.env.PreviousRelease = "" // nothing comes after it
	return d.runLiveScripts(ctx, hooks.ApplicationStop)
}
