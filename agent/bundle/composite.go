package bundle

import (
	"context"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/retry"
)

// What it takes to verify an object with the checksum of its parts' checksums: where one part ends and the next begins.
// S3 tells it for one part at a time, by HeadObject with a part's number, which needs no other permission than the download
// (GetObjectAttributes, which tells them all at once, does). As whoever uploads in parts makes all but the last of one
// size, the first part's size says the others'; only when that cannot be, or what was downloaded does not sum up,
// is each part asked for.

// maxParts is how many parts an object in S3 has at the most.
const maxParts = 10_000

// A partsSum is a composite checksum: the hash of the hashes of the parts.
type partsSum struct {
	new   func() hash.Hash
	sizes []int64 // of the parts, in bytes
	all   hash.Hash
	one   hash.Hash // of the part that is under way, the first of sizes
	had   int64     // bytes of it
}

func (p *partsSum) Write(b []byte) (n int, err error) {
	for n < len(b) {
		if len(p.sizes) == 0 {
			return n, io.ErrShortWrite // cannot be: the sizes sum up to the object's
		}
		some := min(int64(len(b)-n), p.sizes[0]-p.had)
		p.one.Write(b[n : n+int(some)]) // never fails
		n, p.had = n+int(some), p.had+some
		if p.had == p.sizes[0] {
			p.all.Write(p.one.Sum(nil))
			p.one.Reset()
			p.sizes, p.had = p.sizes[1:], 0
		}
	}
	return n, nil
}

func (p *partsSum) Sum(b []byte) []byte { return p.all.Sum(b) }

// alike is the sizes of parts that are all as large as the first but for the last; nil when they cannot be that.
func alike(first, size int64, parts int) []int64 {
	last := size - first*int64(parts-1)
	if first <= 0 || last <= 0 || last > first {
		return nil
	}
	return append(slices.Repeat([]int64{first}, parts-1), last)
}

// measure finds out the sizes of the object's parts, when its checksum is one of parts. An object whose parts S3 does not
// tell, as other servers of the same protocol may not, can be verified by its length only.
func (d *download) measure(ctx context.Context) error {
	if d.checksum.parts == 0 {
		return nil
	}
	first, err := d.partSize(ctx, 1)
	if d.sizes = alike(first, d.size, d.checksum.parts); d.sizes == nil && first > 0 && err == nil {
		d.measured = true
		d.sizes, err = d.measureAll(ctx)
	}
	if err != nil && !answered(err) {
		return err
	}
	if d.sizes == nil {
		d.checksum = checksum{algorithm: lengthOnly}
	}
	return nil
}

// answered reports whether the server has refused, and did not just fail.
func answered(err error) bool { return retry.Status(err) >= 400 && !retryable(err) }

// partSize is how large one part of the object is, in bytes; 0 when S3 knows of no such parts. n counts from 1.
func (d *download) partSize(ctx context.Context, n int32) (int64, error) {
	head, err := headS3(ctx, d.api, d.object, d.backoffPolicy, func(in *s3.HeadObjectInput) {
		in.PartNumber = &n
		if d.etag != "" {
			in.IfMatch = &d.etag
		}
	})
	if err != nil || aws.ToInt32(head.PartsCount) != int32(d.checksum.parts) {
		return 0, err
	}
	return aws.ToInt64(head.ContentLength), nil
}

// measureAll asks for every part, some at a time. The sizes are nil when they do not sum up to the object's.
func (d *download) measureAll(ctx context.Context) ([]int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sizes := make([]int64, d.checksum.parts)
	var group sync.WaitGroup
	for from := range min(partsAtOnce, len(sizes)) {
		group.Go(func() {
			for n := from; n < len(sizes) && ctx.Err() == nil; n += partsAtOnce {
				var err error
				if sizes[n], err = d.partSize(ctx, int32(n+1)); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	sum := int64(0)
	for _, size := range sizes {
		if size <= 0 {
			return nil, nil
		}
		sum += size
	}
	if sum != d.size {
		return nil, nil
	}
	return sizes, nil
}

// remeasure sums up again what has arrived, if its parts are not of the sizes that were taken for granted; else it
// returns the mismatch that was found.
func (d *download) remeasure(ctx context.Context, found error) error {
	if d.checksum.parts == 0 || d.measured {
		return found
	}
	sizes, err := d.measureAll(ctx)
	if err != nil {
		return err
	}
	d.measured = true
	if sizes == nil || slices.Equal(sizes, d.sizes) {
		return found
	}
	d.sizes = sizes
	sum := d.checksum.begin(sizes)
	if err := sum.add(io.NewSectionReader(d.dst, 0, d.size), d.size, make([]byte, copyBuffer)); err != nil {
		return err
	}
	return sum.verify()
}
