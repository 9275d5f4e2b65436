package lifecycle

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"usher/agent/retry"
)

// Verdict is the result an action is completed with.
type Verdict string

const (
	Continue Verdict = "CONTINUE" // the server may go into service
	Abandon  Verdict = "ABANDON"  // the server is terminated and replaced
)

// VerdictOf is Continue for a deployment that succeeded, Abandon for any error.
func VerdictOf(err error) Verdict {
	if err != nil {
		return Abandon
	}
	return Continue
}

// CompleteResult is what became of a verdict.
type CompleteResult string

const (
	Completed      CompleteResult = "completed"       // Auto Scaling took it
	AlreadyDecided CompleteResult = "already decided" // by an earlier call, a person, or a timeout
	Nothing        CompleteResult = "nothing"         // there was no action to complete
)

// Complete delivers the verdict, once the wait state is there. It keeps trying on its own bounded context,
// until the action's global timeout; while it does, Start's heartbeats go on. When ctx ends before the
// verdict can be sent (the service is being stopped), it returns ctx's cause and nothing was sent.
func (l *Launch) Complete(ctx context.Context, v Verdict) (CompleteResult, error) {
	kind, err := l.Known(ctx)
	if err != nil {
		return Nothing, err
	}
	if kind != Action {
		return Nothing, nil
	}
	select {
	case <-l.waiting:
	case <-ctx.Done():
		return Nothing, context.Cause(ctx)
	}
	if kind, _ := l.kindIn(l.State()); kind != Action {
		return AlreadyDecided, nil
	}
	bounded, cancel := context.WithDeadline(context.WithoutCancel(ctx), laterOf(l.globalEnd(), time.Now().Add(leastDelivery)))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })()
	return l.deliver(bounded, v)
}

func (l *Launch) deliver(ctx context.Context, v Verdict) (CompleteResult, error) {
	l.mu.Lock()
	group, hook := l.group, l.hook.LifecycleHookName
	l.mu.Unlock()
	result, began := string(v), time.Now()
	waiting := began    // since when the action must be there
	var since time.Time // when it was denied first; zero: it is not
	silent := false     // the heartbeats were ended
	var last error      // what a call was answered
	for try := 0; ; try++ {
		l.alive()
		sure := l.confirmed() // before it was asked: what is confirmed meanwhile may have begun after the answer
		err := l.opt.Limiter.Do(ctx, func() error {
			_, err := l.api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
				AutoScalingGroupName: &group, LifecycleHookName: hook, InstanceId: &l.me.InstanceID, LifecycleActionResult: &result})
			return err
		})
		switch {
		case err == nil:
			l.stop() // no heartbeat after it
			return Completed, nil
		case permanent(err) && sure:
			return Nothing, fmt.Errorf("cannot complete the lifecycle action of hook %s in group %s (autoscaling:CompleteLifecycleAction): %w", *hook, group, err)
		case noActive(err), permanent(err):
			// Too early, unless the state has moved on or it has been like this for long: then only other
			// hooks are waited for.
			passed, _ := l.refresh(ctx)
			if !sure || !l.confirmed() {
				waiting = time.Now()
			}
			if passed || time.Since(waiting) > l.window() {
				return AlreadyDecided, nil
			}
		}
		next := l.nextBackoff(err, try)
		switch {
		case ctx.Err() != nil:
		case !denied(err):
			last, since = err, time.Time{}
			l.tell(Event{Kind: Retrying, Err: err, Next: next})
		default:
			if last = err; since.IsZero() {
				since = time.Now()
			}
			if over, err := l.refused(ctx, since, &silent, err, next); over {
				return AlreadyDecided, err
			}
		}
		if err = cmp.Or(last, err); !retry.Pause(ctx, next) {
			return Nothing, fmt.Errorf("cannot complete the lifecycle action of hook %s in group %s (autoscaling:CompleteLifecycleAction), gave up after %s: %w",
				*hook, group, time.Since(began).Round(time.Second), err)
		}
	}
}

// refused bears with a verdict that is denied since a time: heartbeats hold the action for a while, then no more. over says
// that nothing is left to be decided, or, with an error, that the hook's timeout has not decided either.
func (l *Launch) refused(ctx context.Context, since time.Time, silent *bool, why error, next time.Duration) (over bool, err error) {
	timeout := l.HeartbeatTimeout()
	left := min(deniedMost, deniedBeats*timeout) - time.Since(since)
	switch {
	case left > 0:
		l.tell(Event{Kind: Denied, Err: why, Next: next, Left: left})
		return false, nil
	case !*silent:
		*silent = true
		l.stop()
		l.tell(Event{Kind: Silent, Err: why, Left: timeout})
		return false, nil
	}
	if passed, _ := l.refresh(ctx); passed {
		return true, nil
	}
	if left < -2*timeout { // other hooks are waited for
		return true, fmt.Errorf("the lifecycle action of hook %s was left to its timeout: %w", l.Hook(), why)
	}
	l.tell(Event{Kind: Retrying, Err: why, Next: next})
	return false, nil
}

// confirmed says that Auto Scaling itself said that it waits.
func (l *Launch) confirmed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.presumed && l.inWait(l.state)
}

// window is how long "no active action" may be too early.
func (l *Launch) window() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sendHeartbeats {
		return heldTimeout
	}
	return raceTimeout
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
