package retry

import (
	"context"
	"fmt"
	"io"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// uploads are the calls of S3 whose requests carry a bundle, which takes as long as it takes. Their time begins anew with each
// piece of it that is taken, and once more when all of the request was sent.
var uploads = map[string]bool{"PutObject": true, "UploadPart": true}

// assembling is the time of CompleteMultipartUpload, whose answer S3 begins at once and ends when the parts are together,
// which "could take several minutes" (its documentation); until then it sends white space.
const assembling = 10 * time.Minute

// Deadline gives each attempt of every call of a client so long, from looking for its server's address to the last byte of
// the answer; then the attempt has failed, and is made again as after any failure of the network. The SDK itself waits for
// ever for an answer that has begun: a load balancer whose server died, or a NAT that has dropped the connection, leaves it
// so. An upload has twice as long for each piece of its request that is taken, of some ten kilobytes, because a peer that takes none would
// keep it for ever, and for its answer, because the kernel is not done when all is taken. GetObject's answer is a bundle: its time ends with the head of the answer, and who reads the body sees to it that more
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
			limit := newLimit(cancel, late)
			if request, ok := in.Request.(*smithyhttp.Request); ok && uploads[late.Op] && request.GetStream() != nil {
				sending := Late{Op: late.Op, After: 2 * d, Sending: true}
				limit.set(sending)
				taken, err := request.SetStream(&pieces{request.GetStream(), func() { limit.set(sending) }})
				if err != nil {
					return middleware.FinalizeOutput{}, middleware.Metadata{}, err
				}
				in.Request = taken
				bounded = httptrace.WithClientTrace(bounded, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
					limit.set(Late{Op: late.Op, After: 2 * d}) // the kernel has some of it still to send
				}})
			}
			out, about, err := next.HandleFinalize(bounded, in)
			if over, is := limit.end(); is && err != nil {
				err = over // and not that it was cancelled, which nobody tries again
			}
			if err != nil || late.Op != "GetObject" {
				cancel(nil) // of GetObject the body is still to be read: it ends with the caller's context
			}
			return out, about, err
		}), middleware.After) // the credentials are there: a person may be asked for them
	}}
}

// A limit ends a call that takes too long for what it is at.
type limit struct {
	mu    sync.Mutex
	timer *time.Timer
	late  Late // what the call is too late for when the timer runs out
	over  bool // it has run out
	ended bool // the call has ended before
}

func newLimit(cancel context.CancelCauseFunc, late Late) *limit {
	l := &limit{late: late}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(late.After, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.ended {
			l.over = true
			cancel(l.late)
		}
	})
	return l
}

// set begins anew, for the next thing.
func (l *limit) set(late Late) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && !l.over {
		l.late = late
		l.timer.Reset(late.After)
	}
}

// end says whether the time was over, and for what.
func (l *limit) end() (Late, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.timer.Stop()
	return l.late, l.over
}

// pieces is the content of a request that tells of each piece of it: the next one is read when the last was taken.
type pieces struct {
	io.Reader
	next func()
}

func (p *pieces) Read(b []byte) (int, error) {
	p.next()
	return p.Reader.Read(b)
}

// Late is the error of a call that had no whole answer in time. The call may have had its effect.
type Late struct {
	Op      string        // "DescribeLifecycleHooks"
	After   time.Duration // how long was waited
	Sending bool          // for its request to be taken, and not for the answer
}

func (l Late) Error() string {
	if l.Sending {
		return fmt.Sprintf("no more of %s was taken within %s: the network or AWS has dropped it", l.Op, l.After)
	}
	return fmt.Sprintf("the answer to %s was not complete within %s: the network or AWS has dropped it", l.Op, l.After)
}

// RetryableError is what the SDK asks: the call can be made again.
func (Late) RetryableError() bool { return true }

// Timeout is what package net asks.
func (Late) Timeout() bool { return true }
