package main

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
	"usher/agent/retry"
)

// answerTimeout is how long AWS may take to begin an answer. The SDK itself waits for ever, and on a
// connection that a NAT has dropped that is one heartbeat, then the launch. The shortest hook (30 s) wants a
// heartbeat every 10 s.
const answerTimeout = 8 * time.Second

// connect makes the AWS clients. Nothing is called yet: credentials come from metadata at the first call.
// The service's environment counts (endpoints, proxies); root's ~/.aws does not.
func (a *agent) connect(ctx context.Context) error {
	cfg, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithRegion(a.me.Region),
		awsconfig.WithSharedConfigFiles([]string{}),
		awsconfig.WithSharedCredentialsFiles([]string{}),
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = answerTimeout
		})),
		awsconfig.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = a.metadata.Client() }),
		awsconfig.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) {
			a.log.Debug(fmt.Sprintf(format, v...))
		})))
	if err != nil {
		return fmt.Errorf("cannot set the AWS clients up: %w", err)
	}
	if cached, ok := cfg.Credentials.(*aws.CredentialsCache); ok {
		cfg.APIOptions = append(cfg.APIOptions, forgetExpired(cached))
	}
	if a.calls != nil {
		cfg.APIOptions = append(cfg.APIOptions, a.calls.Observe)
	}
	a.limiter = retry.NewLimiter(a.cfg.RetryTimeout)
	a.autoscaling = autoscaling.NewFromConfig(cfg, func(o *autoscaling.Options) {
		o.Retryer, o.APIOptions = retry.WithoutThrottleRetries(), append(o.APIOptions, a.clock.ofAutoScaling)
	})
	a.codedeploy = codedeploy.NewFromConfig(cfg, func(o *codedeploy.Options) { o.Retryer = retry.WithoutThrottleRetries() })
	a.s3 = s3.NewFromConfig(cfg)
	a.aws = cfg
	if a.cfg.HostCommands {
		if err := a.connectCommands(ctx, cfg); err != nil {
			return err
		}
	}
	a.http = &http.Client{Transport: http.DefaultTransport} // bundle bounds each attempt
	return nil
}

// connectCommands makes the client of CodeDeploy's host commands.
func (a *agent) connectCommands(ctx context.Context, cfg aws.Config) error {
	o := hostcommand.Options{
		Region: a.me.Region, Version: "usher/" + version(), Credentials: cfg.Credentials, Notify: a.commandNotice,
		Host: fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", cmp.Or(a.me.Partition, "aws"), a.me.Region, a.me.AccountID, a.me.InstanceID),
		// The SDK knows no such service: its variable is named as the SDK would.
		Endpoint: cmp.Or(os.Getenv("AWS_ENDPOINT_URL_CODEDEPLOY_COMMANDS"), aws.ToString(cfg.BaseEndpoint)),
		Secure:   a.cfg.EnableAuthPolicy,
	}
	if o.Endpoint == "" {
		like := codedeploy.NewFromConfig(cfg).Options().EndpointOptions // what AWS_USE_FIPS_ENDPOINT and its like say
		place := hostcommand.Place{Region: a.me.Region, Secure: o.Secure, FIPS: like.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled,
			DualStack: like.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled}
		var err error
		if o.Endpoint, err = hostcommand.Endpoint(ctx, place); err != nil {
			return fmt.Errorf("%w: %v", config.ErrInvalid, err)
		}
	}
	if sdk, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok && sdk.GetTransport().TLSClientConfig != nil {
		o.RootCAs = sdk.GetTransport().TLSClientConfig.RootCAs // of AWS_CA_BUNDLE
	}
	if a.cfg.SignerCA != "" {
		text, err := os.ReadFile(a.cfg.SignerCA)
		if err != nil {
			return fmt.Errorf("%w: cannot read signer_ca_file: %v", config.ErrInvalid, err)
		}
		o.SignerCA = x509.NewCertPool()
		if !o.SignerCA.AppendCertsFromPEM(text) {
			return fmt.Errorf("%w: signer_ca_file %s holds no certificate in PEM", config.ErrInvalid, a.cfg.SignerCA)
		}
	}
	a.commands = hostcommand.New(o)
	return nil
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
