//go:build linux && !developer

package hooks

import (
	"bytes"
	"path/filepath"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// whole finds in its file what a shell has told of. bash tells the line at which a command ends, the last command of a pipeline, and
// where a function fails the last one that was run in it; the Korn shells tell the line alone.
func (c FailedCommand) whole(s Script) FailedCommand {
	file := s.File
	if c.File != s.Location {
		file = filepath.Join(s.Dir, c.File)
	}
	text, _, _, err := readScript(file)
	if err != nil {
		return c
	}
	shell := "bash"
	if c.Command == "" {
		shell = "ksh"
	}
	stmts, _ := parse(text, shell)
	functions := map[string]bool{}
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			if f, ok := n.(*syntax.FuncDecl); ok && f.Name != nil {
				functions[f.Name.Value] = true
			}
			return true
		})
	}
	found, best := c, -1
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			s, ok := n.(*syntax.Stmt)
			if !ok || s.Cmd == nil || uint(c.Line) < s.Pos().Line() || uint(c.Line) > s.End().Line() {
				return true
			}
			written := text[s.Pos().Offset():s.Cmd.End().Offset()]
			likely := c.likely(s, written, functions)
			if likely >= 0 && s.Pos().Line() == uint(c.Line) {
				likely++
			}
			if likely > best {
				best, found.Line = likely, int(s.Pos().Line())
				if found.Command = c.Command; likely < isPart || isPipeline(s.Cmd) {
					found.Command = briefCommand(written)
				}
			}
			return true
		})
	}
	return found
}

// How likely a statement is the one that a shell has told of; one that begins on the line is a little more so.
const (
	isSimple = 2 * iota
	isCall   // of a function
	isPart
	isBegin
	isAll
	isWhole // a pipeline
)

// likely is -1 for a statement that is no command of its own.
func (c FailedCommand) likely(s *syntax.Stmt, written []byte, functions map[string]bool) int {
	last := written
	call := false
	switch cmd := s.Cmd.(type) {
	case *syntax.CallExpr:
		words, _ := commandWords(cmd)
		call = len(words) > 0 && functions[words[0]]
	case *syntax.DeclClause, *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause:
	case *syntax.Subshell:
		if c.Command == "" {
			return -1
		}
	case *syntax.BinaryCmd:
		if isList(cmd) {
			return -1
		}
		last = written[cmd.Y.Pos().Offset()-s.Pos().Offset():]
		if c.Command != "" && likelyText(c.Command, last) < isBegin {
			return -1
		}
		return isWhole
	default:
		return -1
	}
	if likely := likelyText(c.Command, last); likely > isSimple {
		return likely
	}
	if call {
		return isCall
	}
	return isSimple
}

func likelyText(command string, written []byte) int {
	squeeze := func(text string) string { return strings.Join(strings.Fields(text), "") }
	word, _, _ := strings.Cut(command, " ")
	switch {
	case command == "":
		return isSimple
	case squeeze(briefCommand(written)) == squeeze(command):
		return isAll
	case bytes.HasPrefix(written, []byte(word)):
		return isBegin
	case bytes.Contains(written, []byte(word)):
		return isPart
	}
	return isSimple
}

func isPipeline(cmd syntax.Command) bool {
	b, ok := cmd.(*syntax.BinaryCmd)
	return ok && !isList(b)
}
