package box

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Entry is an entry of a box's journal.
type Entry struct {
	Boot    int // in which boot of the box: 1 is the first; 0 before the box was made
	Time    time.Time
	Message string
	Fields  map[string]string // all of them; of one that is there more than once, the last
}

// String is the entry as a line for a person.
func (e Entry) String() string {
	return fmt.Sprintf("boot %d %s %s: %s", e.Boot, e.Time.Format("15:04:05.000"), e.Fields["SYSLOG_IDENTIFIER"], e.Message)
}

// Journal returns the entries of the box's journal on disk, of all its boots, the oldest first. Matches are
// journalctl's ("MESSAGE_ID=…", "_SYSTEMD_UNIT=usher.service"). It works with the box off, too.
func (b *Box) Journal(match ...string) []Entry {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if b.on() {
		_, _ = b.exec(ctx, []string{"journalctl", "--sync"}) // what was said until now is on disk; or it is just going off
	}
	entries, err := b.journal(ctx, match...)
	b.check(err)
	return entries
}

// WaitForEntry waits until the journal has an entry that matches, and returns the first. One that is there
// already counts; see [Box.ThisBoot].
func (b *Box) WaitForEntry(match ...string) Entry {
	b.t.Helper()
	return b.WaitForEntries(1, match...)[0]
}

// WaitForEntries waits until the journal has n entries that match, and returns the first n. When the box goes off
// without them the test ends.
func (b *Box) WaitForEntries(n int, match ...string) []Entry {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	follow, stop := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { stop(b.untilOff(follow)) })
	defer watching.Wait()
	defer stop(nil)

	// journalctl ends at once while the journal has no file, or one that is just being made.
	var entries []Entry
	var err error
	_ = until(follow, func() bool {
		anew, cancel := context.WithTimeout(follow, followFor)
		defer cancel()
		entries, err = b.follow(anew, n, match)
		return len(entries) == n
	})
	if len(entries) < n && ctx.Err() == nil { // it is off: what it said last
		entries, err = b.journal(ctx, match...)
	}
	if len(entries) < n {
		err = errors.Join(context.Cause(follow), err)
		b.t.Fatalf("%s: the journal has %d entries with %q, not %d: %v", b.name, len(entries), match, n, err)
	}
	return entries[:n]
}

// followFor is how long one journalctl follows. After a reboot it is not always told of new entries, when it
// began before the box's journald had opened its file again; one that begins anew sees all of them.
const followFor = time.Second

// follow reads the first n entries, those of the past and those to come, or as many as there are until
// journalctl ends.
func (b *Box) follow(ctx context.Context, n int, match []string) (entries []Entry, err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "journalctl", b.journalctl(append(slices.Clone(match), "--follow", "--no-tail"))...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with the box, so with the test
	if err == nil {
		err = b.mounts.do(cmd.Start)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	for lines := bufio.NewReader(out); len(entries) < n && err == nil; {
		var line []byte
		var e Entry
		if line, err = lines.ReadBytes('\n'); err == nil {
			e, err = b.entry(line)
			entries = append(entries, e)
		}
	}
	cancel()
	_ = cmd.Wait() // killed, unless it has ended: then it said why
	if err != nil {
		err = fmt.Errorf("cannot follow the journal: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return entries, err
}

// ThisBoot is a match for the entries of the boot that goes on.
func (b *Box) ThisBoot() string {
	b.t.Helper()
	now := b.latest()
	b.await(now.up, "its PID 1")
	return "_BOOT_ID=" + now.id
}

// journalctl is how the box's journal is read: its files, from outside, so that it makes no difference
// whether the box is up.
func (b *Box) journalctl(more []string) []string {
	files := filepath.Join(b.Root(), "var/log/journal")
	return append([]string{"--directory=" + files, "--output=json", "--all", "--no-pager", "--quiet"}, more...)
}

func (b *Box) journal(ctx context.Context, match ...string) ([]Entry, error) {
	out, err := exec.CommandContext(ctx, "journalctl", b.journalctl(match)...).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal with %q: %w", match, err)
	}
	var entries []Entry
	for line := range bytes.Lines(out) {
		e, err := b.entry(line)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// entry reads an entry as journalctl writes it: an object; a value is text, an array of the bytes of what
// is not, null, or an array of several values.
func (b *Box) entry(line []byte) (Entry, error) {
	var raw map[string]any
	if err := json.Unmarshal(line, &raw); err != nil {
		return Entry{}, fmt.Errorf("cannot read an entry of the journal: %w in %.200s", err, line)
	}
	e := Entry{Fields: make(map[string]string, len(raw))}
	for name, value := range raw {
		e.Fields[name] = text(value)
	}
	e.Message = e.Fields["MESSAGE"]
	usec, _ := strconv.ParseInt(e.Fields["__REALTIME_TIMESTAMP"], 10, 64)
	e.Time = time.UnixMicro(usec)
	b.mu.Lock()
	boots := slices.Clone(b.boots)
	b.mu.Unlock()
	for _, boot := range boots {
		select { // its entries may come before the word that it is up
		case <-boot.up:
		case <-boot.over:
		}
		if boot.id == e.Fields["_BOOT_ID"] {
			e.Boot = boot.number
		}
	}
	return e, nil
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []any:
		var bytes []byte
		for _, one := range v {
			b, isByte := one.(float64)
			if !isByte {
				return text(v[len(v)-1])
			}
			bytes = append(bytes, byte(b))
		}
		return string(bytes)
	}
	return ""
}
