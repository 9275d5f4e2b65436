package retry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var errReset = errors.New("connection reset by peer") // which the SDK knows by its text

// answer is the error that an answer of a service is.
func answer(status int, code string) error {
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: &smithy.GenericAPIError{Code: code}}
}

// later asks for a pause.
type later struct{ error }

func (later) RetryAfter() time.Duration { return 42 * time.Second }

// When calls are made, and what comes of them.
func TestDo(t *testing.T) {
	backoff := Backoff{Min: time.Second, Max: 4 * time.Second}
	throttled := new(Limiter)
	for _, test := range []struct {
		name    string
		policy  Policy
		answers []error // the last one again and again
		at      string  // seconds
		err     error
	}{
		{"the first is well", Policy{}, []error{nil}, "0", nil},
		{"the zero policy makes it once", Policy{}, []error{errReset, nil}, "0", errReset},
		{"until it is well", Policy{Backoff: backoff, Attempts: 9}, []error{errReset, errReset, errReset, errReset, nil}, "0 1 3 7 11", nil},
		{"attempts", Policy{Backoff: backoff, Attempts: 3}, []error{errReset}, "0 1 3", errReset},
		{"attempts go before the timeout", Policy{Backoff: backoff, Attempts: 3, Timeout: 1}, []error{errReset}, "0 1 3", errReset},
		{"timeout", Policy{Backoff: backoff, Timeout: 6 * time.Second}, []error{errReset}, "0 1 3 7", errReset},
		{"not retryable", Policy{Backoff: backoff, Attempts: 3}, []error{errDenied}, "0", errDenied},
		{"one's own idea of it", Policy{Backoff: backoff, Attempts: 3, Retryable: func(err error) bool { return err == errDenied }}, []error{errDenied, errReset}, "0 1", errReset},
		{"the service says when", Policy{Backoff: backoff, Attempts: 3}, []error{fmt.Errorf("wrapped: %w", later{errReset}), nil}, "0 42", nil},
		{"a limiter that heard nothing", Policy{Backoff: backoff, Attempts: 3, Limiter: throttled}, []error{errThrottled, nil}, "0 1", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var at []string
				notified := 0
				test.policy.Notify = func(error, time.Duration) { notified++ }
				err := test.policy.Do(t.Context(), func() error {
					at = append(at, fmt.Sprint(time.Since(began).Seconds()))
					return test.answers[min(len(at), len(test.answers))-1]
				})
				if err != test.err || notified != len(at)-1 {
					t.Errorf("got %v, want %v; %d calls, and %d notices", err, test.err, len(at), notified)
				}
				if got := strings.Join(at, " "); got != test.at {
					t.Errorf("calls at %s, want %s", got, test.at)
				}
			})
		})
	}
}

// After a throttled call the limiter's pause counts, which other calls may have made longer.
func TestDoWaitsForTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter, began, calls := new(Limiter), time.Now(), 0
		err := Policy{Backoff: Backoff{Min: time.Second, Max: time.Second}, Timeout: time.Hour, Limiter: limiter}.Do(t.Context(), func() error {
			return limiter.Do(t.Context(), func() error {
				if calls++; calls == 1 {
					return errThrottled
				}
				return nil
			})
		})
		if waited := time.Since(began); err != nil || waited < minThrottlePause/2 || waited > minThrottlePause {
			t.Errorf("waited %s: %v", waited, err)
		}
	})
}

// Whoever ends a call for a reason is told that reason; an error of its own is not lost to the end.
func TestDoEndsWithItsContext(t *testing.T) {
	deadline := errors.New("the deployment took too long")
	for _, test := range []struct {
		name   string
		cancel error
		answer error
		want   error
	}{
		{"an interrupted call", deadline, context.Canceled, deadline},
		{"an interrupted call and no reason", nil, context.Canceled, context.Canceled},
		{"a call that failed by itself", deadline, errReset, errReset},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			calls := 0
			err := Policy{Attempts: 5, Backoff: Backoff{Min: time.Hour, Max: time.Hour}}.Do(ctx, func() error { calls++; cancel(test.cancel); return test.answer })
			if err != test.want || calls != 1 {
				t.Errorf("%d calls: %v, want %v", calls, err, test.want)
			}
		})
	}
	t.Run("in a pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, deadline)
			defer cancel()
			began := time.Now()
			err := Policy{Attempts: 5, Backoff: Backoff{Min: time.Hour, Max: time.Hour}}.Do(ctx, func() error { return errReset })
			if err != errReset || time.Since(began) != time.Minute {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		})
	})
}

