package main

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
	"usher/agent/config"
	"usher/agent/record"
	"usher/agent/retry"
)

// The control socket is how root, on this server, reaches the agent that is at work on it. A client of
// STATE/control writes one line, a JSON ask, and reads lines, each a JSON answer: any number that tell what
// goes on, and a last one that is Done. Both ends are of one binary: the form may change with any version.
//
// The socket has mode 0600 from the moment it exists. The one a dead agent left is replaced: whoever holds
// the record's lock is the agent, so nobody can be behind it.

const (
	// controlName is the socket's, in the state directory.
	controlName = "control"
	// maxClients is more than there are people at a server, and too few for a script gone wild to matter.
	maxClients = 8
	// askTime is how long a client may take to say what it wants, or to read a line: both are one system call.
	askTime = 3 * time.Second
	// maxAsk bounds the line that a client sends; a release's name is the longest thing in it.
	maxAsk = 4 << 10
	// handOver is how long a request waits for the agent's loop. The loop's own looks at metadata take
	// milliseconds, seldom a second; whatever takes longer is work that a request must not wait for.
	handOver = 3 * time.Second
	// toldAhead is how many lines a client may be behind before it misses some: more than a deployment has
	// without the output of its scripts. They are in the journal.
	toldAhead = 512
	// acceptPause is until the next try when the kernel gives no connection, for want of files or memory.
	acceptPause = time.Second
)

// control is the agent's side of the socket.
type control struct {
	requests chan request // for serve's loop: what is done one at a time

	agent *agent // for requests only: the rest runs beside the agent, on values of its own
	cfg   config.Config
	log   *zap.Logger
	rec   *record.Record
	owner record.Owner

	listener net.Listener
	places   chan struct{} // one for each client
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	launch bool       // boot is at work
	fate   fate       // of the launch that boot is at work on
	until  time.Time  // when it is held: until when
	hold   *hold      // an operator's, or nil
}

// listen opens the control socket of an agent that has started. Without one the agent does all its work, so
// that it cannot be opened is a warning. Close ends what listen began.
func (a *agent) listen(ctx context.Context) *control {
	ctx, cancel := context.WithCancel(ctx)
	c := &control{
		requests: make(chan request), agent: a, cfg: a.cfg, log: a.log, rec: a.deploy.Record,
		owner:  record.Owner{Instance: a.me().InstanceID, Image: a.me().ImageID, Boot: a.me().BootID},
		places: make(chan struct{}, maxClients), cancel: cancel,
		launch: true, // boot comes next
	}
	c.hold = c.loadHold()
	var err error
	if c.listener, err = listenIn(ctx, a.cfg.StateDir); err != nil {
		a.log.Warn(fmt.Sprintf("hold, release and rollback will not reach this agent: %v", err))
		return c
	}
	context.AfterFunc(ctx, func() { c.listener.Close() })
	c.running.Go(func() { c.accept(ctx) })
	return c
}

// close ends the socket and waits for its clients to be answered.
func (c *control) close() {
	c.cancel()
	c.running.Wait()
	if c.listener != nil {
		_ = os.Remove(filepath.Join(c.cfg.StateDir, controlName)) // the next agent replaces one that stays
	}
}

// listenIn makes the socket in a directory whose path may be longer than the 107 bytes that the address of
// a socket has room for: the kernel is given a short way to the same place. It gets its name when it is
// ready, in one rename.
func listenIn(ctx context.Context, dir string) (net.Listener, error) {
	next := filepath.Join(dir, controlName+".new")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove what an earlier agent left: %v", err)
	}
	short, done, err := shortly(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	private := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var err error
		return errors.Join(socket.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err) // before it has a name
	}}
	l, err := private.Listen(ctx, "unix", filepath.Join(short, controlName+".new"))
	if err != nil {
		return nil, fmt.Errorf("cannot make the control socket in %s: %v", dir, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would be by the short way, which is closed by then
	if err := os.Rename(next, filepath.Join(dir, controlName)); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot name the control socket: %v", err)
	}
	return l, nil
}

// shortly is a short path of a directory, good until done is called.
func shortly(dir string) (path string, done func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("cannot open the state directory: %w", err) // the commands ask why
	}
	return fmt.Sprintf("/proc/self/fd/%d", d.Fd()), func() { d.Close() }, nil
}

// accept lets clients in until ctx ends, a few at a time: the others wait in the kernel's queue.
func (c *control) accept(ctx context.Context) {
	for {
		select {
		case c.places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		conn, err := c.listener.Accept()
		if err == nil {
			c.running.Go(func() {
				defer func() { <-c.places }()
				c.client(ctx, conn)
			})
			continue
		}
		<-c.places
		if ctx.Err() != nil {
			return
		}
		c.log.Warn(fmt.Sprintf("a client of the control socket was not let in: %v", err))
		if !retry.Pause(ctx, acceptPause) {
			return
		}
	}
}

// client is one client from its first byte to its last.
func (c *control) client(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(askTime))
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := bufio.NewReader(io.LimitReader(conn, maxAsk)).ReadBytes('\n')
	if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
		return // it said nothing, or not in time
	}
	var what ask
	say := func(one answer) { c.say(conn, one) }
	if err := json.Unmarshal(line, &what); err != nil {
		say(answer{Done: true, Code: cli.ExitUsage, Error: fmt.Sprintf("the agent does not understand what it is asked: %v", err)})
		return
	}
	last := c.answer(ctx, what, say)
	last.Done = true
	say(last)
}

// say sends one answer. A client that is gone, or does not read, misses it.
func (c *control) say(conn net.Conn, one answer) {
	line, err := json.Marshal(one)
	if err != nil {
		c.log.Error(fmt.Sprintf("cannot encode an answer: %v", err))
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(askTime))
	_, _ = conn.Write(append(line, '\n'))
}
