package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// headerTimeout bounds how long a client may take over its request's head; loopback is faster by far.
const headerTimeout = time.Minute

// quietLog is for servers whose broken connections are what a test asked for.
var quietLog = log.New(io.Discard, "", 0)

// port is a port of loopback that can refuse connections and later accept them: a bound socket that
// does not listen keeps it ours while nothing listens.
type port struct {
	addr string

	mu       sync.Mutex
	reserved int // file descriptor of the socket that does not listen; -1 once given up
	server   *http.Server
	under    *sync.WaitGroup // the server and its connections
}

// reservePort finds a free port and keeps it until Close.
func (c *Cloud) reservePort() (*port, error) {
	p, err := bindPort()
	if err != nil {
		return nil, fmt.Errorf("cannot reserve a port of loopback: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		p.release()
		return nil, errors.New("cannot reserve a port of loopback: the Cloud is closed")
	}
	c.ports = append(c.ports, p)
	return p, nil
}

func bindPort() (*port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// The kernel picks the port before sharing is asked for: it never picks another test's.
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = share(uintptr(fd))
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &port{addr: fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), reserved: fd}, nil
}

// share lets two sockets of this user bind one port.
func share(fd uintptr) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func (p *port) endpoint() string { return "http://" + p.addr }

// open starts serving on the port.
func (p *port) open(h http.Handler) error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = share(fd) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "tcp", p.addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", p.addr, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	under := &sync.WaitGroup{}
	s := &http.Server{Handler: h, ErrorLog: quietLog, ReadHeaderTimeout: headerTimeout}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew: // told by Serve, which is counted
			under.Add(1)
		case http.StateClosed, http.StateHijacked: // told when the last request is done
			under.Done()
		}
	}
	p.server, p.under = s, under
	under.Go(func() { _ = s.Serve(l) })
	return nil
}

// close drops every connection and waits for the requests under way; new connections are refused.
func (p *port) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return
	}
	_ = p.server.Close()
	p.under.Wait()
	p.server = nil
}

// release closes the port and gives it up.
func (p *port) release() {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved >= 0 {
		_ = unix.Close(p.reserved)
		p.reserved = -1
	}
}
