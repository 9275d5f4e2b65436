package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

// check asks metadata and, when that says there is something to ask about, Auto Scaling.
func (l *Launch) check(ctx context.Context) error {
	target, err := l.gate.TargetLifecycleState(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the target lifecycle state: %w", err)
	}
	l.mu.Lock()
	l.target = target
	l.mu.Unlock()
	switch {
	case target == "":
		return nil
	case l.opt.Transition == Launching && (terminatingTarget(target) || target == "Standby"):
		l.resolve(Leaving, "", target)
		return nil
	}
	if l.opt.Ahead != nil {
		l.opt.Ahead()
	}
	group, state := l.pendingHook.group, l.pendingHook.state
	// Where the instance is was told already, when the hooks were not: in a crowd, until they are. Whether the state has moved on
	// is seen before the action is held.
	if at := l.pendingHook.at; at.IsZero() || time.Since(at) > lateTimeout && !l.opt.Limiter.Throttling() {
		if group, state, err = l.describe(ctx); err != nil || group == "" {
			return err
		}
		l.pendingHook.at = time.Time{}
	}
	if l.apiBehind(target, state) {
		return nil
	}
	kind := l.kindOf(state)
	if kind == Action {
		hook, err := l.chooseHook(ctx, group)
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			l.mu.Lock()
			l.kind, l.group, l.state, l.err = NoAction, group, state, err
			l.mu.Unlock()
			close(l.known)
			return nil
		}
		if err != nil {
			if l.pendingHook.at.IsZero() {
				l.pendingHook.group, l.pendingHook.state, l.pendingHook.at = group, state, time.Now()
			}
			return err
		}
		if hook == nil {
			kind = NoAction
		} else {
			l.mu.Lock()
			l.hook = *hook
			l.mu.Unlock()
			if l.opt.Transition == Launching && aws.ToString(hook.DefaultResult) == string(Continue) {
				l.tell(Event{Kind: Lenient, State: aws.ToString(hook.LifecycleHookName)})
			}
			l.opt.Limiter.LimitTo(l.HeartbeatTimeout())
		}
	}
	l.resolve(kind, group, state)
	return nil
}

func (l *Launch) resolve(kind Kind, group, state string) {
	l.mu.Lock()
	l.kind, l.group, l.state, l.found = kind, group, state, time.Now()
	l.mu.Unlock()
	close(l.known)
}

// apiBehind says that metadata knows of a transition that Auto Scaling's API does not show yet: out of a warm
// pool, or out of service, also right after the launch. It is looked at again, for a while.
func (l *Launch) apiBehind(target, state string) bool {
	resting := state == "Warmed:Running" || state == "Warmed:Stopped" || state == "Warmed:Hibernated"
	late := target == "InService" && resting || l.opt.Transition == Terminating && target == "Terminated" && (state == "InService" || strings.HasPrefix(state, "Pending"))
	if !late {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lateSince.IsZero() {
		l.lateSince = time.Now()
	}
	return time.Since(l.lateSince) < lateTimeout
}

func (l *Launch) describe(ctx context.Context) (group, state string, err error) {
	l.alive()
	var out *autoscaling.DescribeAutoScalingInstancesOutput
	err = l.opt.Limiter.Do(ctx, func() (err error) {
		out, err = l.api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{l.me.InstanceID}})
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("cannot describe this instance (autoscaling:DescribeAutoScalingInstances): %w", err)
	}
	for _, i := range out.AutoScalingInstances {
		if aws.ToString(i.InstanceId) == l.me.InstanceID {
			return aws.ToString(i.AutoScalingGroupName), aws.ToString(i.LifecycleState), nil
		}
	}
	return "", "", nil // in no group, or not yet
}

// terminatingTarget are the target states from which no instance comes back to its launch.
func terminatingTarget(target string) bool {
	return target == "Terminated" || target == "Warmed:Terminated" || target == "Detached"
}

// waitStates are where an action of the transition can be active; the states before lead to them.
func (l *Launch) inWait(state string) bool {
	if l.opt.Transition == Launching {
		return state == "Pending:Wait" || state == "Warmed:Pending:Wait"
	}
	return state == "Terminating:Wait" || state == "Warmed:Terminating:Wait"
}

func (l *Launch) kindOf(state string) Kind {
	launching := l.opt.Transition == Launching
	switch {
	case l.inWait(state):
		return Action
	case state == "Pending", state == "Warmed:Pending":
		if launching {
			return Action
		}
		return NoAction
	case state == "Terminating", state == "Warmed:Terminating":
		if launching {
			return Leaving
		}
		return Action
	case strings.HasPrefix(state, "Terminat"), strings.HasPrefix(state, "Warmed:Terminat"), strings.HasPrefix(state, "Detach"),
		state == "EnteringStandby", state == "Standby", state == "Quarantined", strings.HasPrefix(state, "ReplacingRootVolume"):
		return Leaving
	case state == "InService", state == "RootVolumeReplaced", strings.HasPrefix(state, "Pending:"), strings.HasPrefix(state, "Warmed:"):
		return NoAction
	}
	l.tell(Event{Kind: UnknownState, State: state})
	return NoAction
}
