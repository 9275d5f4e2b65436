package instance

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// service is an instance metadata service that speaks IMDSv2 as EC2's does: a session token by PUT
// first, 401 without a good one, text otherwise.
type service struct {
	mu       sync.Mutex
	items    map[string]string // path below /latest/ -> body; absent is 404
	statuses map[string]int    // path below /latest/ -> status instead of an answer
	stuck    map[string]bool   // paths that send a header and then nothing
	token    int               // number of the session token that is good; older ones are not
	requests []string          // METHOD path, in order
	tokens   int               // requests without a session token that were not for one
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/latest/")
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+path)
	status, body := s.answer(w, r, path)
	stuck := s.stuck[path]
	s.mu.Unlock()

	if status != http.StatusOK {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><title>%d - %s</title></html>", status, http.StatusText(status))
		return
	}
	if stuck {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	fmt.Fprint(w, body)
}

func (s *service) answer(w http.ResponseWriter, r *http.Request, path string) (int, string) {
	if status := s.statuses[path]; status != 0 {
		return status, ""
	}
	if r.Method == http.MethodPut {
		ttl, err := strconv.Atoi(r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		if path != "api/token" || err != nil || ttl < 1 || ttl > 21600 {
			return http.StatusBadRequest, ""
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", strconv.Itoa(ttl))
		return http.StatusOK, s.good()
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") == "" {
		s.tokens++
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != s.good() {
		return http.StatusUnauthorized, ""
	}
	body, ok := s.items[path]
	if !ok {
		return http.StatusNotFound, ""
	}
	return http.StatusOK, body
}

func (s *service) good() string { return fmt.Sprintf("token-%d", s.token) }

// set changes the service while it runs.
func (s *service) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// start runs s on the loopback until the test ends; the way to it is the environment variable.
func (s *service) start(t *testing.T) *Metadata {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+listener.Addr().String())
	return NewMetadata()
}

// startInside runs s on connections in memory, so that it can live in a synctest bubble with its clock.
func (s *service) startInside(t *testing.T) (m *Metadata, stop func()) {
	t.Helper()
	connections := make(chan net.Conn)
	listener := inMemory{connections: connections, closed: make(chan struct{})}
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(listener) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, service := net.Pipe()
		select {
		case connections <- service:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	return NewMetadata(func(o *imds.Options) { o.HTTPClient = &http.Client{Transport: transport} }), func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	}
}

type inMemory struct {
	connections chan net.Conn
	closed      chan struct{}
}

func (l inMemory) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l inMemory) Close() error   { close(l.closed); return nil }
func (l inMemory) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }
