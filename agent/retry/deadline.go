package retry

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"time"

	"github.com/aws/smithy-go/middleware"
)

// uploads are the calls of S3 whose requests carry a bundle, which takes as long as it takes. Their time begins when all of
// the request was sent.
var uploads = map[string]bool{"PutObject": true, "UploadPart": true}

// assembling is the time of CompleteMultipartUpload, whose answer S3 begins at once and ends when the parts are together,
// which "could take several minutes" (its documentation); until then it sends white space.
const assembling = 10 * time.Minute

// Deadline gives each attempt of every call of a client so long, from looking for its server's address to the last byte of
// the answer; then the attempt has failed, and is made again as after any failure of the network. The SDK itself waits for
// ever for an answer that has begun: a load balancer whose server died, or a NAT that has dropped the connection, leaves it
// so. GetObject's answer is a bundle: its time ends with the head of the answer, and who reads the body sees to it that more
// of it comes. It is for aws.Config.APIOptions.
func Deadline(d time.Duration) []func(*middleware.Stack) error {
	return []func(*middleware.Stack) error{func(calls *middleware.Stack) error {
		return calls.Finalize.Add(middleware.FinalizeMiddlewareFunc("UsherDeadline", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error) {
			late := Late{Op: middleware.GetOperationName(ctx), After: d}
			if late.Op == "CompleteMultipartUpload" {
				late.After = max(d, assembling)
			}
			bounded, cancel := context.WithCancelCause(ctx)
			timer := time.AfterFunc(late.After, func() { cancel(late) })
			if uploads[late.Op] {
				timer.Stop()
				bounded = httptrace.WithClientTrace(bounded, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { timer.Reset(d) }})
			}
			out, about, err := next.HandleFinalize(bounded, in)
			timer.Stop()
			if err != nil && context.Cause(bounded) == error(late) {
				err = late // and not that it was cancelled, which nobody tries again
			}
			if err != nil || late.Op != "GetObject" {
				cancel(nil) // of GetObject the body is still to be read: it ends with the caller's context
			}
			return out, about, err
		}), middleware.After) // the credentials are there: a person may be asked for them
	}}
}

// Late is the error of a call that had no whole answer in time. The call may have had its effect.
type Late struct {
	Op    string        // "DescribeLifecycleHooks"
	After time.Duration // how long was waited
}

func (l Late) Error() string {
	return fmt.Sprintf("the answer to %s was not complete within %s: the network or AWS has dropped it", l.Op, l.After)
}

// RetryableError is what the SDK asks: the call can be made again.
func (Late) RetryableError() bool { return true }

// Timeout is what package net asks.
func (Late) Timeout() bool { return true }
