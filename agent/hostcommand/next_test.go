package hostcommand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"usher/agent/retry"
)

// connections is a listener whose connections are pipes: inside a synctest bubble, the network is then
// part of the bubble, and its time the bubble's.
type connections struct {
	dialed chan net.Conn
	closed chan struct{}
}

func (l connections) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l connections) Close() error   { close(l.closed); return nil }
func (l connections) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l connections) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.dialed <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble is a client, and a real HTTP server that answers its calls in order and the last for ever.
// Waits are the longest that the back-off may choose. It must be called in a synctest bubble.
func inBubble(t *testing.T, tell func(Event), answers ...http.HandlerFunc) (*Client, *service) {
	l := connections{make(chan net.Conn), make(chan struct{})}
	s := &service{answers: answers}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(l) }()
	transport := &http.Transport{DialContext: l.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
	})
	c := New(Options{Region: "eu-west-1", Endpoint: "http://codedeploy-commands.test", Host: host, Version: "1",
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""), HTTP: &http.Client{Transport: transport}, Notify: tell})
	c.retries.Backoff = retry.Backoff{}
	c.backoff = func(failures int, throttled bool) time.Duration {
		return backoffAfter(throttled).Longest(failures - 1)
	}
	return c, s
}

// after answers late, or never when the client has gone.
func after(d time.Duration, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if retry.Pause(r.Context(), d) {
			answer(w, r)
		}
	}
}

var (
	aCommand = says(200, `{"HostCommand":{"HostCommandIdentifier":"c-1","HostIdentifier":"`+host+`","DeploymentExecutionId":"`+execution+`","CommandName":"Install"}}`)
	nothing  = says(200, `{}`)
	failure  = fails(500, "ServerException")
	throttle = fails(400, "ThrottlingException")
)

// The seconds at which polls are sent, until there is a command.
func TestThePaceOfPolls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		want    string
	}{
		{"a command at once", []http.HandlerFunc{aCommand}, "0"},
		{"polls that are held follow each other", []http.HandlerFunc{after(45*time.Second, nothing), after(61*time.Second, nothing), after(5*time.Second, nothing), aCommand}, "0 45 106 111"},
		{"polls that are not held do not", []http.HandlerFunc{nothing, nothing, after(4*time.Second, nothing), aCommand}, "0 1 2 7"},
		{"failures", []http.HandlerFunc{failure, failure, failure, failure, failure, failure, failure, aCommand}, "0 1 3 7 15 31 61 91"},
		{"throttling", []http.HandlerFunc{throttle, throttle, throttle, throttle, aCommand}, "0 20 60 120 180"},
		{"a connection lost", []http.HandlerFunc{drops, drops, aCommand}, "0 1 3"},
		{"no answer at all", []http.HandlerFunc{after(time.Hour, nothing), aCommand}, "0 81"},
		{"failures are forgotten after an answer", []http.HandlerFunc{failure, failure, nothing, failure, aCommand}, "0 1 3 4 5"},
		{"another's command is a failure", []http.HandlerFunc{says(200, `{"HostCommand":{"HostCommandIdentifier":"c","HostIdentifier":"i-1","DeploymentExecutionId":"e","CommandName":"Install"}}`), aCommand}, "0 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var polls []string
				timed := make([]http.HandlerFunc, len(c.answers))
				for i, answer := range c.answers {
					timed[i] = func(w http.ResponseWriter, r *http.Request) {
						polls = append(polls, fmt.Sprint(time.Since(began).Seconds()))
						answer(w, r)
					}
				}
				client, _ := inBubble(t, nil, timed...)
				got, err := client.Next(t.Context())
				if err != nil || got.ID != "c-1" || got.Event != "Install" {
					t.Errorf("%+v, %v", got, err)
				}
				if got := strings.Join(polls, " "); got != c.want {
					t.Errorf("polls at %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		throttled bool
		want      string
	}{
		{false, "500ms-1s 1s-2s 2s-4s 4s-8s 8s-16s 15s-30s 15s-30s 15s-30s"},
		{true, "10s-20s 20s-40s 30s-1m0s 30s-1m0s 30s-1m0s 30s-1m0s 30s-1m0s 30s-1m0s"},
	} {
		var got []string
		for n := 1; n <= 8; n++ {
			longest := backoffAfter(c.throttled).Longest(n - 1)
			shortest := longest / 2
			got = append(got, fmt.Sprintf("%s-%s", shortest, longest))
			seen := map[time.Duration]bool{}
			for range 100 {
				d := backoff(n, c.throttled)
				seen[d] = true
				if d < shortest || d > longest {
					t.Errorf("%d failures: waits %s", n, d)
				}
			}
			if len(seen) < 50 { // of some 10^9 durations
				t.Errorf("%d failures: only %d of 100 waits differ", n, len(seen))
			}
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("throttled %t:\ngot  %s\nwant %s", c.throttled, got, c.want)
		}
	}
	if d := backoff(1<<30, true); d < 30*time.Second || d > time.Minute {
		t.Errorf("after very many failures %s", d)
	}
}

// Failures are reported once for each kind, again when they go on for long, and so is their end.
func TestFailuresAreReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var told []string
		tell := func(n Event) {
			text := fmt.Sprintf("%s %s %s", time.Since(began), n.Kind, n.Op)
			switch n.Kind {
			case Retrying:
				text += fmt.Sprintf(" in %s: %s", n.Next, kindOf(n.Err))
			case Recovered:
				text += fmt.Sprintf(" after %s", n.Failed)
			}
			told = append(told, text)
		}
		answers := slices.Concat(
			[]http.HandlerFunc{failure, drops, failure, drops, nothing},
			slices.Repeat([]http.HandlerFunc{throttle}, 17), // the 17th comes 15 minutes after the first
			[]http.HandlerFunc{aCommand})
		c, s := inBubble(t, tell, answers...)
		if _, err := c.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"0s retrying PollHostCommand in 1s: ServerException",
			"1s retrying PollHostCommand in 2s: connection",
			"15s recovered PollHostCommand after 15s",
			"16s retrying PollHostCommand in 20s: ThrottlingException",
			"15m16s retrying PollHostCommand in 1m0s: ThrottlingException",
			"16m16s recovered PollHostCommand after 16m0s",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
		if got := len(s.seen()); got != len(answers) {
			t.Errorf("%d polls", got)
		}
	})
}