// Pauses double up to their limit, and only the jitter of them is random.
func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		jitter float64
		want   string
	}{
		{0, "1s-1s 2s-2s 4s-4s 5s-5s 5s-5s"},
		{0.5, "500ms-1s 1s-2s 2s-4s 2.5s-5s 2.5s-5s"},
		{1, "0s-1s 0s-2s 0s-4s 0s-5s 0s-5s"},
	} {
		b := Backoff{Min: time.Second, Max: 5 * time.Second, Jitter: test.jitter}
		var got []string
		for try := range 5 {
			longest := b.Longest(try)
			shortest := longest - time.Duration(float64(longest)*test.jitter)
			got = append(got, fmt.Sprintf("%s-%s", shortest, longest))
			seen := map[time.Duration]bool{}
			for range 100 {
				d := b.Next(try)
				seen[d] = true
				if d < shortest || d > longest {
					t.Errorf("jitter %v, try %d: %s", test.jitter, try, d)
				}
			}
			if random := len(seen) > 50; random != (test.jitter > 0) {
				t.Errorf("jitter %v, try %d: %d of 100 pauses differ", test.jitter, try, len(seen))
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("jitter %v: %s, want %s", test.jitter, got, test.want)
		}
	}
	b := Backoff{Min: 20 * time.Second, Max: time.Minute, Jitter: 0.5}
	for _, try := range []int{-1, 63, 1 << 30} {
		if d := b.Next(try); d < 10*time.Second || d > time.Minute {
			t.Errorf("try %d: %s", try, d)
		}
	}
}

// Which errors pass: for a server with a role, for anybody, and by what a service answered.
func TestClassifiers(t *testing.T) {
	for _, test := range []struct {
		name                             string
		err                              error
		retryable, transient, notRefused bool
	}{
		{"throttled", errThrottled, true, true, true},
		{"too many requests", answer(429, "Unknown"), false, true, true},
		{"slow down", answer(503, "SlowDown"), true, true, true},
		{"the service failed", answer(500, "InternalFailure"), true, true, true},
		{"not implemented", answer(501, "NotImplemented"), false, true, false},
		{"the connection was lost", errReset, true, true, true},
		{"no such name", fmt.Errorf("wrapped: %w", &net.DNSError{Err: "no such host", IsNotFound: true}), true, false, true},
		{"expired credentials", answer(400, "ExpiredTokenException"), true, false, false},
		{"a clock that is wrong", answer(403, "RequestTimeTooSkewed"), true, false, false},
		{"a certificate that is not valid yet", x509.CertificateInvalidError{Reason: x509.Expired}, true, false, true},
		{"a certificate of somebody else", x509.CertificateInvalidError{Reason: x509.NameMismatch}, false, false, true},
		{"no credentials yet", errors.New("get identity: failed to refresh cached credentials, no EC2 IMDS role found"), true, false, true},
		{"denied", answer(403, "AccessDenied"), false, false, false},
		{"not there", answer(404, "NoSuchKey"), false, false, false},
		{"of our own", errors.New("the bundle is damaged"), false, false, true},
	} {
		if r, tr, n := Retryable(test.err), Transient(test.err), NotRefused(test.err); r != test.retryable || tr != test.transient || n != test.notRefused {
			t.Errorf("%s: retryable %t, transient %t, not refused %t", test.name, r, tr, n)
		}
	}
	if !NotRefused(answer(400, "ExpiredTokenException"), "ExpiredTokenException") || NotRefused(answer(403, ""), "") {
		t.Error("codes that pass are those that are named")
	}
	if !Denied(answer(403, "Forbidden")) || Denied(answer(400, "ExpiredToken")) || Denied(errReset) || !Expired(answer(400, "ExpiredToken")) {
		t.Error("what is denied is what may not, and expired is not")
	}
}

// The same failure is logged when it begins, then ever more rarely; another at once.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Repeats
		began := time.Now()
		var logged []string
		for try := range 240 { // an hour
			if count, due := r.Due(fmt.Sprintf("dial tcp 10.0.0.1:%d: timeout, RequestID: %x", 30000+try, try)); due {
				logged = append(logged, time.Since(began).String()+count)
			}
			time.Sleep(15 * time.Second)
		}
		want := "0s, 1m0s (5 times in 1m0s), 3m0s (13 times in 3m0s), 7m0s (29 times in 7m0s), 15m0s (61 times in 15m0s), 31m0s (125 times in 31m0s), 47m0s (189 times in 47m0s)"
		if got := strings.Join(logged, ", "); got != want {
			t.Errorf("logged at\n%s, want\n%s", got, want)
		}
		if count, due := r.Due("access denied"); !due || count != "" {
			t.Errorf("another failure: %t %q", due, count)
		}
		time.Sleep(repeatReset + time.Second)
		if count, due := r.Due("access denied"); !due || count != "" {
			t.Errorf("one that comes back after long: %t %q", due, count)
		}
	})
	if _, due := (*Repeats)(nil).Due("anything"); !due {
		t.Error("nil does not log everything")
	}
}
