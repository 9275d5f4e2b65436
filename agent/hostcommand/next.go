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
	// longPollMin: an empty answer that took so long was waited for at the service, and the next poll follows
	// at once. One that came sooner is followed by pollPause, or a service that does not hold polls would
	// be asked without end.
	longPollMin = 5 * time.Second
	pollPause   = time.Second
	// failPause, doubled with every failure up to failPauseMax, comes after a failed poll. A command waits
	// five minutes to be picked up.
	failPause, failPauseMax = time.Second, 30 * time.Second
	// throttlePause .. throttlePauseMax come after one that was throttled. The whole account is.
	throttlePause, throttlePauseMax = 10 * time.Second, time.Minute
	// logInterval is how often a failure that goes on is reported again.
	logInterval = 15 * time.Minute
)

// Event is something that a person may want to read in the journal.
type Event struct {
	Kind   Kind
	Op     string        // the service's operation: "PollHostCommand"
	Err    error         // Retrying: why
	Next   time.Duration // Retrying: until the next try
	Failed time.Duration // Recovered: for how long it had not been
	Signer Signer        // SignerUnverified: who signed
}

// Kind is what an Event is about.
type Kind string

// The kinds of Event.
const (
	Retrying         Kind = "retrying"          // a call failed and is made again; reported for the first error of a kind, then rarely
	Recovered        Kind = "recovered"         // and it works again
	SignerUnverified Kind = "signer-unverified" // a specification was accepted from a signer that was not verified; reported once for each signer
)

func (c *Client) notify(e Event) {
	if c.opt.Notify != nil {
		c.opt.Notify(e)
	}
}

// Next polls until there is a command. Whatever goes wrong with a poll is reported and tried again, with a
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
			if c.failures.failed(err) {
				c.notify(Event{Kind: Retrying, Op: "PollHostCommand", Err: err, Next: wait})
			}
		default:
			failures = 0
			if since, was := c.failures.recovered(); was {
				c.notify(Event{Kind: Recovered, Op: "PollHostCommand", Failed: since})
			}
			if cmd != nil {
				return *cmd, nil
			}
			if time.Since(began) >= longPollMin {
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

// failureLog is what went wrong of late, so that it is reported once and not with every try. The zero value is
// that nothing did.
type failureLog struct {
	mu     sync.Mutex
	since  time.Time            // the first failure; zero when there is none
	logged map[string]time.Time // when a kind of failure was reported last
}

// failed notes a failure, and says whether to report it.
func (t *failureLog) failed(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		t.since, t.logged = time.Now(), map[string]time.Time{}
	}
	kind := kindOf(err)
	if last, ok := t.logged[kind]; ok && time.Since(last) < logInterval {
		return false
	}
	t.logged[kind] = time.Now()
	return true
}

// recovered notes a success, and says for how long there had been none, if there had been a failure.
func (t *failureLog) recovered() (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return 0, false
	}
	since := t.since
	t.since, t.logged = time.Time{}, nil
	return time.Since(since), true
}

// kindOf is what errors that are reported as one have in common. Their texts may differ in a port.
func kindOf(err error) string {
	if code := codeOf(err); code != "" {
		return code
	}
	if lost := (*smithyhttp.RequestSendError)(nil); errors.As(err, &lost) {
		return "connection"
	}
	return "other"
}
