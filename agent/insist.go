package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"usher/agent/lifecycle"
)

// insist repeats a call that fails for a reason that may pass, for as long as the configuration's
// patience. Replacing the instance would not help against an outage.
func (a *agent) insist(ctx context.Context, call func() error) error {
	return a.insistWhile(ctx, a.passes, call)
}

// insistWhile is insist with its own idea of what may pass.
func (a *agent) insistWhile(ctx context.Context, passes func(error) bool, call func() error) error {
	began := time.Now()
	for try := 0; ; try++ {
		err := call()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return because(ctx, err)
		case !passes(err) || time.Since(began) > a.cfg.RetryTimeout:
			return err
		}
		next := min(retryFirst<<min(try, 10), retryMost)
		next += time.Duration(float64(next) * retryJitter * randomShare())
		if lifecycle.Throttled(err) { // the crowd's pause, unless it was a call that the crowd knows nothing of
			next = cmp.Or(a.crowd.Left(), next)
		}
		told := err
		if refused(err) {
			told = fmt.Errorf("%w (what a new role may do is not known everywhere at once: tried until %s after the launch)", err, propagation)
		}
		a.again("trying again", next, told)
		a.notify.Status("waiting: %v", err)
		a.notify.Alive()
		if !a.pause(ctx, next) {
			return because(ctx, err)
		}
	}
}

const (
	// retryFirst and retryMost are between tries on top of the SDK's own, which take some seconds each.
	retryFirst, retryMost = time.Second, 20 * time.Second
	// retryJitter keeps a fleet that lost S3 together from coming back together.
	retryJitter = 0.3
	// propagation: a role, its policy, its instance profile and its keys reach every service within seconds, in bad times
	// within a minute or two (IAM is eventually consistent). What is refused later than this after the launch is refused.
	// A launch without the permission fails that much later.
	propagation = 3 * time.Minute
)

// passes says whether an error of a call to AWS can go away by itself, on this server and now.
func (a *agent) passes(err error) bool {
	return mayPass(err) || refused(err) && !a.me.PendingTime.IsZero() && time.Since(a.me.PendingTime) < propagation
}

// mayPass says whether an error can go away by itself: what the SDK itself retries, credentials that metadata does not
// have yet, and names that do not resolve yet. In the first seconds of a boot a resolver without its upstream says that
// a name does not exist, which the SDK takes for an answer; no endpoint that usher asks is without a name for long.
func mayPass(err error) bool {
	if errors.As(err, new(*net.DNSError)) {
		return true
	}
	return retry.IsErrorRetryables(append([]retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: map[string]struct{}{
		"ExpiredToken": {}, "ExpiredTokenException": {}, "RequestTimeTooSkewed": {},
	}}}, append(retry.DefaultRetryables, retry.IsErrorRetryableFunc(noCredentials))...)).IsErrorRetryable(err) == aws.TrueTernary ||
		notYetValid(err)
}

// refused recognises the answers by which a service says that it does not know who asks, or that they may not. Forbidden
// is what S3's answer to HeadObject, which has no body, is called.
func refused(err error) bool {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return false
	}
	switch e.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedOperation", "NotAuthorized", "AuthFailure",
		"UnrecognizedClientException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
		"SignatureDoesNotMatch", "InvalidSignatureException":
		return true
	}
	return false
}

// notYetValid recognises a certificate whose time has not come, or is over: of AWS's that is a clock that is wrong.
func notYetValid(err error) bool {
	var bad x509.CertificateInvalidError
	return errors.As(err, &bad) && bad.Reason == x509.Expired
}

// because is err, unless work was ended in ctx for a reason of its own: then that is what a person is to read, and not
// how a call put it that was cut off.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || errors.Is(cause, context.Canceled) || !errors.Is(err, context.Canceled) {
		return err
	}
	return cause
}
