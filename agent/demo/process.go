package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopLimit is how long usher may take to end after SIGTERM; its unit gives it 30 s.
const stopLimit = 10 * time.Second

// longestLine is more than usher ever writes: hook output is cut at 8 KiB.
const longestLine = 64 << 10

// moduleRoot is usher's source, from wherever in it the demo was started.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "usher").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			return "", fmt.Errorf("cannot find usher's source: start the demo in it (go said: %s)", strings.TrimSpace(string(failed.Stderr)))
		}
		return "", fmt.Errorf("cannot find usher's source: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// build builds usher as it ships.
func build(ctx context.Context, root, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./agent")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build usher: %w\n%s", err, out)
	}
	return nil
}

// process is usher at work: the agent on a server, or a command that somebody typed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and all it said was read
	err  error         // how it ended, once done is closed

	mu    sync.Mutex
	lines []string      // all it has said
	heard int           // how many of them says has been through
	more  chan struct{} // closed and replaced with every line
}

// startUsher starts `usher run` on a server, with an environment that holds where AWS is and nothing else.
func startUsher(ctx context.Context, binary string, s *server, environ []string, show func(string)) (*process, error) {
	cmd := exec.CommandContext(ctx, binary, "run", "--config", filepath.Join(s.root, "etc/usher/agent.yml"))
	cmd.Env = append(environ, "PATH="+os.Getenv("PATH"))
	return start(cmd, show)
}

// start starts usher. show is given each line as it comes, of standard output and standard error alike.
func start(cmd *exec.Cmd, show func(string)) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot read usher's lines: %w", err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	writer.Close() // usher has it now
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("cannot start usher: %w", err)
	}
	go func() {
		defer close(p.done)
		defer reader.Close()
		in := bufio.NewScanner(reader)
		in.Buffer(nil, longestLine)
		for in.Scan() {
			show(in.Text())
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		p.err = errors.Join(in.Err(), cmd.Wait())
	}()
	return p, nil
}

// says waits until usher says something, after what was waited for before, and returns the line.
func (p *process) says(ctx context.Context, what string) (string, error) {
	ended := false
	for {
		p.mu.Lock()
		more := p.more
		for p.heard < len(p.lines) {
			line := p.lines[p.heard]
			if p.heard++; strings.Contains(line, what) {
				p.mu.Unlock()
				return line, nil
			}
		}
		p.mu.Unlock()
		if ended {
			return "", fmt.Errorf("usher ended without saying %q", what)
		}
		select {
		case <-more:
		case <-p.done:
			ended = true // its last lines are still to be looked at
		case <-ctx.Done():
			return "", fmt.Errorf("usher did not say %q in time", what)
		}
	}
}

// stop ends usher as systemd does, and says if it did not end well.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	if p.err != nil {
		return fmt.Errorf("usher did not end well: %w", p.err)
	}
	return nil
}

// said is what usher has said so far.
func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// reason is why the deployment failed, in usher's own words.
func (p *process) reason() string {
	for _, line := range p.said() {
		if _, after, ok := strings.Cut(line, " error: deployment "); ok {
			if _, reason, ok := strings.Cut(after, " failed: "); ok {
				return reason
			}
		}
	}
	return ""
}
