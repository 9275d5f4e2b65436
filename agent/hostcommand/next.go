package hostcommand

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The pace of polls.
const (
	// heldPoll: an empty answer that took so long was waited for at the service, and the next poll follows
	// at once. One that came sooner is followed by pollPause, or a service that does not hold polls would
	// be asked without end.
	heldPoll  = 5 * time.Second
	pollPause = time.Second
	// failPause, doubled with every failure up to failPauseMax, comes after a failed poll. A command waits
	// five minutes to be picked up.
	failPause, failPauseMax = time.Second, 30 * time.Second
	// throttlePause .. throttlePauseMax come after one that was throttled. The whole account is.
	throttlePause, throttlePauseMax = 10 * time.Second, time.Minute
	// tellEvery is how often a failure that goes on is told again.
	tellEvery = 15 * time.Minute
)

// Notice is something that a person may want to read in the journal.
type Notice struct {
	What   What
	Op     string        // the service's operation: "PollHostCommand"
	Err    error         // Retrying: why
	Next   time.Duration // Retrying: until the next try
	Failed time.Duration // Working: for how long it had not been
	Signer Signer        // Unchecked: who signed
}

// What a Notice is about.
type What string

// The kinds of Notice.
const (
	Retrying  What = "retrying"  // a call failed and is made again; told for the first error of a kind, then rarely
	Working   What = "working"   // and it works again
	Unchecked What = "unchecked" // a specification was accepted from a signer nobody vouches for; told once for each signer
)

func (c *Client) tell(n Notice) {
	if c.opt.Tell != nil {
		c.opt.Tell(n)
	}
}

// Next polls until there is a command. Whatever goes wrong with a poll is told and tried again, with a
// pause that grows; the error is ctx's cause, when it ends.
func (c *Client) Next(ctx context.Context) (Command, error) {
	for failures := 0; ; {
		began := time.Now()
		cmd, err := c.Poll(ctx)
		wait := pollPause
		switch {
		case ctx.Err() != nil && cmd == nil:
			return Command{}, context.Cause(ctx)
		case err != nil:
			failures++
			wait = c.backoff(failures, throttled(err))
			if c.told.failed(err) {
				c.tell(Notice{What: Retrying, Op: "PollHostCommand", Err: err, Next: wait})
			}
		default:
			failures = 0
			if since, was := c.told.worked(); was {
				c.tell(Notice{What: Working, Op: "PollHostCommand", Failed: since})
			}
			if cmd != nil {
				return *cmd, nil
			}
			if time.Since(began) >= heldPoll {
				wait = 0
			}
		}
		if !pause(ctx, wait) {
			return Command{}, context.Cause(ctx)
		}
	}
}

// jittered is how long to wait after so many failures in a row.
func jittered(failures int, throttled bool) time.Duration {
	shortest, longest := between(failures, throttled)
	return shortest + rand.N(longest-shortest+1)
}

// between is the range that the wait is chosen from at random, so that the instances of a fleet that lost
// the service together do not come back together.
func between(failures int, throttled bool) (shortest, longest time.Duration) {
	doublings := min(max(failures, 1)-1, 6) // more are above every limit
	if throttled {
		return throttlePause, min(2*throttlePause<<doublings, throttlePauseMax)
	}
	longest = min(failPause<<doublings, failPauseMax)
	return longest / 2, longest
}

// trouble is what went wrong of late, so that it is told once and not with every try. The zero value is
// that nothing did.
type trouble struct {
	mu    sync.Mutex
	since time.Time            // the first failure; zero when there is none
	told  map[string]time.Time // when a kind of failure was told last
}

// failed notes a failure, and says whether to tell it.
func (t *trouble) failed(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		t.since, t.told = time.Now(), map[string]time.Time{}
	}
	kind := kindOf(err)
	if last, ok := t.told[kind]; ok && time.Since(last) < tellEvery {
		return false
	}
	t.told[kind] = time.Now()
	return true
}

// worked notes a success, and says for how long there had been none, if there had been a failure.
func (t *trouble) worked() (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return 0, false
	}
	since := t.since
	t.since, t.told = time.Time{}, nil
	return time.Since(since), true
}

// kindOf is what errors that are told as one have in common. Their texts may differ in a port.
func kindOf(err error) string {
	if code := codeOf(err); code != "" {
		return code
	}
	if lost := (*smithyhttp.RequestSendError)(nil); errors.As(err, &lost) {
		return "connection"
	}
	return "other"
}
