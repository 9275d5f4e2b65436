package rollout

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/bundle"
	"usher/agent/retry"
)

const (
	// conflictTries is how often an upload is begun while somebody else's of the same commit is in its way.
	conflictTries = 5
	// conflictPause is between two of them, in which the other's object is to appear.
	conflictPause = 200 * time.Millisecond
)

const contentType = "application/gzip"

// Keys of an object's metadata.
const (
	metaCommit   = "commit"
	metaAuthor   = "author"
	metaUnpacked = "uncompressed-size"
	metaSHA256   = "sha256"
)

// S3API is the subset of *s3.Client that Existing and Upload call.
type S3API interface {
	bundle.S3API // HeadObject and GetObject
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error)
	UploadPart(context.Context, *s3.UploadPartInput, ...func(*s3.Options)) (*s3.UploadPartOutput, error)
	CompleteMultipartUpload(context.Context, *s3.CompleteMultipartUploadInput, ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error)
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

var _ S3API = (*s3.Client)(nil)

// Uploaded is a bundle in S3: exactly these bytes, in a bucket with versions also when the key is overwritten.
type Uploaded struct {
	Bucket, Key string
	Version     string // "" in a bucket without versions
	ETag        string // without quotes; of an upload in parts it is not an MD5
	Already     bool   // it was there before
}

// Existing is a bundle that the environment's bucket has already, if it has it. An object at the bundle's key with another
// content is an error: see same.
func Existing(ctx context.Context, api S3API, e Environment, b Bundle) (Uploaded, bool, error) {
	u := Uploaded{Bucket: e.Bucket, Key: e.Key(b.Name()), Already: true}
	head, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.Bucket, Key: &u.Key, ChecksumMode: types.ChecksumModeEnabled})
	switch {
	case retry.Status(err) == http.StatusNotFound: // or there is no such bucket: only an upload tells
		return Uploaded{}, false, nil
	case err != nil:
		return Uploaded{}, false, explainS3("look for", e, u.Key, err)
	}
	u.Version, u.ETag = aws.ToString(head.VersionId), unquote(head.ETag)
	if err := same(ctx, api, e, u, head, b); err != nil {
		return Uploaded{}, false, err
	}
	return u, true, nil
}

// Upload stores a bundle in the environment's bucket, unless it is there: nothing is ever overwritten.
// progress, if not nil, is called with the bytes that were sent so far and their total; it never goes back, and is
// called by one goroutine at a time.
func Upload(ctx context.Context, api S3API, b Bundle, e Environment, progress func(done, total int64)) (Uploaded, error) {
	m := newUploadProgress(b.Size, progress)
	var failure error
	sent := false
	for try := 0; ; try++ {
		if try > 0 {
			retry.Pause(ctx, conflictPause) // when ctx ends in it, the next call says so
		}
		u, found, err := Existing(ctx, api, e, b)
		switch {
		case err != nil:
			return Uploaded{}, err
		case found:
			u.Already = !sent
			return u, nil
		case try == conflictTries:
			return Uploaded{}, explainS3("upload", e, e.Key(b.Name()), failure)
		}
		u, failure = put(ctx, api, b, e, m)
		switch {
		case failure == nil && u.Version != "":
			return u, nil
		case failure == nil: // a bucket without versions; or the answer to a second asking, which may leave it out
			sent, failure = true, errors.New("it is deleted as soon as it is there")
		case !lostRace(failure):
			return Uploaded{}, explainS3("upload", e, e.Key(b.Name()), failure)
		}
	}
}

// lostRace reports whether an upload failed for another of the same key. That may have been its own: when an answer
// is lost, the SDK asks again.
func lostRace(err error) bool {
	switch retry.Code(err) {
	case "ConditionalRequestConflict", "NoSuchUpload":
		return true
	}
	return retry.Status(err) == http.StatusPreconditionFailed
}

// upload is a bundle on its way into S3.
type upload struct {
	api    S3API
	bundle Bundle
	file   *os.File
	meter  *uploadProgress

	bucket, key string
	metadata    map[string]string
}

