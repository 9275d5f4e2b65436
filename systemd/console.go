package systemd

import (
	"io"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"usher/agent/format"
)

// consoleTime is the clock on the console: a boot is seconds, so the date would only be in the way.
const consoleTime = "15:04:05.000"

// shownFields are the fields a person wants to see behind the message, in this order. They are shown
// only when the line itself carries them: what a logger repeats on every line (With) is noise here.
// Everything else is in the journal.
var shownFields = []string{"instance_id", "auto_scaling_group", "lifecycle_hook", "revision", "release", "error"}

// Colours are for the eye only: without them a line says the same.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
	reset  = "\x1b[0m"
)

var lines = buffer.NewPool()

// console is a zapcore.Core that writes lines for a person.
type console struct {
	zapcore.LevelEnabler
	out    zapcore.WriteSyncer
	colour bool
	output bool // With said that all lines are a hook's output
}

// NewConsole is a zapcore.Core that writes one line per entry to w, for a person:
//
//	21:04:05.120 AfterInstall finished in 1.8s (2 scripts)
//	21:04:06.001 warning: scripts/start.sh left 1 process running
//	21:04:07.430 error: ValidateService failed
//	             | a line a hook script wrote
//
// Times are local. Of an entry's fields only a few are shown. Warnings and errors are coloured when w
// is a terminal and NO_COLOR is not set (https://no-color.org). Entries are written whole, also from
// several goroutines, and printable ([format.Printable]): a script's output is shown, and not obeyed; an error of w is returned by Write, which zap reports nowhere by default.
func NewConsole(w io.Writer, level zapcore.LevelEnabler) zapcore.Core {
	return &console{LevelEnabler: level, out: zapcore.Lock(zapcore.AddSync(format.Unfiltered(w))), colour: wantsColour(w)}
}

func (c *console) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	clone.output = c.output || isOutput(fields)
	return &clone
}

func (c *console) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *console) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	line := lines.Get()
	defer line.Free()

	mark, colour := "", ""
	switch {
	case c.output || isOutput(fields):
		line.AppendString(strings.Repeat(" ", len(consoleTime)))
		mark, colour = " | ", dim
	default:
		line.AppendString(entry.Time.Format(consoleTime))
		mark, colour = levelMark(entry.Level)
	}
	if !c.colour {
		colour = ""
	}
	line.AppendString(colour)
	line.AppendString(mark)
	line.AppendString(strings.ReplaceAll(format.Printable(entry.Message), "\n", "\n"+strings.Repeat(" ", len(consoleTime)+1)))
	if !isOutput(fields) && !c.output {
		appendShown(line, fields)
	}
	if colour != "" {
		line.AppendString(reset)
	}
	line.AppendByte('\n')
	_, err := c.out.Write(line.Bytes())
	return err
}

// Sync does nothing: a line is written when it is logged, and a terminal cannot be synced.
func (c *console) Sync() error { return nil }

// levelMark is what stands between the time and the message, and its colour.
func levelMark(level zapcore.Level) (mark, colour string) {
	switch {
	case level >= zapcore.ErrorLevel:
		return " error: ", red
	case level == zapcore.WarnLevel:
		return " warning: ", yellow
	case level == zapcore.DebugLevel:
		return " ", dim
	}
	return " ", ""
}

// appendShown adds the fields worth showing, as " name=value", and the error as ": text".
func appendShown(line *buffer.Buffer, fields []zapcore.Field) {
	for _, name := range shownFields {
		i := slices.IndexFunc(fields, func(f zapcore.Field) bool { return f.Key == name })
		if i < 0 {
			continue
		}
		encoder := zapcore.NewMapObjectEncoder()
		fields[i].AddTo(encoder)
		value, ok := encoder.Fields[name]
		if !ok {
			continue // zap.Error(nil)
		}
		text := strings.ReplaceAll(format.Printable(fieldValue(value)), "\n", "; ")
		if name == "error" {
			line.AppendString(": " + text)
		} else {
			line.AppendString(" " + name + "=" + text)
		}
	}
}

func isOutput(fields []zapcore.Field) bool {
	return slices.ContainsFunc(fields, func(f zapcore.Field) bool {
		return f.Key == outputField && f.Type == zapcore.BoolType && f.Integer == 1
	})
}

// wantsColour reports whether w is a terminal whose user did not ask for plain text.
func wantsColour(w io.Writer) bool {
	file, ok := format.Unfiltered(w).(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
