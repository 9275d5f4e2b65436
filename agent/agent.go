//go:build linux && !developer

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/executor"
	"usher/agent/format"
	"usher/agent/instance"
	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/source"
	"usher/hooks"
	"usher/systemd"
)

// agent is what the story functions have at hand.
type agent struct {
	cfg    config.Config
	log    *zap.Logger
	notify *systemd.Notifier

	deploy    *deployment.Deployer // from start on
	revisions *source.Finder
	commands  *executor.Executor
	clients   clients.Server
	limiter   *retry.Limiter // which the calls of a launch pass
	repeats   *retry.Repeats

	requests      *requests
	releasedAfter time.Time // when the server was seen at rest in a warm pool last
}

// state is the replay of the record: what was done on this server.
func (a *agent) state() record.State { return a.deploy.Record.State() }

// me is this instance.
func (a *agent) me() instance.Identity { return a.deploy.Identity }

// logError puts an error into the journal where it stops nothing.
func (a *agent) logError(err error) { a.log.Error(err.Error()) }

// logOnce puts a failure into the journal unless it is there already.
func (a *agent) logOnce(err error) error {
	if err == nil || deployment.IsLogged(err) || errors.Is(err, errNothingToDo) {
		return err
	}
	id := systemd.MessageFailed // what fails in a deployment is logged there
	if errors.Is(err, config.ErrInvalid) {
		id = systemd.MessageConfigurationInvalid
	}
	a.log.Error(err.Error(), systemd.ID(id))
	return deployment.Logged(err)
}

// writeConsole puts the reason of an ABANDON, and the last lines of the script that failed, on the console.
func (a *agent) writeConsole(failure error) {
	lines := []string{fmt.Sprintf("launch of %s abandoned: %s", a.me().InstanceID, format.FirstLine(failure))}
	if f := (*hooks.Failure)(nil); errors.As(failure, &f) {
		for _, line := range f.Result.Tail {
			lines = append(lines, "  | "+line)
		}
	}
	if err := systemd.WriteConsole(lines); err != nil {
		a.log.Warn(err.Error())
	}
}

// noActionReason says for a person why there is no action.
func (a *agent) noActionReason(l *lifecycle.Launch) string {
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
		a.log.Info(prefix+a.noActionReason(l), systemd.ID(systemd.MessageNoLaunch))
		return
	}
	a.log.Warn(fmt.Sprintf("%sgroup %s waits in %s, and none of its hooks is a launch hook that usher completes (it has: %s). "+
		"If nobody else completes the wait, it ends in the hook's timeout: give the group a hook of %s (usher attach), or set lifecycle_hook",
		prefix, l.Group(), l.State(), cmp.Or(format.Limited(others), "none"), lifecycle.Launching), systemd.ID(systemd.MessageHookMissing))
}

// errNothingToDo is exit code 3.
var errNothingToDo = errors.New("nothing to do")

// connect makes the AWS clients.
func (a *agent) connect(ctx context.Context, me instance.Identity) error {
	a.limiter = retry.NewLimiter(a.cfg.RetryTimeout)
	o := clients.OptionsFor(a.cfg, me, cli.Version())
	o.Notify, o.Debug = executor.Notify(a.log), func(text string) { a.log.Debug(text) }
	return a.clients.Connect(ctx, o)
}

// onMetadataRetry says that metadata is not ready.
func (a *agent) onMetadataRetry(err error, _ time.Duration) {
	a.notify.Alive()
	a.logRetryAs(systemd.MessageMetadataWaiting, "waiting for instance metadata", 0, err)
}

// logLaunch takes note of what was found: for the journal, and for the scripts.
func (a *agent) logLaunch(l *lifecycle.Launch) {
	a.deploy.Identity.AutoScalingGroup = cmp.Or(l.Group(), a.me().AutoScalingGroup) // the tag need not be shown in metadata
	if l.Kind() == lifecycle.Action {
		state := " (" + l.State() + ")"
		if l.Presumed() {
			state = ""
		}
		a.log.With(zap.String("auto_scaling_group", l.Group()), zap.String("lifecycle_hook", l.Hook())).Info(
			fmt.Sprintf("launching in group %s%s; its hook %s is usher's", l.Group(), state, l.Hook()), systemd.ID(systemd.MessageLaunchFound))
	}
}
