package hostcommand

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"usher/agent/retry"
)

const (
	host      = "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
	execution = "CodeDeploy/eu-west-1/Prod/arn:aws:sds:eu-west-1:123456789012:deployment/d-ABCDEF123"
)

var command = Command{ID: "WyJjb20i", Host: host, Execution: execution, Event: "BeforeInstall", Nonce: 7}

// limited bounds a test that talks over sockets.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// request is what a service saw of one call.
type request struct {
	op     string
	header http.Header
	body   []byte
}

// service is an HTTP server that answers the calls in order, and the last answer for ever.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []request
}

func serve(t *testing.T, answers ...http.HandlerFunc) *service {
	s := &service{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests = append(s.requests, request{strings.TrimPrefix(r.Header.Get("X-Amz-Target"), open.target), r.Header.Clone(), body})
	answer := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	answer(w, r)
}

func (s *service) seen() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fails answers with an error of the service.
func fails(status int, code string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"__type":"com.amazonaws.codedeploy#%s:","message":"not today"}`, code))
}

func drops(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// client is one of the service that does not wait between tries.
func client(t *testing.T, s *service, change ...func(*Options)) *Client {
	o := Options{Region: "eu-west-1", Endpoint: s.URL, Host: host, Version: "1.2.3",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "token")}
	for _, f := range change {
		f(&o)
	}
	c := New(o)
	t.Cleanup(c.http.CloseIdleConnections)
	return hasty(c)
}

// hasty makes a client repeat at once.
func hasty(c *Client) *Client {
	c.retries.Backoff = retry.Backoff{}
	c.backoff = func(int, bool) time.Duration { return 0 }
	return c
}

// What goes over the wire, call by call.
func TestTheWire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, op string
		answer   string
		call     func(context.Context, *Client) (any, error)
		body     string
		want     any
	}{
		{"poll, nothing", "PollHostCommand", `{}`, poll, `{"HostIdentifier":"` + host + `"}`, (*Command)(nil)},
		{"poll, an empty answer", "PollHostCommand", ``, poll, `{"HostIdentifier":"` + host + `"}`, (*Command)(nil)},
		{"poll, a command", "PollHostCommand",
			`{"HostCommand":{"HostCommandIdentifier":"WyJjb20i","HostIdentifier":"` + host + `","DeploymentExecutionId":"` + execution + `","CommandName":"BeforeInstall","Nonce":7}}`,
			poll, `{"HostIdentifier":"` + host + `"}`, &command},
		{"acknowledge", "PutHostCommandAcknowledgement", `{"CommandStatus":"InProgress"}`, acknowledge(false),
			`{"HostCommandIdentifier":"WyJjb20i","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":false}"}}`, InProgress},
		{"acknowledge, nothing to run", "PutHostCommandAcknowledgement", `{"CommandStatus":"Succeeded"}`, acknowledge(true),
			`{"HostCommandIdentifier":"WyJjb20i","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":true}"}}`, Succeeded},
		{"acknowledge, no status", "PutHostCommandAcknowledgement", `{}`, acknowledge(true),
			`{"HostCommandIdentifier":"WyJjb20i","Diagnostics":{"Format":"JSON","Payload":"{\"IsCommandNoop\":true}"}}`, Status("")},
		{"complete, a success", "PutHostCommandComplete", ``, complete(Result{Log: []string{"[stdout]ok"}}),
			`{"HostCommandIdentifier":"WyJjb20i","CommandStatus":"Succeeded","Diagnostics":{"Format":"JSON","Payload":"{\"error_code\":0,\"script_name\":\"\",\"message\":\"Succeeded\",\"log\":\"[stdout]ok\"}"}}`, nil},
		{"complete, a failure", "PutHostCommandComplete", `{}`, complete(Result{Code: ScriptFailed, Script: "a.sh", Message: "exit 1", Log: []string{"one", "two"}}),
			`{"HostCommandIdentifier":"WyJjb20i","CommandStatus":"Failed","Diagnostics":{"Format":"JSON","Payload":"{\"error_code\":4,\"script_name\":\"a.sh\",\"message\":\"exit 1\",\"log\":\"one\\ntwo\"}"}}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, says(200, c.answer))
			got, err := c.call(limited(t), client(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if g, w := asJSON(t, got), asJSON(t, c.want); g != w {
				t.Errorf("got %s, want %s", g, w)
			}
			seen := s.seen()
			if len(seen) != 1 || seen[0].op != c.op || string(seen[0].body) != c.body {
				t.Fatalf("%d requests, %s\ngot  %s\nwant %s %s", len(seen), seen[0].op, seen[0].body, c.op, c.body)
			}
			auth := seen[0].header.Get("Authorization")
			if !strings.Contains(auth, "/eu-west-1/codedeploy-commands/aws4_request,") {
				t.Errorf("signed for %s", auth)
			}
			if _, signed, _ := strings.Cut(auth, "SignedHeaders="); !strings.Contains(signed, ";x-amz-codedeploy-agent-version;") || seen[0].header.Get("x-amz-codedeploy-agent-version") != "1.2.3" {
				t.Errorf("the version %q is not among the signed headers of %s", seen[0].header.Get("x-amz-codedeploy-agent-version"), auth)
			}
			if got := seen[0].header.Get("Content-Type"); got != "application/x-amz-json-1.1" {
				t.Errorf("content type %s", got)
			}
		})
	}
}

func poll(ctx context.Context, c *Client) (any, error) { return c.Poll(ctx) }

func acknowledge(noop bool) func(context.Context, *Client) (any, error) {
	return func(ctx context.Context, c *Client) (any, error) { return c.Acknowledge(ctx, command, noop) }
}

func complete(r Result) func(context.Context, *Client) (any, error) {
	return func(ctx context.Context, c *Client) (any, error) { return nil, c.Complete(ctx, command.ID, r) }
}

func asJSON(t *testing.T, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheVersionIsAlwaysSaid(t *testing.T) {
	t.Parallel()
	s := serve(t, says(200, `{}`))
	if _, err := client(t, s, func(o *Options) { o.Version = "" }).Poll(limited(t)); err != nil {
		t.Fatal(err)
	}
	if got := s.seen()[0].header.Get("x-amz-codedeploy-agent-version"); got != "UNKNOWN_VERSION" {
		t.Errorf("the version is %q", got)
	}
}

func TestWhereItIs(t *testing.T) {
	for _, c := range []struct{ region, domain, endpoint, signer string }{
		{"eu-west-1", "", "https://codedeploy-commands.eu-west-1.amazonaws.com/", "codedeploy-signer-eu-west-1.amazonaws.com"},
		{"cn-north-1", "", "https://codedeploy-commands.cn-north-1.amazonaws.com.cn/", "codedeploy-signer-cn-north-1.amazonaws.com.cn"},
		{"eusc-de-east-1", "", "https://codedeploy-commands.eusc-de-east-1.amazonaws.eu/", "codedeploy-signer-eusc-de-east-1.amazonaws.eu"},
		{"us-iso-east-1", "c2s.ic.gov", "https://codedeploy-commands.us-iso-east-1.c2s.ic.gov/", "codedeploy-signer-us-iso-east-1.c2s.ic.gov"},
	} {
		got := New(Options{Region: c.region, Domain: c.domain})
		if got.endpoint != c.endpoint || got.signer != c.signer {
			t.Errorf("%s %s: %s and %s", c.region, c.domain, got.endpoint, got.signer)
		}
	}
}

// A command that is not whole, or another instance's, is not handed on.
func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, id, host, execution, event string
		want                             string // "" is accepted
	}{
		{"ours", "c", host, execution, "Install", ""},
		{"ours, by a part of the ARN", "c", "instance/i-0123456789abcdef0", execution, "Install", ""},
		{"another instance's", "c", strings.Replace(host, "f0", "f1", 1), execution, "Install", `it is for "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef1", and this is ` + host},
		{"of more than us", "c", host + "0", execution, "Install", `it is for "` + host + `0", and this is ` + host},
		{"nobody's", "c", "", execution, "Install", `it is for "", and this is ` + host},
		{"no identifier", "", host, execution, "Install", "it has no identifier"},
		{"no event", "c", host, execution, "", "it names no lifecycle event"},
		{"no deployment", "c", host, "", "Install", "its event is Install, but of no deployment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, says(200, asJSON(t, map[string]any{"HostCommand": map[string]any{"HostCommandIdentifier": c.id, "HostIdentifier": c.host,
				"DeploymentExecutionId": c.execution, "CommandName": c.event}})))
			got, err := client(t, s).Poll(limited(t))
			if c.want == "" && (err != nil || got.Event != c.event) {
				t.Errorf("got %+v, %v", got, err)
			}
			if c.want != "" && (got != nil || err == nil || err.Error() != "cannot accept the command that CodeDeploy sent: "+c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// How often a call is made, when its first answers are errors and then it is well.
func TestAttempts(t *testing.T) {
	t.Parallel()
	var (
		broken    = drops
		throttle  = fails(400, "ThrottlingException")
		failure   = fails(500, "ServerException")
		refusal   = fails(400, "ClientException")
		gateway   = says(502, "<html>bad gateway</html>")
		tooMany   = says(429, "slow down")
		nonsense  = says(200, "<html>log in to the network</html>")
		elsewhere = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }
		cutOff    = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}
		well = says(200, `{}`)
	)
	for _, c := range []struct {
		name     string
		answers  []http.HandlerFunc
		poll     int // how many requests a poll makes
		call     int // and an acknowledgement
		complete int // and a completion
		err      string
	}{
		{"well", []http.HandlerFunc{well}, 1, 1, 1, ""},
		{"a connection lost", []http.HandlerFunc{broken, well}, 1, 2, 2, "EOF"},
		{"an answer cut off", []http.HandlerFunc{cutOff, well}, 1, 2, 2, "unexpected EOF"},
		{"throttled", []http.HandlerFunc{throttle, well}, 1, 2, 2, "ThrottlingException: not today"},
		{"three failures", []http.HandlerFunc{failure, failure, failure, well}, 1, 4, 4, "ServerException: not today"},
		{"four failures", []http.HandlerFunc{failure, failure, failure, failure, well}, 1, 4, 5, "ServerException: not today"},
		{"a proxy that fails", []http.HandlerFunc{gateway, well}, 1, 2, 2, "UnknownError: Bad Gateway"},
		{"too many requests, no code", []http.HandlerFunc{tooMany, well}, 1, 1, 2, "UnknownError: Too Many Requests"},
		{"somebody else's page", []http.HandlerFunc{nonsense, well}, 1, 1, 2, "deserialization failed"},
		{"elsewhere", []http.HandlerFunc{elsewhere, well}, 1, 1, 1, "StatusCode: 302"},
		{"a refusal", []http.HandlerFunc{refusal, well}, 1, 1, 1, "ClientException: not today"},
		{"expired credentials", []http.HandlerFunc{fails(400, "ExpiredTokenException"), well}, 2, 2, 2, ""},
		{"credentials that stay expired", []http.HandlerFunc{fails(400, "ExpiredToken"), fails(400, "ExpiredToken"), well}, 2, 2, 3, "ExpiredToken: not today"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, call := range []struct {
				name string
				make func(context.Context, *Client) (any, error)
				want int
			}{{"poll", poll, c.poll}, {"acknowledge", acknowledge(false), c.call}, {"complete", complete(Result{}), c.complete}} {
				s := serve(t, c.answers...)
				_, err := call.make(limited(t), client(t, s))
				if len(s.seen()) != call.want {
					t.Errorf("%s: %d requests, want %d", call.name, len(s.seen()), call.want)
				}
				switch well := call.want == len(c.answers); { // the last answer is
				case well && err != nil:
					t.Errorf("%s: %v", call.name, err)
				case !well && (err == nil || !strings.Contains(err.Error(), c.err)):
					t.Errorf("%s: got %v, want %s", call.name, err, c.err)
				}
			}
		})
	}
}

// The errors are as the SDK's own, for whoever looks inside.
func TestErrorsAsOfTheSDK(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "0a1b")
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		says(403, `{"message":"is not authorized"}`)(w, r)
	})
	_, err := client(t, s).Acknowledge(limited(t), command, true)
	var op *smithy.OperationError
	var resp *smithyhttp.ResponseError
	var api *smithy.GenericAPIError
	if !errors.As(err, &op) || !errors.As(err, &resp) || !errors.As(err, &api) || op.OperationName != "PutHostCommandAcknowledgement" || resp.HTTPStatusCode() != 403 || api.Fault != smithy.FaultClient {
		t.Fatalf("%#v", err)
	}
	want := "cannot acknowledge the command BeforeInstall: operation error CodeDeployCommand: PutHostCommandAcknowledgement, https response error StatusCode: 403, RequestID: 0a1b, api error AccessDeniedException: is not authorized"
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLargeAnswersAreRefused(t *testing.T) {
	t.Parallel()
	padded := func(n int) http.HandlerFunc {
		return says(200, `{"CommandStatus":"`+strings.Repeat("x", n-len(`{"CommandStatus":""}`))+`"}`)
	}
	for _, c := range []struct {
		size int
		ok   bool
	}{{1 << 20, true}, {1<<20 + 1, false}, {3 << 20, false}} {
		s := serve(t, padded(c.size))
		_, err := client(t, s).Acknowledge(limited(t), command, false)
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "the answer is larger than 1048576 bytes") {
			t.Errorf("%d bytes: %v", c.size, err)
		}
		if len(s.seen()) != 1 {
			t.Errorf("%d bytes: asked %d times", c.size, len(s.seen()))
		}
	}
}

// counting is a provider that numbers the keys it gives.
type counting struct{ given int }

func (p *counting) Retrieve(context.Context) (aws.Credentials, error) {
	p.given++
	return aws.Credentials{AccessKeyID: fmt.Sprintf("ASIA%d", p.given), SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Now().Add(time.Hour)}, nil
}

func TestExpiredCredentialsAreForgotten(t *testing.T) {
	t.Parallel()
	provider := &counting{}
	s := serve(t, says(200, `{}`), fails(400, "ExpiredTokenException"), says(200, `{}`))
	c := client(t, s, func(o *Options) { o.Credentials = aws.NewCredentialsCache(provider) })
	for range 3 {
		if _, err := c.Poll(limited(t)); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	for _, r := range s.seen() {
		_, key, _ := strings.Cut(r.header.Get("Authorization"), "Credential=")
		key, _, _ = strings.Cut(key, "/")
		keys = append(keys, key)
	}
	if got := strings.Join(keys, " "); got != "ASIA1 ASIA1 ASIA2 ASIA2" {
		t.Errorf("signed with %s", got)
	}
}

// unavailable is a provider without credentials.
type unavailable struct{}

func (unavailable) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("no role is attached")
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	s := serve(t, says(200, `{}`))
	_, err := client(t, s, func(o *Options) { o.Credentials = unavailable{} }).Poll(limited(t))
	if err == nil || !strings.HasSuffix(err.Error(), "cannot get credentials: no role is attached") || len(s.seen()) != 0 {
		t.Errorf("%v after %d requests", err, len(s.seen()))
	}
}

// A refused signature is blamed on the clock when that is wrong, and only then.
func TestTheClock(t *testing.T) {
	t.Parallel()
	at := func(date time.Duration, answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(date).UTC().Format(http.TimeFormat))
			answer(w, r)
		}
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // "" is no word of the clock
	}{
		{"ahead", at(-2*time.Hour, fails(400, "RequestTimeTooSkewed")), "the clock of this instance is 2h0m"},
		{"ahead, which way", at(-2*time.Hour, fails(400, "InvalidSignatureException")), " ahead of AWS's: let chrony or systemd-timesyncd set it: "},
		{"behind", at(10*time.Minute, fails(400, "InvalidSignatureException")), " behind AWS's: let chrony or systemd-timesyncd set it: "},
		{"right, and the signature wrong", at(0, fails(400, "InvalidSignatureException")), ""},
		{"wrong, and another error", at(-2*time.Hour, fails(400, "ClientException")), ""},
		{"nobody knows", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", "tomorrow")
			fails(400, "InvalidSignatureException")(w, r)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.answer)
			_, err := client(t, s).Poll(limited(t))
			if err == nil || c.want != "" && !strings.Contains(err.Error(), c.want) || c.want == "" && strings.Contains(err.Error(), "clock") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A client of its own has the timeouts, proxies and TLS that the contract says.
func TestItsOwnTransport(t *testing.T) {
	t.Parallel()
	own := New(Options{Region: "eu-west-1"}).http
	tr := own.Transport.(*http.Transport)
	if own.Timeout != 0 || tr.ResponseHeaderTimeout != 0 {
		t.Errorf("a poll would be cut off after %s or %s", own.Timeout, tr.ResponseHeaderTimeout)
	}
	if tr.TLSHandshakeTimeout != 10*time.Second || tr.TLSClientConfig.MinVersion != 0x0303 || tr.Proxy == nil || tr.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("%+v", tr)
	}

	// TLS is spoken with hosts whose certificate is good, and nobody else.
	s := &service{answers: []http.HandlerFunc{says(200, `{}`)}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would print what the client says of it
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client(t, s)
	if _, err := c.Poll(limited(t)); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") || len(s.seen()) != 0 {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := client(t, s, func(o *Options) { o.HTTP = s.Client() }).Poll(limited(t)); err != nil {
		t.Errorf("a known one: %v", err)
	}

	// Nobody listens: the error is the connection's.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := client(t, s, func(o *Options) { o.Endpoint = "http://" + l.Addr().String() }).Poll(limited(t)); kindOf(err) != "connection" {
		t.Errorf("nobody listens: %v", err)
	}
}
