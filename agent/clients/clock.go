package clients

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A server's clock can be hours off until its time is set, which a launch need not wait for: what counts for Auto Scaling
// is AWS's own time, and durations are the monotonic clock's. The SDK signs with the time of the answers it gets.

const (
	// clockTolerance: the Date of an answer is of whole seconds, and on its way for some. A clock that is nearer is right.
	clockTolerance = time.Minute
	// maxSkew is what AWS refuses signatures for, and so what is logged.
	maxSkew = 5 * time.Minute
)

// Clock is how far AWS's clock is ahead of this server's, as the answers of metadata and of Auto Scaling are dated. A
// nil one knows nothing. It is safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// observe takes note of an answer.
func (c *Clock) observe(head http.Header) {
	date, err := http.ParseTime(head.Get("Date"))
	if c == nil || err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead = time.Until(date).Round(time.Second); c.ahead.Abs() < clockTolerance {
		c.ahead = 0
	}
}

// Ahead is how far AWS's clock is ahead, 0 when it is near.
func (c *Clock) Ahead() time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead
}

// Here is a time of AWS's clock on this server's. From it on, what passes is counted by the monotonic clock, also
// when the time is set meanwhile.
func (c *Clock) Here(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now) - c.Ahead())
}

// ofMetadata makes a client of metadata report its Dates.
func (c *Clock) ofMetadata(o *imds.Options) { o.HTTPClient = dated{o.HTTPClient, c} }

// ofAutoScaling makes a client of a service report its Dates.
func (c *Clock) ofAutoScaling(calls *middleware.Stack) error {
	return calls.Deserialize.Add(middleware.DeserializeMiddlewareFunc("DateOfAnswer", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error) {
		out, about, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer != nil {
			c.observe(answer.Header)
		}
		return out, about, err
	}), middleware.After)
}

// dated is an HTTP client whose answers the clock sees.
type dated struct {
	imds.HTTPClient
	clock *Clock
}

func (d dated) Do(r *http.Request) (*http.Response, error) {
	answer, err := d.HTTPClient.Do(r)
	if err == nil {
		d.clock.observe(answer.Header)
	}
	return answer, err
}

// Problem is what is wrong with this server's clock, for a person to read; "" when nothing is.
func (c *Clock) Problem() string {
	switch off := c.Ahead(); {
	case off > maxSkew:
		return fmt.Sprintf("the clock of this server is %s behind AWS's", off.Round(time.Minute))
	case off < -maxSkew:
		return fmt.Sprintf("the clock of this server is %s ahead of AWS's", (-off).Round(time.Minute))
	}
	return ""
}
