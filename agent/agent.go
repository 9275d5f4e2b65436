package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/smithy-go/middleware"
	"go.uber.org/zap"

	"usher/agent/bundle"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/instance"
	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/agent/runner"
	"usher/hooks"
	"usher/systemd"
)

// agent is what the story functions have at hand.
type agent struct {
	cfg    config.Config
	log    *zap.Logger
	notify *systemd.Notifier

	me      instance.Identity
	rec     *record.Record
	timings *record.Timings
	repeats *retry.Repeats
	layout  release.Layout
	runner  *runner.Runner

	calls   *doctor.Watch // usher doctor sees the clients' calls; nil otherwise
	clients clients.Server
	limiter *retry.Limiter // which the calls of a launch pass

	control      *control
	seen         string    // the target lifecycle state that boot acted on
	rested       time.Time // when the server was seen at rest in a warm pool last
	told         string    // the host command whose result CodeDeploy was told last, also when it could not be recorded
	unsure       bool      // Auto Scaling could not be asked at the last boot: it is asked again
	rolling      bool      // a deployment was under way in the group when its revision was read last
	asked        time.Time // when CodeDeploy was asked about a deployment that it is silent about
	ahead        string    // the release that was said to be ahead of the group
	tries        int       // repairs that failed in a row
	passedOver   string    // the deployment whose commands are answered without doing anything
	obeyed       time.Time // when a host command was carried out last
	serving      bool      // boot is over, and its loop runs
	unprivileged bool      // not root, and meant to do without (rehearsal)
}

// logError puts an error into the journal where it stops nothing.
func (a *agent) logError(err error) { a.log.Error(err.Error()) }

// said is an error that is in the journal already.
type said struct{ error }

func (s said) Unwrap() error { return s.error }

// say puts an error into the journal, once.
func (a *agent) say(err error) error {
	if err == nil || errors.As(err, new(said)) || errors.Is(err, errNothingToDo) {
		return err
	}
	a.log.Error(err.Error(), systemd.ID(systemd.MessageDeploymentFailed))
	return said{err}
}

// lastWords puts the reason of an ABANDON, and the last lines of the script that failed, on the console.
func (a *agent) lastWords(failure error) {
	lines := []string{fmt.Sprintf("launch of %s abandoned: %s", a.me.InstanceID, firstLine(failure))}
	if f := (*hooks.Failure)(nil); errors.As(failure, &f) {
		for _, line := range f.Result.Tail {
			lines = append(lines, "  | "+line)
		}
	}
	if err := systemd.LastWords(lines); err != nil {
		a.log.Warn(err.Error())
	}
}

// pruneTimeout bounds removing old releases: 40,000 files take a second or two on a disk that is not busy.
const pruneTimeout = 10 * time.Minute

// prune removes releases that are no longer needed, and the oldest lines of the record. It never fails a deployment.
func (a *agent) prune() {
	var protect []string
	past := a.rec.State()
	for _, d := range []*record.Deployment{past.Good, past.Open()} {
		if d != nil {
			protect = append(protect, d.Release)
		}
	}
	removed, err := a.pruned(protect)
	if len(removed) > 0 {
		a.log.Info("removed old releases: " + list(removed))
	}
	if err != nil {
		a.log.Warn("cannot remove old releases: "+err.Error(), systemd.ID(systemd.MessagePruneFailed))
	}
	if err := a.rec.Compact(); err != nil {
		a.log.Warn(err.Error())
	}
}

// pruned is release.Layout.Prune, here or in a unit that sees the machine's processes.
func (a *agent) pruned(protect []string) (removed []string, err error) {
	if last := a.rec.State().Last; last != nil {
		ctx, cancel := context.WithTimeout(context.Background(), pruneTimeout)
		defer cancel()
		out, done, err := a.runUnsandboxed(ctx, last, runner.FileRequest{Step: runner.Prune, Retain: a.cfg.KeepReleases, Protect: protect},
			func() bool { return a.layout.PruneReaches(a.cfg.KeepReleases, protect...) })
		if done && err == nil && out.Left != "" {
			err = errors.New(out.Left)
		}
		if done {
			return out.Removed, err
		}
	}
	return a.layout.Prune(a.cfg.KeepReleases, protect...)
}

// releaseAt is the release whose directory target is.
func (a *agent) releaseAt(target string) (release.Release, bool) {
	all, err := a.layout.All()
	if err != nil {
		return release.Release{}, false
	}
	for _, r := range all {
		if r.Tree == target {
			return r, true
		}
	}
	return release.Release{}, false
}

