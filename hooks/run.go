//go:build linux && !developer

package hooks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"usher/agent/safepath"
)

// Runner runs one script. ProcessGroups does it on any Linux machine.
type Runner interface {
	// Run starts argv with everything else as s says, and waits. line is called for each line of
	// output as it comes, by one caller at a time and not after Run has returned; stream is "stdout"
	// or "stderr". A runner whose scripts write to the journal themselves does not call it. A script
	// that fails is a Result. The error says that it could not be run at all,
	// or why ctx ended; then the Result tells how far it came.
	Run(ctx context.Context, s Script, argv []string, line func(stream, text string)) (Result, error)
}

// Result is how a script ended.
type Result struct {
	ExitCode int    // 0..255; -1 when a signal ended it
	Signal   string // "SIGKILL"; "" when it exited by itself
	TimedOut bool   // its timeout was up; ExitCode and Signal tell how it then ended
	Duration time.Duration

	Tail    []string // its last lines, TailLines at most
	Lines   int      // lines handed on
	Dropped int      // lines beyond MaxLines or MaxOutput: not handed on

	Errexit  *FailedCommand  // where errexit ended it; nil when it did not, or its shell does not tell
	Suspects []FailedCommand // of a failed script whose shell does not tell: commands at which errexit may have ended it
	WouldEnd []FailedCommand // under Report, where errexit would have ended it: 20 at most

	BackgroundProcesses []string // processes it left behind, "sleep (pid 123)"
}

// OK reports whether the script did what it was asked.
func (r Result) OK() bool { return r.ExitCode == 0 && r.Signal == "" && !r.TimedOut }

// CodeDeploy's diagnostics codes, as its command service takes them for a failed lifecycle event.
const (
	ScriptMissing       = 1
	ScriptNotExecutable = 2
	ScriptTimedOut      = 3
	ScriptFailed        = 4
	UnknownError        = 5
)

// Failure is a script that failed, as an error.
type Failure struct {
	Script Script
	Result Result
	Code   int   // CodeDeploy's diagnostics code, ScriptMissing to UnknownError
	Err    error // why it could not be run; nil when it ran
}

// Error names the script, says how it ended and after how long, and quotes its last line.
func (f *Failure) Error() string {
	r := f.Result
	how := ""
	switch {
	case f.Err != nil:
		return f.Err.Error()
	case r.TimedOut:
		setting := " (appspec `timeout:`)"
		switch {
		case f.Script.Role:
			setting = "" // a role hook has no appspec
		case f.Script.Timeout <= 0:
			setting = " (the default; appspec `timeout:` sets another)"
		}
		how = fmt.Sprintf("did not finish within its timeout of %s%s and was stopped", f.Script.timeout(), setting)
	case r.Signal != "":
		how = fmt.Sprintf("was killed by %s after %s", r.Signal, brief(r.Duration))
	default:
		how = fmt.Sprintf("failed with exit code %d after %s", r.ExitCode, brief(r.Duration))
	}
	if r.Errexit != nil {
		how += ": errexit (-e) ended it at " + r.Errexit.String()
	}
	perhaps := ""
	for i, c := range r.Suspects {
		perhaps += []string{"; perhaps errexit (-e) ended it, which its shell does not tell: ", ", or "}[min(i, 1)] + fmt.Sprintf("line %d, `%s`", c.Line, c.Command)
	}
	if len(r.Tail) == 0 {
		return fmt.Sprintf("%s %s; it wrote nothing%s", f.Script, how, perhaps)
	}
	return fmt.Sprintf("%s %s; its last line: %s%s", f.Script, how, quoted(r.Tail[len(r.Tail)-1]), perhaps)
}

// maxQuoted is how much of a script's last line a message quotes: two lines of a terminal.
const maxQuoted = 200

func quoted(line string) string {
	if len(line) <= maxQuoted {
		return line
	}
	return line[:wholeRunes([]byte(line), maxQuoted)] + "…"
}

// Unwrap is the reason why the script could not be run.
func (f *Failure) Unwrap() error { return f.Err }

// brief rounds a duration to what a person reads.
func brief(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// Run runs one script under policy p with r. The error is a *Failure when the script failed or could
// not be run, and the context's cause when ctx ended.
func Run(ctx context.Context, r Runner, s Script, p Policy, line func(stream, text string)) (Result, error) {
	argv, err := Argv(s, p)
	if err != nil {
		code := UnknownError
		if errors.Is(err, fs.ErrNotExist) {
			code = ScriptMissing
		}
		return Result{}, &Failure{Script: s, Code: code, Err: fmt.Errorf("cannot start %s: %w", s, err)}
	}
	if argv[0] == s.File {
		if err := makeExecutable(s.File); err != nil {
			return Result{}, &Failure{Script: s, Code: ScriptNotExecutable, Err: fmt.Errorf("cannot start %s: %w", s, err)}
		}
	}
	t, s, argv := newTrace(s, argv, p)
	result, err := r.Run(ctx, s, argv, line)
	if err == nil || ctx.Err() == nil { // else a successor may take the script up
		defer t.remove()
	}
	switch {
	case p == Report:
		all := t.read(s)
		result.WouldEnd, result.Errexit = wouldEnd(all, s), ended(all, s, max(result.ExitCode, 1))
	case result.ExitCode > 0 && !result.TimedOut:
		result.Errexit = ended(t.read(s), s, result.ExitCode)
		if result.Errexit == nil && (t.dir == "" || t.korn) && p != Off {
			result.Suspects = suspects(s, result.ExitCode)
		}
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return result, err
	case err != nil:
		code := UnknownError
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOEXEC) {
			code = ScriptNotExecutable // the kernel refused to start it
		}
		return result, &Failure{Script: s, Result: result, Code: code, Err: err}
	case result.TimedOut:
		return result, &Failure{Script: s, Result: result, Code: ScriptTimedOut}
	case !result.OK():
		return result, &Failure{Script: s, Result: result, Code: ScriptFailed}
	}
	return result, nil
}

// makeExecutable adds the bits CodeDeploy adds. Only what the kernel itself must start needs them: a
// script runs through its interpreter.
func makeExecutable(file string) error {
	f, err := safepath.OpenFile(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode()&0o111 != 0 {
		return err
	}
	if err := f.Chmod(info.Mode().Perm() | 0o111); err != nil {
		return fmt.Errorf("cannot make it executable: %w", err)
	}
	return nil
}

// ScriptOf is the location of the script that an error is about, "" for none.
func ScriptOf(err error) string {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f.Script.Location
	}
	return ""
}
