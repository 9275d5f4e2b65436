package rollout

import (
	"context"
	"encoding/base64"
	"encoding/binary"
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
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tm "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// partSize is how much of a bundle one request carries, in bytes: what is lost to a broken connection.
	// Bundles below it go up in one request.
	partSize = 8 << 20

	// partsAtOnce is how many requests run at the same time; a developer's line is full with fewer.
	partsAtOnce = 4

	// abortTimeout is how long to try and remove the parts of an upload that failed or was cancelled.
	abortTimeout = 10 * time.Second

	// conflictTries is how often an upload is begun while somebody else's of the same commit is in its way.
	conflictTries = 3
)

// Keys of an object's metadata.
const (
	metaCommit   = "commit"
	metaAuthor   = "author"
	metaUnpacked = "uncompressed-size"
	metaSHA256   = "sha256"
)

// S3API is the subset of *s3.Client that Existing and Upload call, and what the SDK's transfer manager, which
// makes the requests of an upload, asks for besides.
type S3API interface {
	transfermanager.S3APIClient
}

var _ S3API = (*s3.Client)(nil)

// Uploaded is a bundle in S3: exactly these bytes, in a bucket with versions also when the key is overwritten.
type Uploaded struct {
	Bucket, Key string
	Version     string // "" in a bucket without versions
	ETag        string // without quotes; of an upload in parts it is not an MD5
	Already     bool   // it was there before
}

// Existing is the bundle of a commit that the environment's bucket has already, if it has one. An object at the
// bundle's key that usher did not make of this commit is an error.
func Existing(ctx context.Context, api S3API, e Environment, c Commit) (Uploaded, bool, error) {
	u := Uploaded{Bucket: e.Bucket, Key: e.Key(c.SHA), Already: true}
	head, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.Bucket, Key: &u.Key})
	switch {
	case statusOf(err) == http.StatusNotFound: // or there is no such bucket: only an upload tells
		return Uploaded{}, false, nil
	case err != nil:
		return Uploaded{}, false, explainS3("look for", e, u.Key, err)
	case head.Metadata[metaCommit] != c.SHA:
		return Uploaded{}, false, fmt.Errorf("cannot use s3://%s/%s, whose metadata do not say that it was made of this commit (commit is %q): somebody else put it there: "+
			"delete it, or set another prefix for %s in %s", u.Bucket, u.Key, head.Metadata[metaCommit], e.Name, FileName)
	}
	u.Version, u.ETag = aws.ToString(head.VersionId), unquote(head.ETag)
	return u, true, nil
}

// Upload stores a bundle in the environment's bucket, unless it is there: nothing is ever overwritten.
// progress, if not nil, is called with the bytes that were sent so far and their total; it never goes back, and is
// called by one goroutine at a time.
func Upload(ctx context.Context, api S3API, b Bundle, e Environment, progress func(done, total int64)) (Uploaded, error) {
	for try := 1; ; try++ {
		if u, found, err := Existing(ctx, api, e, b.Commit); err != nil || found {
			return u, err
		}
		u, err := put(ctx, api, b, e, progress)
		if err == nil {
			return u, nil
		}
		// Somebody was faster, or it was us: an answer was lost, and the SDK asked again.
		if beaten(err) {
			if u, found, lookErr := Existing(ctx, api, e, b.Commit); lookErr != nil || found {
				return u, lookErr
			}
			if try < conflictTries {
				continue
			}
		}
		return Uploaded{}, explainS3("upload", e, e.Key(b.Commit.SHA), err)
	}
}

// beaten reports whether an upload failed for another of the same key.
func beaten(err error) bool {
	switch codeOf(err) {
	case "ConditionalRequestConflict", "NoSuchUpload":
		return true
	}
	return statusOf(err) == http.StatusPreconditionFailed
}

