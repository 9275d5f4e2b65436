package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"usher/agent/retry"
)

// downloads is how one request is made again, on top of what the SDK's own retryer does within each. Its pauses are random
// below their length ("full jitter"), so that a fleet launched together does not retry together. That outlasts a blip of half
// a minute; longer trouble should fail the deployment while there is time to launch a replacement.
var downloads = retry.Policy{
	Backoff:   retry.Backoff{Min: 500 * time.Millisecond, Max: 10 * time.Second, Jitter: 1},
	Attempts:  6,
	Retryable: func(err error) bool { return !errors.As(err, new(permanentError)) },
}

// stallTimeout is how long a response may bring no byte before the request is given up and made
// again. S3 answers within milliseconds; a connection silently cut by a NAT stays silent for ever.
const stallTimeout = 30 * time.Second

// errStalled is why a request that stallTimeout ended was ended.
var errStalled = errors.New("no data came for too long")

// A permanentError is not worth another attempt.
type permanentError struct{ error }

func (p permanentError) Unwrap() error { return p.error }

// backoffPolicy is how failures are waited out. The zero value is the numbers above; tests shorten them.
type backoffPolicy struct {
	first, stall time.Duration
}

// retry makes attempts at f until it succeeds, fails for good, or ctx ends.
func (p backoffPolicy) retry(ctx context.Context, f func() error) error {
	policy := downloads
	if p.first > 0 {
		policy.Backoff.Min = p.first
	}
	err := policy.Do(ctx, f)
	var permanent permanentError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &permanent):
		return permanent.error
	}
	return fmt.Errorf("%w (%d attempts)", err, policy.Attempts)
}

// withStallTimeout returns a context that ends when alive has not been called for the stall timeout. stop frees
// it; explain tells a stall from other errors.
func (p backoffPolicy) withStallTimeout(ctx context.Context) (watched context.Context, alive func(), stop func()) {
	timeout := stallTimeout
	if p.stall > 0 {
		timeout = p.stall
	}
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(timeout, func() { cancel(errStalled) })
	return watched, func() { timer.Reset(timeout) }, func() { timer.Stop(); cancel(nil) }
}

// A retryAfter asks for a certain pause, as the server did.
type retryAfter struct {
	error
	wait time.Duration
}

func (r retryAfter) Unwrap() error { return r.error }

// RetryAfter is for package retry.
func (r retryAfter) RetryAfter() time.Duration { return r.wait }

// copyBody copies body to write until it ends or has brought want bytes, and returns how many were
// written. An error in writing is permanent: the disk is full, and downloading again does not help.
func copyBody(body io.Reader, want int64, alive func(), write func([]byte) error, buf []byte) (int64, error) {
	var got int64
	for got < want {
		n, err := body.Read(buf[:min(int64(len(buf)), want-got)])
		if n > 0 {
			alive()
			if err := write(buf[:n]); err != nil {
				return got, permanentError{err}
			}
			got += int64(n)
		}
		if err != nil && got < want {
			return got, err
		}
	}
	return got, nil
}
