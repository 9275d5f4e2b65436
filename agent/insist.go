package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"usher/agent/lifecycle"
	"usher/systemd"
)

// insist repeats a call that fails for a reason that may pass, for as long as the configuration's
// patience. Replacing the instance would not help against an outage.
func (a *agent) insist(ctx context.Context, call func() error) error {
	return a.insistWhile(ctx, mayPass, call)
}

// insistWhile is insist with its own idea of what may pass.
func (a *agent) insistWhile(ctx context.Context, passes func(error) bool, call func() error) error {
	began := time.Now()
	for try := 0; ; try++ {
		err := call()
		if err == nil || ctx.Err() != nil || !passes(err) || time.Since(began) > a.cfg.Patience {
			return err
		}
		next := min(retryFirst<<min(try, 10), retryMost)
		next += time.Duration(float64(next) * retryJitter * randomShare())
		if lifecycle.Throttled(err) { // the crowd's pause, unless it was a call that the crowd knows nothing of
			next = cmp.Or(a.crowd.Left(), next)
		}
		a.log.Warn(fmt.Sprintf("trying again in %s: %v", took(next), err), systemd.ID(systemd.MessageRetrying))
		a.notify.Status("waiting: %v", err)
		a.notify.Alive()
		if !a.pause(ctx, next) {
			return context.Cause(ctx)
		}
	}
}

const (
	// retryFirst and retryMost are between tries on top of the SDK's own, which take some seconds each.
	retryFirst, retryMost = time.Second, 20 * time.Second
	// retryJitter keeps a fleet that lost S3 together from coming back together.
	retryJitter = 0.3
)

// mayPass says whether an error can go away by itself: what the SDK itself retries, and credentials that
// metadata does not have yet.
func mayPass(err error) bool {
	return retry.IsErrorRetryables(append([]retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: map[string]struct{}{
		"ExpiredToken": {}, "ExpiredTokenException": {}, "RequestTimeTooSkewed": {},
	}}}, append(retry.DefaultRetryables, retry.IsErrorRetryableFunc(noCredentials))...)).IsErrorRetryable(err) == aws.TrueTernary
}
