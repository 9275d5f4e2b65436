package revision

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/smithy-go"
)

// API is the subset of *codedeploy.Client that this package calls.
type API interface {
	GetDeploymentGroup(context.Context, *codedeploy.GetDeploymentGroupInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error)
}

// ErrNone says that the deployment group exists but has no revision yet: nothing was ever deployed to it
// successfully. It is an answer, not a failure.
var ErrNone = errors.New("the deployment group has no successful deployment yet")

// settings is where an operator corrects the two names.
const settings = "application and deployment_group in /etc/usher/agent.yml, " +
	"or the instance tags usher:application and usher:deployment-group, which win"

var (
	repositoryForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$`) })
	// A branch or a tag moves: two servers of one deployment would run different code.
	commitForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-fA-F]{7,40}$`) })
)

// underway are the states of a deployment that has not ended.
var underway = []types.DeploymentStatus{types.DeploymentStatusCreated, types.DeploymentStatusQueued,
	types.DeploymentStatusInProgress, types.DeploymentStatusBaking, types.DeploymentStatusReady}

// Latest is the revision that the deployment group runs now, by one GetDeploymentGroup.
//
// With ErrNone the Revision still names the group, and has its id. Other errors name the
// application, the group and the Region asked, say what to do, and wrap the service's error.
func Latest(ctx context.Context, api API, application, group string) (Revision, error) {
	if application == "" || group == "" {
		return Revision{}, fmt.Errorf("cannot ask CodeDeploy for a revision: application is %q and deployment group is %q: set %s",
			application, group, settings)
	}
	out, err := api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{
		ApplicationName:     &application,
		DeploymentGroupName: &group,
	})
	if err != nil {
		return Revision{}, explain(err, application, group, region(api))
	}
	info := out.DeploymentGroupInfo
	if info == nil {
		return Revision{}, fmt.Errorf("cannot use CodeDeploy's answer about deployment group %s of application %s%s: it is empty",
			group, application, region(api))
	}
	r := Revision{Application: application, Group: group, GroupID: aws.ToString(info.DeploymentGroupId)}
	if info.LastSuccessfulDeployment != nil {
		r.DeploymentID = aws.ToString(info.LastSuccessfulDeployment.DeploymentId)
		r.Deployed = aws.ToTime(info.LastSuccessfulDeployment.EndTime)
	}
	if tried := info.LastAttemptedDeployment; tried != nil && slices.Contains(underway, tried.Status) {
		r.Underway = aws.ToString(tried.DeploymentId)
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("cannot deploy the revision of deployment group %s of application %s%s: %s",
			group, application, region(api), fmt.Sprintf(format, args...))
	}
	if p := info.ComputePlatform; p != "" && p != types.ComputePlatformServer {
		return r, refuse("the application's compute platform is %s, and usher deploys to servers: use an application of platform Server", p)
	}
	target := info.TargetRevision
	if target == nil || *target == (types.RevisionLocation{}) {
		return r, fmt.Errorf("deployment group %s of application %s: %w", group, application, ErrNone)
	}
	switch target.RevisionType {
	case types.RevisionLocationTypeS3:
		r.S3, err = fromS3(target.S3Location)
	case types.RevisionLocationTypeGitHub:
		r.GitHub, err = fromGitHub(target.GitHubLocation)
	default:
		err = fmt.Errorf("its type is %q, and usher knows S3 and GitHub", target.RevisionType)
	}
	if err != nil {
		return r, refuse("%v", err)
	}
	return r, nil
}

// fromS3 is a location in S3 as CodeDeploy gives it, if it can be deployed to a server.
func fromS3(l *types.S3Location) (*S3, error) {
	if l == nil {
		return nil, errors.New("its type is S3, but it has no S3 location")
	}
	s := S3{
		Bucket:     aws.ToString(l.Bucket),
		Key:        aws.ToString(l.Key),
		Version:    aws.ToString(l.Version),
		ETag:       strings.Trim(aws.ToString(l.ETag), `"`),
		BundleType: string(l.BundleType),
	}
	known := []types.BundleType{types.BundleTypeTar, types.BundleTypeTarGZip, types.BundleTypeZip}
	switch {
	case s.Bucket == "":
		return nil, errors.New("its S3 location has no bucket: register it again")
	case s.Key == "":
		return nil, fmt.Errorf("its S3 location in bucket %s has no key: register it again", s.Bucket)
	case s.BundleType == "":
		return nil, fmt.Errorf("s3://%s/%s has no bundle type: register it again as tar, tgz or zip", s.Bucket, s.Key)
	case !slices.Contains(known, l.BundleType):
		return nil, fmt.Errorf("the bundle type of s3://%s/%s is %s: a server needs tar, tgz or zip", s.Bucket, s.Key, s.BundleType)
	}
	return &s, nil
}

// fromGitHub is a location on GitHub as CodeDeploy gives it, if it names one commit.
func fromGitHub(l *types.GitHubLocation) (*GitHub, error) {
	if l == nil {
		return nil, errors.New("its type is GitHub, but it has no GitHub location")
	}
	g := GitHub{Repository: aws.ToString(l.Repository), CommitID: aws.ToString(l.CommitId)}
	switch {
	case !repositoryForm().MatchString(g.Repository):
		return nil, fmt.Errorf("its GitHub repository is %q: it must be owner/name", g.Repository)
	case !commitForm().MatchString(g.CommitID):
		return nil, fmt.Errorf("the commit of GitHub repository %s is %q: it must be a commit id, 7 to 40 hexadecimal digits", g.Repository, g.CommitID)
	}
	return &g, nil
}

// explain turns CodeDeploy's error into one that says what to do about it.
func explain(err error, application, group, region string) error {
	what := fmt.Sprintf("cannot read deployment group %s of application %s%s", group, application, region)
	var noApplication *types.ApplicationDoesNotExistException
	var noGroup *types.DeploymentGroupDoesNotExistException
	var service smithy.APIError
	switch {
	case errors.As(err, &noApplication):
		return fmt.Errorf("%s: there is no such application in this account and Region: create it, or correct %s: %w", what, settings, err)
	case errors.As(err, &noGroup):
		return fmt.Errorf("%s: the application has no such deployment group: create it, or correct %s: %w", what, settings, err)
	case errors.As(err, &service):
		switch service.ErrorCode() {
		case "AccessDeniedException", "AccessDenied":
			return fmt.Errorf("%s: allow codedeploy:GetDeploymentGroup in the policy of the instance's role: %w", what, err)
		case "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId":
			return fmt.Errorf("%s: the instance's credentials are not accepted: check its instance profile and its clock: %w", what, err)
		case "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed":
			return fmt.Errorf("%s: the request's signature is not accepted: check the instance's clock: %w", what, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// region is " in REGION" for messages, or "" when api does not say which one it asks.
func region(api API) string {
	if c, ok := api.(interface{ Options() codedeploy.Options }); ok && c.Options().Region != "" {
		return " in " + c.Options().Region
	}
	return ""
}
