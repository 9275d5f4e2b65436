// Package source finds out which revision a server is to run, and fetches it.
//
//	f := source.Finder{Application: "shop", Group: "web", CodeDeploy: api, S3: s3, HTTP: client, Limits: limits, Retries: policy}
//	rev, err := f.Latest(ctx)               // the deployment group's revision, pinned
//	d, err := deployer.Begin(ctx, deployment.Request{ID: rev.DeploymentID, Source: f.From(rev)})
//
// The contract:
//
//   - A revision that was registered without ETag and version is pinned to what its object is when it is found: the same
//     content is deployed, and a release on the disk is taken for it or not.
//   - Latest, Pinned and a fetch try again what may pass, as Retries says, and fail with what a person can act on.
//     [Finder.Look] asks once: it is for who asks again by and by.
//   - What is fetched is verified before it is in its place, and unpacked while it arrives; an archive leaves nothing behind,
//     also when the agent is killed.
package source

import (
	"context"
	"fmt"
	"net/http"

	"usher/agent/bundle"
	"usher/agent/deployment"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/hooks"
)

// Finder is where the revisions of a server's deployment group are to be had.
type Finder struct {
	Application, Group string
	CodeDeploy         revision.API
	S3                 bundle.S3API
	Bucket             string       // where revisions are, as a rule; "": not known before one is found
	HTTP               *http.Client // for GitHub
	GitHubAPI          string       // "" for the public one
	Limits             bundle.Limits
	Retries            retry.Policy         // of each call; its Retryable and its Limiter are needed
	Has                func(id string) bool // whether a release is on the disk, which is then not asked for ahead
	Timings            *record.Timings      // where time went; nil discards it

	ahead, begun *ahead // what Ahead asked: for Latest, and then for the fetch
}

// Look is the group's revision as CodeDeploy has it now, asked once and not pinned. revision.ErrNone: it has none yet.
func (f *Finder) Look(ctx context.Context) (revision.Revision, error) {
	return revision.Latest(ctx, f.CodeDeploy, f.Application, f.Group)
}

// Latest is the group's revision, pinned. revision.ErrNone: it has none yet.
func (f *Finder) Latest(ctx context.Context) (rev revision.Revision, err error) {
	err = f.Retries.Do(ctx, func() error {
		var known bool
		if rev, err, known = f.take(ctx); !known {
			err = f.Retries.Limiter.DoAfter(ctx, retry.CodeDeployDelay, func() (err error) {
				rev, err = f.Look(ctx)
				return err
			})
		}
		if err == nil {
			rev, err = f.Pin(ctx, rev)
		}
		return err
	})
	return rev, err
}

// Pin is a revision with the content that it has now, asked once. One that is pinned stays what it is.
func (f *Finder) Pin(ctx context.Context, rev revision.Revision) (revision.Revision, error) {
	if rev.Pinned() {
		return rev, nil
	}
	version, etag, err := bundle.FindS3(ctx, f.S3, bundle.S3Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key})
	if err != nil {
		return rev, fmt.Errorf("the revision was registered without ETag and version: %w", err)
	}
	return rev.Pin(version, etag), nil
}

// From is a revision as a deployment takes it.
func (f *Finder) From(rev revision.Revision) deployment.Source { return source{rev, f} }

type source struct {
	revision.Revision
	finder *Finder
}

// Environment is what scripts are told of the revision.
func (s source) Environment() hooks.Environment {
	env := hooks.Environment{DeploymentGroupID: s.GroupID}
	if o := s.S3; o != nil {
		env.BundleBucket, env.BundleKey, env.BundleVersion, env.BundleETag = o.Bucket, o.Key, o.Version, o.ETag
	} else if s.GitHub != nil {
		env.BundleCommit = s.GitHub.CommitID
	}
	return env
}
