package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"usher/agent/retry"
)

// Past is a revision that was deployed, or registered, before.
type Past struct {
	Revision   Revision
	Deployment string    // the last successful deployment of it that was found, "" when none was
	When       time.Time // its creation
}

// describeAtOnce is how many deployments one BatchGetDeployments may name.
const describeAtOnce = 25

// describe is what CodeDeploy knows of deployments, newest first.
func describe(ctx context.Context, api CodeDeploy, env Environment, ids []string) (all []types.DeploymentInfo, err error) {
	for some := range slices.Chunk(ids, describeAtOnce) {
		out, err := api.BatchGetDeployments(ctx, &codedeploy.BatchGetDeploymentsInput{DeploymentIds: some})
		if err != nil {
			return nil, Explain("read the deployments of group "+env.DeploymentGroup, env, err)
		}
		all = append(all, out.DeploymentsInfo...)
	}
	slices.SortStableFunc(all, func(a, b types.DeploymentInfo) int { return aws.ToTime(b.CreateTime).Compare(aws.ToTime(a.CreateTime)) })
	return all, nil
}

// find is the environment's newest deployment with one of these statuses that is wanted; nil when there is none.
func find(ctx context.Context, api CodeDeploy, env Environment, wanted func(types.DeploymentInfo) bool, statuses ...types.DeploymentStatus) (*types.DeploymentInfo, error) {
	pages := codedeploy.NewListDeploymentsPaginator(api, &codedeploy.ListDeploymentsInput{ApplicationName: &env.Application,
		DeploymentGroupName: &env.DeploymentGroup, IncludeOnlyStatuses: statuses})
	for pages.HasMorePages() { // CodeDeploy lists the newest first
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, Explain("list the deployments of group "+env.DeploymentGroup, env, err)
		}
		all, err := describe(ctx, api, env, page.Deployments)
		if err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(all, wanted); at >= 0 {
			return &all[at], nil
		}
	}
	return nil, nil
}

// List is the environment's deployments, the newest first, so many at most; 0 is all that CodeDeploy still has.
func List(ctx context.Context, api CodeDeploy, env Environment, most int) (list []Deployment, err error) {
	_, err = find(ctx, api, env, func(d types.DeploymentInfo) bool {
		list = append(list, deploymentOf(d))
		return len(list) == most
	})
	return list, err
}

// NoneYetError is the error where nothing was deployed to an environment.
type NoneYetError struct{ Environment }

func (e NoneYetError) Error() string {
	return fmt.Sprintf("nothing was deployed to %s yet: `usher deploy %s` does", e.DeploymentGroup, e.Name)
}

// Newest is the id of the environment's newest deployment, whatever became of it.
func Newest(ctx context.Context, api CodeDeploy, env Environment) (string, error) {
	d, err := find(ctx, api, env, func(types.DeploymentInfo) bool { return true })
	if err != nil {
		return "", err
	}
	if d == nil {
		return "", NoneYetError{Environment: env}
	}
	return aws.ToString(d.DeploymentId), nil
}

// Before is what ran before the revision that runs now: the newest successful deployment of another one.
func Before(ctx context.Context, api CodeDeploy, env Environment, running Revision) (Past, error) {
	all, err := DeployedBefore(ctx, api, env, running, 1)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("cannot roll %s back: no other revision was ever deployed to it successfully: name a commit or a deployment", env.Name)
	}
	if err != nil {
		return Past{}, err
	}
	return all[0], nil
}

// seekDeployments is how many deployments are looked at for more revisions, once there is one.
const seekDeployments = 100

// DeployedBefore are the revisions but for the running one that were deployed successfully, each with its newest deployment, the
// newest first, so many at most.
func DeployedBefore(ctx context.Context, api CodeDeploy, env Environment, running Revision, most int) (all []Past, err error) {
	seen := 0
	_, err = find(ctx, api, env, func(d types.DeploymentInfo) bool {
		seen++
		r := revisionAt(d.Revision)
		if r != running && r != (Revision{}) && !slices.ContainsFunc(all, func(p Past) bool { return p.Revision == r }) {
			all = append(all, past(d))
		}
		return len(all) >= most || len(all) > 0 && seen >= seekDeployments
	}, types.DeploymentStatusSucceeded)
	return all, err
}

// past is what a deployment brought.
func past(d types.DeploymentInfo) Past {
	p := Past{Revision: revisionAt(d.Revision)}
	if d.Status == types.DeploymentStatusSucceeded {
		p.Deployment, p.When = aws.ToString(d.DeploymentId), aws.ToTime(d.CreateTime)
	}
	return p
}

// OfDeployment is the revision that a deployment of the environment's application brought.
func OfDeployment(ctx context.Context, api CodeDeploy, env Environment, id string) (Past, error) {
	d, err := Describe(ctx, api, env, id)
	switch {
	case err != nil:
		return Past{}, fmt.Errorf("cannot roll %s back to deployment %s: %w", env.Name, id, err)
	case d.Application != env.Application:
		return Past{}, fmt.Errorf("cannot roll %s back to deployment %s: it is one of application %s, not of %s", env.Name, id, d.Application, env.Application)
	case d.Revision == Revision{}:
		return Past{}, fmt.Errorf("cannot roll %s back to deployment %s: it has no revision for servers", env.Name, id)
	}
	p := Past{Revision: d.Revision}
	if d.Status == Succeeded {
		p.Deployment, p.When = id, d.Created
	}
	return p, nil
}

// leastHash is how much of a commit's hash must be given.
const leastHash = 4

