package runner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"usher/agent/appspec"
	"usher/agent/format"
	"usher/agent/release"
	"usher/hooks"
	"usher/systemd"
)

// A revision may install anywhere on the machine, with modes like 4755. The sandbox of usher.service allows the
// agent no more than releases and the link. So what reaches further is done by another usher, `usher apply-files`, in
// a transient unit outside the sandbox, as scripts are run. The unit's name makes it happen once: an agent that is
// restarted in the middle takes it up.
//
// Both tell each other in files of the runtime directory what is to be done and what became of it. As a unit, they
// last until the next boot, and a full disk does not keep a rollback from them. The form may change with any version.

const (
	// fileUnits is how the names of these units begin.
	fileUnits = "usher-files-"
	// requestFile is the name of the file that says what is to be done; there is one unit at a time.
	requestFile = "files-request.json"
	// ResultFile is the name of the file, beside the request, that [ApplyFiles] writes.
	ResultFile = "files-result.json"
)

// Steps of a FileRequest, which are part of a unit's name. Prune follows a deployment: it has to see every process of the
// machine, which the sandbox hides.
const (
	Install = hooks.Install
	Restore = "Rollback"
	Prune   = "Prune"
)

// FileRequest is what is to be done to files: the step's call of release.Layout.
type FileRequest struct {
	Unit    string // the unit that does it; RunUnsandboxed sets it
	Step    string // Install, Restore or Prune
	Layout  release.Layout
	Release string             // its ID
	How     release.Installing // of Install
	Retain  int                // of Prune: how many good releases stay
	Protect []string           // of Prune: releases that stay whatever they are
}

// FileResult is what became of a FileRequest.
type FileResult struct {
	Unit              string
	release.Installed          // of Install
	Outside, Dirs     []string // of Install: see release.Metadata
	Owners            map[string]int
	Removed           []string // of Prune: the releases that are gone
	Left              string   // of Prune: why others are not; the unit has not failed for that
	Error             string   // "" for none
}

// RunUnsandboxed runs a file operation of a deployment in a transient unit outside the sandbox. id is the deployment's on
// this server, and of each time that it is begun another; fields are what the unit's lines in the journal carry. ok is false
// where the caller can do it: there is no sandbox, or needed says that the work stays within it. Either way no unit of an
// earlier operation runs any more.
func (r *Runner) RunUnsandboxed(ctx context.Context, id string, q FileRequest, fields map[string]string, needed func() bool) (done FileResult, ok bool, err error) {
	if r == nil || r.units == nil || !systemd.Sandboxed() {
		return done, false, nil
	}
	u := r.units
	what := id + "-" + q.Step
	if q.Step == Prune { // it may follow a deployment more than once, and what it has done is not to be taken up
		what += "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if q.Unit, err = systemd.UnitName(fileUnits, what); err != nil {
		return done, true, err
	}
	unsandboxed := needed()
	// Any other was begun by an agent that is gone, for a deployment that was abandoned, or is in the record.
	if err := u.manager.CleanUp(ctx, fileUnits, u.grace, func(name string, _ bool) bool { return unsandboxed && name == q.Unit }); err != nil {
		return done, true, err
	}
	if !unsandboxed && !needed() { // what was going on may have left something to put back
		return done, false, nil
	}
	done, err = u.apply(ctx, q, fields)
	return done, true, err
}

// apply runs the unit of a file operation, or takes it up, and reads what became of it.
func (u *units) apply(ctx context.Context, q FileRequest, fields map[string]string) (out FileResult, err error) {
	dir := cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), u.opt.StateDir) // systemd's, of RuntimeDirectory=
	self, err := os.Executable()
	if err == nil {
		err = replaceJSON(filepath.Join(dir, requestFile), q)
	}
	if err != nil {
		return out, fmt.Errorf("cannot hand the files of %s to a unit: %w", q.Step, err)
	}
	ended, err := u.manager.Run(ctx, systemd.Unit{Name: q.Unit, Description: "usher: " + q.Step + ", for files outside the sandbox of usher.service",
		Argv: []string{self, "apply-files", filepath.Join(dir, requestFile)}, Dir: "/", Timeout: hooks.DefaultTimeout, Grace: u.grace, Fields: fields,
	}, func(cause error) bool { return u.opt.Stopped(ctx, cause) })
	if ended.Attached {
		u.opt.Log().Info(fmt.Sprintf("%s: its files were being installed before usher was started: that is not begun again", q.Step),
			systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", q.Step))
	}
	if err != nil {
		return out, err
	}
	text, err := os.ReadFile(filepath.Join(dir, ResultFile))
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil || out.Unit != q.Unit || ended.OK() != (out.Error == "") {
		return FileResult{}, fmt.Errorf("cannot install files: unit %s %s", q.Unit, exitText(ended))
	}
	if out.Error != "" {
		return out, errors.New(out.Error)
	}
	return out, nil
}

// exitText is how a command ended that said nothing of what it did.
func exitText(o systemd.Outcome) string {
	how := fmt.Sprintf("ended with exit code %d", o.ExitCode)
	switch {
	case o.TimedOut && o.Duration >= hooks.DefaultTimeout: // and not an operator's stop, which it did not obey
		how = fmt.Sprintf("was not done within %s", format.Duration(hooks.DefaultTimeout))
	case o.Signal != 0:
		how = "was killed by " + unix.SignalName(o.Signal)
	}
	if n := len(o.Tail); n > 0 {
		return how + "; its last line: " + hooks.Clean(o.Tail[n-1])
	}
	return how
}

// ApplyFiles is `usher apply-files`: it does what the file at path requests, and writes what became of it beside it, for
// the agent that waits. The error is for a person: the operation's, or that of telling what was done.
func ApplyFiles(ctx context.Context, path string) error {
	var q FileRequest
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &q)
	}
	if err != nil {
		return fmt.Errorf("cannot read what is to be done: %w", err)
	}
	out, failure := q.do(ctx)
	if failure != nil {
		out.Error = failure.Error()
	}
	if err := replaceJSON(filepath.Join(filepath.Dir(path), ResultFile), out); err != nil {
		return errors.Join(failure, fmt.Errorf("cannot tell what was done: %w", err))
	}
	return failure
}

// do does a file operation.
func (q FileRequest) do(ctx context.Context) (out FileResult, err error) {
	out.Unit = q.Unit
	r, ok := q.Layout.Load(q.Release)
	switch {
	case q.Step == Restore: // whatever became of the release
		return out, q.Layout.Restore(q.Release)
	case q.Step == Prune:
		if out.Removed, err = q.Layout.Prune(q.Retain, q.Protect...); err != nil {
			out.Left = err.Error()
		}
		return out, nil
	case !ok:
		return out, fmt.Errorf("cannot find release %s", q.Release)
	case q.Step != Install:
		return out, fmt.Errorf("cannot do %q: this version knows nothing of it", q.Step)
	}
	by, err := q.Layout.SpecDir(r)
	if err != nil {
		return out, err
	}
	spec, problems := appspec.Read(by)
	if spec == nil {
		return out, errors.New(problems[0].String())
	}
	plan, problems := q.Layout.Plan(r.Bundle, spec)
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		return out, errors.New(fatal[0].String())
	}
	out.Installed, err = q.Layout.Install(ctx, &r, plan, q.How)
	out.Outside, out.Dirs, out.Owners = r.ExternalFiles, r.Dirs, r.Owners
	return out, err
}

// replaceJSON replaces a file in one rename. It need not be on disk: what it is about ends with the boot.
func replaceJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".next", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}
