package lifecycle

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"usher/agent/retry"
)

// Start goes on looking for the action in the background, and heartbeats from the moment the wait state is
// confirmed, or presumed, until Stop. The context it returns is the one to work in: it ends with ErrDeadline early
// enough for a verdict before the hook's global timeout, and with ErrTerminating when the instance is given up: at a launch
// metadata is asked every few seconds.
// Call it once.
func (l *Launch) Start(ctx context.Context) context.Context {
	work, cancelWork := context.WithCancelCause(ctx)
	held, stop := context.WithCancel(context.WithoutCancel(ctx)) // a stopping service still delivers its verdict
	l.cancelWork, l.stop, l.finished = cancelWork, stop, make(chan struct{})
	if l.opt.Transition == Launching {
		l.watching.Go(func() { untilTerminating(held, l.gate, cancelWork) })
	}
	go func() {
		defer close(l.finished)
		l.pollUntilKnown(held)
		switch l.Kind() {
		case Action:
			l.hold(held)
		case Leaving:
			l.cancelWork(ErrTerminating)
		}
	}()
	return work
}

// Stop ends the heartbeats, waits for the background to end, and frees the work context.
func (l *Launch) Stop() {
	l.stop()
	<-l.finished
	l.watching.Wait()
	l.cancelWork(context.Canceled)
}

// Ended says that the background has ended: there is no action, or it is decided.
func (l *Launch) Ended() bool {
	select {
	case <-l.finished:
		return true
	default:
		return false
	}
}

// pollUntilKnown repeats look until the kind is known.
func (l *Launch) pollUntilKnown(ctx context.Context) {
	began, grace, failed := time.Now(), l.opt.Grace, l.failed
	if age := time.Since(l.me.PendingTime); age > 0 {
		grace = max(grace-age, min(grace, minGrace))
	}
	for try := 0; ; try++ {
		select {
		case <-l.known:
			return
		case <-ctx.Done(): // it may have ended a call
			return
		default:
		}
		wait := gateBackoff.Next(try)
		if left := grace - time.Since(began); left > 0 { // a standalone server need not wait longer than that
			wait = min(wait, left)
		}
		if failed != nil {
			wait = l.nextBackoff(failed, try)
			l.tell(Event{Kind: Retrying, Err: failed, Next: wait})
		}
		if !retry.Pause(ctx, wait) {
			return
		}
		l.alive()
		if failed = l.check(ctx); failed != nil {
			continue
		}
		if l.Kind() == Unknown && l.Target() == "" && time.Since(began) > grace {
			l.resolve(Standalone, "", "")
		}
	}
}

// nextBackoff is how long to wait after a call that failed for the try-th time in a row.
func (l *Launch) nextBackoff(err error, try int) time.Duration {
	return retry.Policy{Backoff: callBackoff, Limiter: l.opt.Limiter}.Next(err, try)
}

// hold polls until the wait state is there, then heartbeats.
func (l *Launch) hold(ctx context.Context) {
	timer := time.AfterFunc(time.Until(l.Deadline()), func() { l.cancelWork(ErrDeadline) })
	defer timer.Stop()
	wait := describeBackoff.Next(0)
	for try := 0; !l.inWait(l.State()); try++ {
		if !retry.Pause(ctx, wait) {
			return
		}
		passed, err := l.refresh(ctx)
		if passed {
			close(l.waiting)
			return
		}
		wait = describeBackoff.Next(try + 1)
		if retry.Throttled(err) {
			wait = l.nextBackoff(err, try)
		}
	}
	begun := Event{Kind: Waiting, State: l.State()}
	if !l.confirmed() {
		begun.Kind = Presumed
	}
	close(l.waiting)
	l.tell(begun)
	l.lastHeartbeat = time.Now()
	next := l.firstHeartbeat()
	for retry.Pause(ctx, next) {
		next = l.heartbeat(ctx)
		if next == 0 {
			return
		}
	}
}

// refresh describes the instance again; it says whether the wait state can no longer come. An error has been told.
func (l *Launch) refresh(ctx context.Context) (passed bool, err error) {
	at, err := l.describe(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.tell(Event{Kind: Retrying, Err: err})
		}
		return false, err
	}
	state := at.state
	if at.group == "" { // not listed: terminated, detached, or a moment of the API; metadata knows
		if state, err = l.gate.TargetLifecycleState(ctx); err != nil || !terminatingTarget(state) {
			return false, nil
		}
	}
	l.mu.Lock()
	presumed := l.presumed
	l.mu.Unlock()
	if presumed && at.group != "" && l.apiBehind(l.Target(), state) {
		return false, nil
	}
	kind := l.kindOf(state)
	if presumed && kind == Action && !l.inWait(state) {
		return false, nil // too early: what is presumed will be
	}
	l.mu.Lock()
	confirmed := l.presumed && l.inWait(state) // once: a heartbeat and the verdict may ask at the same time
	l.state, l.presumed = state, false
	l.mu.Unlock()
	if confirmed {
		l.tell(Event{Kind: Confirmed, State: state})
	}
	switch kind {
	case Action:
		return false, nil
	case Leaving:
		l.cancelWork(ErrTerminating)
	}
	l.tell(Event{Kind: Gone, State: state})
	return true, nil
}

