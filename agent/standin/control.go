package standin

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxRequest bounds a request of the control plane; the services' own limits are below it.
const maxRequest = 1 << 20

// apiError is an error as a service answers it.
type apiError struct {
	status  int // 0: what the service uses
	code    string
	message string
}

// wire is one service's protocol: how a request names its operation and how answers are written.
type wire struct {
	name        string // SigV4's service name, and the log's
	contentType string
	parse       func(r *http.Request, body []byte) (request, *apiError)
	result      func(op, requestID string, v any) []byte
	failure     func(requestID string, e apiError) []byte
	refused     map[refusal]apiError // signatures
	throttled   apiError
	constrained func(r request) *apiError // nil: operations see to it themselves
	operations  map[string]operation
	open        []string // of them, which need no signature
	unknown     func(op string) apiError
}

// request is one parsed call.
type request struct {
	op     string
	params map[string]string // for the log, and the fields of a Query request
	body   []byte            // of a JSON request

	instance string          // whose credentials signed it; "" for a user
	session  string          // ROLE/SESSION that the user has assumed; "" for the user itself
	gone     <-chan struct{} // closed when the client has gone
}

// operation serves one call; its result is written by the wire.
type operation func(c *Cloud, r request) (any, *apiError)

// clientGone is what an operation that waits returns when nobody waits for its answer any more.
var clientGone = apiError{code: "ClientGone"}

// wireOf tells the services of the endpoint apart as they can be told apart: a JSON service names its
// operation in X-Amz-Target, and the Query services sign for themselves.
func wireOf(r *http.Request, body []byte) *wire {
	if auth, _ := parseAuthorization(r.Header.Get("Authorization")); auth.service == identityWire.name {
		return &identityWire
	}
	switch target := r.Header.Get("X-Amz-Target"); {
	case bytes.Contains(body, []byte("Version="+stsVersion)): // who has no credentials yet signs nothing
		return &identityWire
	case strings.HasPrefix(target, codeDeployTarget):
		return &codeDeployWire
	case strings.HasPrefix(target, hostCommandTarget):
		return &hostCommandWire
	case strings.HasPrefix(target, secureCommandTarget):
		return &secureCommandWire
	}
	return &autoScalingWire
}

// serveControl serves every service of the endpoint.
func (c *Cloud) serveControl(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	wire := wireOf(r, body)
	call := Call{At: time.Now(), Service: wire.name}
	defer func() { c.calls.add(call) }()
	if err != nil {
		call.ErrorCode = "RequestNotRead"
		panic(http.ErrAbortHandler)
	}
	req, bad := wire.parse(r, body)
	call.Op, call.Params = req.op, req.params
	cred, refused, why := c.verify(r, body, wire.name)
	if refused == unsigned && slices.Contains(wire.open, req.op) {
		refused = 0
	}
	call.InstanceID = cred.instance
	req.instance, req.session, req.gone = cred.instance, cred.session, r.Context().Done()

	fault := c.faults.next(Request{call.Service, call.Op, call.InstanceID, call.Params})
	if err := c.pause(r.Context(), c.options.Latency+fault.Delay, fault.Until); err != nil {
		call.ErrorCode = clientGone.code
		panic(http.ErrAbortHandler)
	}

	answer := answer{id: newUUID(), wire: wire, op: req.op}
	switch {
	case refused != 0:
		e := wire.refused[refused]
		e.message = why
		answer.fail(e)
	case bad != nil:
		answer.fail(*bad)
	case fault.answers() && !fault.AfterEffect, fault.DropConnection && !fault.AfterEffect:
		answer.inject(fault)
	case !c.budgets[wire.name].take():
		answer.fail(wire.throttled)
	default:
		answer.serve(c, req)
		if fault.AfterEffect {
			answer.inject(fault)
		}
	}
	switch {
	case fault.DropConnection:
		call.ErrorCode = "ConnectionDropped"
		panic(http.ErrAbortHandler)
	case answer.code == clientGone.code:
		call.ErrorCode = clientGone.code
		panic(http.ErrAbortHandler)
	}
	call.Status, call.ErrorCode = answer.status, answer.code
	if c.options.Observe != nil {
		c.options.Observe(Exchange{wire.name, req.op, body, answer.status, answer.code, answer.body, fault.answers()})
	}
	if fault.Stall {
		w = stalled{w, r}
	}
	w.Header().Set("Content-Type", wire.contentType)
	w.Header().Set("X-Amzn-Requestid", answer.id)
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// answer is what goes back.
type answer struct {
	id     string
	wire   *wire
	op     string
	status int
	code   string
	body   []byte
}

func (a *answer) serve(c *Cloud, r request) {
	do, ok := a.wire.operations[r.op]
	if !ok {
		a.fail(a.wire.unknown(r.op))
		return
	}
	var v any
	var failed *apiError
	if a.wire.constrained != nil {
		failed = a.wire.constrained(r)
	}
	if failed == nil {
		v, failed = do(c, r)
	}
	if failed != nil {
		a.fail(*failed)
		return
	}
	a.status, a.code, a.body = http.StatusOK, "", a.wire.result(r.op, a.id, v)
}

func (a *answer) fail(e apiError) {
	if e.status == 0 {
		e.status = statusOf(e.code)
	}
	a.status, a.code, a.body = e.status, e.code, a.wire.failure(a.id, e)
}

// inject answers as a fault says.
func (a *answer) inject(f Fault) {
	switch {
	case f.Body != nil:
		a.status, a.code, a.body = max(f.Status, http.StatusOK), f.Code, f.Body
	case f.answers():
		a.fail(f.asError())
	}
}

// asError is the fault as an error of a service, with the service's words where the test has none.
func (f Fault) asError() apiError {
	e := apiError{f.Status, f.Code, f.Message}
	if e.code == "" {
		e.code = map[int]string{403: "AccessDenied", 500: "InternalFailure", 503: "ServiceUnavailable"}[e.status]
	}
	if e.code == "" {
		e.code = strings.ReplaceAll(http.StatusText(e.status), " ", "")
	}
	if e.message == "" {
		e.message = map[string]string{
			"Throttling":          "Rate exceeded",
			"ThrottlingException": "Rate exceeded",
			"ExpiredToken":        "The security token included in the request is expired",
			"ResourceContention":  "You already have a pending update to an Amazon EC2 Auto Scaling resource.",
			"SlowDown":            "Please reduce your request rate.",
			"AccessDenied":        "User is not authorized to perform this action",
		}[e.code]
	}
	return e
}

// statusOf is the HTTP status the services send with an error code. The JSON services refuse with 400, as
// AWS's agents have logged it of AccessDeniedException; the Query services with 403.
func statusOf(code string) int {
	switch code {
	case "AccessDenied", "ExpiredToken", "InvalidClientTokenId", "MissingAuthenticationToken", "SignatureDoesNotMatch":
		return http.StatusForbidden
	case "ResourceContention", "InternalFailure", "InternalError", "ServerException":
		return http.StatusInternalServerError
	case "ServiceUnavailable", "SlowDown":
		return http.StatusServiceUnavailable
	case "NoSuchKey", "NoSuchBucket", "NoSuchVersion":
		return http.StatusNotFound
	case "PreconditionFailed":
		return http.StatusPreconditionFailed
	}
	return http.StatusBadRequest
}