// Next ends with its context, in a poll and in a pause, and says why.
func TestNextEnds(t *testing.T) {
	t.Parallel()
	stopping := errors.New("the service is being stopped")
	for name, answer := range map[string]http.HandlerFunc{"in a poll": after(time.Hour, nothing), "in a pause": failure} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := inBubble(t, func(n Event) {
					if name == "in a poll" {
						t.Errorf("told of %v", n.Err)
					}
				}, answer)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(500*time.Millisecond, func() { cancel(stopping) })
				began := time.Now()
				if _, err := c.Next(ctx); err != stopping || time.Since(began) != 500*time.Millisecond {
					t.Errorf("%v after %s", err, time.Since(began))
				}
			})
		})
	}
}

// A result is delivered however long it takes, within ten minutes, and once.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		ends    time.Duration // after how long
		calls   int
		err     string
		told    int
	}{
		{"at once", []http.HandlerFunc{nothing, failure}, 0, 1, "", 0},
		{"some failures", []http.HandlerFunc{failure, failure, drops, nothing, failure}, 0, 4, "", 0},
		{"an outage of minutes", slices.Concat(slices.Repeat([]http.HandlerFunc{failure}, 40), []http.HandlerFunc{nothing, failure}), 181 * time.Second, 41, "", 2},
		{"throttled for minutes", slices.Concat(slices.Repeat([]http.HandlerFunc{throttle}, 16), []http.HandlerFunc{nothing, failure}), 180 * time.Second, 17, "", 2},
		{"a refusal is an answer", []http.HandlerFunc{fails(400, "ClientException"), nothing}, 0, 1, "ClientException", 0},
		{"no permission is one", []http.HandlerFunc{fails(403, "AccessDeniedException"), nothing}, 0, 1, "AccessDeniedException", 0},
		{"a role that is not known yet", []http.HandlerFunc{fails(400, "UnrecognizedClientException"), nothing}, time.Second, 2, "", 2},
		{"a clock that is being set", []http.HandlerFunc{fails(400, "InvalidSignatureException"), nothing}, time.Second, 2, "", 2},
		{"never", []http.HandlerFunc{after(time.Hour, nothing)}, 10 * time.Minute, 48, "gave up (context deadline exceeded)", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				told := 0
				client, s := inBubble(t, func(Event) { told++ }, c.answers...)
				began := time.Now()
				err := client.Complete(t.Context(), "c-1", Result{Code: ScriptFailed})
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Error(err)
				}
				if took := time.Since(began); took != c.ends || len(s.seen()) != c.calls || told != c.told {
					t.Errorf("%d calls in %s, told of %d; want %d in %s, %d", len(s.seen()), took, told, c.calls, c.ends, c.told)
				}
			})
		})
	}
}

// Every attempt of a call has its timeout; the call ends with its context.
func TestCallsTimeOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(w http.ResponseWriter, r *http.Request) { // the header comes, the body does not
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "{")
			retry.Pause(r.Context(), time.Hour)
		}
		c, _ := inBubble(t, nil, after(time.Hour, nothing), slow, after(7*time.Second, says(200, `{"CommandStatus":"InProgress"}`)))
		began := time.Now()
		if status, err := c.Acknowledge(t.Context(), command, false); err != nil || status != InProgress || time.Since(began) != 23*time.Second {
			t.Errorf("%s, %v after %s", status, err, time.Since(began))
		}
		c, s := inBubble(t, nil, after(time.Hour, nothing))
		began = time.Now()
		if _, err := c.Acknowledge(t.Context(), command, false); !errors.As(err, new(retry.Late)) || time.Since(began) != 4*callTimeout || len(s.seen()) != 4 {
			t.Errorf("%v after %s and %d attempts", err, time.Since(began), len(s.seen()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began = time.Now()
		if _, err := c.Acknowledge(ctx, command, false); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
