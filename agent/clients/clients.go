// Package clients makes the AWS clients of a server's agent, once, and knows what they have in common: where credentials
// come from, how long an answer may take to begin, which proxy, endpoints and certificates the service's environment names, and
// how far this server's clock is off.
//
//	s := clients.New()                  // metadata
//	me, err := s.Discover(ctx, waiting) // who is this instance?
//	err := s.Connect(ctx, options)      // everything else; nothing is called yet
//
// The contract:
//
//   - Nothing is asked of AWS before the first call. The role's credentials come from metadata: at the first call, or beside
//     the identity that Discover asks for. Root's ~/.aws does not count.
//   - Credentials that AWS says have expired are dropped, and metadata is asked for new ones at the next call.
//   - The clients of Auto Scaling and CodeDeploy do not repeat throttled calls by themselves (see package retry); that of S3 does.
//   - [CheckEnvironment] finds every variable that cannot be used, before anybody is asked anything.
//   - What a person has to correct is a config.ErrInvalid.
//   - A clock that is wrong, or is set while a launch or a deployment is at work, ends nothing early or late: see below.
//   - Why a developer has no credentials is a CredentialsError, which names what failed, its profile and file, and what to do.
//
// # The time of a server
//
// Its clock may be hours off when it boots, and is set, forward or back, when chrony has found out. What counts on which clock:
//
//	pauses, timeouts of calls and of scripts, heartbeats, how long       the monotonic one
//	a script took, hold_timeout, retry_timeout, drift_check_interval
//	when a lifecycle action began, which its hook's global timeout       AWS's: the time of the launch, moved to this server's clock
//	is counted from                                                      by how far that is off ([Clock.Here]), and monotonic from there
//	signatures                                                           AWS's, as the Date of an answer has it: the SDK's clients
//	                                                                     correct themselves, and so does that of host commands
//	GitHub's rate limit                                                  GitHub's, by the Date of its answer
//	certificates of TLS and of the signers of specifications             this server's: one that is not valid yet is tried again
//	the journal, the record, the facts beside a release                  this server's: they may go back. A duration in them is monotonic,
//	                                                                     and the order of the record is that of its lines
//	what passes between two runs of the agent, by the record: how long   this server's: when it was set in between, by so much sooner or
//	a failed launch was held, when a server left its warm pool, 90       later. The hook's global timeout bounds the first two
//	minutes after a deployment
package clients

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"usher/agent/config"
	"usher/agent/hostcommand"
	"usher/agent/instance"
	"usher/agent/retry"
)

// Server are the clients of a server's agent. They are safe for concurrent use.
type Server struct {
	Metadata *instance.Metadata
	Clock    *Clock // what the answers of metadata and Auto Scaling say of this server's

	AWS         aws.Config // of the clients below, for more of them; they are nil before Connect
	AutoScaling *autoscaling.Client
	CodeDeploy  *codedeploy.Client
	S3          *s3.Client
	Commands    *hostcommand.Client // nil: CodeDeploy's deployments are not answered
	HTTP        *http.Client        // without a timeout of its own: for GitHub, where bundle bounds each attempt

	role *aws.CredentialsCache // of the instance's role; nil before Discover
}

// Options are for whom and how the clients are made.
type Options struct {
	Identity     instance.Identity
	Version      string                        // of usher; every host command's call says it
	HostCommands bool                          // there is to be a client of host commands
	Secure       bool                          // it asks codedeploy-commands-secure
	SignerCA     string                        // path of a PEM file: who may have signed a specification; "" for anybody
	Notify       func(hostcommand.Event)       // what that client has to say; nil: dropped
	Debug        func(text string)             // what the SDK logs
	Observe      func(*middleware.Stack) error // sees every call; may be nil
}

// OptionsFor are those of the server that me is, as agent.yml has them; nobody is told anything yet.
func OptionsFor(cfg config.Config, me instance.Identity, version string) Options {
	return Options{Identity: me, Version: version, HostCommands: cfg.HostCommands, Secure: cfg.EnableAuthPolicy,
		SignerCA: cfg.SignerCA, Debug: func(string) {}}
}

// New is a Server that has metadata and its clock, and no other client.
func New() Server {
	clock := new(Clock)
	return Server{Metadata: instance.NewMetadata(clock.ofMetadata), Clock: clock}
}

// Discover is Metadata.Discover with the credentials of the instance's role fetched beside it, once: at the first call they
// are there. Where that fails they are asked for at that call.
func (s *Server) Discover(ctx context.Context, waiting func(err error, next time.Duration)) (instance.Identity, error) {
	if s.role == nil {
		s.role = aws.NewCredentialsCache(ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = s.Metadata.Client() }))
		go func(role *aws.CredentialsCache) {
			if s.Metadata.Ready(ctx) {
				_, _ = role.Retrieve(ctx)
			}
		}(s.role)
	}
	return s.Metadata.Discover(ctx, waiting)
}