// isLive says whether the link points to a release.
func (a *agent) isLive(id string) bool {
	_, live, err := a.layout.Live()
	return err == nil && id != "" && live == id
}

func (a *agent) onDisk(id string) bool { _, ok := a.layout.Load(id); return ok }

// orBase is target if it is there, else the base if that is there, else "": no link.
func (a *agent) orBase(target string) string {
	for _, dir := range []string{target, a.layout.BasePath()} {
		if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
			return dir
		}
	}
	return ""
}

func (a *agent) limits() bundle.Limits {
	return bundle.Limits{MaxFiles: a.cfg.MaxFiles, MaxBytes: a.cfg.MaxBytes, Alive: a.notify.Alive,
		Narrow: func(n int) { a.log.Warn(release.Narrowed(n), systemd.ID(systemd.MessageScriptWarning)) }}
}

// whyNothing says for a person why there is no action.
func (a *agent) whyNothing(l *lifecycle.Launch) string {
	switch l.Kind() {
	case lifecycle.Standalone:
		return "this instance is in no Auto Scaling group"
	case lifecycle.Leaving:
		return "this instance is leaving its group (" + l.State() + ")"
	case lifecycle.Action:
		return "the action of hook " + l.Hook() + " was completed before"
	}
	return fmt.Sprintf("group %s waits for no launch hook of usher's here (%s)", l.Group(), l.State())
}

// logNoAction says why there is no action: a warning where Auto Scaling waits all the same, since nobody may complete it.
func (a *agent) logNoAction(prefix string, l *lifecycle.Launch) {
	others, unclaimed := l.Unclaimed()
	if !unclaimed {
		a.log.Info(prefix+a.whyNothing(l), systemd.ID(systemd.MessageNoLaunch))
		return
	}
	a.log.Warn(fmt.Sprintf("%sgroup %s waits in %s, and none of its hooks is a launch hook that usher completes (it has: %s). "+
		"If nobody else completes the wait, it ends in the hook's timeout: give the group a hook of %s (usher attach), or set lifecycle_hook",
		prefix, l.Group(), l.State(), cmp.Or(list(others), "none"), lifecycle.Launching), systemd.ID(systemd.MessageHookMissing))
}

// errNothingToDo is exit code 3.
var errNothingToDo = errors.New("nothing to do")

// stopped tells an error that comes of the service being stopped from a failure of the work.
func stopped(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return err != nil && cause != nil && !errors.Is(cause, lifecycle.ErrDeadline) && !errors.Is(cause, lifecycle.ErrLeaving) &&
		!errors.Is(cause, context.DeadlineExceeded)
}

// scriptOf is the script an error is about, "" for none.
func scriptOf(err error) string {
	if f := (*hooks.Failure)(nil); errors.As(err, &f) {
		return f.Script.Location
	}
	return ""
}

// finishedMessage is the MESSAGE_ID of a step that finished.
func finishedMessage(step string) string {
	switch step {
	case record.StepFlip:
		return systemd.MessageFlipped
	case record.StepRollback:
		return systemd.MessageRolledBack
	}
	return systemd.MessageStepFinished
}

// connect makes the AWS clients. observe sees their calls; it may be nil.
func (a *agent) connect(ctx context.Context, observe func(*middleware.Stack) error) error {
	a.limiter = retry.NewLimiter(a.cfg.RetryTimeout)
	return a.clients.Connect(ctx, clients.Options{Identity: a.me, Version: version(), HostCommands: a.cfg.HostCommands, Secure: a.cfg.EnableAuthPolicy,
		SignerCA: a.cfg.SignerCA, Notify: a.commandNotice, Debug: func(text string) { a.log.Debug(text) }, Observe: observe})
}

// waiting says that metadata is not ready.
func (a *agent) waiting(err error, _ time.Duration) {
	a.notify.Alive()
	a.logRetryAs(systemd.MessageMetadataWaiting, "waiting for instance metadata", 0, err)
}

// found takes note of what was found: for the journal, and for the scripts.
func (a *agent) found(l *lifecycle.Launch) {
	a.me.AutoScalingGroup = cmp.Or(l.Group(), a.me.AutoScalingGroup) // the tag need not be shown in metadata
	if l.Kind() == lifecycle.Action {
		a.log.With(zap.String("auto_scaling_group", l.Group()), zap.String("lifecycle_hook", l.Hook())).Info(
			fmt.Sprintf("this is a launch of group %s (%s); its hook %s is usher's", l.Group(), l.State(), l.Hook()), systemd.ID(systemd.MessageLaunchFound))
	}
}