// firstHeartbeat is when to heartbeat first. The wait may have begun any time since the instance was launched. Servers that
// were launched together are out of step from here on, not only after many heartbeats.
func (l *Launch) firstHeartbeat() time.Duration {
	since := time.Since(l.began())
	left := l.HeartbeatTimeout()*2/3 - since // the last third is for tries that are lost
	if since < 0 || left <= 0 {
		return 0
	}
	first := min(l.interval(), left)
	return first/2 + rand.N(first/2+1)
}

// interval is the time between heartbeats, jittered. While calls are throttled they are as far apart as is safe: each is a call that
// somebody's verdict waits for.
func (l *Launch) interval() time.Duration {
	d := min(l.HeartbeatTimeout()/beatFraction, beatMax)
	if l.opt.Limiter.Throttling() {
		d = l.HeartbeatTimeout() / throttledBeatFraction
	}
	return time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
}

// heartbeat records one and says when to do it again, 0 for never.
func (l *Launch) heartbeat(ctx context.Context) time.Duration {
	err := l.sendHeartbeat(ctx)
	soon := max(l.interval()/4, 100*time.Millisecond)
	switch {
	case err == nil:
		l.lastHeartbeat, l.inactiveSince = time.Now(), time.Time{}
		return l.interval()
	case ctx.Err() != nil:
		return 0
	case noActive(err):
		switch passed, _ := l.refresh(ctx); {
		case passed:
			return 0
		case !l.wasActive():
			return soon // too early, or decided before we came: Complete finds out
		case l.inactiveSince.IsZero():
			l.inactiveSince = time.Now()
		case time.Since(l.inactiveSince) > heldTimeout:
			return 0 // decided; the state is still a wait state, so other hooks are waited for
		}
		return min(soon, heldTimeout/3)
	}
	l.tell(Event{Kind: HeartbeatFailed, Err: err, Next: soon})
	if time.Since(l.lastHeartbeat) > l.HeartbeatTimeout() { // the action may have expired: Describe still tells
		l.lastHeartbeat = time.Now()
		if passed, _ := l.refresh(ctx); passed {
			return 0
		}
	}
	return soon
}

func (l *Launch) sendHeartbeat(ctx context.Context) error {
	l.mu.Lock()
	group, hook := l.group, l.hook.LifecycleHookName
	l.mu.Unlock()
	_, err := l.api.RecordLifecycleActionHeartbeat(ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &group, LifecycleHookName: hook, InstanceId: &l.me.InstanceID})
	l.opt.Limiter.Observe(err)
	if err == nil {
		l.mu.Lock()
		l.sendHeartbeats = true
		l.mu.Unlock()
	}
	return err
}

// Active asks, with a heartbeat, whether our hook's action is waited for right now. It is for an agent
// that has completed an action in this state before and cannot tell whether this is another.
func (l *Launch) Active(ctx context.Context) (bool, error) {
	select {
	case <-l.waiting:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	began := time.Now()
	for try := 0; l.inWait(l.State()); try++ {
		err := l.sendHeartbeat(ctx)
		if err == nil {
			return true, nil
		}
		if permanent(err) || noActive(err) && time.Since(began) > activeWindow {
			return false, nil
		}
		next := l.nextBackoff(err, try)
		l.tell(Event{Kind: Retrying, Err: err, Next: next})
		if !retry.Pause(ctx, next) {
			return false, errors.Join(err, context.Cause(ctx))
		}
	}
	return false, nil
}

// began is when the wait may have begun, at the earliest.
func (l *Launch) began() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.opt.Began.IsZero() || l.opt.Began.After(l.found) {
		return l.found
	}
	return l.opt.Began
}

func (l *Launch) wasActive() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.sendHeartbeats }

// globalEnd is when Auto Scaling ends the action at the latest.
func (l *Launch) globalEnd() time.Time {
	l.mu.Lock()
	limit := time.Duration(aws.ToInt32(l.hook.GlobalTimeout)) * time.Second
	l.mu.Unlock()
	if limit <= 0 {
		limit = globalTimeoutDefault
	}
	end := l.began().Add(limit)
	l.mu.Lock()
	defer l.mu.Unlock()
	if end.Before(l.found) { // it would be over by then, and was not: it began later than the caller could know
		return l.found.Add(limit)
	}
	return end
}

// Deadline is when the work must end for the verdict to be ours. It is of use once the kind is Action.
func (l *Launch) Deadline() time.Time {
	end := l.globalEnd()
	return end.Add(-min(time.Until(end)/verdictReserve, verdictReserveMax))
}
