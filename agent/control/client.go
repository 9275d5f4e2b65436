package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
)

// Do asks the agent that keeps its state in a directory, and returns its last answer. Lines that come
// before are passed to line.
func Do(ctx context.Context, state string, what Request, line func(string)) (Response, error) {
	conn, err := Dial(ctx, state)
	if err != nil {
		return Response{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	text, err := json.Marshal(what)
	if err != nil {
		return Response{}, fmt.Errorf("cannot encode what to ask the agent: %w", err)
	}
	if _, err := conn.Write(append(text, '\n')); err != nil {
		return Response{}, fmt.Errorf("cannot ask the agent: %w", err)
	}
	for answers := json.NewDecoder(bufio.NewReader(conn)); ; {
		var one Response
		switch err := answers.Decode(&one); {
		case ctx.Err() != nil:
			return Response{}, fmt.Errorf("the agent did not answer: %w", context.Cause(ctx))
		case err != nil:
			return Response{}, errors.New("the agent went away before it answered: journalctl -u usher says why")
		case one.Done:
			return one, nil
		}
		line(one.Line)
	}
}

// Dial connects to the control socket in a state directory, however long its path is.
func Dial(ctx context.Context, state string) (net.Conn, error) {
	short, done, err := shortPath(state)
	if err == nil {
		defer done()
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, "unix", filepath.Join(short, name)); err == nil {
			return conn, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, ErrNotRoot
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoAgent
	}
	return nil, fmt.Errorf("cannot reach the agent: %w", err)
}

var (
	// ErrNoAgent: nobody listens.
	ErrNoAgent = errors.New("no agent answers here: systemctl start usher; if it is running, journalctl -u usher says what it waits for")
	// ErrNotRoot: the socket is there, and not for this user.
	ErrNotRoot = errors.New("only root may do that")
)
