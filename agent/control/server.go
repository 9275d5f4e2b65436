package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"usher/agent/cli"
	"usher/agent/retry"
)

const (
	// name is the socket's, in the state directory.
	name = "control"
	// MaxClients is more than there are people at a server, and too few for a script gone wild to matter.
	MaxClients = 8
	// AskTime is how long a client may take to say what it wants, or to read a line: both are one system call.
	AskTime = 3 * time.Second
	// MaxAsk bounds the line that a client sends; a release's name is the longest thing in it.
	MaxAsk = 4 << 10
	// acceptPause is until the next try when the kernel gives no connection, for want of files or memory.
	acceptPause = time.Second
)

// Server is the agent's end of the socket. A nil one has nothing to close.
type Server struct {
	state    string // the directory
	answer   Answerer
	log      *zap.Logger
	listener net.Listener
	places   chan struct{} // one for each client
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Answerer does what a client asks, and returns the last line of the answer; say sends those before it. It is called
// beside the agent's loop, by several clients at once.
type Answerer func(ctx context.Context, what Request, say func(Response)) Response

// Listen opens the socket in a state directory, and answers until ctx ends or Close is called. The caller holds the
// record's lock there.
func Listen(ctx context.Context, state string, log *zap.Logger, answer Answerer) (*Server, error) {
	ctx, cancel := context.WithCancel(ctx)
	l, err := listenIn(ctx, state)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Server{state: state, answer: answer, log: log, listener: l, places: make(chan struct{}, MaxClients), cancel: cancel}
	context.AfterFunc(ctx, func() { l.Close() })
	s.running.Go(func() { s.accept(ctx) })
	return s, nil
}

// Close ends the socket and waits for its clients to be answered.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.cancel()
	s.running.Wait()
	_ = os.Remove(filepath.Join(s.state, name)) // the next agent replaces one that stays
}

// listenIn makes the socket in a directory whose path may be longer than the 107 bytes that the address of
// a socket has room for: the kernel is given a short way to the same place. It gets its name when it is
// ready, in one rename.
func listenIn(ctx context.Context, dir string) (net.Listener, error) {
	next := filepath.Join(dir, name+".new")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove what an earlier agent left: %v", err)
	}
	short, done, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	private := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var err error
		return errors.Join(socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err) // before it has a name
	}}
	l, err := private.Listen(ctx, "unix", filepath.Join(short, name+".new"))
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket in %s: %v", dir, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would be by the short way, which is closed by then
	if err := os.Rename(next, filepath.Join(dir, name)); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot name the control socket: %v", err)
	}
	return l, nil
}

// shortPath is a short path of a directory, good until done is called.
func shortPath(dir string) (path string, done func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("cannot open the state directory: %w", err) // the commands ask why
	}
	return fmt.Sprintf("/proc/self/fd/%d", d.Fd()), func() { d.Close() }, nil
}

// accept lets clients in until ctx ends, a few at a time: the others wait in the kernel's queue.
func (s *Server) accept(ctx context.Context) {
	for {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := s.listener.Accept()
		if err == nil {
			s.running.Go(func() {
				defer func() { <-s.places }()
				s.client(ctx, conn)
			})
			continue
		}
		<-s.places
		if ctx.Err() != nil {
			return
		}
		s.log.Warn(fmt.Sprintf("a client of the control socket was not let in: %v", err))
		if !retry.Pause(ctx, acceptPause) {
			return
		}
	}
}

// client is one client from its first byte to its last.
func (s *Server) client(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(AskTime))
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(io.LimitReader(conn, MaxAsk)).ReadBytes('\n')
	if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
		return // it said nothing, or not in time
	}
	var what Request
	say := func(one Response) { s.say(conn, one) }
	if err := json.Unmarshal(line, &what); err != nil {
		say(Response{Done: true, Code: cli.ExitUsage, Error: fmt.Sprintf("the agent does not understand what it is asked: %v", err)})
		return
	}
	last := s.answer(ctx, what, say)
	last.Done = true
	say(last)
}

// say sends one answer. A client that is gone, or does not read, misses it.
func (s *Server) say(conn net.Conn, one Response) {
	line, err := json.Marshal(one)
	if err != nil {
		s.log.Error(fmt.Sprintf("cannot encode an answer: %v", err))
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(AskTime))
	_, _ = conn.Write(append(line, '\n'))
}
