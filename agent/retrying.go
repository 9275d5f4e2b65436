//go:build linux && !developer

package main

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/format"
	"usher/agent/retry"
	"usher/systemd"
)

// serviceBackoff is between tries on top of the SDK's own, which take some seconds each. What is random in it keeps a fleet
// that lost S3 together from coming back together.
var serviceBackoff = retry.Backoff{Min: time.Second, Max: 20 * time.Second, Jitter: 0.3}

// propagation: a role, its policy, its instance profile and its keys reach every service within seconds, in bad times
// within a minute or two (IAM is eventually consistent). What is denied later than this after the launch is denied.
// A launch without the permission fails that much later.
const propagation = 3 * time.Minute

// retries is how a call of the agent that fails for a reason that may pass is made again: for as long as the configuration
// says. Replacing the instance would not help against an outage.
func (a *agent) retries() retry.Policy {
	return retry.Policy{Backoff: serviceBackoff, Timeout: a.cfg.RetryTimeout, Limiter: a.limiter, Retryable: a.retryable,
		Notify: func(err error, next time.Duration) {
			text := err
			if retry.Denied(err) {
				text = fmt.Errorf("%w (what a new role may do is not known everywhere at once: tried until %s after the launch)", err, propagation)
			}
			a.logRetry("trying again", next, text)
			a.notify.Status("waiting: %v", err)
			a.notify.Alive()
		}}
}

// retryable says whether an error of a call to AWS can go away by itself, on this server and now.
func (a *agent) retryable(err error) bool {
	return retry.Retryable(err) || retry.Denied(err) && !a.me().PendingTime.IsZero() && time.Since(a.me().PendingTime) < propagation
}

// logRetry warns of what has failed and will be tried again, after next unless that is 0; what may be "".
func (a *agent) logRetry(what string, next time.Duration, err error) {
	a.logRetryAs(systemd.MessageRetrying, what, next, err)
}

// logRetryAs is logRetry with another MESSAGE_ID.
func (a *agent) logRetryAs(id, what string, next time.Duration, err error) {
	a.logRepeated(zap.WarnLevel, id, what, next, err)
}

// logRepeated is logRetryAs at another level too.
func (a *agent) logRepeated(level zapcore.Level, id, what string, next time.Duration, err error) {
	count, due := a.repeats.Due(what + ": " + err.Error())
	if next > 0 {
		what += " in " + format.Duration(next)
	}
	text := err.Error() + count
	if what != "" {
		text = what + ": " + text
	}
	if !due {
		level = zap.DebugLevel
	}
	a.log.Log(level, text, systemd.ID(id))
}