// answerTimeout is how long an attempt of a call may take, to the last byte of its answer. The SDK itself waits for
// ever, and on a connection that a NAT has dropped that is one heartbeat, then the launch. It is less than a third of the
// shortest hook (30 s), so that a heartbeat that is lost is followed by another in time.
const answerTimeout = 8 * time.Second

// Connect makes the other clients. Nothing is called yet.
func (s *Server) Connect(ctx context.Context, o Options) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithRegion(o.Identity.Region),
		awsconfig.WithSharedConfigFiles([]string{}),
		awsconfig.WithSharedCredentialsFiles([]string{}),
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient()),
		awsconfig.WithAPIOptions(retry.Deadline(answerTimeout)),
		awsconfig.WithEC2RoleCredentialOptions(func(r *ec2rolecreds.Options) { r.Client = s.Metadata.Client() }),
		awsconfig.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
			o.Debug(fmt.Sprintf(format, v...))
		})))
	if err != nil {
		return fmt.Errorf("cannot set the AWS clients up: %w", err)
	}
	if s.role != nil && aws.IsCredentialsProvider(cfg.Credentials, (*ec2rolecreds.Provider)(nil)) { // and not the environment's
		cfg.Credentials = s.role
	}
	if cached, ok := cfg.Credentials.(*aws.CredentialsCache); ok {
		cfg.APIOptions = append(cfg.APIOptions, forgetExpired(cached))
	}
	if o.Observe != nil {
		cfg.APIOptions = append(cfg.APIOptions, o.Observe)
	}
	s.AutoScaling = autoscaling.NewFromConfig(cfg, func(a *autoscaling.Options) {
		a.Retryer, a.APIOptions = retry.WithoutThrottleRetries(), append(a.APIOptions, s.Clock.ofAutoScaling)
	})
	s.CodeDeploy = codedeploy.NewFromConfig(cfg, func(c *codedeploy.Options) { c.Retryer = retry.WithoutThrottleRetries() })
	s.S3 = s3.NewFromConfig(cfg)
	s.AWS = cfg
	s.HTTP = &http.Client{Transport: http.DefaultTransport}
	if o.HostCommands {
		s.Commands, err = commands(ctx, cfg, o)
	}
	return err
}

// commands makes the client of CodeDeploy's host commands.
func commands(ctx context.Context, cfg aws.Config, opt Options) (*hostcommand.Client, error) {
	me := opt.Identity
	o := hostcommand.Options{
		Region: me.Region, Version: "usher/" + opt.Version, Credentials: cfg.Credentials, Notify: opt.Notify,
		Host: fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", cmp.Or(me.Partition, "aws"), me.Region, me.AccountID, me.InstanceID),
		// The SDK knows no such service: its variable is named as the SDK would.
		Endpoint: cmp.Or(os.Getenv("AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS"), aws.ToString(cfg.BaseEndpoint)),
		Secure:   opt.Secure,
	}
	if o.Endpoint == "" {
		like := codedeploy.NewFromConfig(cfg).Options().EndpointOptions // what AWS_USE_FIPS_ENDPOINT and its like say
		place := hostcommand.Place{Region: me.Region, Secure: o.Secure, FIPS: like.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled,
			DualStack: like.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled}
		var err error
		if o.Endpoint, err = hostcommand.Endpoint(ctx, place); err != nil {
			return nil, fmt.Errorf("%w: %v", config.ErrInvalid, err)
		}
	}
	if sdk, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok && sdk.GetTransport().TLSClientConfig != nil {
		o.RootCAs = sdk.GetTransport().TLSClientConfig.RootCAs // of AWS_CA_BUNDLE
	}
	if opt.SignerCA != "" {
		text, err := os.ReadFile(opt.SignerCA)
		if err != nil {
			return nil, fmt.Errorf("%w: cannot read signer_ca_file: %v", config.ErrInvalid, err)
		}
		o.SignerCA = x509.NewCertPool()
		if !o.SignerCA.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: signer_ca_file %s holds no certificate in PEM", config.ErrInvalid, opt.SignerCA)
		}
	}
	return hostcommand.New(o), nil
}

// forgetExpired drops credentials that AWS says have expired, so that the next try asks metadata for new
// ones. Without it they are kept until the time they came with, which may be hours away.
func forgetExpired(cached *aws.CredentialsCache) func(*middleware.Stack) error {
	return func(calls *middleware.Stack) error {
		return calls.Initialize.Add(middleware.InitializeMiddlewareFunc("ForgetExpired", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			middleware.InitializeOutput, middleware.Metadata, error) {
			out, about, err := next.HandleInitialize(ctx, in)
			if e := smithy.APIError(nil); errors.As(err, &e) && (e.ErrorCode() == "ExpiredToken" || e.ErrorCode() == "ExpiredTokenException") {
				cached.Invalidate()
			}
			return out, about, err
		}), middleware.Before)
	}
}