// OfCommit is the revision of a commit that was uploaded before, by the first digits of its hash.
func OfCommit(ctx context.Context, api CodeDeploy, env Environment, prefix string) (Past, error) {
	if prefix = strings.ToLower(prefix); len(prefix) < leastHash || strings.Trim(prefix, "0123456789abcdef") != "" {
		return Past{}, fmt.Errorf("cannot roll %s back to %q: name a deployment, d-..., a ref of this repository, or a commit by %d or more digits of its hash", env.Name, prefix, leastHash)
	}
	// Every upload is named after its commit, below the application's name.
	begins := env.Prefix + env.Application + "/" + prefix
	var all []Revision
	pages := codedeploy.NewListApplicationRevisionsPaginator(api, &codedeploy.ListApplicationRevisionsInput{ApplicationName: &env.Application,
		S3Bucket: &env.Bucket, S3KeyPrefix: &begins, SortBy: types.ApplicationRevisionSortByLastUsedTime, SortOrder: types.SortOrderDescending})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return Past{}, Explain("list the revisions of application "+env.Application, env, err)
		}
		for _, l := range page.Revisions {
			if r := revisionAt(&l); strings.HasPrefix(r.Commit(), prefix) && !slices.ContainsFunc(all, func(o Revision) bool { return o.Commit() == r.Commit() }) {
				all = append(all, r)
			}
		}
	}
	switch len(all) {
	case 0:
		return Past{}, fmt.Errorf("cannot roll %s back to commit %s: no bundle of it was ever registered: `usher deploy %s %s` makes one", env.Name, prefix, env.Name, prefix)
	case 1:
		d, err := find(ctx, api, env, func(d types.DeploymentInfo) bool { return revisionAt(d.Revision) == all[0] }, types.DeploymentStatusSucceeded)
		if err != nil {
			return Past{}, err
		}
		if d == nil {
			return Past{Revision: all[0]}, nil
		}
		return past(*d), nil
	}
	var names []string
	for _, r := range all {
		names = append(names, Short(r.Commit()))
	}
	return Past{}, fmt.Errorf("cannot roll %s back to commit %s: it may be %s: give more digits", env.Name, prefix, strings.Join(names, " or "))
}

// Objects is the subset of *s3.Client that CheckObject calls.
type Objects interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// CheckObject makes sure that the revision's bundle can still be fetched: a bucket may have a rule that expires
// old ones, and the servers would find out one after the other.
func CheckObject(ctx context.Context, api Objects, env Environment, r Revision) error {
	if r.Bucket == "" {
		return nil
	}
	in := &s3.HeadObjectInput{Bucket: &r.Bucket, Key: &r.Key}
	if r.Version != "" {
		in.VersionId = &r.Version
	}
	_, err := api.HeadObject(ctx, in)
	if answer := smithy.APIError(nil); errors.As(err, &answer) {
		gone := "there is no object " + r.String()
		if r.Version != "" {
			gone += " (version " + r.Version + ")"
		}
		anew := "deploy something else"
		if commit := r.Commit(); commit != "" {
			anew = fmt.Sprintf("`usher deploy %s %s` packs and uploads the commit anew", env.Name, commit)
		}
		switch answer.ErrorCode() {
		case "NotFound", "NoSuchKey", "NoSuchVersion", "MethodNotAllowed":
			return fmt.Errorf("cannot deploy %s again: %s: it was deleted, or its bucket was: %s", r, gone, anew)
		case "Forbidden", "AccessDenied":
			return fmt.Errorf("cannot see whether the bundle is still there: access denied: allow your identity s3:GetObject and s3:GetObjectVersion on %s, and s3:ListBucket on its bucket; "+
				"or %s, which S3 does not tell without s3:ListBucket: then %s: %w", r, gone, anew, err)
		}
	}
	return Explain("look at "+r.String(), env, err)
}

// Stop ends a deployment without an automatic rollback and waits until it has ended. What a server is
// doing it does to its end.
func Stop(ctx context.Context, api CodeDeploy, env Environment, id string) error {
	if err := tellToStop(ctx, api, env, id, aws.Bool(false)); err != nil {
		return err
	}
	for {
		out, err := api.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &id})
		if err == nil && HasEnded(string(out.DeploymentInfo.Status)) {
			return nil
		}
		if err != nil && ctx.Err() == nil && !retry.Transient(err) {
			return Explain("read deployment "+id, env, err)
		}
		if !retry.Pause(ctx, pollInterval) {
			return context.Cause(ctx)
		}
	}
}

// ErrNotStopped is what StopAndFollow returns when the deployment was not told to stop.
var ErrNotStopped = errors.New("it was not stopped")

// StopAndFollow stops a deployment and is Follow then. It is rolled back as its deployment group says, or not at all.
func StopAndFollow(ctx context.Context, api CodeDeploy, env Environment, id string, rollback bool, emit func(Event)) (Outcome, error) {
	var undo *bool // as the group says
	if !rollback {
		undo = aws.Bool(false)
	}
	if err := tellToStop(ctx, api, env, id, undo); err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", ErrNotStopped, err)
	}
	f := newFollower(api, env, id, emit)
	f.noRollback = !rollback
	return f.follow(ctx)
}

// tellToStop stops a deployment; one that has ended already is none to stop.
func tellToStop(ctx context.Context, api CodeDeploy, env Environment, id string, rollback *bool) error {
	_, err := api.StopDeployment(ctx, &codedeploy.StopDeploymentInput{DeploymentId: &id, AutoRollbackEnabled: rollback})
	if ended := (*types.DeploymentAlreadyCompletedException)(nil); err != nil && !errors.As(err, &ended) {
		return Explain("stop deployment "+id, env, err)
	}
	return nil
}
