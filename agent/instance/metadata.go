// Package instance answers "who am I": the identity of this EC2 instance, the tags that configure
// usher, and where Auto Scaling is taking the instance. All of it comes from the instance metadata
// service, so it needs no permissions and no configuration.
//
// IMDSv2 only: there is no fall back to IMDSv1, also where IMDSv1 would answer. The endpoint is EC2's
// own, over IPv6 with AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=IPv6, or AWS_EC2_METADATA_SERVICE_ENDPOINT,
// as with every AWS SDK. Requests never use a proxy:
// the metadata service answers the instance itself and nobody else.
//
// Caveats. Metadata has no current lifecycle state, only the one aimed at (TargetLifecycleState).
// Tags are visible only when the launch template sets InstanceMetadataTags=enabled, and on instances
// that are not on Nitro a changed tag is seen after a stop and start only.
package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// The metadata service is one hop away and answers in about a millisecond, so waiting long for one
// attempt only delays the next. The times are generous for an instance that is busy booting.
const (
	dialTimeout   = 500 * time.Millisecond // to be connected
	headerTimeout = time.Second            // to the first byte of an answer

	// callTimeout bounds one question with all its attempts. The SDK has the same bound, but only for
	// a context without a deadline, and a launch has one: an hour of it must not go to one question.
	callTimeout = 5 * time.Second

	// attempts is how often one question is asked: the second is for a stale session token or a lost
	// packet, the third for both. What lasts longer is for the caller, who knows what it waits for.
	attempts = 3

	// attemptPause is the longest time between two attempts, with full jitter. The SDK's is one second
	// for each, which at a launch is most of what the whole identity takes.
	attemptPause = 100 * time.Millisecond
)

// maxValue bounds what is read of an answer. The longest we ask for, the list of an instance's tags,
// is 50 keys of 128 characters.
const maxValue = 64 << 10

// Metadata asks the instance metadata service. It is safe for concurrent use; one per process is
// enough, and all questions then share one session token.
type Metadata struct {
	client   *imds.Client
	endpoint string // "" is EC2's
	mode     imds.EndpointModeState

	session chan struct{} // closed when the first session token has arrived: what is asked beside something else waits for it
	opened  sync.Once     // closes it

	mu     sync.Mutex // guards what follows
	target string     // the target lifecycle state that identity saw, for the next question; "": none
	seen   time.Time  // when
}

// NewMetadata is the instance's metadata service. The options come last and win, except that IMDSv1
// stays off; they are for a logger or a client of the caller's own.
func NewMetadata(options ...func(*imds.Options)) *Metadata {
	m := &Metadata{session: make(chan struct{})}
	o := imds.Options{
		HTTPClient: httpClient(),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return rand.N(attemptPause), nil })
			o.RateLimiter = ratelimit.None // the callers' own pauses keep the rate down
		}),
		DisableDefaultMaxBackoff: true,
		EndpointMode:             endpointMode(),
	}
	last := func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.HTTPClient = watched{client: o.HTTPClient, opened: func() { m.opened.Do(func() { close(m.session) }) }}
		m.endpoint, m.mode = cmp.Or(o.Endpoint, os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")), o.EndpointMode
	}
	m.client = imds.New(o, append(options[:len(options):len(options)], last)...)
	return m
}

// endpointMode is which of EC2's own addresses is asked, as AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE says: the SDK reads the
// variable only for a client that is made of its shared configuration. One that is neither IPv4 nor IPv6 is nothing.
func endpointMode() (mode imds.EndpointModeState) {
	if mode.SetFromString(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")) != nil {
		return imds.EndpointModeStateUnset
	}
	return mode
}

// httpClient is the way to the metadata service.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = headerTimeout
			t.Proxy = nil // HTTP_PROXY is for the way out; few remember NO_PROXY=169.254.169.254
		})
}

// Client is the SDK's client behind m, for what else the SDK gets from metadata: give it to
// ec2rolecreds, and the role's credentials keep the rules of this package too.
func (m *Metadata) Client() *imds.Client { return m.client }

// Endpoint is where m asks, for a person to read: EC2's own, or the environment's.
func (m *Metadata) Endpoint() string {
	switch {
	case m.endpoint != "":
		return m.endpoint
	case m.mode == imds.EndpointModeStateIPv6:
		return "http://[fd00:ec2::254]"
	}
	return "http://169.254.169.254"
}

// TargetLifecycleState is the lifecycle state that Auto Scaling is taking this instance to
// (autoscaling/target-lifecycle-state): InService, Terminated, Detached, Standby, Warmed:Hibernated,
// Warmed:Running, Warmed:Stopped or Warmed:Terminated. It is InService during Pending:Wait as well as
// in service. It is "" when the service does not say: no group, or none yet. A value not listed here
// is returned as it is: Auto Scaling adds states now and then. What [Metadata.Discover] saw of it within targetFresh is
// the answer to one question.
func (m *Metadata) TargetLifecycleState(ctx context.Context) (string, error) {
	m.mu.Lock()
	state, fresh := m.target, time.Since(m.seen) < targetFresh
	m.target = ""
	m.mu.Unlock()
	if state != "" && fresh {
		return state, nil
	}
	state, _, err := m.value(ctx, targetState)
	return state, err
}

