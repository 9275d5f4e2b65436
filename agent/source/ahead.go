package source

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"usher/agent/bundle"
	"usher/agent/retry"
	"usher/agent/revision"
)

// aheadFor is how old an answer may be that was asked for ahead: what is deployed is the latest revision.
const aheadFor = 10 * time.Second

// ahead is what was asked for before it was needed.
type ahead struct {
	asked  time.Time
	found  chan struct{} // closed when rev or err is known
	rev    revision.Revision
	err    error
	looked chan struct{} // closed when head is known, or that there is none
	head   *s3.HeadObjectOutput
}

// Ahead asks now, beside what else a launch begins with, what Latest and the fetch of its revision will ask: the deployment
// group, and what its object is. The connections to CodeDeploy and S3 are open then. Each is asked once: an answer
// that is not needed within ten seconds is as if nothing had been asked. It ends with ctx.
func (f *Finder) Ahead(ctx context.Context) {
	a := &ahead{asked: time.Now(), found: make(chan struct{}), looked: make(chan struct{})}
	f.ahead = a
	go func() {
		defer close(a.looked)
		a.err = f.Retries.Limiter.DoAfter(ctx, retry.CodeDeployDelay, func() (err error) {
			a.rev, err = f.Look(ctx)
			return err
		})
		close(a.found)
		if a.err == nil && a.rev.S3 != nil && a.rev.Pinned() {
			a.head, _ = f.S3.HeadObject(ctx, headOf(a.rev)) // an error is found again by who needs it
		}
	}()
}

// headOf is what bundle asks first about the object of a revision.
func headOf(rev revision.Revision) *s3.HeadObjectInput {
	in := &s3.HeadObjectInput{Bucket: &rev.S3.Bucket, Key: &rev.S3.Key, ChecksumMode: types.ChecksumModeEnabled}
	if rev.S3.Version != "" {
		in.VersionId = &rev.S3.Version
	}
	return in
}

// take is what became of asking ahead for the revision. It can be had once.
func (f *Finder) take(ctx context.Context) (rev revision.Revision, err error, known bool) {
	a := f.ahead
	if f.ahead = nil; a == nil {
		return rev, nil, false
	}
	select {
	case <-a.found:
	case <-ctx.Done():
		return rev, nil, false
	}
	if time.Since(a.asked) > aheadFor {
		return rev, nil, false
	}
	f.head = a
	return a.rev, a.err, true
}

// objects is S3, which answers the first question about the revision's object with what was asked ahead.
func (f *Finder) objects() bundle.S3API {
	a := f.head
	if f.head = nil; a == nil {
		return f.S3
	}
	return &knownObject{S3API: f.S3, ahead: a}
}

type knownObject struct {
	bundle.S3API
	ahead *ahead // nil once it was used
}

// HeadObject is asked by one goroutine at a time.
func (k *knownObject) HeadObject(ctx context.Context, in *s3.HeadObjectInput, options ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	a := k.ahead
	if k.ahead = nil; a != nil {
		select {
		case <-a.looked:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if a.head != nil && time.Since(a.asked) <= aheadFor && sameObject(in, headOf(a.rev)) {
			return a.head, nil
		}
	}
	return k.S3API.HeadObject(ctx, in, options...)
}

func sameObject(a, b *s3.HeadObjectInput) bool {
	return aws.ToString(a.Bucket) == aws.ToString(b.Bucket) && aws.ToString(a.Key) == aws.ToString(b.Key) &&
		aws.ToString(a.VersionId) == aws.ToString(b.VersionId) && a.PartNumber == nil && a.Range == nil
}
