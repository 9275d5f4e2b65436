package hostcommand

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/retry"
)

// What every request has.
const (
	contentType   = "application/x-amz-json-1.1"
	signatureTime = "20060102T150405Z" // the form of X-Amz-Date
	versionHeader = "X-Amz-Codedeploy-Agent-Version"
	noVersion     = "UNKNOWN_VERSION" // as AWS's agent says it
)

// leastSkew is how far the service's clock may be from ours before an error about a signature is blamed on
// it. AWS accepts five minutes, and says its time in whole seconds.
const leastSkew = 4 * time.Minute

// call makes an attempt, and repeats it when the SDK's standard retryer would.
func (c *Client) call(ctx context.Context, op string, in, out any) error {
	return c.retries.Do(ctx, func() error { return c.attempt(ctx, callTimeout, op, in, out) })
}

// attempt is one request; and another at once with new credentials, if those it was signed with have
// expired, or by the service's clock, if ours is wrong.
func (c *Client) attempt(ctx context.Context, timeout time.Duration, op string, in, out any) error {
	body, err := json.Marshal(in)
	if err == nil {
		err = c.send(ctx, timeout, op, body, out)
	}
	if retry.Expired(err) {
		if cached, ok := c.opt.Credentials.(*aws.CredentialsCache); ok {
			cached.Invalidate()
		}
		err = c.send(ctx, timeout, op, body, out)
	}
	if errors.As(err, new(clockLearned)) {
		err = c.send(ctx, timeout, op, body, out)
	}
	if err != nil {
		return &smithy.OperationError{ServiceID: "CodeDeployCommand", OperationName: op, Err: err}
	}
	return nil
}

// send signs one request, sends it, and reads the answer into out. An answer may be empty.
func (c *Client) send(ctx context.Context, timeout time.Duration, op string, body []byte, out any) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(retry.Late{Op: op, After: timeout}) })
	defer timer.Stop()
	req, err := c.request(ctx, op, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unsent(ctx, err)
	}
	defer resp.Body.Close()
	if timeout > callTimeout {
		timer.Stop() // the poll was held, and has ended
		timer = time.AfterFunc(callTimeout, func() { cancel(retry.Late{Op: op, After: callTimeout}) })
		defer timer.Stop()
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return unsent(ctx, err)
	case len(answer) > maxAnswer:
		return fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return c.failure(resp, answer)
	case len(answer) == 0:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return nil
}

// unsent is the error of a request without a whole answer. One that came too late is not said to be cancelled.
func unsent(ctx context.Context, err error) error {
	if late := (retry.Late{}); errors.As(context.Cause(ctx), &late) {
		err = late
	}
	return &smithyhttp.RequestSendError{Err: err}
}

// request is the signed request.
func (c *Client) request(ctx context.Context, op string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Amz-Target", c.stack.target+op)
	req.Header.Set(versionHeader, cmp.Or(c.opt.Version, noVersion))
	req.Header.Set("User-Agent", "usher/"+cmp.Or(c.opt.Version, noVersion))
	creds, err := c.opt.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot get credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := c.sigv4.SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), c.stack.name, c.opt.Region, c.now().Add(time.Duration(c.ahead.Load()))); err != nil {
		return nil, fmt.Errorf("cannot sign the request: %w", err)
	}
	return req, nil
}

// failure is the error that an answer is.
func (c *Client) failure(resp *http.Response, answer []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string // also as "message"
	}
	_ = json.Unmarshal(answer, &e) // something between us and the service may answer anything
	code := cmp.Or(e.Type, resp.Header.Get("X-Amzn-Errortype"))
	code = code[strings.LastIndex(code, "#")+1:] // it may be namespace#Code:documentation
	code, _, _ = strings.Cut(code, ":")
	api := &smithy.GenericAPIError{Code: cmp.Or(code, "UnknownError"), Message: cmp.Or(e.Message, http.StatusText(resp.StatusCode)), Fault: smithy.FaultClient}
	if resp.StatusCode >= http.StatusInternalServerError {
		api.Fault = smithy.FaultServer
	}
	err := error(&awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: resp}, Err: api},
		RequestID:     resp.Header.Get("X-Amzn-Requestid"),
	})
	theirs, unknown := http.ParseTime(resp.Header.Get("Date"))
	if unknown != nil || !slices.Contains(clockCodes, api.Code) {
		return err
	}
	ahead := c.now().Sub(theirs) // our clock
	if ahead.Abs() > leastSkew {
		err = fmt.Errorf("%s: let chrony or systemd-timesyncd set it: %w", skewed(ahead), err)
	}
	c.ahead.Store(int64(-ahead))
	signed, unknown := time.Parse(signatureTime, resp.Request.Header.Get("X-Amz-Date"))
	if unknown == nil && signed.Sub(theirs).Abs() > leastSkew { // else it is not the clock that is wrong
		err = clockLearned{err}
	}
	return err
}

// clockLearned is an error of a request that was signed by a clock that is wrong, when it is known how wrong. The clock may have
// been set in the middle of things, forward or back.
type clockLearned struct{ error }

func (c clockLearned) Unwrap() error { return c.error }

func skewed(ahead time.Duration) string {
	word := "ahead of"
	if ahead < 0 {
		word = "behind"
	}
	return fmt.Sprintf("the clock of this instance is %s %s AWS's", ahead.Abs().Round(time.Second), word)
}

// clockCodes are of the errors that a wrong clock can be behind.
var clockCodes = []string{"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", "InvalidSignatureException", "SignatureDoesNotMatch"}
