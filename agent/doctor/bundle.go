package doctor

import (
	"context"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"usher/agent/format"
	"usher/agent/policy"
)

// Objects is the subset of *s3.Client that Object calls.
type Objects interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Object is a bundle in S3, as a revision names it.
type Object struct{ Bucket, Key, Version, ETag string }

// Object finds out whether the bundle is there, is the one that was registered, and can be read: its first byte is
// fetched, because an object that is encrypted can be looked at without its key. size is 0 when it is not known.
func (r *Report) Object(ctx context.Context, api Objects, side policy.Side, region string, o Object) (size int64) {
	name := "s3://" + o.Bucket + "/" + o.Key
	var version *string
	if o.Version != "" {
		version = &o.Version
	}
	head, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key, VersionId: version})
	switch {
	case err == nil:
	case redirected(err):
		r.Problem("bundle", "use a bucket in "+region, "bucket %s is not in %s", o.Bucket, region)
		return 0
	case statusOf(err) == http.StatusNotFound:
		r.Problem("bundle", "deploy a revision again", "%s is not there any more: no launch can succeed", name)
		return 0
	case denied(err) || statusOf(err) == http.StatusForbidden:
		r.Problem("bundle", allow(side, "HeadObject"), "%s: HeadObject is refused, or the object is not there", name)
		return 0
	default:
		r.Problem("bundle", "", "%s: HeadObject failed: %v", name, err)
		return 0
	}
	size = aws.ToInt64(head.ContentLength)
	if etag := strings.Trim(aws.ToString(head.ETag), `"`); o.ETag != "" && etag != o.ETag {
		r.Problem("bundle", "deploy a revision again, under a key of its own", "%s was overwritten since it was registered (its ETag is %s, and was %s)", name, etag, o.ETag)
		return size
	}
	get, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.Bucket, Key: &o.Key, VersionId: version, Range: aws.String("bytes=0-0")},
		func(o *s3.Options) { o.DisableLogOutputChecksumValidationSkipped = true }) // there is none of a part
	kms := head.ServerSideEncryption == types.ServerSideEncryptionAwsKms || head.ServerSideEncryption == types.ServerSideEncryptionAwsKmsDsse
	switch {
	case err == nil:
		get.Body.Close()
	case denied(err) && (kms || strings.Contains(err.Error(), "kms:")):
		key := aws.ToString(head.SSEKMSKeyId)
		if key == "" {
			key = "its KMS key"
		}
		r.Problem("bundle", "allow kms:Decrypt on it, there and in the key's own policy; `usher iam-policy --kms ARN` prints it", "%s is encrypted with %s, which cannot be used", name, key)
		return size
	case denied(err):
		r.Problem("bundle", allow(side, "GetObject"), "%s: GetObject is refused", name)
		return size
	default:
		r.Problem("bundle", "", "%s: GetObject failed: %v", name, err)
		return size
	}
	encrypted := ""
	if kms {
		encrypted = ", encrypted with " + aws.ToString(head.SSEKMSKeyId)
	}
	r.OK("bundle", "%s is readable (%s%s)", name, format.Bytes(size), encrypted)
	return size
}
