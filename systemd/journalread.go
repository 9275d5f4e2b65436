package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// tailLines is how many last lines are read back: what fits on one screen of an error message.
	tailLines = 20

	// maxTailLine is how much of one of them is kept, in bytes.
	maxTailLine = 8 << 10

	// journalTime bounds everything asked of the journal. It serves the message of a failure, and must
	// not become a second one.
	journalTime = 10 * time.Second

	// journalSocket is where journald takes requests (Varlink).
	journalSocket = "/run/systemd/journal/io.systemd.journal"

	// spawnFailed is the MESSAGE_ID of systemd's line that a command could not be started
	// (SD_MESSAGE_SPAWN_FAILED, sd-messages.h).
	spawnFailed = "641257651c1b4ec9a8624d7a40a9e1e7"
)

// syncJournal returns when journald has taken in all that was written to it until now, as `journalctl
// --sync` does. Without journald it returns at once: then there is nothing to wait for.
func syncJournal(ctx context.Context) {
	conn, err := (&net.Dialer{Timeout: journalTime}).DialContext(ctx, "unix", journalSocket)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(journalTime))
	if _, err := conn.Write([]byte(`{"method":"io.systemd.Journal.Synchronize"}` + "\x00")); err != nil {
		return
	}
	_, _ = bufio.NewReader(conn).ReadBytes(0) // the answer says only that it is done
}

// startSlack is how much earlier than a command's start, as systemd has it, its lines may be. systemd looks
// at the clock after it has made the process, which on a busy machine has ended by then.
const startSlack = 10 * time.Second

// lastLines are the last lines that a unit's command wrote in an invocation that started at a time of the
// monotonic clock in µs.
//
// They are found by the unit. journald does not know the invocation of a line whose writer has ended before
// it looked, and that is the last line of every script that fails after much output; such a line counts by
// its time.
func lastLines(ctx context.Context, unit, invocation string, since uint64) (tail [][]byte) {
	entries, _ := readJournal(ctx, tailLines, "_TRANSPORT=stdout", "_SYSTEMD_UNIT="+unit)
	since -= min(since, uint64(startSlack.Microseconds()))
	for _, e := range entries {
		at, err := strconv.ParseUint(string(e["__MONOTONIC_TIMESTAMP"]), 10, 64)
		known := string(e["_SYSTEMD_INVOCATION_ID"])
		if err != nil || at < since || known != "" && known != invocation {
			continue // of an earlier unit of this name
		}
		line := e["MESSAGE"]
		if len(line) > maxTailLine {
			line = line[:maxTailLine]
		}
		tail = append(tail, line)
	}
	return tail
}

// rateLimited reports whether a unit whose command ended at a time of the monotonic clock in µs wrote so much just before
// that journald may have dropped the end of it. journald itself says that it did only when the same unit writes
// again, later.
func rateLimited(ctx context.Context, unit string, end uint64) bool {
	text, err := journalctl(ctx, "_PID", burstLines, "_TRANSPORT=stdout", "_SYSTEMD_UNIT="+unit)
	if err != nil || bytes.Count(text, []byte("\n")) < burstLines {
		return false
	}
	var first struct {
		At uint64 `json:"__MONOTONIC_TIMESTAMP,string"`
	}
	err = json.NewDecoder(bytes.NewReader(text)).Decode(&first)
	return err == nil && first.At+uint64(burstTime.Microseconds()) > end
}

// spawnFailure is why systemd could not start the command of an invocation, nil when it says nothing.
func spawnFailure(ctx context.Context, invocation string) error {
	entries, err := readJournal(ctx, 1, "MESSAGE_ID="+spawnFailed, "INVOCATION_ID="+invocation)
	if err != nil || len(entries) == 0 {
		return nil // then the number is the command's own
	}
	last := entries[len(entries)-1]
	_, text, _ := strings.Cut(printable(string(last["MESSAGE"])), ": ") // "UNIT: Failed at step EXEC spawning FILE: REASON"
	number, err := strconv.Atoi(string(last["ERRNO"]))
	if err != nil {
		return fmt.Errorf("systemd: %s", text)
	}
	if end := strings.LastIndex(text, ": "); end >= 0 {
		text = text[:end] // the reason is the number's
	}
	return fmt.Errorf("systemd: %s: %w", text, syscall.Errno(number))
}

// readJournal reads the last n entries of this boot that match all of the conditions, the oldest first, with their fields
// as bytes.
func readJournal(ctx context.Context, n int, conditions ...string) ([]map[string][]byte, error) {
	text, err := journalctl(ctx, "MESSAGE,ERRNO,_SYSTEMD_INVOCATION_ID", n, conditions...)
	if err != nil {
		return nil, err
	}
	var entries []map[string][]byte
	for line := range bytes.Lines(text) {
		var raw map[string]any
		if err := json.Unmarshal(line, &raw); err != nil {
			return entries, fmt.Errorf("cannot read an entry of the journal: %w", err)
		}
		entry := make(map[string][]byte)
		for name, value := range raw {
			switch v := value.(type) {
			case string:
				entry[name] = []byte(v)
			case []any: // not UTF-8: an array of its bytes
				for _, b := range v {
					number, _ := b.(float64)
					entry[name] = append(entry[name], byte(number))
				}
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// journalctl is what it says of the last n entries of this boot: an object of JSON with these fields on a line each.
func journalctl(ctx context.Context, fields string, n int, conditions ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, journalTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", append([]string{"--quiet", "--no-pager", "--boot", "--output=json", "--all",
		"--output-fields=" + fields, "--lines=" + strconv.Itoa(n)}, conditions...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal (%s): %w", strings.Join(cmd.Args, " "), err)
	}
	return text, nil
}
