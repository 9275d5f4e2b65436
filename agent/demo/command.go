package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

var (
	// clock begins the lines of what happens in a deployment.
	clock = regexp.MustCompile(`^\d\d:\d\d:\d\d `)
	// routine are those of an event that went well.
	routine = regexp.MustCompile(`^\d\d:\d\d:\d\d (i-[0-9a-f]+) (begins|\w+ began|\w+ succeeded in \S+)$`)
)

// deploy types `usher deploy` in the repository, and prints which of its lines are shown, and those.
func (d *demo) deploy(ctx context.Context, which string, shown func(line string) bool) (*process, error) {
	d.say("", "$ usher deploy production origin/master    ("+which+")", "")
	return d.types(ctx, func(line string) {
		if shown(line) {
			d.program(line)
		}
	}, "deploy", "production", "origin/master")
}

// types runs a command of usher's in the repository, with a developer's environment.
func (d *demo) types(ctx context.Context, show func(string), args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, d.usher, args...)
	cmd.Dir, cmd.Env = d.repo.dir, append(d.cloud.CLIEnviron(), d.repo.environ...)
	return start(cmd, show)
}

// running is what new servers get, as the plan of `usher deploy` says it.
func (d *demo) running(ctx context.Context) (string, error) {
	typed, err := d.types(ctx, func(string) {}, "deploy", "--dry-run", "production")
	if err != nil {
		return "", err
	}
	line, err := typed.says(ctx, " running ")
	if err == nil {
		err = typed.exits(ctx, 0)
	}
	_, running, _ := strings.Cut(line, " running ")
	return strings.TrimSpace(running), err
}

// exits waits for the end of a command, which must have this exit code.
func (p *process) exits(ctx context.Context, code int) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.New("usher did not end in time")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		return fmt.Errorf("usher ended with %d, and not with %d", got, code)
	}
	return nil
}
