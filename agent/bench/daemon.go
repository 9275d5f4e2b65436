package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"usher/agent/standin"
)

// A daemon is usher on a server in service.
type daemon struct {
	*server
	cmd  *exec.Cmd
	said bytes.Buffer
}

// stopLimit is how long usher may take to end after SIGTERM; its unit gives it 30 s.
const stopLimit = 10 * time.Second

// daemon launches an instance whose usher stays, and waits until it is in service.
func (b *bench) daemon(ctx context.Context, g *group) (*daemon, error) {
	return b.daemonWith(ctx, g, func(*exec.Cmd) {})
}

// daemonWith is a daemon whose command was changed before it was started.
func (b *bench) daemonWith(ctx context.Context, g *group, change func(*exec.Cmd)) (*daemon, error) {
	s, err := b.launched(g)
	if err != nil {
		return nil, err
	}
	d := &daemon{server: s, cmd: s.usher(ctx, b.usher)}
	d.cmd.Stdout, d.cmd.Stderr = &d.said, &d.said
	d.cmd.Cancel = func() error { return d.cmd.Process.Signal(syscall.SIGTERM) }
	d.cmd.WaitDelay = stopLimit
	change(d.cmd)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start usher: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	if err := s.instance.WaitFor(limited, standin.InService); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// stop ends usher as systemd does.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("usher did not end well: %w\n%s", err, d.said.Bytes())
	}
	return nil
}

// memory is a line of the process's memory in bytes: VmRSS, RssAnon, VmHWM.
func (d *daemon) memory(line string) (float64, error) {
	value := fact(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid), line)
	kB, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s of usher: %w", line, err)
	}
	return kB * 1024, nil
}

// spent is the processor time of all threads so far, in seconds, and how often one of them gave the processor up to
// wait for something: each time it is woken up again.
func (d *daemon) spent() (cpu, waits float64, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", d.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return 0, 0, fmt.Errorf("cannot find usher's threads: %w", errors.Join(err, os.ErrNotExist))
	}
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(thread, "schedstat"))
		if err != nil {
			return 0, 0, fmt.Errorf("cannot read usher's processor time: %w", err)
		}
		var ns float64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, 0, fmt.Errorf("cannot read usher's processor time: %w", err)
		}
		n, err := strconv.ParseFloat(fact(filepath.Join(thread, "status"), "voluntary_ctxt_switches"), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot read usher's context switches: %w", err)
		}
		cpu, waits = cpu+ns/1e9, waits+n
	}
	return cpu, waits, nil
}

// What an agent in service may take, and its binary.
const (
	mostIdle   = 14e6 // bytes of memory
	mostCPU    = 0.020
	mostBinary = 15e6
)

// idle measures an agent in service that has nothing to do but to ask for host commands, and what it took to get there.
func (b *bench) idle(ctx context.Context) error {
	if err := b.binary(); err != nil {
		return err
	}
	if err := b.peak(ctx); err != nil {
		return err
	}
	g, err := b.group(small)
	if err != nil {
		return err
	}
	d, err := b.daemon(ctx, g)
	if err != nil {
		return err
	}
	if err := b.idleMinute(ctx, d); err != nil {
		return errors.Join(err, d.stop())
	}
	return d.stop()
}

func (b *bench) idleMinute(ctx context.Context, d *daemon) error {
	span, rest := time.Minute, 5*time.Second
	if b.quick {
		span, rest = 10*time.Second, 2*time.Second
	}
	b.say("%s: %s of an agent in service", b.part, span)
	if err := wait(ctx, rest); err != nil { // what follows the verdict is not idling
		return err
	}
	cpu, waits, err := d.spent()
	if err == nil {
		err = wait(ctx, span)
	}
	if err != nil {
		return err
	}
	cpuAfter, waitsAfter, err := d.spent()
	if err != nil {
		return err
	}
	rss, err := d.memory("VmRSS")
	if err != nil {
		return err
	}
	anonymous, err := d.memory("RssAnon")
	if err != nil {
		return err
	}
	asked := len(d.polls(b.cloud))
	perMinute := time.Minute.Seconds() / span.Seconds()
	b.alone("memory in service (RSS)", "bytes", rss, mostIdle, fmt.Sprintf("%s of it anonymous, the rest pages of the binary", figure(anonymous, "bytes")))
	b.alone("CPU of a minute in service", "s", (cpuAfter-cpu)*perMinute, mostCPU, fmt.Sprintf("measured for %s; %d long polls for host commands were answered since the launch", span, asked))
	b.alone("wake-ups of a minute in service", "wake-ups", (waitsAfter-waits)*perMinute, 0, "voluntary context switches of all threads")
	return nil
}

// polls are the long polls for host commands that were answered; one is always under way.
func (d *daemon) polls(cloud *standin.Cloud) (asked []standin.Call) {
	for _, c := range cloud.CallsOf("PollHostCommand") {
		if c.InstanceID == d.instance.ID {
			asked = append(asked, c)
		}
	}
	return asked
}

// peak is the most memory that usher took to launch on the big revision.
func (b *bench) peak(ctx context.Context) error {
	g, err := b.group(big)
	if err != nil {
		return err
	}
	b.say("%s: a launch on the big revision", b.part)
	var all []float64
	for range b.rounds(5) {
		d, err := b.daemon(ctx, g)
		if err != nil {
			return err
		}
		most, err := d.memory("VmHWM")
		if err := errors.Join(err, d.stop()); err != nil {
			return err
		}
		all = append(all, most)
	}
	b.report.add(row{Part: b.part, Name: "peak memory of a big launch", Unit: "bytes", Entries: []entry{newEntry(whoUsher, all...)}, Note: big.about})
	return nil
}

// binary measures the program itself.
func (b *bench) binary() error {
	info, err := os.Stat(b.usher)
	if err != nil {
		return fmt.Errorf("cannot find the binary: %w", err)
	}
	built, err := buildinfo.ReadFile(b.usher)
	if err != nil {
		return fmt.Errorf("cannot read what the binary is built from: %w", err)
	}
	b.alone("size of the binary", "bytes", float64(info.Size()), mostBinary, "static and stripped")
	b.alone("modules linked", "modules", float64(len(built.Deps)), 0, "as `go version -m` lists them")
	return nil
}

// alone is a row of usher's own figure. atMost 0 is no goal.
func (b *bench) alone(name, unit string, value, atMost float64, note string) {
	w := row{Part: b.part, Name: name, Unit: unit, Entries: []entry{newEntry(whoUsher, value)}, Note: note}
	if atMost > 0 {
		w.Goals = []goal{{AtMost: atMost}}
	}
	b.report.add(w)
}

// build builds usher as it ships.
func build(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "usher").Output()
	if err != nil {
		return "", fmt.Errorf("cannot find usher's source, start the bench in it: %w", err)
	}
	to := filepath.Join(dir, "usher")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "./agent")
	cmd.Dir, cmd.Env = strings.TrimSpace(string(out)), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build usher: %w\n%s", err, out)
	}
	return to, nil
}
