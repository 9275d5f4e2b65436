package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// CodeDeploy is the subset of *codedeploy.Client that this package calls.
type CodeDeploy interface {
	GetDeploymentGroup(context.Context, *codedeploy.GetDeploymentGroupInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error)
	RegisterApplicationRevision(context.Context, *codedeploy.RegisterApplicationRevisionInput, ...func(*codedeploy.Options)) (*codedeploy.RegisterApplicationRevisionOutput, error)
	ListApplicationRevisions(context.Context, *codedeploy.ListApplicationRevisionsInput, ...func(*codedeploy.Options)) (*codedeploy.ListApplicationRevisionsOutput, error)
	CreateDeployment(context.Context, *codedeploy.CreateDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.CreateDeploymentOutput, error)
	GetDeployment(context.Context, *codedeploy.GetDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentOutput, error)
	ListDeployments(context.Context, *codedeploy.ListDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentsOutput, error)
	BatchGetDeployments(context.Context, *codedeploy.BatchGetDeploymentsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentsOutput, error)
	ListDeploymentTargets(context.Context, *codedeploy.ListDeploymentTargetsInput, ...func(*codedeploy.Options)) (*codedeploy.ListDeploymentTargetsOutput, error)
	BatchGetDeploymentTargets(context.Context, *codedeploy.BatchGetDeploymentTargetsInput, ...func(*codedeploy.Options)) (*codedeploy.BatchGetDeploymentTargetsOutput, error)
	StopDeployment(context.Context, *codedeploy.StopDeploymentInput, ...func(*codedeploy.Options)) (*codedeploy.StopDeploymentOutput, error)
}

// Revision is what CodeDeploy deploys: an object in S3, or a commit on GitHub. It is comparable; the zero
// Revision is none.
type Revision struct {
	Bucket, Key, Version, ETag string
	BundleType                 string // of an object: tgz, tar, zip

	Repository, CommitID string // on GitHub
}

// Revision is the revision that the upload made.
func (u Uploaded) Revision() Revision {
	return Revision{Bucket: u.Bucket, Key: u.Key, Version: u.Version, ETag: strings.Trim(u.ETag, `"`), BundleType: string(types.BundleTypeTarGZip)}
}

// Commit is the id of the commit that the revision was packed from, "" when its key is not one of usher's.
func (r Revision) Commit() string {
	if r.CommitID != "" {
		return r.CommitID
	}
	if m := keyForm().FindStringSubmatch(r.Key); m != nil {
		return m[1]
	}
	return ""
}

// keyForm is a key as Environment.Key makes it of a Bundle's Name.
var keyForm = form(`(?:^|/)([0-9a-f]{40}|[0-9a-f]{64})(?:-([0-9a-f]{12}))?\.tgz$`)

// Content tells the bundles of one commit apart: how the hash of what is in it begins; "" for all of the commit's own files.
func (r Revision) Content() string {
	if m := keyForm().FindStringSubmatch(r.Key); m != nil {
		return m[2]
	}
	return ""
}

// String is where the revision is, for a person.
func (r Revision) String() string {
	if r.Repository != "" {
		return "github.com/" + r.Repository + " at " + Short(r.CommitID)
	}
	return "s3://" + r.Bucket + "/" + r.Key
}

// location is the revision as the API has it.
func (r Revision) location() *types.RevisionLocation {
	if r.Repository != "" {
		return &types.RevisionLocation{RevisionType: types.RevisionLocationTypeGitHub,
			GitHubLocation: &types.GitHubLocation{Repository: &r.Repository, CommitId: &r.CommitID}}
	}
	s3 := &types.S3Location{Bucket: &r.Bucket, Key: &r.Key, BundleType: types.BundleType(r.BundleType)}
	if r.Version != "" {
		s3.Version = &r.Version
	}
	if r.ETag != "" {
		s3.ETag = &r.ETag
	}
	return &types.RevisionLocation{RevisionType: types.RevisionLocationTypeS3, S3Location: s3}
}

// revisionAt is the revision at a location of the API; the zero Revision when it is neither in S3 nor on
// GitHub, which no revision of servers is.
func revisionAt(l *types.RevisionLocation) Revision {
	switch {
	case l == nil:
	case l.S3Location != nil:
		s3 := l.S3Location
		return Revision{Bucket: aws.ToString(s3.Bucket), Key: aws.ToString(s3.Key), Version: aws.ToString(s3.Version),
			ETag: strings.Trim(aws.ToString(s3.ETag), `"`), BundleType: string(s3.BundleType)}
	case l.GitHubLocation != nil:
		return Revision{Repository: aws.ToString(l.GitHubLocation.Repository), CommitID: aws.ToString(l.GitHubLocation.CommitId)}
	}
	return Revision{}
}

// Group is an environment's deployment group as it is now.
type Group struct {
	Config            string   // the deployment configuration: how many servers at a time
	AutoScalingGroups []string // whose servers are deployed to
	Alarms            []string // CloudWatch alarms that stop a deployment
	Tags              []string // EC2 tags that servers are selected by, "name=value"; alternatives are joined by " or "
	Running           Revision // of the last deployment that succeeded: what a new server gets; zero when there was none
	By                string   // that deployment
	When              time.Time
	Active            string // the deployment under way, "" when there is none
	Failed            string // the last deployment, when it failed or was stopped: some servers may run it
}

// DescribeGroup is the environment's deployment group.
func DescribeGroup(ctx context.Context, api CodeDeploy, env Environment) (Group, error) {
	out, err := api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: &env.Application, DeploymentGroupName: &env.DeploymentGroup})
	if err != nil {
		return Group{}, Explain("read deployment group "+env.DeploymentGroup+" of application "+env.Application, env, err)
	}
	info := out.DeploymentGroupInfo
	if info == nil {
		return Group{}, fmt.Errorf("cannot use CodeDeploy's answer about deployment group %s of application %s: it is empty", env.DeploymentGroup, env.Application)
	}
	if p := info.ComputePlatform; p != "" && p != types.ComputePlatformServer {
		return Group{}, fmt.Errorf("cannot deploy to application %s: its compute platform is %s, and usher deploys to servers: name an application of platform Server in usher.yml", env.Application, p)
	}
	g := Group{Config: cmp.Or(aws.ToString(info.DeploymentConfigName), "CodeDeployDefault.OneAtATime"), Running: revisionAt(info.TargetRevision)}
	for _, a := range info.AutoScalingGroups {
		g.AutoScalingGroups = append(g.AutoScalingGroups, aws.ToString(a.Name))
	}
	g.Tags = tags(info)
	if a := info.AlarmConfiguration; a != nil && a.Enabled {
		for _, alarm := range a.Alarms {
			g.Alarms = append(g.Alarms, aws.ToString(alarm.Name))
		}
	}
	if last := info.LastSuccessfulDeployment; last != nil {
		g.By, g.When = aws.ToString(last.DeploymentId), aws.ToTime(last.EndTime)
	}
	if last := info.LastAttemptedDeployment; last != nil && (last.Status == types.DeploymentStatusFailed || last.Status == types.DeploymentStatusStopped) {
		g.Failed = aws.ToString(last.DeploymentId)
	}
	g.Active, err = active(ctx, api, env)
	return g, err
}

// tags are a group's EC2 tag filters: all must match, of alternatives one.
func tags(info *types.DeploymentGroupInfo) (all []string) {
	lists := [][]types.EC2TagFilter{info.Ec2TagFilters}
	if info.Ec2TagSet != nil {
		lists = append(lists, info.Ec2TagSet.Ec2TagSetList...)
	}
	for _, list := range lists {
		var alternatives []string
		for _, f := range list {
			switch f.Type {
			case types.EC2TagFilterTypeKeyOnly:
				alternatives = append(alternatives, aws.ToString(f.Key))
			case types.EC2TagFilterTypeValueOnly:
				alternatives = append(alternatives, "*="+aws.ToString(f.Value))
			default:
				alternatives = append(alternatives, aws.ToString(f.Key)+"="+aws.ToString(f.Value))
			}
		}
		if len(alternatives) > 0 {
			all = append(all, strings.Join(alternatives, " or "))
		}
	}
	return all
}

// active is the group's deployment that is under way. A deployment that CodeDeploy made for a single new or
// leaving server does not count: another may begin beside it.
func active(ctx context.Context, api CodeDeploy, env Environment) (string, error) {
	out, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: &env.Application, DeploymentGroupName: &env.DeploymentGroup,
		IncludeOnlyStatuses: []types.DeploymentStatus{types.DeploymentStatusCreated, types.DeploymentStatusQueued, types.DeploymentStatusInProgress,
			types.DeploymentStatusBaking, types.DeploymentStatusReady}})
	if err != nil {
		return "", Explain("list the deployments of group "+env.DeploymentGroup, env, err)
	}
	all, err := describe(ctx, api, env, out.Deployments)
	if err != nil {
		return "", err
	}
	for _, d := range all {
		if d.Creator != types.DeploymentCreatorAutoscaling && d.Creator != types.DeploymentCreatorAutoscalingTermination && !HasEnded(string(d.Status)) {
			return aws.ToString(d.DeploymentId), nil
		}
	}
	return "", nil
}

// Deployment is what a deployment is about.
type Deployment struct {
	ID, Application, Group string
	Message                string // the description, without what usher added to it
	By                     string // who began it with usher, by that description; "" when it does not say
	Creator                string // user, codeDeployRollback, autoscaling, ...
	Revision               Revision
	Created, Ended         time.Time // Ended is zero before that
	Status                 string
	Code, Trouble          string // of one that failed
	RollbackOf             string // the deployment that this one rolls back
	RolledBackBy           string // the deployment that rolled this one back
}

// deploymentOf is what CodeDeploy knows of a deployment.
func deploymentOf(d types.DeploymentInfo) Deployment {
	out := Deployment{ID: aws.ToString(d.DeploymentId), Application: aws.ToString(d.ApplicationName), Group: aws.ToString(d.DeploymentGroupName),
		Creator: string(d.Creator), Revision: revisionAt(d.Revision), Created: aws.ToTime(d.CreateTime), Ended: aws.ToTime(d.CompleteTime), Status: string(d.Status)}
	out.Message, out.By = described(aws.ToString(d.Description))
	if e := d.ErrorInformation; e != nil {
		out.Code, out.Trouble = string(e.Code), aws.ToString(e.Message)
	}
	if r := d.RollbackInfo; r != nil {
		out.RollbackOf, out.RolledBackBy = aws.ToString(r.RollbackTriggeringDeploymentId), aws.ToString(r.RollbackDeploymentId)
	}
	return out
}

// ErrNoDeployment is what Describe returns when there is no such deployment.
var ErrNoDeployment = errors.New("there is no such deployment")

// Describe is what CodeDeploy knows of a deployment.
func Describe(ctx context.Context, api CodeDeploy, env Environment, id string) (Deployment, error) {
	out, err := api.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
	if none := (*types.DeploymentDoesNotExistException)(nil); errors.As(err, &none) {
		return Deployment{}, fmt.Errorf("%w: %s in %s: `usher deploy list %s` lists those there are", ErrNoDeployment, id, env.Region, cmp.Or(env.Name, "ENV"))
	}
	if err != nil {
		return Deployment{}, Explain("read deployment "+id, env, err)
	}
	d := out.DeploymentInfo
	if d == nil {
		return Deployment{}, fmt.Errorf("cannot use CodeDeploy's answer about deployment %s: it is empty", id)
	}
	return deploymentOf(*d), nil
}

// InProgressError is the error when another deployment of the group is under way.
type InProgressError struct {
	Deployment string // its id, "" when CodeDeploy does not say
	Group      string
}

func (b InProgressError) Error() string {
	if b.Deployment == "" {
		return "another deployment to " + b.Group + " is in progress: wait for its end"
	}
	return fmt.Sprintf("deployment %s to %s is in progress: `usher deploy status %s` follows it", b.Deployment, b.Group, b.Deployment)
}

// deploymentID finds a deployment's id in a sentence.
var deploymentID = form(`\bd-[0-9A-Z]+\b`)

// IsDeployment tells whether s is written as the id of a deployment.
func IsDeployment(s string) bool { return deploymentID().FindString(s) == s && s != "" }

// createTimeout bounds the creation of a deployment, which goes on when its caller is interrupted: then there is
// a deployment, and somebody must be told its id.
const createTimeout = time.Minute
