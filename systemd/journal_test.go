package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// sent is one entry as journald would get it.
type sent struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

// recorder is a core, and what it sent.
func recorder(level zapcore.LevelEnabler) (zapcore.Core, *[]sent) {
	var entries []sent
	return newCore(level, func(message string, priority journal.Priority, fields map[string]string) error {
		entries = append(entries, sent{message, priority, fields})
		return nil
	}, zapcore.NewNopCore()), &entries
}

func TestFieldsBecomeJournalFields(t *testing.T) {
	at := time.Date(2026, 3, 1, 4, 5, 6, 7000, time.FixedZone("CET", 3600))
	for _, c := range []struct {
		name string
		in   zap.Field
		want string // NAME=value; lines joined by "; "
	}{
		{"a name in capitals", zap.String("deployment_id", "d-1"), "DEPLOYMENT_ID=d-1"},
		{"already in capitals", zap.String("LIFECYCLE_EVENT", "AfterInstall"), "LIFECYCLE_EVENT=AfterInstall"},
		{"other characters", zap.String("hook.script-name é", "x"), "HOOK_SCRIPT_NAME__=x"},
		{"journald's own start", zap.String("_pid", "x"), "PID=x"},
		{"starts with a digit", zap.String("2nd", "x"), "FIELD_2ND=x"},
		{"no name", zap.String("", "x"), "FIELD_=x"},
		{"the entry's own name", zap.String("message", "x"), "FIELD_MESSAGE=x"},
		{"the entry's own priority", zap.String("priority", "0"), "FIELD_PRIORITY=0"},
		{"a name too long", zap.Duration(strings.Repeat("n", 100), 1000), strings.Repeat("N", 59) + "_USEC=1"},
		{"message id", ID(MessageStarted), "MESSAGE_ID=" + MessageStarted},
		{"identifier", zap.String("identifier", "web"), "SYSLOG_IDENTIFIER=web"},
		{"duration", zap.Duration("duration", 1500*time.Millisecond), "DURATION_USEC=1500000"},
		{"duration with its unit", zap.Duration("duration_usec", time.Second), "DURATION_USEC=1000000"},
		{"time", zap.Time("at", at), "AT=2026-03-01T03:05:06.000007Z"},
		{"number", zap.Int("scripts", 2), "SCRIPTS=2"},
		{"boolean", Output(), "HOOK_OUTPUT=true"},
		{"error", zap.Error(errors.New("cannot open x")), "ERROR=cannot open x"},
		{"no error", zap.Error(nil), ""},
		{"error with a stack", zap.Error(verbose{}), "ERROR=short"},
		{"bytes", zap.ByteString("line", []byte("a")), "LINE=a"},
		{"list", zap.Strings("leftovers", []string{"sleep (pid 1)", "sh (pid 2)"}), "LEFTOVERS=sleep (pid 1)\nsh (pid 2)"},
		{"anything else", zap.Any("stats", map[string]int{"files": 1}), `STATS={"files":1}`},
		{"line break in a value", zap.String("a", "b\nPRIORITY=0"), "A=b\nPRIORITY=0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := make(map[string]string)
			addFields(got, []zap.Field{c.in})
			if text := picture(got); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// verbose is an error that has more to say with %+v, as those with a stack do.
type verbose struct{}

func (verbose) Error() string { return "short" }
func (verbose) Format(s fmt.State, _ rune) {
	_, _ = s.Write([]byte("long"))
}

func picture(fields map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+"="+fields[name])
	}
	return strings.Join(parts, "; ")
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name string
		log  func(*zap.Logger)
		want string // priority message | fields
	}{
		{"debug is below the level", func(l *zap.Logger) { l.Debug("x") }, ""},
		{"info", func(l *zap.Logger) { l.Info("x") }, "6 x | SYSLOG_IDENTIFIER=usher"},
		{"warning", func(l *zap.Logger) { l.Warn("x") }, "4 x | SYSLOG_IDENTIFIER=usher"},
		{"error", func(l *zap.Logger) { l.Error("x") }, "3 x | SYSLOG_IDENTIFIER=usher"},
		{"worse", func(l *zap.Logger) { l.DPanic("x") }, "2 x | SYSLOG_IDENTIFIER=usher"},
		{"fields of the logger and of the line", func(l *zap.Logger) {
			l.With(zap.String("deployment_id", "d-1"), zap.String("lifecycle_event", "Install")).
				Info("x", zap.String("lifecycle_event", "AfterInstall"))
		}, "6 x | DEPLOYMENT_ID=d-1; LIFECYCLE_EVENT=AfterInstall; SYSLOG_IDENTIFIER=usher"},
		{"two loggers of one do not share fields", func(l *zap.Logger) {
			parent := l.With(zap.String("a", "1"))
			parent.With(zap.String("b", "2"))
			parent.Info("x")
		}, "6 x | A=1; SYSLOG_IDENTIFIER=usher"},
		{"a namespace hides nothing", func(l *zap.Logger) {
			l.Info("x", zap.Namespace("sdk"), zap.String("release", "r"))
		}, "6 x | RELEASE=r; SDK={}; SYSLOG_IDENTIFIER=usher"},
	} {
		t.Run(c.name, func(t *testing.T) {
			core, entries := recorder(zapcore.InfoLevel)
			c.log(zap.New(core))
			var got []string
			for _, e := range *entries {
				got = append(got, string('0'+rune(e.priority))+" "+e.message+" | "+picture(e.fields))
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", text, c.want)
			}
		})
	}
}

func TestOnlyErrorsSayWhereInTheCode(t *testing.T) {
	core, entries := recorder(zapcore.InfoLevel)
	log := zap.New(core, zap.AddCaller())
	log.Info("fine")
	log.Error("not fine")
	if f := (*entries)[0].fields; f["CODE_FILE"] != "" {
		t.Errorf("an info entry has CODE_FILE=%s", f["CODE_FILE"])
	}
	f := (*entries)[1].fields
	if !strings.HasSuffix(f["CODE_FILE"], "journal_test.go") || f["CODE_LINE"] == "" || !strings.Contains(f["CODE_FUNC"], t.Name()) {
		t.Errorf("an error has CODE_FILE=%s CODE_LINE=%s CODE_FUNC=%s", f["CODE_FILE"], f["CODE_LINE"], f["CODE_FUNC"])
	}
}

func TestWithoutJournaldLinesAreNotLost(t *testing.T) {
	var out bytes.Buffer
	core := newCore(zapcore.InfoLevel, func(string, journal.Priority, map[string]string) error {
		return errors.New("connect: no such file or directory")
	}, NewConsole(&out, zapcore.InfoLevel))
	log := zap.New(core).With(Output())
	if err := log.Core().Write(zapcore.Entry{Message: "hello"}, nil); err != nil {
		t.Errorf("Write failed its caller: %v", err)
	}
	if want := "             | hello\n"; out.String() != want {
		t.Errorf("standard error got %q, want %q", out.String(), want)
	}
}

func TestStderrIsJournal(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         bool
	}{
		{"not set", "", false},
		{"inherited from somewhere else", "1:1", false},
		{"not a stream", "journal", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", c.stream)
			if got := StderrIsJournal(); got != c.want {
				t.Errorf("got %v with JOURNAL_STREAM=%q", got, c.stream)
			}
		})
	}
}
