package retry

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Limiter is one backoff shared by all calls of a launch. The request budgets of AWS are the whole account's; how many
// others wait for them nobody says, but each throttled answer says that they do, whichever service gave it. So it pauses all
// calls of the launch: longer with each throttled answer, at random. While
// calls are throttled they go one at a time, since what the first is told the second need not ask. The zero Limiter has
// seen nothing. It is safe for concurrent use.
//
// Heartbeats do not wait for it: they keep the action alive. What they are answered is reported with Observe.
type Limiter struct {
	maxPause time.Duration // 0: maxThrottlePause

	mu     sync.Mutex
	window time.Duration // the longest that the last pause could be
	until  time.Time     // when that pause ends
	limit  time.Duration // the longest pause that the hook allows; 0: any
	active chan struct{} // closed when the call that is being made is answered; nil: none is, or nothing is throttled
}

const (
	// minThrottlePause .. maxThrottlePause is the longest pause after a throttled call, growthFactor what one more throttled
	// call makes of it. Pauses are long beside the SDK's, since a budget that a
	// thousand launches have spent is back in minutes, and asking does not bring it back sooner. They end below half of
	// the time that a number of launches which makes them that long needs, so that the budget is not idle at the end.
	// How they were chosen is in agent/bench/SCALE.md.
	minThrottlePause, maxThrottlePause = 5 * time.Second, time.Minute
	growthFactor                       = 1.35
	// retryShare: no pause is longer than this part of how long the caller goes on trying, and so there are some
	// tries: of the configuration's default of ten minutes that is maxThrottlePause. leastMaxPause is for who has little.
	retryShare, leastMaxPause = 10, time.Second
	// heartbeatShare: with a hook's heartbeat timeout known, a pause is at most a quarter of it.
	heartbeatShare = 4
	// CodeDeployDelay lets the Auto Scaling calls, of which a launch needs two or three, go first after a pause, so that what they
	// are told holds a call to CodeDeploy back, and not the other way around. A call that has waited for the longest pause is
	// not delayed again: a deployment does not wait for an Auto Scaling that throttles for an hour.
	CodeDeployDelay = 250 * time.Millisecond
	// maxTurn: a call that is not answered by then, with all its attempts, does not hold the next one back any longer. Calls
	// are answered in a fraction of a second, and it is less than a third of the shortest hook's heartbeat timeout (30 s).
	maxTurn = 9 * time.Second
	// resetAfter: how long after the end of a pause a throttled call counts as the first again. An agent serves for months.
	resetAfter = 5 * time.Minute
)

// NewLimiter is the limiter of a caller who makes a call that fails again for timeout: its pauses are at most a tenth of that.
func NewLimiter(timeout time.Duration) *Limiter {
	return &Limiter{maxPause: min(max(timeout/retryShare, leastMaxPause), maxThrottlePause)}
}

// Do makes a call when the pause is over, and observes its answer. When ctx ends before that, it returns ctx's cause
// and the call was not made. It does not repeat the call.
func (l *Limiter) Do(ctx context.Context, call func() error) error {
	return l.DoAfter(ctx, 0, call)
}

// DoAfter is Do, so much later than the end of the pause at first.
func (l *Limiter) DoAfter(ctx context.Context, delay time.Duration, call func() error) error {
	answered, err := l.acquire(ctx, delay)
	if err != nil {
		return err
	}
	defer answered()
	l.mu.Lock()
	before := l.until
	l.mu.Unlock()
	err = call()
	l.observe(err, before)
	return err
}

// Remaining is how long the pause still lasts, 0 when there is none.
func (l *Limiter) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, time.Until(l.until))
}

// acquire waits until a call may be made. While calls are throttled no other may before answered is called.
func (l *Limiter) acquire(ctx context.Context, delay time.Duration) (answered func(), err error) {
	for began := time.Now(); ; {
		l.mu.Lock()
		due, before := l.until, l.active
		if due.Sub(began) < l.longest() {
			due = due.Add(delay)
		}
		left := time.Until(due)
		if before == nil && left <= 0 {
			defer l.mu.Unlock()
			if !l.throttling() {
				return func() {}, nil
			}
			return l.turn(), nil
		}
		l.mu.Unlock()
		if before == nil {
			Pause(ctx, left)
		} else {
			select {
			case <-before:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// turn begins a call that goes alone, with l.mu held. It ends with ended, or after maxTurn.
func (l *Limiter) turn() (ended func()) {
	active := make(chan struct{})
	l.active = active
	end := sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.active == active {
			l.active = nil
		}
		close(active)
	})
	late := time.AfterFunc(maxTurn, end)
	return func() {
		late.Stop()
		end()
	}
}

// Observe takes note of the answer to a call. A pause under way is not made longer: heartbeats, which do not wait for its
// end, would put it off for ever.
func (l *Limiter) Observe(err error) { l.observe(err, time.Now().Add(resetAfter)) }

// observe is Observe for a call that was begun when the pause ended at before. Of calls that were under way together the
// first that is throttled tells of the crowd; the others say the same of the same moment, and make no pause longer.
func (l *Limiter) observe(err error, before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !Throttled(err) || l.until.After(before) {
		return
	}
	if !l.throttling() {
		l.window = 0
	}
	l.window = min(max(time.Duration(float64(l.window)*growthFactor), minThrottlePause), l.longest())
	if now := time.Now(); !l.until.After(now) {
		d := l.window
		if l.limit > 0 {
			d = min(d, l.limit)
		}
		l.until = now.Add(d/2 + rand.N(d/2+1))
	}
}

// longest is the longest that a pause can be.
func (l *Limiter) longest() time.Duration { return cmp.Or(l.maxPause, maxThrottlePause) }

// LimitTo bounds the pauses, and the one under way, by a hook's heartbeat timeout: to a quarter of it.
func (l *Limiter) LimitTo(heartbeatTimeout time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = heartbeatTimeout / heartbeatShare
	if end := time.Now().Add(l.limit); l.limit > 0 && end.Before(l.until) {
		l.until = end
	}
}

// Throttling says whether a call was throttled lately.
func (l *Limiter) Throttling() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.throttling()
}

// throttling is Throttling with l.mu held.
func (l *Limiter) throttling() bool { return time.Since(l.until) < resetAfter }

// WithoutThrottleRetries is the SDK's way to repeat calls, but for those that were throttled: a budget that is shared with
// everybody who was launched in the same minute does not come back within the second that the SDK would wait. Who called
// waits.
func WithoutThrottleRetries() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if Throttled(err) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
	})
}
