package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

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
	Given       bool // the credentials are of the environment, which wins over a profile
	AutoScaling *autoscaling.Client
	CodeDeploy  *codedeploy.Client
	S3          *s3.Client
	STS         *sts.Client
}

// DeveloperTimeout is how long AWS may take to begin an answer, and to end it. S3 may need a while to put parts together.
const DeveloperTimeout = 30 * time.Second

var (
	// ErrNoProfile: the profile that was asked for is not in this person's AWS configuration.
	ErrNoProfile = errors.New("no such profile")
	// ErrNoRegion: nothing names a Region.
	ErrNoRegion = errors.New("cannot tell the AWS Region: there is no usher.yml here, so set AWS_REGION")
)

// ForDeveloper makes the clients with the credentials that AWS's own tools would use here. An empty region or profile
// is what those tools find; a profile is passed over where the environment brings credentials of its own. observe sees
// every call; it may be nil. Nothing is called yet.
func ForDeveloper(ctx context.Context, region, profile string, observe func(*middleware.Stack) error) (Developer, error) {
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = DeveloperTimeout
		})),
		awsconfig.WithAPIOptions(retry.Deadline(DeveloperTimeout)),
	}
	if region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	if profile != "" && !givenCredentials() {
		options = append(options, awsconfig.WithSharedConfigProfile(profile))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if missing := (awsconfig.SharedConfigProfileNotExistError{}); errors.As(err, &missing) {
		return Developer{}, fmt.Errorf("%w: %w", ErrNoProfile, err)
	} else if err != nil {
		return Developer{}, err
	}
	if cfg.Region == "" {
		return Developer{}, ErrNoRegion
	}
	if observe != nil {
		cfg.APIOptions = append(cfg.APIOptions, observe)
	}
	return Developer{Region: cfg.Region, Given: givenCredentials(), AutoScaling: autoscaling.NewFromConfig(cfg), CodeDeploy: codedeploy.NewFromConfig(cfg),
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
