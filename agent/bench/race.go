package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
	"usher/agent/standin"
)

// whoUsher is what usher is called in the report.
const whoUsher = "usher"

// memory is a file system in memory that every Linux has.
const memory = "/dev/shm"

// bench is one run.
type bench struct {
	stderr io.Writer
	quick  bool
	began  time.Time
	usher  string // the binary
	before string // an earlier one, of -before
	disk   string // the scratch directory on the disk
	memory string // the one in memory; "" when there is none
	cloud  *standin.Cloud
	report report
	part   string // that is being measured
	fresh  int    // how many directories were made
}

// setUp makes the scratch directories, builds usher and starts AWS.
func (b *bench) setUp(ctx context.Context) (err error) {
	if b.disk, err = os.MkdirTemp("", "usher-bench-"); err != nil {
		return fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	if fileSystem(memory) == "tmpfs" {
		if b.memory, err = os.MkdirTemp(memory, "usher-bench-"); err != nil {
			return fmt.Errorf("cannot make a scratch directory in memory: %w", err)
		}
	}
	if b.usher == "" {
		b.say("building usher")
		if b.usher, err = build(ctx, b.disk); err != nil {
			return err
		}
	}
	b.report.Made = time.Now().UTC().Format("2006-01-02 15:04")
	b.report.Machine = b.lookAround(ctx)
	if b.cloud, err = standin.Start(standin.Options{Silent: true}); err != nil {
		return fmt.Errorf("cannot start AWS on loopback: %w", err)
	}
	return nil
}

// tidy ends AWS and removes all that was made.
func (b *bench) tidy() error {
	if b.cloud != nil {
		b.cloud.Close()
	}
	var errs []error
	for _, dir := range []string{b.disk, b.memory} {
		if dir != "" {
			errs = append(errs, safepath.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// say tells who waits what is being done.
func (b *bench) say(format string, v ...any) {
	fmt.Fprintf(b.stderr, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, v...))
}

// directory makes a new empty directory below a scratch directory.
func (b *bench) directory(below string) (string, error) {
	b.fresh++
	dir := filepath.Join(below, fmt.Sprintf("%s-%d", b.part, b.fresh))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make a directory: %w", err)
	}
	return dir, nil
}

// A subject does a piece of work once and says how long that took, without what it had to prepare.
type subject struct {
	who   string
	needs []string // programs
	run   func(context.Context) (time.Duration, error)
}

// missing is the first program that a subject needs and that is not installed.
func (c subject) missing() string {
	for _, name := range c.needs {
		if _, err := exec.LookPath(name); err != nil {
			return name
		}
	}
	return ""
}

// race lets subjects take turns, usher first, in a round that is not counted and then in some that are.
func (b *bench) race(ctx context.Context, w row, rounds int, field ...subject) error {
	w.Part, w.Unit = b.part, "s"
	b.say("%s: %s, %d rounds", b.part, w.Name, rounds)
	samples := make([][]float64, len(field))
	for round := range rounds + 1 {
		for i, c := range field {
			if c.missing() != "" {
				continue
			}
			took, err := c.run(ctx)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", w.Name, c.who, err)
			}
			if round > 0 {
				samples[i] = append(samples[i], took.Seconds())
			}
		}
	}
	for i, c := range field {
		if name := c.missing(); name != "" {
			w.Entries = append(w.Entries, entry{Who: c.who, Missing: name})
			continue
		}
		w.Entries = append(w.Entries, newEntry(c.who, samples[i]...))
	}
	b.report.add(w)
	return nil
}

// rounds is how many there are, fewer with -quick.
func (b *bench) rounds(all int) int {
	if b.quick {
		return 3
	}
	return all
}

// timed is how long a function takes.
func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

// command runs a program to its end.
func command(ctx context.Context, environ []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environ
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, said.Bytes())
	}
	return nil
}

// coolDown writes out what others left in the page cache, so that nobody pays for it.
func coolDown(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		defer d.Close()
		err = unix.Syncfs(int(d.Fd()))
	}
	if err != nil {
		return fmt.Errorf("cannot sync the disk: %w", err)
	}
	return nil
}

// wait waits, which is what is being measured: an agent that has nothing to do.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
