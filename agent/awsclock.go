package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/retry"
	"usher/systemd"
)

// A server's clock can be hours off until its time is set, which a launch need not wait for: what counts for Auto Scaling
// is AWS's own time, and durations are the monotonic clock's. The SDK signs with the time of the answers it gets.

const (
	// clockNear: the Date of an answer is of whole seconds, and on its way for some. A clock that is nearer is right.
	clockNear = time.Minute
	// clockWrong is what AWS refuses signatures for, and so what is said.
	clockWrong = 5 * time.Minute
	// clockTimeout is how long a deployment waits for the time to be set. chrony needs seconds. Most scripts do not mind, and
	// the calls to AWS are made all the same: it goes on then.
	clockTimeout = time.Minute
	clockEvery   = 2 * time.Second
)

// awsClock is how far AWS's clock is ahead of this server's, as the answers of metadata and of Auto Scaling are dated. A
// nil one knows nothing. It is safe for concurrent use.
type awsClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// saw takes note of an answer.
func (c *awsClock) saw(head http.Header) {
	date, err := http.ParseTime(head.Get("Date"))
	if c == nil || err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead = time.Until(date).Round(time.Second); c.ahead.Abs() < clockNear {
		c.ahead = 0
	}
}

// off is how far AWS's clock is ahead, 0 when it is near.
func (c *awsClock) off() time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// here is a time of AWS's clock on this server's. From it on, what passes is counted by the monotonic clock, also
// when the time is set meanwhile.
func (c *awsClock) here(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now) - c.off())
}

// ofMetadata makes a client of metadata tell its Dates.
func (c *awsClock) ofMetadata(o *imds.Options) { o.HTTPClient = dated{o.HTTPClient, c} }

// ofAutoScaling makes a client of a service tell its Dates.
func (c *awsClock) ofAutoScaling(calls *middleware.Stack) error {
	return calls.Deserialize.Add(middleware.DeserializeMiddlewareFunc("DateOfAnswer", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error) {
		out, about, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer != nil {
			c.saw(answer.Header)
		}
		return out, about, err
	}), middleware.After)
}

// dated is an HTTP client whose answers the clock sees.
type dated struct {
	imds.HTTPClient
	clock *awsClock
}

func (d dated) Do(r *http.Request) (*http.Response, error) {
	answer, err := d.HTTPClient.Do(r)
	if err == nil {
		d.clock.saw(answer.Header)
	}
	return answer, err
}

// clockText is what is wrong with the clock, "" when nothing is.
func (c *awsClock) text() string {
	switch off := c.off(); {
	case off > clockWrong:
		return fmt.Sprintf("the clock of this server is %s behind AWS's", off.Round(time.Minute))
	case off < -clockWrong:
		return fmt.Sprintf("the clock of this server is %s ahead of AWS's", (-off).Round(time.Minute))
	}
	return ""
}

// awaitTime gives what sets the time a while before a deployment begins. Metadata, which costs nothing, is what tells.
func (a *agent) awaitTime(ctx context.Context) {
	for began, said := time.Now(), false; a.clock.text() != ""; said = true {
		if !said {
			a.log.Warn(a.clock.text()+": waiting for the time to be set (is chrony enabled?). What AWS waits for is counted by its own clock", systemd.ID(systemd.MessageClockWrong))
		}
		if time.Since(began) > min(clockTimeout, a.cfg.RetryTimeout) {
			a.log.Error(a.clock.text()+", and its time is not being set: the deployment goes on. Enable chrony in the image", systemd.ID(systemd.MessageClockWrong))
			return
		}
		a.notify.Alive()
		if !retry.Pause(ctx, min(clockEvery, a.cfg.RetryTimeout)) {
			return
		}
		_, _ = a.metadata.TargetLifecycleState(ctx) // for its Date
	}
}
