package hostcommand

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"usher/agent/retry"
)

// Durations and limits.
const (
	// pollTimeout: the service holds a poll for about 45 s, and was seen to hold it for 61.
	pollTimeout = 80 * time.Second
	// callTimeout is for one attempt of the other calls, and of a poll for its body once its answer has begun; they are
	// answered in 20 to 50 ms.
	callTimeout = 8 * time.Second
	// connectTimeout is for the connection, and again for TLS. A network that needs longer is broken.
	connectTimeout = 10 * time.Second
	// idleTimeout: between two events there may be minutes of a script; a NAT forgets sooner or later.
	idleTimeout = 90 * time.Second
	// maxAnswer bounds what is read of an answer. The largest is a specification, of some kilobytes.
	maxAnswer = 1 << 20
)

// Options are who asks, and whom.
type Options struct {
	Region   string         // "eu-west-1"
	Domain   string         // of AWS; "" is that of the Region's partition: amazonaws.com, amazonaws.com.cn for cn-*
	Endpoint string         // "" is that of the Region, without FIPS or IPv6: see Endpoint
	Secure   bool           // the Endpoint is of codedeploy-commands-secure, which asks IAM
	RootCAs  *x509.CertPool // who may have signed the endpoint's certificate; nil: the system's authorities
	Host     string         // ARN of the instance: arn:PARTITION:ec2:REGION:ACCOUNT:instance/i-…
	Version  string         // of usher; every request says it
	SignerCA *x509.CertPool // who may have signed a specification; nil: anybody, and it is reported
	Notify   func(Event)    // what a person may want to read; nil: dropped. Called by the calls' own goroutines
	HTTP     *http.Client   // nil: one of its own, with proxies from the environment
	// Credentials sign every call. A *aws.CredentialsCache is invalidated when the service says that they
	// have expired.
	Credentials aws.CredentialsProvider
}

// Client talks to the service for one instance. Its methods may be called concurrently.
type Client struct {
	opt      Options
	stack    stack
	endpoint string
	signer   string // name of the one who signs specifications
	http     *http.Client
	sigv4    *v4.Signer
	failures failureLog   // of polls
	ahead    atomic.Int64 // nanoseconds that the service's clock is ahead of ours, which is wrong: requests are signed by the service's
	signers  sync.Map     // by fingerprint and remark: who was reported

	// These are the service's and the clock's; tests change them before the first call.
	retries retry.Policy // of one call
	backoff func(failures int, throttled bool) time.Duration
	now     func() time.Time
}

// New makes a client. Nothing is called yet.
func New(o Options) *Client {
	if o.Domain == "" {
		o.Domain = domainOf(o.Region)
	}
	c := &Client{
		opt:      o,
		stack:    stackOf(o.Secure),
		endpoint: strings.TrimSuffix(o.Endpoint, "/") + "/",
		signer:   "codedeploy-signer-" + o.Region + "." + o.Domain,
		sigv4:    v4.NewSigner(),
		retries:  callRetries,
		backoff:  backoff,
		now:      time.Now,
	}
	if o.Endpoint == "" { // a Region that is none has none: then every call says so
		e, _ := Endpoint(context.Background(), Place{Region: o.Region, Secure: o.Secure})
		c.endpoint = e + "/"
	}
	client := http.Client{Transport: transport(o.RootCAs)}
	if o.HTTP != nil {
		client = *o.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a signed request goes where it was signed for, or nowhere
	}
	c.http = &client
	return c
}

// Endpoint is the URL that c asks, for a person to read.
func (c *Client) Endpoint() string { return strings.TrimSuffix(c.endpoint, "/") }

// transport has no limit on how long an answer takes to begin: a poll's is a minute, and every attempt has
// its own context. It speaks HTTP/1.1, where an attempt that timed out closes its connection; on a shared
// HTTP/2 connection that a NAT has dropped, every further attempt would time out too.
func transport(roots *x509.CertPool) *http.Transport {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout: connectTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		IdleConnTimeout:     idleTimeout,
		MaxIdleConnsPerHost: 2,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// Command is one thing the service wants done: a lifecycle event of a deployment.
type Command struct {
	ID        string // of this command, opaque
	Host      string // whom it is for; all of our ARN, or a part of it
	Execution string // of the deployment on this instance; it ends in the deployment's id
	Event     string // lifecycle event, such as "BeforeInstall"
	Nonce     int64
}

// UpdateAgent is the Command.Event of the one command that is no lifecycle event: AWS's own agents replace themselves
// on it. They acknowledge it as work to do, not as a noop, and complete it.
const UpdateAgent = "UpdateDeploymentAgent"

// Status is where a command stands at the service.
type Status string

// The statuses the service knows. It may also leave the status of an acknowledged command out: "".
const (
	Pending    Status = "Pending"
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded" // it has ended: it is not to be run
	Failed     Status = "Failed"    // likewise
)

// Poll asks once for a command, and waits at the service for one: about 45 s, then the answer is none
// (nil). A command that this package refuses is an error.
func (c *Client) Poll(ctx context.Context) (*Command, error) {
	in := struct{ HostIdentifier string }{c.opt.Host}
	var out struct {
		HostCommand *struct {
			HostCommandIdentifier, HostIdentifier, DeploymentExecutionId, CommandName string
			Nonce                                                                     int64
		}
	}
	if err := c.attempt(ctx, pollTimeout, "PollHostCommand", in, &out); err != nil {
		return nil, fmt.Errorf("cannot ask CodeDeploy for a command: %w", err)
	}
	h := out.HostCommand
	if h == nil {
		return nil, nil
	}
	cmd := &Command{ID: h.HostCommandIdentifier, Host: h.HostIdentifier, Execution: h.DeploymentExecutionId, Event: h.CommandName, Nonce: h.Nonce}
	if err := cmd.check(c.opt.Host); err != nil {
		return nil, fmt.Errorf("cannot accept the command that CodeDeploy sent: %w", err)
	}
	return cmd, nil
}

// check refuses a command that is not whole, or not for host.
func (c *Command) check(host string) error {
	switch {
	case c.ID == "":
		return errors.New("it has no identifier")
	case c.Event == "":
		return errors.New("it names no lifecycle event")
	case c.Execution == "":
		return fmt.Errorf("its event is %s, but of no deployment", c.Event)
	case c.Host == "" || !strings.Contains(host, c.Host):
		return fmt.Errorf("it is for %q, and this is %s", c.Host, host)
	}
	return nil
}

// Acknowledge tells the service that the command has arrived; noop, that there is no script to run for it.
// The answer is where the command stands: with Succeeded or Failed it has ended already, and is not to be
// run.
func (c *Client) Acknowledge(ctx context.Context, cmd Command, noop bool) (Status, error) {
	in := struct {
		HostCommandIdentifier string
		Diagnostics           diagnostics
	}{cmd.ID, diagnosticsOf(struct{ IsCommandNoop bool }{noop})}
	var out struct{ CommandStatus Status }
	if err := c.call(ctx, "PutHostCommandAcknowledgement", in, &out); err != nil {
		return "", fmt.Errorf("cannot acknowledge the command %s: %w", cmd.Event, err)
	}
	return out.CommandStatus, nil
}
