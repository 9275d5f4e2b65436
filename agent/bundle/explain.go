package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/policy"
	"usher/agent/retry"
)

// retryable reports whether a request that failed with err may succeed when made again. One whose credentials have expired
// may not: whoever called has to get new ones.
func retryable(err error) bool {
	return !errors.As(err, new(permanentError)) && retry.NotRefused(err, "RequestTimeout", "RequestTimeTooSkewed")
}

// regionOf is the client's, "" when it does not say.
func regionOf(api S3API) string {
	if c, ok := api.(interface{ Options() s3.Options }); ok {
		return c.Options().Region
	}
	return ""
}

// bucketRegion is where S3 says the bucket is, "" when it does not say.
func bucketRegion(err error) string {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		return response.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

// FindS3 is the version and the ETag of what o names now, by one HeadObject: s3:GetObject is what it takes. The version is
// "" in a bucket without versions.
func FindS3(ctx context.Context, api S3API, o S3Object) (version, etag string, err error) {
	head, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return "", "", explain(api, o, err)
	}
	return aws.ToString(head.VersionId), unquote(head.ETag), nil
}

// none is what is said of an object that is not there.
func (o S3Object) none() string {
	text := "there is no object s3://" + o.Bucket + "/" + o.Key
	if o.Version != "" {
		text += " (version " + o.Version + ")"
	}
	return text
}

// explain says what an error of S3 means for o, and what to do. The answer to HeadObject has no body,
// so its status has to do for a code. The Region of api says which partition the bucket's ARN is in.
func explain(api S3API, o S3Object, err error) error {
	action := "s3:GetObject"
	if o.Version != "" {
		action = "s3:GetObjectVersion"
	}
	what := ""
	switch code, status := retry.Code(err), retry.Status(err); {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case code == "InvalidObjectState":
		what = "it is archived: restore it, or upload the bundle again"
	case code == "NoSuchBucket":
		what = "there is no such bucket: correct the revision's location"
	case code == "NoSuchVersion", status == http.StatusNotFound && o.Version != "", status == http.StatusMethodNotAllowed:
		return fmt.Errorf("cannot download the bundle: %s: the version was deleted: deploy a revision that exists: %w", o.none(), err)
	case status == http.StatusNotFound:
		return fmt.Errorf("cannot download the bundle: %s, or no such bucket: it was deleted or never uploaded: deploy a revision that exists: %w", o.none(), err)
	case status == http.StatusMovedPermanently, code == "PermanentRedirect", code == "AuthorizationHeaderMalformed":
		what = "the bucket is in another region: use a bucket in the instance's region"
		if region := bucketRegion(err); region != "" {
			what = fmt.Sprintf("the bucket is in the region %s: use a bucket in the instance's region", region)
		}
	case status == http.StatusPreconditionFailed:
		what = "it was overwritten while it was being downloaded: deploy it again"
	case code == "ExpiredToken", code == "RequestTimeTooSkewed":
		what = "the credentials or the clock of the instance are out of date: look at `timedatectl` and the instance profile"
	case status == http.StatusForbidden:
		what = fmt.Sprintf("access denied: allow %s on arn:%s:s3:::%s/%s to the instance's role, and kms:Decrypt if a KMS key encrypts it; or %s, which S3 does not tell to a role without s3:ListBucket: then deploy a revision that exists",
			action, policy.Partition(regionOf(api)), o.Bucket, o.Key, o.none())
	}
	if what == "" {
		return fmt.Errorf("cannot download %s: %w", o, err)
	}
	return fmt.Errorf("cannot download %s: %s: %w", o, what, err)
}
