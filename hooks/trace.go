//go:build linux && !developer

package hooks

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"usher/agent/safepath"
)

// bash tells where errexit ended a script, or would have: its ERR trap is run under the same conditions. The trap is
// set by the file that bash reads before a script, BASH_ENV, because there a script does not notice: $0, BASH_SOURCE,
// LINENO, the positional parameters and what runs at the top level are as without it, which they are not in
// `bash -c '...; . script'`. What it can notice: $- has an E (the trap must be inherited by functions and subshells),
// `trap -p` lists it, and a trap of its own takes its place. A script that says ERR anywhere is therefore left alone.
// It tells by a file, not by a descriptor, which the script's children would inherit and hold open.
//
// The Korn shells do it in another way (trace_ksh.go). dash knows neither ERR nor the line it is at, and its xtrace goes
// where the script's own errors go.

const (
	maxTrace  = 256 << 10 // bytes of a trace that are read: a loop whose commands fail goes on writing
	maxFailed = 20        // commands of one script that are told
	maxFrames = 32        // functions in each other: one that fails in its own depths says so at each step out
)

// trace is where a bash script tells of commands that fail. The zero value is none.
type trace struct {
	dir  string
	korn bool // of a Korn shell, which tells no command, and not what happens in functions that have traps of their own
}

// runtimeDirectory is where a successor of this agent finds a trace again: systemd's, for a service. Others cannot
// put a link in its place.
func runtimeDirectory() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return os.Getenv("RUNTIME_DIRECTORY")
}

// newTrace prepares s, which argv starts, to tell of the commands that fail. The script, its environment and the
// arguments that come back are to be used in their place. Whatever it cannot do it leaves: a script is run all the same.
func newTrace(s Script, argv []string, p Policy) (trace, Script, []string) {
	if p == Off {
		return trace{}, s, argv
	}
	text, _, whole, err := readScript(s.File)
	if err != nil || !whole || ownTrap.Match(text) {
		return trace{}, s, argv
	}
	in := interpretFor(s, text[:min(len(text), headSize)], true)
	posix := ""
	switch {
	case in.shell == "ksh" && !in.opaque:
		t, argv := kshTrace(s, text, in, argv)
		return t, s, argv
	case in.opaque || in.shell != "bash" && in.shell != "sh" || path.Base(in.name) == "rbash" || slices.ContainsFunc(in.options, isVerbose):
		return trace{}, s, argv
	case in.shell == "sh":
		// A bash that is called sh reads no file. It is bash in its POSIX mode, which the file can switch on.
		real, err := filepath.EvalSymlinks(in.name)
		if err != nil || filepath.Base(real) != "bash" || argv[0] != in.name {
			return trace{}, s, argv
		}
		argv = append([]string{real}, argv[1:]...)
		posix = "BASH=" + quoteForShell(in.name) + "\nset -o posix\n"
	}
	t, err := makeTrace(s)
	if err != nil {
		return trace{}, s, argv
	}
	if t.write(traceCode(t.file("report"), posix)) != nil {
		return trace{}, s, argv
	}
	s.Env = append(slices.Clone(s.Env), "BASH_ENV="+t.file("env"))
	return t, s, argv
}

// isVerbose reports whether an option of a shell is -v, with which it would show what it reads before the script.
func isVerbose(option string) bool {
	return option == "--verbose" || option == "verbose" || isOption(option) && option[1] != '-' && strings.Contains(option, "v")
}

// ownTrap finds scripts that have an ERR trap of their own, which must not be inherited where they do not say so.
var ownTrap = regexp.MustCompile(`\bERR\b`)

// lastOfTrace leaves $_ as bash starts with it.
const lastOfTrace = `: "$BASH"`

// traceCode is what bash reads before the script. It is a group, and the trap is one, so that a first line with -x and a script's
// `set -x` do not show it, and nothing in here can fail, because -e may be on already.
func traceCode(report, posix string) string {
	tell := func(fields string) string {
		return `{ builtin printf '%s\0' ` + fields + " >>" + quoteForShell(report) + "; } 2>/dev/null || :"
	}
	trap := tell(fmt.Sprintf(`"$?" "$-" "$BASH_SUBSHELL" "${BASH_SOURCE[0]-}" "$LINENO" "$BASH_COMMAND" "${#BASH_LINENO[@]}" `+
		`${BASH_LINENO[@]+"${BASH_LINENO[@]:0:%d}"} ${BASH_SOURCE[@]+"${BASH_SOURCE[@]:0:%[1]d}"}`, maxFrames))
	return "{ unset BASH_ENV\n" + tell("start '' '' '' '' '' 0") + "\ntrap " + quoteForShell(trap) + " ERR\nset -E\n" + posix + lastOfTrace + "; } 2>/dev/null || :\n"
}

