package bundle

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// An Asked is an object of S3 that was asked for: what it is (HeadObject), and its first PartSize bytes (GetObject), side by
// side, and each once. Its content is still to be read.
type Asked struct {
	api    S3API
	object S3Object
	stop   func()

	looked  chan struct{} // closed when head or headErr is known
	head    *s3.HeadObjectOutput
	headErr error

	opened chan struct{} // closed when first is known
	first  response
}

// A response is the answer to a GetObject.
type response struct {
	*s3.GetObjectOutput
	err   error
	ctx   context.Context // ends with the request, also when nothing comes for too long
	alive func()          // something came
	stop  func()          // ends it
}

// Connect opens the connections that [AskS3] will need to a bucket: with the network between, two round trips each, in which nothing
// is asked for. What fails is left to whoever asks. It returns when they are being opened. Where one is open already, a HEAD of an object that need not
// be there goes over it; and the request that has to fetch credentials first opens none.
func Connect(ctx context.Context, api S3API, bucket string) {
	var both sync.WaitGroup
	for range asked {
		both.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			// A request that is given up when its connection is begun: the transport goes on opening it, for the next.
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{ConnectStart: func(string, string) { cancel() }})
			_, _ = api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("usher")})
		})
	}
	both.Wait()
}

// asked is how many requests AskS3 makes.
const asked = 2

// AskS3 begins the download of o. [FetchAndUnpackS3] goes on with it, or Close gives it up, as the end of ctx does and
// half a minute in which nothing is read. The answers are as old as the question: what is deployed then is for the caller to judge.
func AskS3(ctx context.Context, api S3API, o S3Object) *Asked {
	return ask(ctx, api, o, backoffPolicy{})
}

func ask(ctx context.Context, api S3API, o S3Object, p backoffPolicy) *Asked {
	ctx, stop := context.WithCancel(ctx)
	a := &Asked{api: api, object: o, stop: stop, looked: make(chan struct{}), opened: make(chan struct{})}
	go func() {
		defer close(a.looked)
		a.head, a.headErr = p.lookOnce(ctx, api, o, nil)
	}()
	go func() {
		defer close(a.opened)
		etag := strings.Trim(o.ETag, `"`)
		if etag != "" {
			etag = `"` + etag + `"`
		}
		a.first = open(ctx, api, o, p, fmt.Sprintf("bytes=0-%d", PartSize-1), etag)
	}()
	return a
}

// Close gives up what was not read. It may be called again.
func (a *Asked) Close() { a.stop() }

// look is what there is to download. What was asked is the first attempt.
func (a *Asked) look(ctx context.Context, p backoffPolicy) (head *s3.HeadObjectOutput, err error) {
	looked := a.looked
	err = p.retry(ctx, func() error {
		if looked == nil {
			head, err = p.lookOnce(ctx, a.api, a.object, nil)
			return err
		}
		select {
		case <-looked:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		looked = nil
		head, err = a.head, a.headErr
		return err
	})
	return head, err
}

// headS3 asks for something of an object, as change says.
func headS3(ctx context.Context, api S3API, o S3Object, p backoffPolicy, change func(*s3.HeadObjectInput)) (head *s3.HeadObjectOutput, err error) {
	err = p.retry(ctx, func() error {
		head, err = p.lookOnce(ctx, api, o, change)
		return err
	})
	return head, err
}

func (p backoffPolicy) lookOnce(ctx context.Context, api S3API, o S3Object, change func(*s3.HeadObjectInput)) (*s3.HeadObjectOutput, error) {
	watched, _, stop := p.withStallTimeout(ctx)
	defer stop()
	in := &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key, ChecksumMode: types.ChecksumModeEnabled}
	if o.Version != "" {
		in.VersionId = &o.Version
	}
	if change != nil {
		change(in)
	}
	head, err := api.HeadObject(watched, in)
	return head, classify(watched, err)
}

// open asks for bytes of an object, all of them without a range, if its ETag is etag; without one, whichever it is.
func open(ctx context.Context, api S3API, o S3Object, p backoffPolicy, bytes, etag string) (r response) {
	in := &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key}
	if etag != "" {
		in.IfMatch = &etag
	}
	if o.Version != "" {
		in.VersionId = &o.Version
	}
	if bytes != "" {
		in.Range = &bytes
	}
	r.ctx, r.alive, r.stop = p.withStallTimeout(ctx)
	r.GetObjectOutput, r.err = api.GetObject(r.ctx, in, func(o *s3.Options) {
		// The SDK would sum up whole objects again; the file is verified here, for parts too.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	r.err = classify(r.ctx, r.err)
	return r
}
