package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/klauspost/compress/gzip"

	"usher/agent/bundle"
)

// Who may write to the bucket, and is first at the key of a commit, must not choose what is deployed. So an object that is
// there already is held against the bundle that was made of the commit here and now:
//
//   - By S3's own SHA-256 of the whole object, which S3 computes as the object comes. It has one of what went up in one request.
//   - Otherwise by downloading it. Of an upload in parts S3 keeps no SHA-256 of the whole, only of the parts' sums. Its CRC-64 is
//     no proof: content of any CRC can be made. Neither are the object's metadata: they are the uploader's words.
//   - What differs packed may be the same unpacked: another version of usher may compress differently. Then the tar counts.

// recompressed is how much larger than ours a bundle of the same tar may be, in bytes, before it is not even looked at: gzip
// makes nothing of any size more than a thousandth larger, and the best of today's compressors halve nothing that it makes.
func recompressed(b Bundle) int64 { return max(4*b.Size, b.Unpacked+b.Unpacked/100) + 1<<16 }

// same says whether an object is the bundle: an error that names both when it is not.
func same(ctx context.Context, api S3API, e Environment, u Uploaded, head *s3.HeadObjectOutput, b Bundle) error {
	size := aws.ToInt64(head.ContentLength)
	theirs := wholeSHA256(head)
	if theirs == b.SHA256 && size == b.Size {
		return nil
	}
	if size > recompressed(b) {
		return foreign(u, e, b, fmt.Sprintf("the object has %d bytes, and the bundle made of commit %s here has %d", size, b.Commit.Short(), b.Size))
	}
	f, err := os.CreateTemp("", "usher-object-")
	if err != nil {
		return fmt.Errorf("cannot make a file to compare s3://%s/%s with: %w", u.Bucket, u.Key, err)
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("cannot unlink the file to compare s3://%s/%s with: %w", u.Bucket, u.Key, err)
	}
	if _, err := bundle.FetchS3(ctx, api, bundle.S3Object{Bucket: u.Bucket, Key: u.Key, Version: u.Version, ETag: u.ETag}, f, nil); err != nil {
		return fmt.Errorf("cannot compare s3://%s/%s with commit %s: %w", u.Bucket, u.Key, b.Commit.Short(), err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return fmt.Errorf("cannot read back what was downloaded of s3://%s/%s: %w", u.Bucket, u.Key, err)
	}
	if theirs = hex.EncodeToString(sum.Sum(nil)); theirs == b.SHA256 {
		return nil
	}
	if tar, err := unpackedSHA256(io.NewSectionReader(f, 0, size), b.Unpacked); err == nil && tar == b.tarSHA256 {
		return nil // compressed by another version
	}
	return foreign(u, e, b, fmt.Sprintf("its SHA-256 is %s, that of the bundle made of commit %s here is %s, and what is packed in them differs too", theirs, b.Commit.Short(), b.SHA256))
}

// wholeSHA256 is S3's SHA-256 of all of an object, hexadecimal, "" when it has none.
func wholeSHA256(head *s3.HeadObjectOutput) string {
	sum, err := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumSHA256)) // of parts it ends in -N, which is no base64
	if err != nil || head.ChecksumType == types.ChecksumTypeComposite {
		return ""
	}
	return hex.EncodeToString(sum)
}

// unpackedSHA256 is the SHA-256 of what a gzip holds, of at most size bytes.
func unpackedSHA256(r io.Reader, size int64) (string, error) {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(gz, size+1))
	if err == nil && n != size {
		err = errors.New("it is of another size")
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

// foreign is the error of an object that is not the commit's bundle.
func foreign(u Uploaded, e Environment, b Bundle, how string) error {
	return fmt.Errorf("cannot use s3://%s/%s: it is not commit %s: %s. Somebody else put it there, or it was damaged, or another git made it: "+
		"find out who (CloudTrail; its version is %q), delete it and deploy again, or set another prefix for %s in %s",
		u.Bucket, u.Key, b.Commit.Short(), how, u.Version, e.Name, FileName)
}
