// Package retry is the one way in which usher makes a call again that failed for a reason that may pass:
//
//	err := retry.Policy{Backoff: retry.Backoff{Min: time.Second, Max: 20 * time.Second, Jitter: 0.3}, Timeout: 10 * time.Minute}.Do(ctx,
//		func() error { … })
//
// What it promises:
//
//   - A call is made at least once, and never again after it succeeded, after its context ended, after an error that is not
//     retryable, or beyond the policy's attempts or timeout. The error is that of the last call, as it is, unless the
//     context ended for a reason of its own: see [Cause].
//   - The pause before the next attempt is what the service asked for (an error with a method RetryAfter() time.Duration),
//     else what is left of the [Limiter]'s pause after a throttled call, else the policy's [Backoff].
//   - Whoever calls says what is worth a line in the journal: Policy.Notify hears of each failure before its pause, and
//     [Repeats] says which of them are news. This package writes nothing itself.
//   - It knows errors by type and code, never by what the caller does: [Retryable] is what passes for a server and its role,
//     [Transient] what passes for anybody, [NotRefused] everything that is not a service's answer about this very request.
//
// Policies are values of the rooms that call, each with the reason for its numbers beside it. Loops that poll, such as the
// one for host commands, the one that follows a deployment, and heartbeats, are no retries: of this package they use [Pause], [Backoff]
// and the classifiers.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Policy is how often, for how long and after which pauses a call that fails is made again. The zero Policy makes it once.
type Policy struct {
	Backoff  Backoff
	Attempts int           // all calls, the first included; 0: Timeout is the limit
	Timeout  time.Duration // since the first call began; no call is made again later than that
	Limiter  *Limiter      // which the calls pass or report to, for its pause after a throttled one; may be nil

	Retryable func(error) bool                     // nil: the function of this name
	Notify    func(err error, pause time.Duration) // before each pause; may be nil
}

// Do makes a call until it succeeds or the policy says that it is over.
func (p Policy) Do(ctx context.Context, call func() error) error {
	if p.Retryable == nil {
		p.Retryable = Retryable
	}
	began := time.Now()
	for try := 0; ; try++ {
		err := call()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return Cause(ctx, err)
		case !p.Retryable(err), try+1 == p.Attempts, p.Attempts == 0 && time.Since(began) >= p.Timeout:
			return err
		}
		pause := p.Next(err, try)
		if p.Notify != nil {
			p.Notify(err, pause)
		}
		if !Pause(ctx, pause) {
			return Cause(ctx, err)
		}
	}
}

// DoIf is Do with another idea of which errors are retryable.
func (p Policy) DoIf(ctx context.Context, retryable func(error) bool, call func() error) error {
	p.Retryable = retryable
	return p.Do(ctx, call)
}

// Next is the pause after a call that failed with err. try counts the failures in a row before it: 0 for the first.
func (p Policy) Next(err error, try int) time.Duration {
	var asked interface{ RetryAfter() time.Duration }
	if errors.As(err, &asked) {
		return asked.RetryAfter()
	}
	if p.Limiter != nil && Throttled(err) { // it knows nothing of calls that neither pass it nor report to it
		if left := p.Limiter.Remaining(); left > 0 {
			return left
		}
	}
	return p.Backoff.Next(try)
}

// Backoff is a pause that doubles with each failure in a row.
type Backoff struct {
	Min, Max time.Duration // after the first failure, and the limit
	// Jitter is the part of each pause that is random, from 0 (none) to 1 (all of it): servers that lost a service together
	// do not come back together.
	Jitter float64
}

// maxDoublings is more than leads from any Min to any Max, and less than overflows a time.Duration.
const maxDoublings = 20

// Next is the pause after the failure that try others in a row came before.
func (b Backoff) Next(try int) time.Duration {
	longest := b.Longest(try)
	random := time.Duration(float64(longest) * b.Jitter)
	return longest - random + rand.N(random+1)
}

// Longest is the longest that Next can be for try.
func (b Backoff) Longest(try int) time.Duration {
	return min(b.Min<<min(max(try, 0), maxDoublings), b.Max)
}

// Pause waits, or returns false when ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Cause is err, unless it comes of ctx having been ended for a reason of its own: then it is that reason, which a person is
// to read, and not how a call put it that was interrupted.
func Cause(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(cause, context.Canceled) || !errors.Is(err, context.Canceled) {
		return err
	}
	return cause
}

// Stopped tells an error that comes of the program being stopped, or of a caller who wants no more of the work, from a failure
// of it: ctx was cancelled, and for no reason of its own such as a deadline.
func Stopped(ctx context.Context, err error) bool {
	return err != nil && errors.Is(context.Cause(ctx), context.Canceled)
}
