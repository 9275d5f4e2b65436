package standin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Account is the AWS account everything in a Cloud belongs to.
const Account = "123456789012"

// region is where every Cloud is: the S3 gateway they share has one.
const region = "eu-west-1"

// Options say how a Cloud behaves; the zero value is a fast and faultless AWS.
type Options struct {
	// Latency is added to every call of Auto Scaling and CodeDeploy.
	Latency time.Duration

	// Rate and Burst are the request budget (calls a second, and how many at once) that all calls of
	// Auto Scaling share, as the calls of one account and region do. Beyond it a call is answered with
	// Throttling. Rate 0: no limit.
	Rate  float64
	Burst int

	// CodeDeployRate and CodeDeployBurst are the same for the calls of CodeDeploy. Host commands are another service,
	// and have no limit.
	CodeDeployRate  float64
	CodeDeployBurst int

	// LongPoll is how long PollHostCommand waits when no command waits for the instance; default 45 s, as
	// the service has been seen to.
	LongPoll time.Duration

	// Eventual is how far the answers that describe something are behind what has happened: the state of an instance
	// behind its metadata and behind CompleteLifecycleAction, a hook behind PutLifecycleHook, a deployment group
	// behind the deployment that has ended. What the Go API sets up was there long ago, and is seen at once. 0: never.
	Eventual time.Duration

	// ClockAhead is how far AWS's clock is ahead of this machine's, as that of a server whose time was not set yet is
	// behind; negative: behind.
	ClockAhead time.Duration

	// Observe is told of every answer of the control plane, as it is on the wire, before the client gets it. It may be
	// called by several goroutines at once, until Close has returned.
	Observe func(Exchange)

	// Silent keeps the line the S3 gateway prints when it starts off standard output, for a program that
	// is watched by people. Nothing else may print while Start runs: it swaps os.Stdout.
	Silent bool
}

// Cloud is one account in one region of AWS, on loopback.
type Cloud struct {
	Endpoint   string // of Auto Scaling and CodeDeploy, "http://127.0.0.1:PORT"
	S3Endpoint string // of S3, "http://127.0.0.1:PORT"
	Region     string
	AccessKey  string // a user's credentials, which do not expire; instances have their own
	SecretKey  string
	Bucket     string // a versioned bucket of this Cloud, and of no other in the process

	options Options
	fleet   *fleet
	deploys *deployments
	calls   *callLog
	imds    *callLog
	faults  *faultList
	budgets map[string]*budget // by service
	gateway *gateway
	began   time.Time
	ahead   atomic.Int64 // nanoseconds: Options.ClockAhead, or what it was changed to
	stop    context.CancelFunc
	stopped context.Context // ends with Close: a delayed answer does not hold it up
	under   sync.WaitGroup  // instance refreshes
	roles   sync.Map        // of Role, by name

	mu      sync.Mutex
	ports   []*port
	closed  bool
	forgery EnvelopeFault // what is wrong with the envelopes of the host commands
}

// newCloud is an account that nobody can reach yet.
func newCloud(o Options) *Cloud {
	if o.LongPoll == 0 {
		o.LongPoll = defaultLongPoll
	}
	c := &Cloud{
		Region:  region,
		Bucket:  "revisions-" + randomHex(8),
		options: o,
		fleet:   newFleet(region),
		calls:   newCallLog(),
		imds:    newCallLog(),
		faults:  &faultList{},
		budgets: map[string]*budget{
			autoScalingWire.name: newBudget(o.Rate, o.Burst),
			codeDeployWire.name:  newBudget(o.CodeDeployRate, o.CodeDeployBurst),
		},
		began: time.Now(),
	}
	c.SetClockAhead(o.ClockAhead)
	c.stopped, c.stop = context.WithCancel(context.Background())
	c.fleet.behind = o.Eventual
	c.deploys = newDeployments(c.fleet)
	c.deploys.behind = o.Eventual
	user := keys.issue(c, "", 0)
	c.AccessKey, c.SecretKey = user.key, user.secret
	return c
}

// Start makes an empty Cloud: no group, no application, one empty bucket.
func Start(o Options) (*Cloud, error) {
	c := newCloud(o)
	c.fleet.booted = c.startMetadata
	var err error
	if c.gateway, err = joinGateway(o.Silent); err != nil {
		c.Close()
		return nil, err
	}
	if c.Endpoint, err = c.serve(c.dated(http.HandlerFunc(c.serveControl))); err == nil {
		c.S3Endpoint, err = c.serve(c.s3Front())
	}
	if err == nil {
		err = c.CreateBucket(c.Bucket, true)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// serve starts a server on a free port of loopback and returns its endpoint.
func (c *Cloud) serve(h http.Handler) (string, error) {
	p, err := c.reservePort()
	if err != nil {
		return "", err
	}
	return p.endpoint(), p.open(h)
}

// Close ends every server and timer, and the Cloud's share of the S3 gateway. Requests under way are cut
// off, and clients get refused connections from then on. A second Close does nothing.
func (c *Cloud) Close() {
	c.stop()
	c.under.Wait()
	c.fleet.close()
	c.deploys.close()
	c.mu.Lock()
	ports, again := c.ports, c.closed
	c.ports, c.closed = nil, true
	c.mu.Unlock()
	if again {
		return
	}
	for _, p := range ports {
		p.release()
	}
	if c.gateway != nil {
		c.gateway.leave(c)
	}
	keys.revoke(c)
}

// Environ is what an agent on the instance needs to find this AWS: the SDK's own endpoint
// variables, and two that keep the configuration of whoever runs the test out. Credentials and
// region come from the instance's metadata, as on EC2: give the agent no other AWS_* variable.
func (c *Cloud) Environ(inst *Instance) []string {
	return append(c.endpoints(), "AWS_EC2_METADATA_SERVICE_ENDPOINT="+inst.MetadataEndpoint)
}

// CLIEnviron is what a person's AWS CLI or SDK needs: endpoints, region and a user's credentials.
func (c *Cloud) CLIEnviron() []string {
	return append(c.endpoints(),
		"AWS_REGION="+c.Region,
		"AWS_DEFAULT_REGION="+c.Region, // the one AWS CLI version 1 reads
		"AWS_ACCESS_KEY_ID="+c.AccessKey,
		"AWS_SECRET_ACCESS_KEY="+c.SecretKey,
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=",
	)
}

// endpoints are the variables both kinds of client need.
func (c *Cloud) endpoints() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + c.Endpoint,
		"AWS_ENDPOINT_URL_S3=" + c.S3Endpoint,
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// randomHex returns n random hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, (n+1)/2)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)[:n]
}

// newUUID returns a random UUID, the form of the services' request ids and tokens.
func newUUID() string {
	h := randomHex(32)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// pause waits for d, or until a client has gone or the Cloud is closed.
func (c *Cloud) pause(ctx context.Context, d time.Duration, until <-chan struct{}) error {
	if until != nil {
		select {
		case <-until:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.stopped.Done():
			return errors.New("the cloud is closed")
		}
	}
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopped.Done():
		return errors.New("the cloud is closed")
	}
}
