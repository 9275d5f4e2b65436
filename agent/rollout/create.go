package rollout

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"usher/agent/retry"
)

// Choices are what one deployment does in another way than its group says. The zero Choices are none.
type Choices struct {
	Config     string // deployment configuration
	FileExists string // DISALLOW, OVERWRITE or RETAIN
	NoRollback bool   // CodeDeploy does not roll it back
}

// Create registers the revision, begins its deployment to the environment and returns its id. A Ctrl-C does
// not cut it off between the request and its answer. by is who begins it, see Who, and stands in the deployment's description.
// The error is InProgressError when another deployment is under way.
func Create(ctx context.Context, api CodeDeploy, env Environment, r Revision, description, by string, c Choices) (string, error) {
	if _, err := api.RegisterApplicationRevision(ctx, &codedeploy.RegisterApplicationRevisionInput{ApplicationName: &env.Application,
		Revision: r.location(), Description: aws.String(shortened(description, longestDescription))}); err != nil {
		return "", Explain("register "+r.String()+" with application "+env.Application, env, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	// An answer can be lost, and to ask again might deploy twice: by this mark our own deployment is found.
	mark := make([]byte, 4)
	rand.Read(mark) // never fails
	description = withMark(description, hex.EncodeToString(mark), by)
	in := &codedeploy.CreateDeploymentInput{ApplicationName: &env.Application, DeploymentGroupName: &env.DeploymentGroup,
		Revision: r.location(), Description: &description, FileExistsBehavior: types.FileExistsBehavior(c.FileExists)}
	if c.Config != "" {
		in.DeploymentConfigName = &c.Config
	}
	if c.NoRollback {
		in.AutoRollbackConfiguration = &types.AutoRollbackConfiguration{Enabled: false}
	}
	began := time.Now()
	for try := 1; ; try++ {
		out, err := api.CreateDeployment(ctx, in, func(o *codedeploy.Options) { o.RetryMaxAttempts = 1 })
		if err == nil {
			return aws.ToString(out.DeploymentId), nil
		}
		if limit := (*types.DeploymentLimitExceededException)(nil); errors.As(err, &limit) {
			return "", InProgressError{Deployment: deploymentID().FindString(limit.ErrorMessage()), Group: env.DeploymentGroup}
		}
		err = Explain("create a deployment of "+r.String()+" to group "+env.DeploymentGroup, env, err)
		if !retry.Transient(err) || try == createTries {
			return "", err
		}
		if !retry.Pause(ctx, pollInterval) {
			return "", err
		}
		if id, lookErr := marked(ctx, api, env, description, began); lookErr != nil {
			return "", fmt.Errorf("%w; %w: `usher deploy status %s` tells", err, ErrMayHaveBegun, env.Name)
		} else if id != "" {
			return id, nil
		}
	}
}

// ErrMayHaveBegun is in the error of Create when nobody knows whether there is a deployment.
var ErrMayHaveBegun = errors.New("it may have begun all the same")

// createTries is how often the creation of a deployment is asked for while that fails for a passing reason.
const createTries = 3

// clockSkew is how far this machine's clock may be ahead of CodeDeploy's.
const clockSkew = 15 * time.Minute

// marked is the id of the deployment with this description, "" when there is none.
func marked(ctx context.Context, api CodeDeploy, env Environment, description string, began time.Time) (string, error) {
	out, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: &env.Application, DeploymentGroupName: &env.DeploymentGroup,
		CreateTimeRange: &types.TimeRange{Start: aws.Time(began.Add(-clockSkew))}})
	if err != nil {
		return "", err
	}
	all, err := describe(ctx, api, env, out.Deployments)
	if err != nil {
		return "", err
	}
	for _, d := range all {
		if aws.ToString(d.Description) == description {
			return aws.ToString(d.DeploymentId), nil
		}
	}
	return "", nil
}
