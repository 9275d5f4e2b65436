package clients

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"usher/agent/retry"
)

// Developer are the clients of a person's commands, or of a CI job's.
type Developer struct {
	Region      string
	Credentials aws.CredentialsProvider
	Given       bool // the credentials are of the environment, which wins over a profile
	AutoScaling *autoscaling.Client
	CodeDeploy  *codedeploy.Client
	S3          *s3.Client
	STS         *sts.Client
}

// DeveloperTimeout is how long AWS may take to begin an answer, and to end it. S3 may need a while to put parts together.
const DeveloperTimeout = 30 * time.Second

// ErrNoRegion: nothing names a Region.
var ErrNoRegion = errors.New("cannot tell the AWS Region: there is no usher.yml here, so set AWS_REGION")

// Person is for whom the clients are made.
type Person struct {
	Region, Profile string // as usher.yml names them; "" is what AWS's own tools find
	// AskForCode asks for an MFA code, and returns ErrNoCode where nobody can be asked; nil: nobody can.
	AskForCode func(ctx context.Context, question string) (string, error)
	Observe    func(*middleware.Stack) error // sees every call; may be nil
	// Credentials are those of other clients for the same profile, so that nobody is asked twice; nil: none are made yet.
	Credentials aws.CredentialsProvider
}

// ForDeveloper makes the clients with the credentials that AWS's own tools would use here. The profile is passed over where the
// environment brings credentials of its own. Nothing is called yet. What is wrong with the credentials is a CredentialsError, here
// or of the first call.
func ForDeveloper(ctx context.Context, who Person) (Developer, error) {
	region, profile := who.Region, who.Profile
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = DeveloperTimeout
		})),
		awsconfig.WithAPIOptions(retry.Deadline(DeveloperTimeout)),
	}
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	if givenCredentials() {
		profile = ""
	}
	if profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(profile))
	}
	from := originOf(profile)
	options = append(options, awsconfig.WithAssumeRoleCredentialOptions(from.assumed(ctx, who.AskForCode)))
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return Developer{}, from.cannotLoad(err)
	}
	for _, source := range cfg.ConfigSources {
		if shared, ok := source.(awsconfig.SharedConfig); ok {
			from.shared = shared
		}
	}
	cfg.Credentials = told{cfg.Credentials, *from}
	if who.Credentials != nil {
		cfg.Credentials = who.Credentials
	}
	if cfg.Region == "" {
		return Developer{}, ErrNoRegion
	}
	if who.Observe != nil {
		cfg.APIOptions = append(cfg.APIOptions, who.Observe)
	}
	return Developer{Region: cfg.Region, Credentials: cfg.Credentials, Given: givenCredentials(), AutoScaling: autoscaling.NewFromConfig(cfg), CodeDeploy: codedeploy.NewFromConfig(cfg),
		S3: s3.NewFromConfig(cfg), STS: sts.NewFromConfig(cfg)}, nil
}

// givenCredentials tells whether the environment brings credentials of its own, as in a CI job, which has no
// profiles. AWS_PROFILE alone does not count: usher.yml knows better which account an environment is in.
func givenCredentials() bool {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}
