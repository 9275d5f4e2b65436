package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"usher/agent/release"
)

const (
	whoLink       = "ln -sfn"
	whoLinkSynced = "ln -sfn; sync of the directory"
)

// flips moves a link between two releases while a reader reads through it all the time.
func (b *bench) flips(ctx context.Context) error {
	dir, err := b.directory(b.disk)
	if err != nil {
		return err
	}
	rounds := 300
	if b.quick {
		rounds = 50
	}
	var targets [2]string
	for i := range targets {
		targets[i] = filepath.Join(dir, fmt.Sprintf("release-%d", i))
		if err := writeFile(filepath.Join(targets[i], "VERSION"), fmt.Sprintf("%d\n", i)); err != nil {
			return err
		}
	}
	layout := release.Layout{Link: filepath.Join(dir, "app"), Base: targets[0], Releases: dir}
	if err := os.Symlink(targets[0], layout.Link); err != nil {
		return fmt.Errorf("cannot make the link: %w", err)
	}
	linked := func(target string) error {
		return command(context.WithoutCancel(ctx), os.Environ(), "ln", "-sfn", target, layout.Link)
	}
	how := []struct {
		who  string
		flip func(target string) error
	}{
		{whoUsher, layout.Flip},
		{whoLink, linked},
		{whoLinkSynced, func(target string) error {
			if err := linked(target); err != nil {
				return err
			}
			return command(context.WithoutCancel(ctx), os.Environ(), "sync", dir)
		}},
	}
	var field []subject
	readers := make([]reader, len(how))
	for i, h := range how {
		next := 0
		field = append(field, subject{who: h.who, run: func(context.Context) (time.Duration, error) {
			next = 1 - next
			return readers[i].during(filepath.Join(layout.Link, "VERSION"), func() error { return h.flip(targets[next]) })
		}})
	}
	if err := coolDown(b.disk); err != nil {
		return err
	}
	if err := b.race(ctx, row{Name: "a link to another release",
		Note: "usher's is a rename and an fsync of the directory; ln is a process, and leaves the disk to itself"}, rounds, field...); err != nil {
		return err
	}
	w := row{Part: b.part, Name: "failed reads through the link", Unit: "reads", Goals: []goal{{AtMost: 0}}}
	reads := 0
	for i, h := range how {
		w.Entries = append(w.Entries, newEntry(h.who, float64(readers[i].failed)))
		reads += readers[i].reads
	}
	w.Note = fmt.Sprintf("of %d by a reader that does nothing else, during %d flips of each", reads, rounds+1)
	b.report.add(w)
	return nil
}

// A reader reads a file again and again.
type reader struct{ reads, failed int }

// during reads while something is done, from before until after, and says how long that took.
func (r *reader) during(file string, do func() error) (time.Duration, error) {
	reading, done := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		r.read(file)
		close(reading)
		for {
			r.read(file)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	<-reading
	took, err := timed(do)
	close(done)
	group.Wait()
	return took, err
}

func (r *reader) read(file string) {
	content, err := os.ReadFile(file)
	if r.reads++; err != nil || len(content) != 2 {
		r.failed++
	}
}

// writeFile writes a file, and the directories above it.
func writeFile(name, content string) error {
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, []byte(content), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot write what the bench needs: %w", err)
	}
	return nil
}
