package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// PartSize is how much of an object one request brings, in bytes. Ranges of 8 to 16 MiB were the
	// fastest; the smaller loses less to a broken connection. Objects up to this size come with the
	// first request.
	PartSize = 8 << 20

	// partsAtOnce is how many requests run at the same time. More than four gained nothing.
	partsAtOnce = 4
)

// S3API is the subset of *s3.Client that FetchS3 and FetchAndUnpackS3 use.
type S3API interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

var _ S3API = (*s3.Client)(nil)

// S3Object names a bundle in S3. Version and ETag may be empty; an ETag is compared without quotes.
type S3Object struct {
	Bucket, Key, Version, ETag string
}

// String is the object's name in messages: "s3://bucket/key?versionId=...".
func (o S3Object) String() string {
	s := "s3://" + o.Bucket + "/" + o.Key
	if o.Version != "" {
		s += "?versionId=" + o.Version
	}
	return s
}

// Fetched says what was fetched.
type Fetched struct {
	Size     int64  // bytes
	ETag     string // without quotes; "" when there was none
	Version  string // the object's version in S3; "" when the bucket has none
	Checksum string // what the file was verified with: "sha256", "crc64nvme", "md5", "sha256 of 3 parts", ..., "length only", or for GitHub "none"

	Arrived time.Time // when it was all there, and verified
}

// FetchS3 downloads o into dst, from its beginning, and verifies it. dst must be open for reading
// and writing, not for appending; what it held before is gone. It asks for the object's size,
// ETag and checksum (HeadObject, so s3:GetObject is all that is needed; s3:GetObjectVersion
// with a version) and for its first PartSize bytes at once, refuses when the disk has no room, and fetches the rest in parts of
// PartSize. A part that breaks off is resumed where it stopped, a few times.
//
// progress, if not nil, is called after every write with the bytes done so far and the total, by one
// goroutine at a time.
//
// On an error dst holds nothing of use: the caller removes it.
func FetchS3(ctx context.Context, api S3API, o S3Object, dst *os.File, progress func(done, total int64)) (Fetched, error) {
	return fetchS3(ctx, api, o, dst, progress, backoffPolicy{})
}

func fetchS3(ctx context.Context, api S3API, o S3Object, dst *os.File, progress func(done, total int64), p backoffPolicy) (Fetched, error) {
	asked := ask(ctx, api, o, p)
	defer asked.Close()
	d, err := prepareS3(ctx, asked, dst, progress, p)
	if err != nil {
		return Fetched{}, err
	}
	err = d.run(ctx)
	if errors.As(err, new(mismatch)) {
		d.again()
		err = d.run(ctx)
	}
	if err != nil {
		return Fetched{}, explain(api, o, err)
	}
	return d.fetched(), nil
}

// prepareS3 looks what there is to download, and whether it may be and will fit.
func prepareS3(ctx context.Context, asked *Asked, dst *os.File, progress func(done, total int64), p backoffPolicy) (*download, error) {
	api, o := asked.api, asked.object
	head, err := asked.look(ctx, p)
	if err != nil {
		return nil, explain(api, o, err)
	}
	d := &download{backoffPolicy: p, api: api, object: o, asked: asked, dst: dst, progress: progress,
		head: head, size: aws.ToInt64(head.ContentLength), etag: aws.ToString(head.ETag), checksum: checksumOf(head)}
	switch etag := strings.Trim(o.ETag, `"`); {
	case etag != "" && etag != unquote(head.ETag):
		return nil, fmt.Errorf("cannot download %s: its ETag is %s, and the revision was registered with %s: the object was overwritten since, register and deploy the revision again", o, unquote(head.ETag), etag)
	case d.size == 0:
		return nil, fmt.Errorf("cannot download %s: it is empty: upload the bundle again", o)
	}
	if err := d.measure(ctx); err != nil {
		return nil, explain(api, o, err)
	}
	if err := CheckSpace(filepath.Dir(dst.Name()), d.size, 1); err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", o, err)
	}
	if err := dst.Truncate(0); err != nil {
		return nil, fmt.Errorf("cannot download %s: %w", o, err)
	}
	d.again()
	return d, nil
}

// again makes the download ready to run, also for a second time: what was damaged on its way, which TLS does not see
// where a proxy or a disk did it, may come whole.
func (d *download) again() {
	d.sum, d.done = d.checksum.begin(d.sizes), 0
	d.complete = make([]chan struct{}, (d.size+PartSize-1)/PartSize)
	for i := range d.complete {
		d.complete[i] = make(chan struct{})
	}
}

func (d *download) fetched() Fetched {
	return Fetched{d.size, unquote(d.head.ETag), aws.ToString(d.head.VersionId), d.checksum.name(), d.arrived}
}

