package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"usher/agent/safepath"
)

const (
	// MaxAnalysed is the largest shell script that is parsed. Hooks are a few KiB; a longer file is
	// an archive that unpacks itself. The parser recurses, and takes some KiB of stack for each byte
	// that nests: of a larger script that is nothing but parentheses, the agent could die.
	MaxAnalysed = 64 << 10

	// maxWarnings bounds what is said about one script: beyond it nobody reads on.
	maxWarnings = 20

	// syntaxTime bounds `sh -n`, which only reads a file of MaxAnalysed at most.
	syntaxTime = 10 * time.Second
)

// modesKept says whether files here have the modes that a server would see. Windows has no such thing.
const modesKept = runtime.GOOS != "windows"

// Check looks at scripts on the machine that will run them, before any of them runs: that each is
// there and can be started, that its interpreter and its user exist, that a shell script parses, and
// that errexit is in effect as p demands. Warnings do not forbid the deployment.
func Check(scripts []Script, p Policy) []Problem { return check(scripts, p, true) }

// CheckSource is Check on another machine than the one that will run the scripts, a developer's for
// instance: it says nothing about interpreters and users.
func CheckSource(scripts []Script, p Policy) []Problem { return check(scripts, p, false) }

func check(scripts []Script, p Policy, here bool) []Problem {
	var problems []Problem
	for i, s := range scripts {
		found := checkFile(s, p, here)
		if here {
			found = append(found, Of(KindServer, missing(s, bringing(scripts, i)))...)
		}
		for _, f := range Of(KindScript, found) {
			if f.File == "" { // else it is in a file that the script reads
				f.File = s.Location
			}
			if !slices.Contains(problems, f) { // a script may serve several events
				problems = append(problems, f)
			}
		}
	}
	return problems
}

// checkFile are the problems of one script, without its name.
func checkFile(s Script, p Policy, here bool) []Problem {
	text, info, whole, err := readScript(s.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Problem{{Message: noSuchScript(s)}}
	case err != nil:
		return []Problem{{Message: "cannot be read: " + reason(err)}}
	case !info.Mode().IsRegular():
		return []Problem{{Message: "is not a regular file"}}
	case len(text) == 0:
		return []Problem{{Warning: true, Message: "is empty: it does nothing, and that succeeds"}}
	}
	in := interpretFor(s, text[:min(len(text), headSize)], here)
	var found []Problem
	if in.login {
		found = append(found, Problem{Line: 1, Col: 1, Warning: true, Message: fmt.Sprintf(
			"has no first line `#!`, so the login shell of %s runs it, as with CodeDeploy's agent: write #!/bin/bash, or whatever it is for", s.RunAs)})
	}
	if in.relative {
		found = append(found, Problem{Line: 1, Col: 1, Warning: true, Message: fmt.Sprintf(
			"its interpreter is not an absolute path: it is taken as %s, because CodeDeploy's agent works in /: write #!%[1]s", in.kernel[0])})
	}
	if modesKept && info.Mode()&0o111 == 0 {
		how := "it is run through its interpreter all the same"
		if in.binary {
			how = "the bit is set before it is run"
		}
		found = append(found, Problem{Warning: true, Message: "is not executable; " + how + ": chmod +x"})
	}
	if m := badFirstLine(text, in); m != "" {
		return append(found, Problem{Line: 1, Col: 1, Message: m})
	}
	if in.opaque && p != Off {
		found = append(found, Problem{Line: 1, Col: 1, Warning: true,
			Message: "cannot tell which interpreter env starts: errexit is neither checked nor enforced"})
	}
	if in.shell == "" {
		return found // its exit status alone counts
	}
	if !whole || bytes.IndexByte(text, 0) >= 0 {
		return append(found, Problem{Warning: true, Message: fmt.Sprintf(
			"is not checked further: it is larger than %d KiB or has binary data in it", MaxAnalysed>>10)})
	}
	return append(found, checkShell(s, text, in, p)...)
}

// readScript reads at most MaxAnalysed bytes; whole tells whether that was all. It does not open what is not a regular file.
// Who runs the script may have put something else in its place: see safepath.OpenFile.
func readScript(file string) (text []byte, info fs.FileInfo, whole bool, err error) {
	info, err = os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return nil, info, false, err
	}
	f, err := safepath.OpenFile(file)
	if err != nil {
		return nil, info, false, err
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, MaxAnalysed+1))
	return text, info, len(text) <= MaxAnalysed, err
}

