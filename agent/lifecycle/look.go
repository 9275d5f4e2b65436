package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"usher/agent/retry"
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
	crowd := l.opt.Limiter.Throttling()
	asked := l.askHooks(ctx)
	defer asked.drop()
	at, err := l.where(ctx, target, crowd, asked)
	if err != nil || at.group == "" || l.apiBehind(target, at.state) {
		return err
	}
	kind := l.kindOf(at.state)
	if kind == Action {
		list, err := asked.of(at.group)
		if err != nil {
			l.seen = at
			return err
		}
		hook, err := l.chooseHook(list)
		if hook == nil && asked.kept && asked.group == at.group { // told some time ago: somebody may have mended it
			if list, err = l.listHooks(ctx, at.group, func() {}); err != nil {
				l.seen = at
				return err
			}
			hook, err = l.chooseHook(list)
		}
		if err != nil { // a refusal
			l.mu.Lock()
			l.kind, l.group, l.state, l.err = NoAction, at.group, at.state, err
			l.mu.Unlock()
			close(l.known)
			return nil
		}
		if hook == nil {
			kind = NoAction
		} else {
			l.mu.Lock()
			l.hook, l.presumed = *hook, at.presumed
			l.mu.Unlock()
			if l.opt.Transition == Launching && aws.ToString(hook.DefaultResult) == string(Continue) {
				l.tell(Event{Kind: Lenient, State: aws.ToString(hook.LifecycleHookName)})
			}
			l.opt.Limiter.LimitTo(l.HeartbeatTimeout())
		}
	}
	l.resolve(kind, at.group, at.state)
	return nil
}

// position is where the instance is in its lifecycle.
type position struct {
	group, state string    // "" in no group, or not yet
	at           time.Time // when Auto Scaling was asked; zero: never
	presumed     bool      // it was not: calls are throttled
}

// where is the instance's position: what was told lately, or what Auto Scaling says now. In a crowd it need not be asked: an instance
// that is new, and is to go into service or into the warm pool, waits for the hook that its group has; if not, the verdict is answered so.
func (l *Launch) where(ctx context.Context, target string, crowd bool, asked *askedHooks) (position, error) {
	if l.lately() {
		return l.seen, nil // when the hooks were not told; that the state has moved on is seen when the action is held, or completed
	}
	l.seen = position{}
	wait := waitBefore(target)
	presumable := l.opt.NewIn != "" && wait != ""
	var throttled error
	if !presumable || !crowd {
		at, err := l.describe(ctx)
		if !presumable || !retry.Throttled(err) || !asked.sent.Load() {
			return at, err
		}
		throttled = err
	}
	list, err := asked.of(l.opt.NewIn)
	if err != nil {
		return position{}, err
	}
	switch hook, _ := l.chooseHook(list); {
	case hook != nil:
		return position{group: l.opt.NewIn, state: wait, presumed: true}, nil
	case throttled != nil: // not once more in one pass
		return position{}, throttled
	}
	return l.describe(ctx)
}

// lately says that the last position told still counts.
func (l *Launch) lately() bool { return l.counts(l.seen.at) }

// counts says that what was told at a time still counts: for a while and, in a crowd, for as long as it lasts.
func (l *Launch) counts(at time.Time) bool {
	return !at.IsZero() && (time.Since(at) <= lateTimeout || l.opt.Limiter.Throttling())
}

// waitBefore is the wait state of a launch that leads to a target state, "" where none does.
func waitBefore(target string) string {
	switch target {
	case "InService":
		return "Pending:Wait"
	case "Warmed:Stopped", "Warmed:Running", "Warmed:Hibernated":
		return "Warmed:Pending:Wait"
	}
	return ""
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

func (l *Launch) describe(ctx context.Context) (position, error) {
	l.alive()
	at := position{}
	var out *autoscaling.DescribeAutoScalingInstancesOutput
	err := l.opt.Limiter.Do(ctx, func() (err error) {
		at.at = time.Now()
		out, err = l.api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{l.me.InstanceID}})
		return err
	})
	if err != nil {
		return position{}, fmt.Errorf("cannot describe this instance (autoscaling:DescribeAutoScalingInstances): %w", err)
	}
	for _, i := range out.AutoScalingInstances {
		if aws.ToString(i.InstanceId) == l.me.InstanceID {
			at.group, at.state = aws.ToString(i.AutoScalingGroupName), aws.ToString(i.LifecycleState)
		}
	}
	return at, nil
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

// kindOf is what is to be done in a state. One that is not known is told.
func (l *Launch) kindOf(state string) Kind {
	kind, known := l.kindIn(state)
	if !known {
		l.tell(Event{Kind: UnknownState, State: state})
	}
	return kind
}

func (l *Launch) kindIn(state string) (kind Kind, known bool) {
	launching := l.opt.Transition == Launching
	switch {
	case l.inWait(state):
		return Action, true
	case state == "Pending", state == "Warmed:Pending":
		if launching {
			return Action, true
		}
		return NoAction, true
	case state == "Terminating", state == "Warmed:Terminating":
		if launching {
			return Leaving, true
		}
		return Action, true
	case strings.HasPrefix(state, "Terminat"), strings.HasPrefix(state, "Warmed:Terminat"), strings.HasPrefix(state, "Detach"),
		state == "EnteringStandby", state == "Standby", state == "Quarantined", strings.HasPrefix(state, "ReplacingRootVolume"):
		return Leaving, true
	case state == "InService", state == "RootVolumeReplaced", strings.HasPrefix(state, "Pending:"), strings.HasPrefix(state, "Warmed:"):
		return NoAction, true
	}
	return NoAction, false
}
