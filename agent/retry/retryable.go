package retry

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// sdk is what the SDK itself makes again, and after that server is what passes on a server besides.
var (
	sdk    = retry.IsErrorRetryables(retry.DefaultRetryables)
	server = sync.OnceValue(func() retry.IsErrorRetryables {
		clock := retry.RetryableErrorCode{Codes: map[string]struct{}{"ExpiredToken": {}, "ExpiredTokenException": {}, "RequestTimeTooSkewed": {}}}
		// noCredentials before the SDK's own, which takes metadata's time that is over for a call that the caller cancelled
		return slices.Concat(retry.IsErrorRetryables{clock, retry.IsErrorRetryableFunc(noCredentials)}, retry.DefaultRetryables)
	})
	throttles = retry.IsErrorThrottles(retry.DefaultThrottles)
)

// Retryable says whether an error of a call that a server makes with its role can go away by itself: what the SDK itself
// retries, credentials that have expired or that metadata does not have yet, a clock that is wrong, and names that do not
// resolve yet. In the first seconds of a boot a resolver without its upstream says that a name does not exist, which the SDK
// takes for an answer; no endpoint that usher asks is without a name for long.
func Retryable(err error) bool {
	if errors.As(err, new(*net.DNSError)) {
		return true
	}
	return server().IsErrorRetryable(err) == aws.TrueTernary || expiredCertificate(err)
}

// Transient says whether an error passes by itself for anybody, whatever their credentials and their clock: throttling, a
// failure of the service, a network that is away. The SDK has made some attempts by then.
func Transient(err error) bool {
	return Status(err) >= http.StatusInternalServerError || RetriedBySDK(err) || Throttled(err)
}

// RetriedBySDK says whether the SDK's standard retryer would make the call again.
func RetriedBySDK(err error) bool { return sdk.IsErrorRetryable(err) == aws.TrueTernary }

// NotRefused says whether err may be gone in some minutes: everything but an answer of a service about this very request.
// passing are codes of such answers that may be gone all the same.
func NotRefused(err error, passing ...string) bool {
	if slices.Contains(passing, Code(err)) && Code(err) != "" || Throttled(err) {
		return true
	}
	switch status := Status(err); status {
	case http.StatusRequestTimeout:
		return true
	case http.StatusNotImplemented:
		return false
	default:
		return status < http.StatusMultipleChoices || status >= http.StatusInternalServerError // 0: there was no answer
	}
}

// Throttled says whether an error is a service's answer that too many ask.
func Throttled(err error) bool {
	return err != nil && (throttles.IsErrorThrottle(err) == aws.TrueTernary || Status(err) == http.StatusTooManyRequests)
}

// Denied recognises the answers by which a service says that it does not know who asks, or that they may not. Forbidden
// is what S3's answer to HeadObject, which has no body, is called.
func Denied(err error) bool {
	switch Code(err) {
	case "AccessDenied", "AccessDeniedException", "Forbidden", "UnauthorizedOperation", "NotAuthorized", "AuthFailure",
		"UnrecognizedClientException", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
		"SignatureDoesNotMatch", "InvalidSignatureException":
		return true
	}
	return false
}

// Expired says whether a service's answer is that the credentials were too old.
func Expired(err error) bool {
	code := Code(err)
	return code == "ExpiredToken" || code == "ExpiredTokenException"
}

// Code is the service's own name for an error, "" when it is not a service's.
func Code(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// Status is the HTTP status of the answer that an error is, 0 when there was no answer.
func Status(err error) int {
	if answer := (*smithyhttp.ResponseError)(nil); errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// noCredentials: the SDK has no type for a provider that failed.
func noCredentials(err error) aws.Ternary {
	if strings.Contains(err.Error(), "failed to refresh cached credentials") {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// expiredCertificate recognises a certificate whose time has not come, or is over: of AWS's that is a clock that is wrong.
func expiredCertificate(err error) bool {
	var bad x509.CertificateInvalidError
	return errors.As(err, &bad) && bad.Reason == x509.Expired
}
