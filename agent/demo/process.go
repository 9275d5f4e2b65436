package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// process is a running `usher run`.
type process struct {
	cmd   *exec.Cmd
	lines chan string // every line, until it ends
	all   []string    // those read so far
	done  chan error
}

// startUsher starts `usher run` on a server, with an environment that holds where AWS is and nothing else.
func startUsher(ctx context.Context, binary string, s *server, environ []string, show func(*server, string)) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, binary, "run", "-config", filepath.Join(s.root, "etc/usher/agent.yml")),
		lines: make(chan string), done: make(chan error, 1)}
	p.cmd.Env = append(environ, "PATH="+os.Getenv("PATH"))
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopLimit
	journal, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("cannot read usher's lines: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start usher: %w", err)
	}
	go func() {
		in := bufio.NewScanner(journal)
		in.Buffer(nil, longestLine)
		for in.Scan() {
			show(s, in.Text())
			p.lines <- in.Text()
		}
		close(p.lines)
		p.done <- errors.Join(in.Err(), p.cmd.Wait())
	}()
	return p, nil
}

// says waits until usher has said something.
func (p *process) says(ctx context.Context, what string) error {
	for line := range p.lines {
		p.all = append(p.all, line)
		if strings.Contains(line, what) {
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("usher did not say %q within %s", what, launchLimit)
	}
	return fmt.Errorf("usher ended without saying %q", what)
}

// stop ends usher as systemd does, and says if it did not end well.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for line := range p.lines {
		p.all = append(p.all, line)
	}
	if err := <-p.done; err != nil {
		return fmt.Errorf("usher did not end well: %w", err)
	}
	return nil
}

// reason is why the deployment failed, in usher's own words.
func (p *process) reason() string {
	for _, line := range p.all {
		if _, after, ok := strings.Cut(line, " error: deployment "); ok {
			if _, reason, ok := strings.Cut(after, " failed: "); ok {
				return reason
			}
		}
	}
	return ""
}
