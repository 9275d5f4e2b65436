package lifecycle

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Crowd spreads the calls of one launch when the request budgets, which the whole account shares, are spent. How many
// others wait for them nobody says; that they do, each throttled answer does, whichever service gave it. So one clock
// holds for all calls of the launch: after a throttled one there is a pause for all, which grows fast with each, is random,
// and is shorter again after each that is served. In a crowd the calls go one at a time, since what the first
// is told the second need not ask. The zero Crowd is an empty one. It is safe for concurrent use.
//
// Heartbeats are not made with Call: they keep the action alive. What they are told counts.
type Crowd struct {
	longest time.Duration // of a pause; 0: crowdPauseMax

	mu     sync.Mutex
	window time.Duration // the longest that the last pause could be, or less if calls were served since
	until  time.Time     // when that pause ends
	hook   time.Duration // the longest pause that the hook allows; 0: any
	asking chan struct{} // closed when the call that has its turn is answered; nil: no call has it
}

const (
	// crowdPause .. crowdPauseMax is the longest pause after a throttled call, crowdGrowth what one more throttled call
	// makes of it, crowdServed what one that is served does. Pauses are long beside the SDK's, since a budget that a
	// thousand launches have spent is back in minutes, and asking does not bring it back sooner. They end below half of
	// the time that a crowd which makes them that long needs, so that the budget is not idle at the end.
	// How they were chosen is in agent/bench/SCALE.md.
	crowdPause, crowdPauseMax = 7 * time.Second, time.Minute
	crowdGrowth, crowdServed  = 2.5, 0.5
	// crowdPatience: no pause is longer than this part of how long the caller goes on trying, and so there are some
	// tries: of the configuration's default of ten minutes that is crowdPauseMax. crowdPauseLeast is for who has little.
	crowdPatience, crowdPauseLeast = 10, time.Second
	// crowdHooks: with a hook's heartbeat timeout known, a pause is at most a quarter of it.
	crowdHooks = 4
	// crowdAfter: how much later than a launch's call to Auto Scaling one to CodeDeploy has its turn. A launch needs three
	// of the former, so that what they are told holds the one back, and not the other way around. One that was held back
	// for as long as the longest pause has its turn at once: a deployment does not wait for an Auto Scaling that
	// throttles for an hour.
	crowdAfter = 250 * time.Millisecond
	// crowdForgotten: how long after the end of a pause the next throttled call is the first of another crowd. An agent
	// serves for months.
	crowdForgotten = 5 * time.Minute
)

// NewCrowd is the crowd of a caller who goes on for patience when a call fails: its pauses are at most a tenth of that.
func NewCrowd(patience time.Duration) *Crowd {
	return &Crowd{longest: min(max(patience/crowdPatience, crowdPauseLeast), crowdPauseMax)}
}

// Call makes a call of the launch to CodeDeploy when the pause is over, and hears what it is told. When ctx ends before
// that, it returns ctx's cause and the call was not made. It does not repeat the call.
func (c *Crowd) Call(ctx context.Context, call func() error) error {
	return c.call(ctx, crowdAfter, call)
}

// call is Call, so much later than the end of the pause at first.
func (c *Crowd) call(ctx context.Context, later time.Duration, call func() error) error {
	answered, err := c.turn(ctx, later)
	if err != nil {
		return err
	}
	defer answered()
	err = call()
	c.heard(err)
	return err
}

// Left is how long the pause still lasts, 0 when there is none.
func (c *Crowd) Left() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, time.Until(c.until))
}

// turn waits until a call may be made. In a crowd nobody else gets a turn before answered is called.
func (c *Crowd) turn(ctx context.Context, later time.Duration) (answered func(), err error) {
	for began := time.Now(); ; {
		c.mu.Lock()
		mine, before := c.until, c.asking
		if mine.Sub(began) < c.mostPause() {
			mine = mine.Add(later)
		}
		left := time.Until(mine)
		if before == nil && left <= 0 {
			defer c.mu.Unlock()
			if !c.felt() {
				return func() {}, nil
			}
			asking := make(chan struct{})
			c.asking = asking
			return func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.asking = nil
				close(asking)
			}, nil
		}
		c.mu.Unlock()
		if before == nil {
			pause(ctx, left)
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

// heard is what a call was told. A pause under way is not made longer: heartbeats, which do not wait for its end, would put
// it off for ever.
func (c *Crowd) heard(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.window = scaled(c.window, crowdServed)
	}
	if !Throttled(err) {
		return
	}
	if !c.felt() {
		c.window = 0
	}
	c.window = min(max(scaled(c.window, crowdGrowth), crowdPause), c.mostPause())
	if now := time.Now(); !c.until.After(now) {
		d := c.window
		if c.hook > 0 {
			d = min(d, c.hook)
		}
		c.until = now.Add(d/2 + rand.N(d/2+1))
	}
}

// mostPause is the longest that a pause can be.
func (c *Crowd) mostPause() time.Duration { return cmp.Or(c.longest, crowdPauseMax) }

// within bounds the pauses, and the one under way, by a hook's heartbeat timeout.
func (c *Crowd) within(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = timeout / crowdHooks
	if end := time.Now().Add(c.hook); c.hook > 0 && end.Before(c.until) {
		c.until = end
	}
}

// crowded says whether a call was throttled lately.
func (c *Crowd) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.felt()
}

// felt is crowded with c.mu held.
func (c *Crowd) felt() bool { return time.Since(c.until) < crowdForgotten }

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// Throttled says whether an error is a service's answer that too many ask.
func Throttled(err error) bool {
	return err != nil && retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary
}

// Calm is the SDK's way to repeat calls, but for those that were throttled: a budget that is shared with everybody who
// was launched in the same minute does not come back within the second that the SDK would wait. Who called waits.
func Calm() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if Throttled(err) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
	})
}

// pauseAfter is how long to wait after a call that failed for the try-th time in a row.
func (l *Launch) pauseAfter(err error, try int) time.Duration {
	if left := l.opt.Crowd.Left(); left > 0 && Throttled(err) {
		return left
	}
	return backoff(try, retryPause, retryPauseMax)
}
