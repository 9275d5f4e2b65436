package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	// attempts is how often one request is made, on top of what the SDK's own retryer does within
	// each. With the pauses below that outlasts a blip of half a minute; longer trouble should fail
	// the deployment while there is time to launch a replacement.
	attempts = 6

	// firstPause and longestPause bound the pause after a failure, which doubles and is chosen at
	// random below that ("full jitter"), so that a fleet launched together does not retry together.
	firstPause   = 500 * time.Millisecond
	longestPause = 10 * time.Second

	// stallTimeout is how long a response may bring no byte before the request is given up and made
	// again. S3 answers within milliseconds; a connection silently cut by a NAT stays silent for ever.
	stallTimeout = 30 * time.Second
)

// errStalled is why a request that stallTimeout ended was ended.
var errStalled = errors.New("no data came for too long")

// A permanentError is not worth another attempt.
type permanentError struct{ error }

func (p permanentError) Unwrap() error { return p.error }

// patience is how failures are waited out. The zero value is the constants above; tests shorten it.
type patience struct {
	first, stall time.Duration
}

// retry makes attempts at f until it succeeds, fails for good, or ctx ends.
func (p patience) retry(ctx context.Context, f func() error) error {
	pause := firstPause
	if p.first > 0 {
		pause = p.first
	}
	for attempt := 1; ; attempt++ {
		err := f()
		var permanent permanentError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &permanent):
			return permanent.error
		case attempt == attempts:
			return fmt.Errorf("%w (%d attempts)", err, attempts)
		}
		wait := rand.N(pause)
		var later retryAfter
		if errors.As(err, &later) {
			wait = later.wait
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		pause = min(2*pause, longestPause)
	}
}

// watch returns a context that ends when alive has not been called for the stall timeout. stop frees
// it; explain tells a stall from other errors.
func (p patience) watch(ctx context.Context) (watched context.Context, alive func(), stop func()) {
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

// receive copies body to write until it ends or has brought want bytes, and returns how many were
// written. An error in writing is permanent: the disk is full, and downloading again does not help.
func receive(body io.Reader, want int64, alive func(), write func([]byte) error, buf []byte) (int64, error) {
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
