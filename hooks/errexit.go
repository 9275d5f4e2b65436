package hooks

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// parse is a shell script's statements, up to a top-level `exit` or `exec program`: what follows is
// never read by the shell, and may be an archive.
func parse(text []byte, shell string) ([]*syntax.Stmt, error) {
	lang := map[string]syntax.LangVariant{
		"sh": syntax.LangPOSIX, "bash": syntax.LangBash, "ksh": syntax.LangMirBSDKorn,
	}[shell]
	var stmts []*syntax.Stmt
	var failed error
	ended := false
	// The sequence is read to its end: when it is left early, this parser may call the loop once more.
	for stmt, err := range syntax.NewParser(syntax.Variant(lang)).StmtsSeq(bytes.NewReader(text)) {
		switch {
		case ended || failed != nil:
		case err != nil:
			failed = err
		default:
			stmts = append(stmts, stmt)
			ended = endsScript(stmt)
		}
	}
	return stmts, failed
}

// endsScript reports whether the shell reads nothing after this statement.
func endsScript(s *syntax.Stmt) bool {
	if s.Background || s.Coprocess || s.Disown {
		return false
	}
	call, ok := s.Cmd.(*syntax.CallExpr)
	if !ok {
		return false
	}
	words, _ := commandWords(call)
	return len(words) > 0 && (words[0] == "exit" || words[0] == "exec" && len(call.Args) > 1)
}

// checkErrexit is what there is to say about errexit in a script that parses, in the order of its lines.
func checkErrexit(stmts []*syntax.Stmt, text []byte, s Script, in interpreter, p Policy) []Problem {
	if p == Off {
		return nil
	}
	var script flow
	script.options(in.options)
	script.run(stmts)
	var found []Problem
	if script.unguarded != nil && p == Require {
		found = append(found, script.problem())
	}
	found = append(found, bypasses(stmts, in, script.pipefail)...)
	found = append(found, past(stmts, s)...)
	found = append(Of(KindUnchecked, found), findRisks(stmts, text, in.shell, script.pipefail.IsValid(), s.Event == ValidateService, existsIn(s))...)
	inOthers := sourced(stmts, s, script.pipefail.IsValid(), map[string]bool{})
	slices.SortStableFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	if more := len(found) - maxWarnings; more > 0 {
		found = append(found[:maxWarnings:maxWarnings], Problem{Warning: true, Kind: KindUnchecked, Message: fmt.Sprintf("has %d more warnings like these", more)})
	}
	return append(found, inOthers[:min(len(inOthers), maxWarnings)]...)
}

// flow follows the statements that every run of a script takes, from the top, until errexit is on.
type flow struct {
	on        bool         // errexit has been switched on
	at        syntax.Pos   // where
	unguarded *syntax.Stmt // the first command that can fail before that

	pipefail syntax.Pos // where pipefail was switched on; valid even when only an option did it
}

func (f *flow) problem() Problem {
	pos := f.unguarded.Pos()
	message := "no `set -e` before this: when it fails, the script goes on"
	advice := "put `set -e` at the top"
	if f.on {
		message = "errexit is not on yet: when this fails, the script goes on"
		advice = fmt.Sprintf("move `set -e` up from line %d", f.at.Line())
	}
	return Problem{Line: int(pos.Line()), Col: int(pos.Col()), Message: message + "; " + advice}
}

// options takes the shell's own options, from the first line.
func (f *flow) options(words []string) {
	errexit, pipefail := optionChanges(words)
	f.on = errexit == on
	if pipefail == on {
		f.pipefail = syntax.NewPos(0, 1, 1)
	}
}

func (f *flow) run(stmts []*syntax.Stmt) {
	for _, s := range stmts {
		f.statement(s)
	}
}

func (f *flow) statement(s *syntax.Stmt) {
	straight := !s.Background && !s.Coprocess && !s.Disown && !s.Negated
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		if straight {
			f.call(c)
		}
	case *syntax.Block:
		if straight && !redirectsFail(s) {
			f.run(c.Stmts)
			return
		}
	case *syntax.BinaryCmd:
		if left, ok := c.X.Cmd.(*syntax.CallExpr); ok && straight && isList(c) && !c.X.Negated {
			f.call(left) // `set -e && …`: the left side is always run
		}
	}
	if !f.on && f.unguarded == nil {
		f.unguarded = firstFailing(s)
	}
}

// call takes note of a `set` or `shopt` that switches errexit or pipefail on.
func (f *flow) call(c *syntax.CallExpr) {
	errexit, pipefail := callChanges(c)
	if errexit == on && !f.on {
		f.on, f.at = true, c.Pos()
	}
	if pipefail == on && !f.pipefail.IsValid() {
		f.pipefail = c.Pos()
	}
}

// change is what a command does to an option of the shell.
type change int

const (
	unchanged change = iota
	on
	off
)

// callChanges is what a simple command does to errexit and pipefail.
func callChanges(c *syntax.CallExpr) (errexit, pipefail change) {
	words, literal := commandWords(c)
	if len(words) == 0 || !literal {
		return unchanged, unchanged
	}
	switch words[0] {
	case "set":
		return optionChanges(words[1:])
	case "shopt": // bash: shopt -so errexit
		return shoptChanges(words[1:])
	}
	return unchanged, unchanged
}

// optionChanges reads words as `set` does: clusters, -o NAME, and nothing after the first word that
// is no option.
func optionChanges(words []string) (errexit, pipefail change) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !isOption(w) {
			break
		}
		if strings.HasPrefix(w, "--") { // a long option of bash, on the first line only
			i += values(w)
			continue
		}
		to := on
		if w[0] == '+' {
			to = off
		}
		for _, letter := range w[1:] {
			switch letter {
			case 'e':
				errexit = to
			case 'O': // shopt's, on the first line only
				i++
			case 'o':
				i++
				if i < len(words) && words[i] == "errexit" {
					errexit = to
				}
				if i < len(words) && words[i] == "pipefail" {
					pipefail = to
				}
			}
		}
	}
	return errexit, pipefail
}

func shoptChanges(words []string) (errexit, pipefail change) {
	to, setOptions := unchanged, false
	for _, w := range words {
		switch {
		case strings.HasPrefix(w, "-"):
			setOptions = setOptions || strings.Contains(w, "o")
			if strings.Contains(w, "s") {
				to = on
			} else if strings.Contains(w, "u") {
				to = off
			}
		case setOptions && w == "errexit":
			errexit = to
		case setOptions && w == "pipefail":
			pipefail = to
		}
	}
	return errexit, pipefail
}
