package source

import (
	"context"
	"time"

	"usher/agent/bundle"
	"usher/agent/retry"
	"usher/agent/revision"
)

// aheadFor is how old an answer may be that was asked for ahead: what is deployed is the latest revision.
const aheadFor = 10 * time.Second

// ahead is what was asked for before it was needed.
type ahead struct {
	asked  time.Time
	found  chan struct{} // closed when the rest is known
	rev    revision.Revision
	err    error
	object *bundle.Asked // of rev; nil: none
}

// Ahead asks now, beside what else a launch begins with, what Latest and the fetch of its revision will ask: the deployment
// group, and the object of its revision, whose first bytes are on their way then; a release that the image has is not asked for. Each is asked once: an answer
// that is not needed within ten seconds is as if nothing had been asked. The connections to S3 are opened meanwhile, where the bucket is
// known. It ends with ctx.
func (f *Finder) Ahead(ctx context.Context) {
	a := &ahead{asked: time.Now(), found: make(chan struct{})}
	f.ahead = a
	if f.Bucket != "" {
		go bundle.Connect(ctx, f.S3, f.Bucket)
	}
	go func() {
		defer close(a.found)
		a.err = f.Retries.Limiter.DoAfter(ctx, retry.CodeDeployDelay, func() (err error) {
			a.rev, err = f.Look(ctx)
			return err
		})
		if a.err == nil && a.rev.S3 != nil && a.rev.Pinned() && !f.Has(a.rev.ID()) {
			a.object = bundle.AskS3(ctx, f.S3, objectOf(a.rev))
		}
	}()
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
	f.begun = a
	return a.rev, a.err, a.fresh()
}

// asked is the object of a revision, asked for ahead or now.
func (f *Finder) asked(ctx context.Context, rev revision.Revision) *bundle.Asked {
	a := f.begun
	if f.begun = nil; a != nil && a.object != nil {
		if a.fresh() && objectOf(a.rev) == objectOf(rev) {
			return a.object
		}
		a.object.Close()
	}
	return bundle.AskS3(ctx, f.S3, objectOf(rev))
}

func (a *ahead) fresh() bool { return time.Since(a.asked) <= aheadFor }

func objectOf(rev revision.Revision) bundle.S3Object {
	return bundle.S3Object{Bucket: rev.S3.Bucket, Key: rev.S3.Key, Version: rev.S3.Version, ETag: rev.S3.ETag}
}