const targetState = "autoscaling/target-lifecycle-state"

// targetFresh is how long the state that was read beside the identity is the present one: the agent asks for it some
// milliseconds later. A state that has changed meanwhile would be seen as late by a question of its own.
const targetFresh = time.Second

// readTarget reads the target lifecycle state for the next question of it. What goes wrong is that question's matter.
func (m *Metadata) readTarget(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	state, _, err := m.value(ctx, targetState)
	if err != nil {
		state = ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.target, m.seen = state, time.Now()
}

// Ready waits until the service has given a session token, and says whether it has before ctx ended. What is asked then
// costs one round trip, and nothing is asked of a service that is not there yet.
func (m *Metadata) Ready(ctx context.Context) bool {
	select {
	case <-m.session:
	case <-ctx.Done():
	}
	select {
	case <-m.session:
		return true
	default:
		return false
	}
}

// Tag is the value of this instance's tag key (tags/instance/KEY). ok is false when there is no such
// tag, and also when the launch template does not show tags in metadata.
func (m *Metadata) Tag(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || key == "." || key == ".." || strings.ContainsAny(key, "/ ") {
		// EC2 refuses to show tags in metadata when a key is like this, so none can exist there.
		return "", false, fmt.Errorf("cannot read tag %q from instance metadata: no tag with such a key can be shown there", key)
	}
	return m.value(ctx, "tags/instance/"+key)
}

// value is the metadata at path without surrounding white space; ok is false when there is none.
func (m *Metadata) value(ctx context.Context, path string) (value string, ok bool, err error) {
	seen, err := m.ask(ctx, func(ctx context.Context) error {
		out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			return err
		}
		defer out.Content.Close()
		text, err := io.ReadAll(io.LimitReader(out.Content, maxValue))
		value = strings.TrimSpace(string(text))
		return err
	})
	if seen.item == http.StatusNotFound {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot read meta-data/%s: %w", path, err)
	}
	return value, true, nil
}

// ErrSwitchedOff says that this process was told not to use the metadata service
// (AWS_EC2_METADATA_DISABLED=true). Waiting does not help.
var ErrSwitchedOff = errors.New("AWS_EC2_METADATA_DISABLED=true keeps usher from the instance metadata service: " +
	"remove it from the agent's environment (/etc/default/usher)")

// SwitchedOff says whether this process was told not to use the metadata service: see [ErrSwitchedOff].
func SwitchedOff() bool { return strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") }

// ask runs one question under callTimeout, and explains its error by the answers that were seen.
func (m *Metadata) ask(ctx context.Context, question func(context.Context) error) (statuses, error) {
	if SwitchedOff() {
		return statuses{}, ErrSwitchedOff
	}
	var seen statuses
	callCtx, cancel := context.WithTimeout(context.WithValue(ctx, statusKey{}, &seen), callTimeout)
	defer cancel()
	err := question(callCtx)
	if err != nil && ctx.Err() == nil {
		err = explain(seen, err)
	}
	return seen, err
}

// explain puts what an operator can do in front of the SDK's error.
func explain(seen statuses, err error) error {
	switch {
	case seen.token == http.StatusForbidden:
		return fmt.Errorf("the metadata service refuses a session token (403), it is switched off for this instance: "+
			"set HttpEndpoint=enabled in the metadata options of the launch template: %w", err)
	case seen.item == http.StatusForbidden:
		return fmt.Errorf("the metadata service refuses the request (403): "+
			"look for a firewall or a proxy for containers between usher and the metadata service: %w", err)
	case seen.token == http.StatusNotFound, seen.token == http.StatusMethodNotAllowed:
		return fmt.Errorf("the metadata service has no session tokens (%d), so it does not speak IMDSv2: %w", seen.token, err)
	case seen.token == 0 && seen.item == 0:
		return fmt.Errorf("the metadata service does not answer: %w", err)
	}
	return err
}

// statuses are the last HTTP statuses seen during one question: of the request for a session token,
// and of the item itself; 0 when there was no answer. They are kept here because the SDK hides the
// answer to a token request from errors.As.
type statuses struct{ token, item int }

type statusKey struct{}

// watched notes the statuses that pass through an HTTP client.
type watched struct {
	client imds.HTTPClient
	opened func() // a session token has arrived
}

func (w watched) Do(r *http.Request) (*http.Response, error) {
	answer, err := w.client.Do(r)
	// One question is asked by one goroutine, one request after the other: no lock.
	if seen, ok := r.Context().Value(statusKey{}).(*statuses); ok && err == nil {
		if r.Method == http.MethodPut {
			seen.token = answer.StatusCode
		} else {
			seen.item = answer.StatusCode
		}
	}
	if err == nil && r.Method == http.MethodPut && answer.StatusCode == http.StatusOK {
		w.opened()
	}
	return answer, err
}
