package lifecycle

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Crowd spreads the calls of one launch when the request budgets, which the whole account shares, are spent. How many
// others wait for them nobody says; that they do, each throttled answer does, whichever service gave it. So the pause
// grows fast with every one of them and is random. The zero Crowd is an empty one. It is safe for concurrent use.
type Crowd struct {
	mu     sync.Mutex
	window time.Duration // the longest that the last pause could be
	met    time.Time     // when the last call was throttled
}

const (
	// crowdPause .. crowdPauseMax is the longest pause after a throttled call, crowdGrowth what one throttled call makes
	// of it. Pauses are long beside the SDK's, since a budget that a thousand launches have spent is back in
	// minutes, and asking does not bring it back sooner. They end below half of the time that a crowd which makes
	// them that long needs, so that the budget is not idle at the end.
	crowdPause, crowdPauseMax = 4 * time.Second, time.Minute
	crowdGrowth               = 4
	// crowdForgotten: how long after the last throttled call the next one is the first of another crowd.
	crowdForgotten = 5 * time.Minute
	// crowdHooks: with a hook's heartbeat timeout known, a pause is at most a quarter of it.
	crowdHooks = 4
)

// Throttled is how long to wait after a throttled call; most bounds it, 0 does not.
func (c *Crowd) Throttled(most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.met) > crowdForgotten {
		c.window = 0
	}
	c.window, c.met = min(max(c.window*crowdGrowth, crowdPause), crowdPauseMax), time.Now()
	d := c.window
	if most > 0 {
		d = min(d, most)
	}
	return d/2 + rand.N(d/2+1)
}

// felt says whether a call was throttled lately.
func (c *Crowd) felt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.met) < crowdForgotten
}

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
	if !Throttled(err) {
		return backoff(try, retryPause, retryPauseMax)
	}
	return l.opt.Crowd.Throttled(l.HeartbeatTimeout() / crowdHooks)
}