func noSuchScript(s Script) string {
	var names []string
	entries, _ := os.ReadDir(filepath.Dir(s.File)) // only to be helpful
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if right := Closest(filepath.Base(s.File), names); right != "" {
		return fmt.Sprintf("does not exist, and %s needs it: did you mean %s?", s.Event, path.Join(path.Dir(s.Location), right))
	}
	return fmt.Sprintf("does not exist, and %s needs it", s.Event)
}

// badFirstLine says why a script cannot be started, or nothing.
func badFirstLine(text []byte, in interpreter) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return "starts with a byte order mark, which hides the `#!` line: save it as UTF-8 without one"
	case bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")):
		return "is UTF-16: save it as UTF-8"
	case in.binary:
		return ""
	case bytes.HasSuffix(line, []byte("\r")):
		return "has Windows line ends (CRLF): run dos2unix"
	case in.kernel == nil:
		return "names no interpreter after #!"
	case !path.IsAbs(in.kernel[0]):
		return fmt.Sprintf("its interpreter %s is not a path: write #!/usr/bin/env %[1]s", in.kernel[0])
	case path.Base(in.kernel[0]) == "env" && in.name == "" && !in.opaque:
		return "names no interpreter after env"
	case path.Base(in.kernel[0]) == "env" && !in.opaque && len(in.command) == 2 && strings.ContainsAny(in.name, " \t"):
		return fmt.Sprintf("env gets `%s` as one word: write #!%s -S %s", in.name, in.kernel[0], in.name)
	case in.shell != "" && len(in.options) == 1 && strings.ContainsAny(in.options[0], " \t"):
		return fmt.Sprintf("%s gets `%s` as one word and refuses it: put `set %[2]s` on the second line", in.kernel[0], in.options[0])
	case in.shell != "" && lacksValue(in.options) != "":
		return fmt.Sprintf("`%s` lacks its value, and %s takes the script for it: put `set %[1]s NAME` on the second line", lacksValue(in.options), in.name)
	}
	return ""
}

// checkShell parses a shell script and judges its errexit.
func checkShell(s Script, text []byte, in interpreter, p Policy) []Problem {
	var found []Problem
	if i := bytes.Index(text, []byte("\r\n")); i >= 0 {
		found = append(found, Problem{Line: 1 + bytes.Count(text[:i], []byte("\n")), Col: 1, Warning: true,
			Message: "ends with a carriage return (CRLF), which the shell takes as part of the last word"})
	}
	found = append(found, Of(KindAgentPath, ofTheAgent(statements(s)))...)
	stmts, err := parse(text, in.shell)
	if in.shell == "sh" {
		if bash, bashErr := parse(text, "bash"); bashErr == nil {
			found = append(found, bashisms(bash)...)
		}
	}
	if lang, ok := errors.AsType[syntax.LangError](err); ok && in.shell == "sh" {
		// Where /bin/sh is bash this works, so it is not ours to refuse.
		if bash, err := parse(text, "bash"); err == nil {
			if !slices.ContainsFunc(found, func(p Problem) bool { return strings.Contains(p.Message, "is bash's") }) {
				found = append(found, Problem{Line: int(lang.Pos.Line()), Col: int(lang.Pos.Col()), Warning: true,
					Message: lang.Feature + " are not in POSIX sh, and a /bin/sh that is dash stops here: use #!/bin/bash"})
			}
			return append(found, checkErrexit(bash, text, s, in, p)...)
		}
	}
	if err != nil {
		syntaxError := Problem{Message: "does not parse: " + err.Error()}
		if e, ok := errors.AsType[syntax.ParseError](err); ok {
			syntaxError = Problem{Line: int(e.Pos.Line()), Col: int(e.Pos.Col()), Message: "does not parse: " + e.Text}
		} else if e, ok := errors.AsType[syntax.LangError](err); ok {
			syntaxError = Problem{Line: int(e.Pos.Line()), Col: int(e.Pos.Col()), Message: "does not parse: " + e.Feature}
		}
		if shellAccepts(s, in) {
			syntaxError.Warning = true
			syntaxError.Message += fmt.Sprintf("; %s -n accepts it, so it is run, with errexit not checked", in.name)
		}
		return append(found, syntaxError)
	}
	return append(found, checkErrexit(stmts, text, s, in, p)...)
}

// shellAccepts asks the script's own shell, which has the last word: ksh93 has syntax that our parser
// for the Korn shell has not, and refusing a working script would refuse a working application.
func shellAccepts(s Script, in interpreter) bool {
	shell := findProgram(in.name, lookupPath(s.Env))
	if shell == "" || shells[path.Base(in.name)] == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), syntaxTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-n", s.File)
	cmd.Env = []string{"PATH=" + DefaultPath} // no BASH_ENV, no ENV
	return cmd.Run() == nil
}
