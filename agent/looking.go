//go:build linux && !developer

package main

import (
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"usher/agent/lifecycle"
	"usher/agent/record"
	"usher/systemd"
)

// lifecycleOptions is how the lifecycle action of a transition is looked for, and what is said meanwhile.
func (a *agent) lifecycleOptions(transition string) lifecycle.Options {
	var began time.Time
	if transition == lifecycle.Launching {
		began = a.waitBegan()
	}
	return lifecycle.Options{Transition: transition, Hook: a.hookFor(transition), Began: began, Limiter: a.limiter, Alive: a.notify.Alive, Notify: func(n lifecycle.Event) {
		state := zap.String("lifecycle_state", n.State)
		switch n.Kind {
		case lifecycle.Waiting:
			if transition == lifecycle.Launching {
				a.deploy.Record.Timings.Mark(time.Now(), n.State)
			}
			a.log.Info("Auto Scaling waits for this instance ("+n.State+"); heartbeats begin", systemd.ID(systemd.MessageWaitConfirmed), state)
		case lifecycle.Presumed:
			a.log.Info("Auto Scaling was not asked whether it waits for this instance: calls are throttled. By the instance's tag and target state it is in "+n.State+
				"; heartbeats begin", systemd.ID(systemd.MessageWaitConfirmed), state)
		case lifecycle.Confirmed: // since when is not known
			a.log.Info("Auto Scaling waits for this instance ("+n.State+")", systemd.ID(systemd.MessageWaitConfirmed), state)
		case lifecycle.Retrying:
			a.logRetry("trying again", n.Next, n.Err)
		case lifecycle.HeartbeatFailed:
			a.logRetryAs(systemd.MessageHeartbeatFailed, "a heartbeat failed, the next is", n.Next, n.Err)
		case lifecycle.Lenient:
			a.log.Warn("the default result of hook "+n.State+" is CONTINUE: an instance whose agent dies, or that is not heard of, enters service as it is. "+
				"Give it ABANDON (usher attach)", systemd.ID(systemd.MessageHookLenient))
		case lifecycle.Denied:
			a.logRepeated(zap.ErrorLevel, systemd.MessageCompleteDenied, "allow autoscaling:CompleteLifecycleAction on this group in the policy of the instance's role (usher iam-policy): "+
				"heartbeats go on until it was denied for some minutes; trying again", n.Next, n.Err)
		case lifecycle.Silent:
			a.log.Error(fmt.Sprintf("allow autoscaling:CompleteLifecycleAction on this group in the policy of the instance's role (usher iam-policy): "+
				"the verdict is denied all the time, and heartbeats end now: the hook's timeout (%s) decides: %v", n.Left, n.Err), systemd.ID(systemd.MessageCompleteDenied))
		case lifecycle.Gone:
			a.log.Info("Auto Scaling no longer waits: the state is "+n.State, systemd.ID(systemd.MessageAlreadyDecided), state)
		case lifecycle.UnknownState:
			a.log.Warn(fmt.Sprintf("the lifecycle state %q is not known to this version: left alone", n.State), systemd.ID(systemd.MessageNoLaunch), state)
		}
	}}
}

// hookFor: the configured name is of the launch hook; a terminating hook is the group's only one.
func (a *agent) hookFor(transition string) string {
	if transition == lifecycle.Launching {
		return a.cfg.LifecycleHook
	}
	return ""
}

// waitBegan is when the wait of a launch can have begun at the earliest: its hook's global timeout is counted from there.
// Zero is when it is found.
func (a *agent) waitBegan() time.Time {
	past := a.state()
	decided := past.Decision
	if decided == nil || !decided.Done || decided.At.Before(a.me().PendingTime) {
		return a.me().PendingTime // nothing was waited for before, on this server or since it was stopped
	}
	// The server rested in a warm pool since.
	began := laterOf(decided.At, a.releasedAfter)
	switch last := past.Last; {
	case last != nil && last.By == "" && last.Began.After(decided.At): // an agent began on this wait, and was restarted
		return laterOf(began, last.Began)
	case decided.Boot != a.me().BootID: // rebooted at rest: nobody has begun on this wait
		return laterOf(began, record.BootTime())
	}
	return a.releasedAfter
}

// atRest takes note that the server was seen in a warm pool: whatever it waits for later began later.
func (a *agent) atRest(target string) {
	if strings.HasPrefix(target, "Warmed:") {
		a.releasedAfter = time.Now()
	}
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
