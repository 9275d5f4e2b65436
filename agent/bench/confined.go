package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	smallMachine  = 128 << 20 // bytes of memory: a quarter of the smallest instance there is
	mostAnonymous = 64e6
	page          = 4096
)

// A room is a control group with a limit of memory: what is in it has no more, page cache included.
type room struct {
	dir string
	v1  bool // the names of version 1, where the machine has its memory there
}

// newRoom makes a room. It takes root.
func newRoom(limit int) (*room, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("cannot find the control groups: %w", err)
	}
	var tree string
	r := new(room)
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		switch {
		case len(f) < 4:
		case f[2] == "cgroup" && strings.Contains(","+f[3]+",", ",memory,"):
			tree, r.v1 = f[1], true
		case f[2] == "cgroup2" && tree == "":
			if given, err := os.ReadFile(filepath.Join(f[1], "cgroup.subtree_control")); err == nil && strings.Contains(string(given), "memory") {
				tree = f[1]
			}
		}
	}
	if tree == "" {
		return nil, errors.New("this machine has no control groups that limit memory")
	}
	if r.dir, err = os.MkdirTemp(tree, "usher-bench-"); err != nil {
		return nil, fmt.Errorf("cannot make a control group (that takes root): %w", err)
	}
	name := "memory.max"
	if r.v1 {
		name = "memory.limit_in_bytes"
	}
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strconv.Itoa(limit)), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot limit the memory of a control group: %w", err), r.close())
	}
	return r, nil
}

// close removes the room, once its last process has ended.
func (r *room) close() error {
	err := os.Remove(r.dir)
	for began := time.Now(); err != nil && time.Since(began) < stopLimit; { // the kernel lets go of a group a moment after its last process
		time.Sleep(10 * time.Millisecond)
		err = os.Remove(r.dir)
	}
	if err != nil {
		return fmt.Errorf("cannot remove a control group: %w", err)
	}
	return nil
}

// within makes a command run in the room.
func (r *room) within(cmd *exec.Cmd) {
	cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(r.dir, "cgroup.procs"), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// figure is a line of one of the room's files, or all of a file that is one figure.
func (r *room) figure(file, line string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(r.dir, file))
	if err == nil {
		for l := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(strings.TrimSpace(l), " ")
			if !ok {
				name, value = "", name
			}
			if name == line {
				return strconv.ParseFloat(value, 64)
			}
		}
		err = fmt.Errorf("%s has no line %q", file, line)
	}
	return 0, fmt.Errorf("cannot read the memory of a control group: %w", err)
}

// watch looks 200 times a second how much of the room is anonymous memory, which alone cannot be given back, until ctx ends.
func (r *room) watch(ctx context.Context) (most float64, err error) {
	line := "anon"
	if r.v1 {
		line = "rss"
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		now, err := r.figure("memory.stat", line)
		if err != nil {
			return most, err
		}
		most = max(most, now)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return most, nil
		}
	}
}

// peak is the most that was in the room, page cache included, and how many of its processes the kernel ended for want of memory.
func (r *room) peak() (bytes, killed float64, err error) {
	if r.v1 {
		bytes, err = r.figure("memory.max_usage_in_bytes", "")
		if err == nil {
			killed, err = r.figure("memory.oom_control", "oom_kill")
		}
		return bytes, killed, err
	}
	bytes, err = r.figure("memory.peak", "")
	if err == nil {
		killed, err = r.figure("memory.events", "oom_kill")
	}
	return bytes, killed, err
}

// confined launches in a machine's worth of memory that the bundle is four times as large as, and says what went to the disk
// beside the bundle.
func (b *bench) confined(ctx context.Context) error {
	for _, c := range []corpus{small, bulk} {
		if err := b.launchConfined(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) launchConfined(ctx context.Context, c corpus) (err error) {
	g, err := b.group(c)
	if err != nil {
		return err
	}
	r, err := newRoom(smallMachine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	b.say("%s: a launch in %s, %s", b.part, figure(smallMachine, "bytes"), c.about)
	watching, stop := context.WithCancel(ctx)
	var anonymous float64
	watched := make(chan error, 1)
	go func() {
		var err error
		anonymous, err = r.watch(watching)
		watched <- err
	}()
	d, err := b.daemonWith(ctx, g, r.within)
	stop()
	if err = errors.Join(err, <-watched); err != nil {
		return err
	}
	wrote, err := d.wrote()
	if err = errors.Join(err, d.runsIt(), d.stop()); err != nil {
		return err
	}
	peak, killed, err := r.peak()
	if err != nil {
		return err
	}
	own, err := b.bytesOf(c)
	if err != nil {
		return err
	}
	about := fmt.Sprintf("a launch with %s of memory, the page cache and the scripts included: %s", figure(smallMachine, "bytes"), c.about)
	b.report.add(row{Part: b.part, Name: c.name + ": killed for want of memory", Unit: "processes", Entries: []entry{newEntry(whoUsher, killed)},
		Goals: []goal{{AtMost: 0}}, Note: about})
	b.alone(c.name+": anonymous memory, peak", "bytes", anonymous, mostAnonymous, "seen 200 times a second")
	b.alone(c.name+": all memory, peak", "bytes", peak, 0, "with the page cache, which the kernel can free")
	b.alone(c.name+": written beside the bundle", "bytes", wrote-own, 0, fmt.Sprintf("of %s that the agent wrote in all: the archive and its files, in pages of %d bytes, are the rest", figure(wrote, "bytes"), page))
	return nil
}

// bytesOf are a corpus's own bytes on the disk, as its archive and as its files, in pages.
func (b *bench) bytesOf(c corpus) (sum float64, err error) {
	archive, err := b.archive(c, "zip")
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return 0, fmt.Errorf("cannot find the archive: %w", err)
	}
	pages := func(size int64) int64 { return (size + page - 1) / page * page }
	all := pages(info.Size())
	for _, f := range c.tree(newSource(c.name)) {
		all += pages(int64(len(f.body)))
	}
	return float64(all), nil
}

// wrote is how many bytes the agent has given the disk to write so far.
func (d *daemon) wrote() (float64, error) {
	n, err := strconv.ParseFloat(fact(fmt.Sprintf("/proc/%d/io", d.cmd.Process.Pid), "write_bytes"), 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read what usher wrote: %w", err)
	}
	return n, nil
}
