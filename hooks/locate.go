//go:build linux && !developer

package hooks

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"mvdan.cc/sh/v3/syntax"
)

// whole finds in its file what a shell has told of. bash tells the line at which a command ends, the last command of a pipeline, where
// a function fails the last one that was run in it, and of a group the last one before it; and it counts the lines within $(...) twice.
// The Korn shells tell the line alone.
func (f failed) whole(s Script) FailedCommand {
	found, _ := f.locate(s)
	return found
}

// locate is whole, with the lines that the command has, or a line of it may be told as.
func (f failed) locate(s Script) (found FailedCommand, told lines) {
	told = lines{uint(f.Line), uint(f.Line)}
	file := s.File
	if f.File != s.Location {
		file = filepath.Join(s.Dir, f.File)
	}
	text, _, _, err := readScript(file)
	if err != nil {
		return f.FailedCommand, told
	}
	shell := "bash"
	if f.Command == "" {
		shell = "ksh"
	}
	all := source{text: text, shell: shell, functions: map[string]bool{}}
	stmts, _ := parse(text, shell)
	for _, stmt := range stmts {
		syntax.Walk(stmt, all.collect)
	}
	if f.Command == lastOfTrace { // nothing was run before the group
		f.Command, f.raw = "", ""
	}
	line := uint(f.Line)
	best, likely := all.best(f, func(s *syntax.Stmt) bool { return s.Pos().Line() <= line && line <= s.End().Line() })
	if likely < isAll {
		// Not at its line: perhaps within a $(...) before it.
		if other, exactly := all.best(f, func(s *syntax.Stmt) bool { return all.countedTwice(s, line) }); exactly >= isAll {
			best, likely = other, exactly
		}
	}
	if best == nil {
		return f.FailedCommand, told
	}
	found = f.FailedCommand
	found.Line = int(best.Pos().Line())
	if likely < isPart || isPipeline(best.Cmd) {
		found.Command = briefCommand(all.written(best))
	}
	from, to := best.Pos().Line(), best.End().Line()
	return found, lines{from, to + (to - from)}
}

// source is a file that a shell has read.
type source struct {
	text      []byte
	shell     string
	functions map[string]bool
	stmts     []statement
	twice     []lines // what stands in a $(...) of several lines

	path []syntax.Node // while it is walked
}

// statement is one of a source, and in how many subshells it runs at the least.
type statement struct {
	*syntax.Stmt
	depth int
}

// collect is for syntax.Walk.
func (c *source) collect(n syntax.Node) bool {
	if n == nil {
		c.path = c.path[:len(c.path)-1]
		return true
	}
	switch n := n.(type) {
	case *syntax.FuncDecl:
		if n.Name != nil {
			c.functions[n.Name.Value] = true
		}
	case *syntax.CmdSubst:
		if is := (lines{n.Pos().Line(), n.End().Line()}); is.from < is.to {
			c.twice = append(c.twice, is)
		}
	case *syntax.Stmt:
		if n.Cmd != nil {
			c.stmts = append(c.stmts, statement{n, c.depth()})
		}
	}
	c.path = append(c.path, n)
	return true
}

// depth is of a node within the path.
func (c *source) depth() (depth int) {
	inPipe := false
	for _, n := range c.path {
		switch n := n.(type) {
		case *syntax.FuncDecl: // called from anywhere
			depth, inPipe = 0, false
		case *syntax.Subshell, *syntax.CmdSubst, *syntax.ProcSubst:
			depth, inPipe = depth+1, false
		case *syntax.BinaryCmd:
			if !isList(n) && !inPipe {
				depth, inPipe = depth+1, true
			}
		case *syntax.Block, *syntax.IfClause, *syntax.WhileClause, *syntax.ForClause, *syntax.CaseClause:
			inPipe = false
		}
	}
	return depth
}

// best is the statement of those at a place that is most likely meant.
func (c *source) best(f failed, at func(*syntax.Stmt) bool) (best *syntax.Stmt, likely int) {
	likely = -1
	for _, s := range c.stmts {
		if s.depth > f.depth && c.shell == "bash" || !at(s.Stmt) {
			continue
		}
		is := f.likely(s.Stmt, c.written(s.Stmt), c.functions, c.shell)
		if is >= 0 && s.Pos().Line() == uint(f.Line) {
			is++
		}
		if is > likely {
			best, likely = s.Stmt, is
		}
	}
	return best, likely
}

func (c *source) written(s *syntax.Stmt) []byte { return c.text[s.Pos().Offset():s.Cmd.End().Offset()] }

// countedTwice reports whether bash may say a line for a statement in or with a $(...) of several lines.
func (c *source) countedTwice(s *syntax.Stmt, line uint) bool {
	return slices.ContainsFunc(c.twice, func(t lines) bool {
		return s.Pos().Line() <= t.to && t.from <= s.End().Line() && t.to <= line && line <= t.to+(t.to-t.from)
	})
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
func (f failed) likely(s *syntax.Stmt, written []byte, functions map[string]bool, shell string) int {
	last := written
	call := false
	switch cmd := s.Cmd.(type) {
	case *syntax.CallExpr:
		words, _ := commandWords(cmd)
		call = len(words) > 0 && functions[words[0]]
	case *syntax.DeclClause, *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause:
	case *syntax.Subshell:
		if shell == "ksh" {
			return -1
		}
	case *syntax.BinaryCmd:
		if isList(cmd) {
			return -1
		}
		last = written[cmd.Y.Pos().Offset()-s.Pos().Offset():]
		switch cmd.Y.Cmd.(type) {
		case *syntax.Block, *syntax.IfClause, *syntax.WhileClause, *syntax.ForClause, *syntax.CaseClause: // nothing is told of it
			return isPart
		}
		if f.Command != "" && f.likelyText(last) < isBegin {
			return -1
		}
		return isWhole
	default:
		return -1
	}
	if likely := f.likelyText(last); likely > isSimple {
		return likely
	}
	if call {
		return isCall
	}
	return isSimple
}

func (f failed) likelyText(written []byte) int {
	word, _, _ := strings.Cut(f.Command, " ")
	switch {
	case f.Command == "":
		return isSimple
	case squeeze(string(written)) == squeeze(f.raw), squeeze(briefCommand(written)) == squeeze(f.Command):
		return isAll
	case bytes.HasPrefix(written, []byte(word)):
		return isBegin
	case bytes.Contains(written, []byte(word)):
		return isPart
	}
	return isSimple
}

// squeeze leaves out what bash writes in another way.
func squeeze(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ReplaceAll(text, "\\\n", ""), func(r rune) bool { return unicode.IsSpace(r) || r == ';' }), "")
}

func isPipeline(cmd syntax.Command) bool {
	b, ok := cmd.(*syntax.BinaryCmd)
	return ok && !isList(b)
}
