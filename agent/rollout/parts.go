package rollout

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"usher/agent/retry"
)

const (
	// partSize is how much of a bundle one request carries, in bytes: what is lost to a broken connection.
	// Smaller bundles go up in one request.
	partSize = 8 << 20

	// maxParts is S3's limit. Larger bundles than so many parts of partSize get larger parts.
	maxParts = 10_000

	// partsAtOnce is how many requests run at the same time; a developer's line is full with fewer.
	partsAtOnce = 4

	// abortTimeout is how long to try and remove the parts of an upload that failed or was cancelled.
	abortTimeout = 10 * time.Second
)

// The SDK's transfer manager does this too, but it writes to standard error, where the progress is, when somebody
// else was faster, and it cannot give S3 the checksum of a whole object that instances verify.

// multipart uploads in parts, several at a time. After a failure there are none left.
func (u *upload) multipart(ctx context.Context) (Uploaded, error) {
	begun, err := u.api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.key, ContentType: aws.String(contentType), Metadata: u.metadata,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	})
	if err != nil {
		return Uploaded{}, err
	}
	parts, err := u.parts(ctx, begun.UploadId)
	var out *s3.CompleteMultipartUploadOutput
	if err == nil {
		sum := binary.BigEndian.AppendUint64(nil, u.bundle.crc64)
		out, err = u.api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.bucket, Key: &u.key, UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
			IfNoneMatch: aws.String("*"), MpuObjectSize: &u.bundle.Size,
			ChecksumType: types.ChecksumTypeFullObject, ChecksumCRC64NVME: aws.String(base64.StdEncoding.EncodeToString(sum)),
		})
	}
	if err != nil {
		return Uploaded{}, u.abort(ctx, begun.UploadId, err)
	}
	return Uploaded{Bucket: u.bucket, Key: u.key, Version: aws.ToString(out.VersionId), ETag: unquote(out.ETag)}, nil
}

// parts sends the parts. The first that fails ends the others.
func (u *upload) parts(ctx context.Context, id *string) ([]types.CompletedPart, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	size := max(partSize, (u.bundle.Size+maxParts-1)/maxParts)
	parts := make([]types.CompletedPart, (u.bundle.Size+size-1)/size)
	next := make(chan int, len(parts))
	for i := range parts {
		next <- i
	}
	close(next)

	var group sync.WaitGroup
	for range min(partsAtOnce, len(parts)) {
		group.Go(func() {
			for i := range next {
				from := int64(i) * size
				part, err := u.part(ctx, id, int32(i)+1, io.NewSectionReader(u.file, from, min(size, u.bundle.Size-from)))
				if err != nil {
					cancel(err)
					return
				}
				parts[i] = part
			}
		})
	}
	group.Wait()
	return parts, context.Cause(ctx)
}

// part sends one part; the SDK does so again when that fails for a passing reason.
func (u *upload) part(ctx context.Context, id *string, number int32, body io.Reader) (types.CompletedPart, error) {
	out, err := u.api.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: id, PartNumber: &number, Body: body, ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
	}, u.meter.measure(number))
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC64NVME: out.ChecksumCRC64NVME}, nil
}

// abort removes the parts of an upload that failed with err, also when it was cancelled: they cost money, and no
// listing of objects shows them.
func (u *upload) abort(ctx context.Context, id *string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, failure := u.api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, UploadId: id})
	if failure != nil && retry.Code(failure) != "NoSuchUpload" {
		return fmt.Errorf("%w (and its parts could not be removed: %v)", err, failure)
	}
	return err
}
