package lifecycle

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Crowd spreads the calls of one launch when the request budget, which the whole account shares, is spent. How many
// others wait for it nobody says; that they do, each throttled answer does. So the pause grows fast with every one of
// them, is random, and shrinks with every call that is served: what is left of it is where the next call begins. The
// zero Crowd is an empty one. It is safe for concurrent use.
type Crowd struct {
	mu     sync.Mutex
	window time.Duration
}

const (
	// crowdPause .. crowdPauseMax is the longest pause after a throttled call, crowdGrowth what one throttled call makes
	// of it. Pauses are long beside the SDK's, since a budget that a thousand launches have spent is back in
	// minutes, and asking does not bring it back sooner. They end below half of the time that a crowd which makes
	// them that long needs, so that the budget is not idle at the end.
	crowdPause, crowdPauseMax = 2 * time.Second, 50 * time.Second
	crowdGrowth               = 3
	// crowdHooks: with a hook's heartbeat timeout known, a pause is at most a quarter of it.
	crowdHooks = 4
)

// Throttled is how long to wait after a throttled call; most bounds it, 0 does not.
func (c *Crowd) Throttled(most time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window = min(max(c.window*crowdGrowth, crowdPause), crowdPauseMax)
	if most > 0 {
		c.window = min(c.window, most)
	}
	return c.window/2 + rand.N(c.window/2+1)
}

// Served takes note that a call was not throttled.
func (c *Crowd) Served() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window /= 2
}

// felt says whether calls have been throttled, and not yet been served often enough since to forget it.
func (c *Crowd) felt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.window >= crowdPause/2
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
	return l.crowd.Throttled(l.HeartbeatTimeout() / crowdHooks)
}