// put makes the requests of an upload.
func put(ctx context.Context, api S3API, b Bundle, e Environment, progress func(done, total int64)) (Uploaded, error) {
	f, err := os.Open(b.Path)
	if err != nil {
		return Uploaded{}, err
	}
	defer f.Close()
	in := &transfermanager.UploadObjectInput{
		Bucket: &e.Bucket, Key: aws.String(e.Key(b.Commit.SHA)), Body: f,
		ContentType: aws.String("application/gzip"),
		IfNoneMatch: aws.String("*"), // immutable
		Metadata: map[string]string{
			metaCommit:   b.Commit.SHA,
			metaAuthor:   mime.QEncoding.Encode("utf-8", b.Commit.Author), // S3 takes ASCII
			metaUnpacked: strconv.FormatInt(b.Unpacked, 10),
			metaSHA256:   b.SHA256,
		},
	}
	// Both are sums of the file as it was packed, so what went wrong since then is found out.
	if b.Size < partSize {
		sum, err := hex.DecodeString(b.SHA256)
		if err != nil {
			return Uploaded{}, fmt.Errorf("its SHA-256 is %q: %w", b.SHA256, err)
		}
		in.ChecksumAlgorithm = tm.ChecksumAlgorithmSha256
		in.ChecksumSHA256 = aws.String(base64.StdEncoding.EncodeToString(sum))
	} else {
		in.ChecksumAlgorithm, in.ChecksumType = "CRC64NVME", tm.ChecksumTypeFullObject
		in.ChecksumCRC64NVME = aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, b.crc64)))
	}
	watched := &transfer{S3API: api, meter: newMeter(b.Size, progress)}
	out, err := transfermanager.New(watched).UploadObject(ctx, in, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = partSize, partSize, partsAtOnce
		o.FailTimeout = abortTimeout
	})
	if watched.refused != nil {
		return Uploaded{}, errors.Join(watched.refused, watched.abort(ctx))
	}
	if err != nil {
		return Uploaded{}, err
	}
	watched.meter.finish()
	return Uploaded{Bucket: e.Bucket, Key: *in.Key, Version: aws.ToString(out.VersionID), ETag: unquote(out.ETag)}, nil
}

// transfer is the S3 client as the transfer manager gets it: what it sends is measured.
type transfer struct {
	S3API
	meter *meter

	incomplete *s3.CompleteMultipartUploadInput
	refused    error // why the parts could not be put together
}

func (t *transfer) PutObject(ctx context.Context, in *s3.PutObjectInput, options ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	return t.S3API.PutObject(ctx, in, append(options, t.meter.measure(0))...)
}

func (t *transfer) UploadPart(ctx context.Context, in *s3.UploadPartInput, options ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	return t.S3API.UploadPart(ctx, in, append(options, t.meter.measure(aws.ToInt32(in.PartNumber)))...)
}

// CompleteMultipartUpload keeps an error to itself: the transfer manager would write it to standard error, where
// the progress is, although it is nothing unusual to come second.
func (t *transfer) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput, options ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
	out, err := t.S3API.CompleteMultipartUpload(ctx, in, options...)
	if err != nil {
		t.incomplete, t.refused = in, err
		return &s3.CompleteMultipartUploadOutput{}, nil
	}
	return out, nil
}

// abort removes the parts of an upload that could not be completed.
func (t *transfer) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, err := t.S3API.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: t.incomplete.Bucket, Key: t.incomplete.Key, UploadId: t.incomplete.UploadId})
	if err != nil && codeOf(err) != "NoSuchUpload" {
		return fmt.Errorf("and its parts could not be removed: %w", err)
	}
	return nil
}

// explainS3 says what an error of S3 means to a developer, and what to do.
func explainS3(verb string, e Environment, key string, err error) error {
	what := fmt.Sprintf("cannot %s s3://%s/%s", verb, e.Bucket, key)
	switch code, status := codeOf(err), statusOf(err); {
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
	case status == http.StatusForbidden && (code == "AccessDenied" || code == "Forbidden"):
		permissions := fmt.Sprintf("s3:PutObject and s3:AbortMultipartUpload on arn:aws:s3:::%s/%s%s/*", e.Bucket, e.Prefix, e.Application)
		if verb != "upload" { // without the second, S3 says the same of an object that is not there
			permissions = fmt.Sprintf("s3:GetObject on arn:aws:s3:::%s/%s%s/* and s3:ListBucket on arn:aws:s3:::%s", e.Bucket, e.Prefix, e.Application, e.Bucket)
		}
		return fmt.Errorf("%s: access denied: allow your identity %s (and kms:GenerateDataKey and kms:Decrypt when a KMS key encrypts the bucket), and see that the bucket is of this account: %w", what, permissions, err)
	}
	return Explain(strings.TrimPrefix(what, "cannot "), e, err)
}

// codeOf is the service's own name for an error, "" when there is none.
func codeOf(err error) string {
	if service := smithy.APIError(nil); errors.As(err, &service) {
		return service.ErrorCode()
	}
	return ""
}

// statusOf is the HTTP status of the answer, 0 when there was none.
func statusOf(err error) int {
	if answer := (*smithyhttp.ResponseError)(nil); errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// bucketRegion is where S3 says the bucket is, "" when it does not say.
func bucketRegion(err error) string {
	if answer := (*smithyhttp.ResponseError)(nil); errors.As(err, &answer) && answer.Response != nil {
		return answer.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }
