package platform

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"usher/agent/developer"
	"usher/agent/doctor"
	"usher/agent/groups"
	"usher/agent/policy"
	"usher/agent/revision"
	"usher/agent/rollout"
)

// diagnoseEnvironment is `usher doctor ENV`: what can be found out of an environment from outside. hook is the name that its
// servers' configuration has for lifecycle_hook.
func diagnoseEnvironment(ctx context.Context, d *developer.Session, r *doctor.Report, hook string) {
	who, err := d.AWS.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		r.Problem("identity", "", "%v", rollout.Explain("determine your AWS identity", d.Env, err))
		return
	}
	r.OK("identity", "%s in %s", aws.ToString(who.Arn), d.Env.Region)
	r.Skew(who.ResultMetadata)
	rev, err := revision.Latest(ctx, d.AWS.CodeDeploy, d.Env.Application, d.Env.DeploymentGroup)
	size := int64(0)
	switch {
	case errors.Is(err, revision.ErrNone):
		r.Warn("revision", "usher deploy "+d.Env.Name, "deployment group %s of %s has no successful deployment yet: launches keep the base", d.Env.DeploymentGroup, d.Env.Application)
		diagnoseBucket(ctx, d, r)
	case err != nil:
		if api := errors.Unwrap(err); api != nil { // its advice is for a server
			err = rollout.Explain("read deployment group "+d.Env.DeploymentGroup+" of application "+d.Env.Application, d.Env, api)
		}
		r.Problem("revision", "", "%v", err)
		return
	default:
		r.OK("revision", "%s of deployment group %s of %s", rev, d.Env.DeploymentGroup, d.Env.Application)
		if rev.S3 != nil {
			size = r.Object(ctx, d.AWS.S3, policy.Platform, d.Env.Region, doctor.Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key, Version: rev.S3.Version, ETag: rev.S3.ETag})
		}
		if rev.S3 != nil && rev.S3.Bucket != d.Env.Bucket {
			r.Warn("bundle", "", "the revision is in bucket %s, and `usher deploy` uses %s: servers need both", rev.S3.Bucket, d.Env.Bucket)
		}
	}
	mine := groups.Deployment{Application: d.Env.Application, Group: d.Env.DeploymentGroup}
	all, err := groups.Of(ctx, d.AWS.AutoScaling, d.AWS.CodeDeploy, mine)
	switch {
	case err != nil:
		r.Problem("group", "", "%v", rollout.Explain("find the Auto Scaling groups of "+d.Env.Name, d.Env, err))
	case len(all) == 0:
		r.Problem("group", "give it, and the instances it launches, the tags "+groups.TagApplication+"="+mine.Application+" and "+groups.TagGroup+"="+mine.Group,
			"no Auto Scaling group is of deployment group %s of %s", mine.Group, mine.Application)
	}
	for _, g := range all {
		how := "by its tags"
		if g.Associated {
			how = "associated in CodeDeploy"
		}
		r.OK("group", "%s, %s", g.Name, how)
		r.Hooks(g.Name, g.Hooks, hook, size)
		r.OneGroup(ctx, d.AWS.CodeDeploy, mine, doctor.Server{Group: g.Name, Tags: g.Tags})
		diagnoseLaunches(ctx, d, r, g.Name)
	}
}

// diagnoseLaunches looks for launches of a group that fail one after the other.
func diagnoseLaunches(ctx context.Context, d *developer.Session, r *doctor.Report, group string) {
	failed, some, err := rollout.LaunchesFailed(ctx, d.AWS.AutoScaling, d.Env, group)
	if err != nil { // an older policy does not allow it
		r.Warn("launches", "", "not seen whether launches of %s fail: %v", group, err)
		return
	}
	var row []doctor.FailedLaunch
	for _, f := range failed {
		row = append(row, doctor.FailedLaunch{Time: f.Time, Server: f.Server, Message: f.Message})
	}
	r.Launches(group, d.Env.Name, row, some)
}

// diagnoseBucket looks at the bucket that has no revision yet.
func diagnoseBucket(ctx context.Context, d *developer.Session, r *doctor.Report) {
	_, err := d.AWS.S3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &d.Env.Bucket})
	var answer interface{ HTTPStatusCode() int }
	status := 0
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	switch {
	case err == nil:
		r.OK("bucket", "%s is in %s", d.Env.Bucket, d.Env.Region)
	case status == http.StatusMovedPermanently:
		r.Problem("bucket", "use a bucket in "+d.Env.Region, "bucket %s is not in %s", d.Env.Bucket, d.Env.Region)
	case status == http.StatusNotFound:
		r.Problem("bucket", "correct bucket in usher.yml, or make it: aws s3 mb s3://"+d.Env.Bucket+" --region "+d.Env.Region, "there is no bucket %s", d.Env.Bucket)
	case status == http.StatusForbidden:
		r.Warn("bucket", "allow s3:ListBucket", "you may not look at bucket %s", d.Env.Bucket)
	default:
		r.Problem("bucket", "", "%v", rollout.Explain("look at bucket "+d.Env.Bucket, d.Env, err))
	}
}