// put makes the requests of an upload. Nothing is overwritten: If-None-Match. The checksums that S3 compares with
// are of the file as it was packed, so that what went wrong since then is found out.
func put(ctx context.Context, api S3API, b Bundle, e Environment, m *uploadProgress) (Uploaded, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return Uploaded{}, err
	}
	defer f.Close()
	u := &upload{api: api, bundle: b, file: f, meter: m, bucket: e.Bucket, key: e.Key(b.Name()), metadata: map[string]string{
		metaCommit:   b.Commit.SHA,
		metaAuthor:   mime.QEncoding.Encode("utf-8", b.Commit.Author), // S3 takes ASCII
		metaUnpacked: strconv.FormatInt(b.Unpacked, 10),
		metaSHA256:   b.SHA256,
	}}
	m.restart()
	send := u.putObject
	if b.Size >= partSize {
		send = u.multipart
	}
	done, err := send(ctx)
	if err != nil {
		return Uploaded{}, err
	}
	m.finish()
	return done, nil
}

// putObject uploads in one request.
func (u *upload) putObject(ctx context.Context) (Uploaded, error) {
	sum, err := hex.DecodeString(u.bundle.SHA256)
	if err != nil {
		return Uploaded{}, fmt.Errorf("its SHA-256 is %q: %w", u.bundle.SHA256, err)
	}
	out, err := u.api.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &u.bucket, Key: &u.key, Body: u.file, ContentLength: &u.bundle.Size, ContentType: aws.String(contentType), Metadata: u.metadata,
		IfNoneMatch: aws.String("*"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum)),
	}, u.meter.measure(1))
	if err != nil {
		return Uploaded{}, err
	}
	return Uploaded{Bucket: u.bucket, Key: u.key, Version: aws.ToString(out.VersionId), ETag: unquote(out.ETag)}, nil
}

// explainS3 says what an error of S3 means to a developer, and what to do.
func explainS3(verb string, e Environment, key string, err error) error {
	what := fmt.Sprintf("cannot %s s3://%s/%s", verb, e.Bucket, key)
	switch code, status := retry.Code(err), retry.Status(err); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case code == "NoSuchBucket":
		return fmt.Errorf("%s: there is no such bucket: correct bucket of %s in %s, or make it, with versions: `aws s3 mb s3://%s --region %s`: %w", what, e.Name, FileName, e.Bucket, e.Region, err)
	case status == http.StatusMovedPermanently, code == "PermanentRedirect", code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException":
		where := "in another Region"
		if region := bucketRegion(err); region != "" {
			where = "in the Region " + region
		}
		return fmt.Errorf("%s: the bucket is %s, and the servers of %s are in %s: use a bucket there: %w", what, where, e.Name, e.Region, err)
	case status == http.StatusPreconditionFailed, code == "ConditionalRequestConflict":
		return fmt.Errorf("%s: others upload to the same key at the same time, or delete it: deploy again: %w", what, err)
	case code == "BadDigest", code == "XAmzContentChecksumMismatch":
		return fmt.Errorf("%s: what arrived is not what was packed: the disk or the line damages files, deploy again: %w", what, err)
	case status == http.StatusForbidden && (code == "AccessDenied" || code == "Forbidden"):
		permissions := fmt.Sprintf("s3:PutObject and s3:AbortMultipartUpload on arn:aws:s3:::%s/%s%s/*", e.Bucket, e.Prefix, e.Application)
		if verb != "upload" { // without the second, S3 says the same of an object that is not there
			permissions = fmt.Sprintf("s3:GetObject on arn:aws:s3:::%s/%s%s/* and s3:ListBucket on arn:aws:s3:::%s", e.Bucket, e.Prefix, e.Application, e.Bucket)
		}
		return fmt.Errorf("%s: access denied: allow your identity %s (and kms:GenerateDataKey and kms:Decrypt when a KMS key encrypts the bucket), and see that the bucket is of this account: %w", what, permissions, err)
	}
	return Explain(strings.TrimPrefix(what, "cannot "), e, err)
}

// bucketRegion is where S3 says the bucket is, "" when it does not say.
func bucketRegion(err error) string {
	if answer := (*smithyhttp.ResponseError)(nil); errors.As(err, &answer) && answer.Response != nil {
		return answer.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }
