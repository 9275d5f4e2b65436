package systemd

// What goes to the journal:
//
//  1. One line per step, written for a person who reads it at night: what, how long, and when it
//     failed, why and what to do. The line must be enough without its fields.
//  2. Everything a query could ask for is a field too. A zap field keeps its name in capitals
//     (deployment_id -> DEPLOYMENT_ID), durations are microseconds and end in _USEC.
//  3. What an operator may wait or alert for has a MESSAGE_ID (messages.go).
//  4. err: the launch or deployment failed, somebody must look. warning: it went on, but somebody
//     should look. info: the story. debug: the requests behind it.
//  5. Every line of a hook script's output is one entry, as the script wrote it, under the
//     deployment's fields.
//  6. No secrets: no credentials, no environment, no signed URLs.

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// identifier is the SYSLOG_IDENTIFIER of every entry, so that `journalctl -t usher` shows them all,
// whether the agent or a command on the terminal wrote them.
const identifier = "usher"

// maxFieldName is journald's own limit for the name of a field, in bytes; a longer one is dropped
// with its value.
const maxFieldName = 64

// Names of zap fields that mean something to the cores of this package. Every other field is
// only passed on.
const (
	messageIDField  = "message_id"
	identifierField = "identifier"
	outputField     = "hook_output"
)

// ID is the zap field that gives an entry its MESSAGE_ID: one of the Message constants.
func ID(message string) zap.Field { return zap.String(messageIDField, message) }

// Output is the zap field that marks an entry as a line that a hook script wrote, not usher. The
// console sets such lines apart; in the journal they are found by HOOK_OUTPUT=true.
func Output() zap.Field { return zap.Bool(outputField, true) }

// StderrIsJournal reports whether systemd connected this process's standard error to the journal,
// in which case the journal's own protocol says more than text on standard error does. A
// JOURNAL_STREAM that is inherited from a service but stands for another stream does not count.
func StderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is // an unreadable JOURNAL_STREAM is nobody's promise
}

// sender is journal.Send, or what a test puts in its place to see what would be sent.
type sender func(message string, priority journal.Priority, fields map[string]string) error

// journalCore is a zapcore.Core that writes to journald.
type journalCore struct {
	zapcore.LevelEnabler
	context  map[string]string // fields given to With
	send     sender
	fallback zapcore.Core // for what journald does not take
}

// NewCore is a zapcore.Core that writes the entries enabled by level to the local journal.
//
// PRIORITY follows the level; MESSAGE_ID comes from the field that [ID] makes, SYSLOG_IDENTIFIER is
// usher or the field "identifier"; every other field keeps its name in capitals, with characters
// that journald does not allow replaced by "_". Errors carry CODE_FILE, CODE_LINE and CODE_FUNC when
// the logger adds callers. Write returns no error: an entry that journald does not take goes to
// standard error.
func NewCore(level zapcore.LevelEnabler) zapcore.Core {
	return newCore(level, journal.Send, NewConsole(standardError{}, level))
}

func newCore(level zapcore.LevelEnabler, send sender, fallback zapcore.Core) zapcore.Core {
	return &journalCore{LevelEnabler: level, send: send, fallback: fallback}
}

func (c *journalCore) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.context = maps.Clone(c.context)
	if clone.context == nil {
		clone.context = make(map[string]string)
	}
	addFields(clone.context, fields)
	clone.fallback = c.fallback.With(fields)
	return &clone
}

func (c *journalCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *journalCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	send := map[string]string{"SYSLOG_IDENTIFIER": identifier}
	maps.Copy(send, c.context)
	addFields(send, fields)
	if entry.Level >= zapcore.ErrorLevel && entry.Caller.Defined {
		send["CODE_FILE"] = entry.Caller.File
		send["CODE_LINE"] = strconv.Itoa(entry.Caller.Line)
		send["CODE_FUNC"] = entry.Caller.Function
	}
	if entry.Stack != "" {
		send["STACK"] = entry.Stack
	}
	if err := c.send(entry.Message, priority(entry.Level), send); err != nil {
		// Nobody could act on this error: the line itself is what must not be lost.
		_ = c.fallback.Write(entry, fields)
	}
	return nil
}

// Sync does nothing: an entry is journald's once it is sent.
func (c *journalCore) Sync() error { return nil }

// priority is the syslog priority for a zap level.
func priority(level zapcore.Level) journal.Priority {
	switch {
	case level >= zapcore.DPanicLevel:
		return journal.PriCrit
	case level == zapcore.ErrorLevel:
		return journal.PriErr
	case level == zapcore.WarnLevel:
		return journal.PriWarning
	case level == zapcore.InfoLevel:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}

// addFields puts fields into the journal's map; of two with one name the later one counts.
func addFields(into map[string]string, fields []zapcore.Field) {
	for _, f := range fields {
		// One encoder per field: a zap.Namespace must not swallow the fields after it, which
		// operators look for by their plain names.
		encoder := zapcore.NewMapObjectEncoder()
		f.AddTo(encoder)
		for key, value := range encoder.Fields {
			if strings.HasSuffix(key, "Verbose") && f.Type == zapcore.ErrorType {
				continue // zap's second rendering of an error, with its stack
			}
			name := fieldName(key)
			if _, ok := value.(time.Duration); ok && !strings.HasSuffix(name, "_USEC") {
				name += "_USEC" // the unit belongs to the name, as in systemd's own fields
			}
			into[name] = fieldValue(value)
		}
	}
}

// fieldName is the journal's name for a zap field: capitals, digits and "_", not starting with "_"
// (journald reserves those for itself) or a digit.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_")
	switch {
	case name == "IDENTIFIER":
		return "SYSLOG_IDENTIFIER"
	case name == "" || name == "MESSAGE" || name == "PRIORITY", name[0] >= '0' && name[0] <= '9':
		name = "FIELD_" + name // the entry's own, or no name at all
	}
	const room = maxFieldName - len("_USEC")
	return name[:min(len(name), room)]
}

// fieldValue is value as text: durations in microseconds, times as RFC 3339 in UTC, lists one
// element a line, anything without an obvious text as JSON.
func fieldValue(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case time.Duration:
		return strconv.FormatInt(v.Microseconds(), 10)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, uintptr,
		float32, float64, complex64, complex128:
		return fmt.Sprint(v)
	case []any:
		lines := make([]string, len(v))
		for i := range v {
			lines[i] = fieldValue(v[i])
		}
		return strings.Join(lines, "\n")
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// standardError writes to file descriptor 2 without package os, because os.Stderr ends the process
// by SIGPIPE once the other end is gone. Under systemd the other end is journald, and the case where
// this is written to is the one where journald is gone.
type standardError struct{}

func (standardError) Write(p []byte) (int, error) {
	for {
		n, err := unix.Write(unix.Stderr, p)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}