// makeTrace makes the folder of a trace, and the file in it that the script's user writes to.
func makeTrace(s Script) (trace, error) {
	t := trace{}
	err := error(nil)
	if dir := runtimeDirectory(); dir != "" {
		t.dir = filepath.Join(dir, fmt.Sprintf("errexit-%x", sha256.Sum256([]byte(strings.Join(tagOf(s), "\x00"))))[:24])
		if err = os.Mkdir(t.dir, 0o711); errors.Is(err, os.ErrExist) {
			err = nil // of an agent before this one: the script still runs, perhaps
		}
	} else {
		t.dir, err = os.MkdirTemp("", "usher-errexit-")
	}
	if err != nil {
		return trace{}, err
	}
	f, err := os.OpenFile(t.file("report"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		credential, _, userErr := runAs(s.RunAs)
		if err = userErr; err == nil && credential != nil {
			err = f.Chown(int(credential.Uid), int(credential.Gid))
		}
		f.Close()
	}
	if err = errors.Join(err, os.Chmod(t.dir, 0o711)); err != nil {
		t.remove()
		return trace{}, err
	}
	return t, nil
}

// write writes what the shell reads first. Without it there is no trace.
func (t trace) write(code string) error {
	err := os.WriteFile(t.file("env"), []byte(code), 0o644)
	if err != nil {
		t.remove()
	}
	return err
}

func (t trace) file(name string) string { return filepath.Join(t.dir, name) }

func (t trace) remove() {
	if t.dir != "" {
		_ = safepath.RemoveAll(t.dir)
	}
}

// failed is one entry of a trace.
type failed struct {
	FailedCommand
	raw     string  // the command, as bash writes it
	errexit bool    // it was on
	depth   int     // of subshells
	frames  []frame // where it is, and then where the functions and files around it were called and read
}

// frame is a line of a file, as bash names it.
type frame struct {
	file string
	line int
}

// read are the entries of the script's last start.
func (t trace) read(s Script) (all []failed) {
	if t.dir == "" {
		return nil
	}
	report, err := os.Open(t.file("report"))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(report, maxTrace)) // what there is
	report.Close()
	script, _, _, _ := readScript(s.File)
	fields := bytes.Split(text, []byte{0})
	for len(fields) > 6 {
		frames, rest := t.frames(fields)
		if rest == nil {
			return all
		}
		entry := fields
		fields = rest
		if string(entry[0]) == "start" {
			all = nil
			continue
		}
		status, err1 := strconv.Atoi(string(entry[0]))
		depth, err2 := strconv.Atoi(string(entry[2]))
		line, err3 := strconv.Atoi(string(entry[4]))
		if errors.Join(err1, err2, err3) != nil { // the script's user can write anything
			return all
		}
		if len(frames) == 0 {
			frames = []frame{{s.File, line}}
		}
		if line <= 1 && (t.korn || string(entry[3]) == s.File && bytes.HasPrefix(script, []byte("#"))) {
			continue // the script as a whole, once more; in bash the text of an EXIT trap
		}
		all = append(all, failed{raw: string(entry[5]), errexit: bytes.ContainsRune(entry[1], 'e'), depth: depth, frames: frames,
			FailedCommand: FailedCommand{File: sourceName(s, string(entry[3])), Line: line, Command: briefCommand(entry[5]), Status: status}})
	}
	return all
}

// frames are those of the first entry of a trace, and rest is what stands behind it: nil when it is none.
func (t trace) frames(fields [][]byte) (frames []frame, rest [][]byte) {
	if t.korn {
		return nil, fields[6:]
	}
	n, err := strconv.Atoi(string(fields[6]))
	n = min(n, maxFrames)
	if err != nil || n < 0 || n > len(fields) || len(fields) < 7+2*n {
		return nil, nil
	}
	lines, files := append([][]byte{fields[4]}, fields[7:7+n]...), fields[7+n:7+2*n]
	for i, file := range files {
		if line, err := strconv.Atoi(string(lines[i])); err == nil && line > 0 {
			frames = append(frames, frame{string(file), line})
		}
	}
	return frames, fields[7+2*n:]
}

// sourceName is what messages call a file that bash has read.
func sourceName(s Script, file string) string {
	if file == s.File || file == "" {
		return s.Location
	}
	if !filepath.IsAbs(file) {
		name := file
		file = filepath.Join(s.Dir, name)
		if beside := filepath.Join(filepath.Dir(s.File), name); !isFile(file) && isFile(beside) { // the script has gone there with cd
			return path.Join(path.Dir(s.Location), filepath.ToSlash(filepath.Clean(name)))
		}
	}
	if in, err := filepath.Rel(s.Dir, file); err == nil && filepath.IsLocal(in) {
		file = in
	}
	return Clean([]byte(file))
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// ended is the command at which errexit ended a script that exited with code; nil when it was not errexit.
// Functions and subshells that end one after the other tell each for itself: the innermost is meant.
func ended(all []failed, s Script, code int) *FailedCommand {
	for i, f := range all {
		if f.depth > 0 || !f.errexit || f.Status != code {
			continue
		}
		command, told := f.locate(s)
		for i > 0 && all[i-1].depth > f.depth && all[i-1].errexit && all[i-1].Status == code && all[i-1].calledAt(f, told) {
			i--
			command = all[i].whole(s)
		}
		return &command
	}
	return nil
}

// calledAt reports whether a failure in a subshell is of what another command has started, of which lines are told.
func (f failed) calledAt(by failed, told lines) bool {
	inner := len(f.frames) - len(by.frames)
	return inner >= 0 && len(by.frames) > 0 && f.frames[inner].file == by.frames[0].file && told.has(uint(f.frames[inner].line))
}

// quoteForShell is text as one word of a shell.
func quoteForShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