// A download is one object on its way into a file.
type download struct {
	backoffPolicy
	api      S3API
	object   S3Object
	asked    *Asked // has the first part, until that is read
	dst      *os.File
	head     *s3.HeadObjectOutput
	size     int64
	etag     string // as S3 wrote it, with its quotes
	checksum checksum
	sizes    []int64 // of the object's parts, for a checksum of parts
	measured bool    // each was asked for
	sum      summing
	complete []chan struct{} // closed when the part is in dst
	endFirst bool            // the last part is fetched first
	arrived  time.Time

	mu       sync.Mutex // guards done, and serialises progress
	done     int64
	progress func(done, total int64)
}

// run fetches the parts, and sums them up in their order as they become complete: verifying costs no
// time of its own that way.
func (d *download) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	parts := len(d.complete)
	next := make(chan int, parts)
	last := parts
	if d.endFirst {
		last--
		next <- last
	}
	for i := range last {
		next <- i
	}
	close(next)

	var group sync.WaitGroup
	for range min(partsAtOnce, parts) {
		group.Go(func() {
			buf := make([]byte, copyBuffer)
			for i := range next {
				from := int64(i) * PartSize
				if err := d.part(ctx, from, min(from+PartSize, d.size), buf); err != nil {
					cancel(err)
					return
				}
				close(d.complete[i])
			}
		})
	}
	group.Go(func() {
		if err := d.verifyParts(ctx); err != nil {
			cancel(err)
		}
	})
	group.Wait()
	return context.Cause(ctx)
}

// verifyParts reads the parts back, while they are in the page cache, and compares the checksum.
func (d *download) verifyParts(ctx context.Context) error {
	buf := make([]byte, copyBuffer)
	for i := range d.complete {
		select {
		case <-ctx.Done():
			return nil // whoever ended it said why
		case <-d.complete[i]:
		}
		from := int64(i) * PartSize
		n := min(PartSize, d.size-from)
		if err := d.sum.add(io.NewSectionReader(d.dst, from, n), n, buf); err != nil {
			return fmt.Errorf("cannot read back what was written: %w", err)
		}
	}
	err := d.sum.verify()
	if errors.As(err, new(mismatch)) {
		err = d.remeasure(ctx, err)
	}
	d.arrived = time.Now()
	return err
}

// part fetches the bytes from from to before to.
func (d *download) part(ctx context.Context, from, to int64, buf []byte) error {
	return d.retry(ctx, func() error {
		n, err := d.get(ctx, from, to, buf)
		from += n
		return err
	})
}

// open asks for the bytes from from to before to, but for the first ones, which were asked for.
func (d *download) open(ctx context.Context, from, to int64) response {
	if from == 0 && d.asked != nil { // only who fetches the first part looks
		a := d.asked
		d.asked = nil // whatever it is, it is had once
		select {
		case <-a.opened:
		case <-ctx.Done():
			return response{err: context.Cause(ctx), stop: a.stop}
		}
		if a.first.err != nil || d.etag == "" || aws.ToString(a.first.ETag) == d.etag {
			return a.first
		}
		a.first.stop()
	}
	bytes := ""
	if from > 0 || to < d.size {
		bytes = fmt.Sprintf("bytes=%d-%d", from, to-1)
	}
	return open(ctx, d.api, d.object, d.backoffPolicy, bytes, d.etag)
}

// get makes one request and returns how many bytes it brought into the file.
func (d *download) get(ctx context.Context, from, to int64, buf []byte) (int64, error) {
	out := d.open(ctx, from, to)
	defer out.stop()
	if out.err != nil {
		return 0, out.err
	}
	defer out.Body.Close()
	defer context.AfterFunc(ctx, out.stop)() // its own context may be another's
	if r := aws.ToString(out.ContentRange); (from > 0 || r != "") && !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", from)) {
		return 0, fmt.Errorf("asked for the bytes from %d, got %q", from, r)
	}
	if n := out.ContentLength; n != nil && *n != to-from {
		return 0, fmt.Errorf("asked for %d bytes, got %d", to-from, *n)
	}
	out.alive()
	at := from
	n, err := copyBody(out.Body, to-from, out.alive, func(b []byte) error {
		m, err := d.dst.WriteAt(b, at)
		at += int64(m)
		d.count(int64(m))
		return err
	}, buf)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, classify(out.ctx, err)
}

func (d *download) count(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done += n
	if d.progress != nil {
		d.progress(d.done, d.size)
	}
}

// classify turns the end of a stalled request into errStalled, and the answers that will not change
// into permanent errors.
func classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errStalled):
		return errStalled
	case !retryable(err):
		return permanentError{err}
	}
	return err
}
