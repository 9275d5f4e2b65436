package systemd

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// consoleClock is the time of every line in these tests.
type consoleClock struct{}

func (consoleClock) Now() time.Time                         { return time.Date(2026, 3, 1, 21, 4, 5, 120_000_000, time.UTC) }
func (consoleClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func TestConsoleLines(t *testing.T) {
	for _, c := range []struct {
		name string
		log  func(*zap.Logger)
		want string
	}{
		{"a step", func(l *zap.Logger) {
			l.Info("AfterInstall finished in 1.8s (2 scripts)", ID(MessageStepFinished), zap.Duration("duration", time.Second))
		}, "21:04:05.120 AfterInstall finished in 1.8s (2 scripts)\n"},
		{"below the level", func(l *zap.Logger) { l.Debug("x") }, ""},
		{"a warning", func(l *zap.Logger) { l.Warn("a process is left") }, "21:04:05.120 warning: a process is left\n"},
		{"an error and its cause", func(l *zap.Logger) {
			l.Error("ValidateService failed", zap.Error(errors.New("exit code 3")))
		}, "21:04:05.120 error: ValidateService failed: exit code 3\n"},
		{"no error", func(l *zap.Logger) { l.Info("done", zap.Error(nil)) }, "21:04:05.120 done\n"},
		{"few fields, always in the same order", func(l *zap.Logger) {
			l.Info("started", zap.String("release", "web-1"), zap.Int("attempt", 1), zap.String("revision", "s3://b/k"))
		}, "21:04:05.120 started revision=s3://b/k release=web-1\n"},
		{"not what every line has", func(l *zap.Logger) {
			l.With(zap.String("instance_id", "i-1")).Info("x")
		}, "21:04:05.120 x\n"},
		{"a message of two lines", func(l *zap.Logger) { l.Info("one\ntwo") }, "21:04:05.120 one\n             two\n"},
		{"an error of two lines", func(l *zap.Logger) {
			l.Info("x", zap.Error(errors.Join(errors.New("a"), errors.New("b"))))
		}, "21:04:05.120 x: a; b\n"},
		{"a line of a script", func(l *zap.Logger) {
			l.Info("migrating", Output(), zap.String("release", "web-1"))
		}, "             | migrating\n"},
		{"lines of a script, from a logger for them", func(l *zap.Logger) {
			l.With(Output()).Info("migrating")
		}, "             | migrating\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			c.log(zap.New(NewConsole(&out, zapcore.InfoLevel), zap.WithClock(consoleClock{})))
			if out.String() != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", out.String(), c.want)
			}
		})
	}
}

func TestConsoleColours(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		name, noColor, term string
		out                 *os.File
		want                bool
	}{
		{"a terminal", "", "xterm", terminal, true},
		{"a terminal whose user wants none", "1", "xterm", terminal, false},
		{"a terminal that has none", "", "dumb", terminal, false},
		{"a file", "", "xterm", file, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", c.noColor)
			t.Setenv("TERM", c.term)
			if got := NewConsole(c.out, zapcore.InfoLevel).(*console).colour; got != c.want {
				t.Errorf("colour is %v, want %v", got, c.want)
			}
		})
	}
}

// A colour begins after the time and ends with the line, so that a copied line has none of it left over.
func TestConsoleColoursEndWithTheLine(t *testing.T) {
	var out bytes.Buffer
	core := NewConsole(&out, zapcore.InfoLevel).(*console)
	core.colour = true
	log := zap.New(core, zap.WithClock(consoleClock{}))
	log.Info("plain")
	log.Error("bad", zap.Error(errors.New("why")))
	want := "21:04:05.120 plain\n21:04:05.120" + red + " error: bad: why" + reset + "\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestConsoleLinesStayWhole(t *testing.T) {
	var out bytes.Buffer
	log := zap.New(NewConsole(&out, zapcore.InfoLevel))
	done := make(chan struct{})
	const writers, each = 8, 100
	for range writers {
		go func() {
			for range each {
				log.With(Output()).Info(strings.Repeat("x", 500))
			}
			done <- struct{}{}
		}()
	}
	for range writers {
		<-done
	}
	want := strings.Repeat("             | "+strings.Repeat("x", 500)+"\n", writers*each)
	if out.String() != want {
		t.Error("lines of several goroutines got mixed")
	}
}
