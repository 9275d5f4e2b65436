package hostcommand

import (
	"context"
	"errors"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/retry"
)

// The pace of polls.
const (
	// longPollMin: an empty answer that took so long was waited for at the service, and the next poll follows
	// at once. One that came sooner is followed by pollPause, or a service that does not hold polls would
	// be asked without end.
	longPollMin = 5 * time.Second
	pollPause   = time.Second
	// logInterval is how often a failure that goes on is reported again.
	logInterval = 15 * time.Minute
)

// Half of a pause is random, so that the instances of a fleet that lost the service together do not come back together.
var (
	// failBackoff comes after a failed poll. A command waits five minutes to be picked up.
	failBackoff = retry.Backoff{Min: time.Second, Max: 30 * time.Second, Jitter: 0.5}
	// throttleBackoff comes after one that was throttled. The whole account is.
	throttleBackoff = retry.Backoff{Min: 20 * time.Second, Max: time.Minute, Jitter: 0.5}
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
			wait = c.backoff(failures, retry.Throttled(err))
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
		if !retry.Pause(ctx, wait) {
			return Command{}, context.Cause(ctx)
		}
	}
}

// callRetries are of every call but a poll: the errors and the pauses of the SDK's standard retryer, one attempt more. A
// command waits meanwhile, and the service for the command.
var callRetries = retry.Policy{Backoff: retry.Backoff{Min: 2 * time.Second, Max: 20 * time.Second, Jitter: 1}, Attempts: 4, Retryable: retry.RetriedBySDK}

// backoff is how long to wait after so many failures in a row. Polling is no retry: it goes on for as long as the agent, and a
// failure only sets its pace.
func backoff(failures int, throttled bool) time.Duration {
	return backoffAfter(throttled).Next(failures - 1)
}

func backoffAfter(throttled bool) retry.Backoff {
	if throttled {
		return throttleBackoff
	}
	return failBackoff
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
	if code := retry.Code(err); code != "" {
		return code
	}
	if lost := (*smithyhttp.RequestSendError)(nil); errors.As(err, &lost) {
		return "connection"
	}
	return "other"
}
