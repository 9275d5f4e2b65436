package hooks

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// bypasses are the warnings about what silently takes the effect from errexit. pipefail is where that
// option is switched on.
func bypasses(stmts []*syntax.Stmt, in interpreter, pipefail syntax.Pos) []Problem {
	w := newWalk(stmts, in, pipefail)
	w.switchedOff()
	if w.pipes > 1 {
		w.found[w.firstPipe].Message += fmt.Sprintf(" (and %d more pipelines)", w.pipes-1)
	}
	return w.found
}

// newWalk is a walk that was done.
func newWalk(stmts []*syntax.Stmt, in interpreter, pipefail syntax.Pos) *walk {
	w := &walk{in: in, pipefail: pipefail, functions: map[string]*syntax.FuncDecl{}, condition: map[*syntax.Stmt]bool{}, inPipe: map[*syntax.Stmt]bool{},
		own: map[*syntax.FuncDecl]bool{}}
	for _, s := range stmts {
		syntax.Walk(s, w.collect)
	}
	for _, s := range stmts {
		syntax.Walk(s, w.enter)
	}
	return w
}

// walk goes over every node of a script, parents first.
type walk struct {
	in       interpreter
	pipefail syntax.Pos
	inherit  bool // shopt -s inherit_errexit

	functions map[string]*syntax.FuncDecl
	condition map[*syntax.Stmt]bool // run where errexit is off: a condition, or within one
	inPipe    map[*syntax.Stmt]bool // the left side of a longer pipeline
	path      []syntax.Node         // from the top to the node at hand
	switches  []errexitSwitch
	own       map[*syntax.FuncDecl]bool // has options of its own

	pipes, firstPipe int
	found            []Problem
}

// errexitSwitch is one `set -e` or `set +e`, and the subshell it is valid in, or the function that has options of its own
// (`local -`); nil for the script.
type errexitSwitch struct {
	pos   syntax.Pos
	to    change
	scope syntax.Node
}

func (w *walk) warn(pos syntax.Pos, format string, args ...any) {
	w.found = append(w.found, Problem{Line: int(pos.Line()), Col: int(pos.Col()), Warning: true, Message: fmt.Sprintf(format, args...)})
}

// collect finds what the second pass must know beforehand.
func (w *walk) collect(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.FuncDecl:
		if n.Name != nil {
			w.functions[n.Name.Value] = n
		}
	case *syntax.CallExpr:
		words, _ := commandWords(n)
		if len(words) > 2 && words[0] == "shopt" && words[1] == "-s" && slices.Contains(words, "inherit_errexit") {
			w.inherit = true
		}
	}
	return true
}

func (w *walk) enter(n syntax.Node) bool {
	if n == nil {
		w.path = w.path[:len(w.path)-1]
		return true
	}
	switch n := n.(type) {
	case *syntax.Stmt:
		w.statement(n)
	case *syntax.IfClause:
		w.markTested(n.Cond)
	case *syntax.WhileClause:
		w.markTested(n.Cond)
	case *syntax.CmdSubst:
		if w.in.shell == "bash" && !w.inherit && several(n.Stmts) && !setsErrexit(n.Stmts) {
			w.warn(n.Pos(), "bash switches errexit off inside $(...), and only its last command counts: join the commands with &&")
		}
	case *syntax.DeclClause:
		if n.Variant.Value == "local" && slices.ContainsFunc(n.Args, func(a *syntax.Assign) bool { return a.Naked && a.Value != nil && a.Value.Lit() == "-" }) {
			w.ownOptions()
		}
		for _, a := range n.Args {
			w.declaration(n.Variant.Value, a.Pos(), a)
		}
	case *syntax.CallExpr:
		w.call(n)
	}
	w.path = append(w.path, n)
	return true
}

func (w *walk) markTested(stmts []*syntax.Stmt) {
	for _, s := range stmts {
		w.condition[s] = true
	}
}

// statement hands down what is a condition, and warns of a pipeline or of a group in a condition.
func (w *walk) statement(s *syntax.Stmt) {
	off := w.condition[s] || s.Negated
	binary, isBinary := s.Cmd.(*syntax.BinaryCmd)
	if isBinary {
		w.condition[binary.X] = off || isList(binary)
		w.condition[binary.Y] = off
		if !isList(binary) {
			w.pipeline(s, binary)
		}
	}
	if !off {
		return
	}
	if timed, ok := s.Cmd.(*syntax.TimeClause); ok && timed.Stmt != nil {
		w.condition[timed.Stmt] = true
	}
	lists, _ := bodies(s)
	for _, list := range lists {
		w.markTested(list)
	}
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		words, _ := commandWords(c)
		if len(words) == 0 {
			return
		}
		if f := w.functions[words[0]]; f != nil && several([]*syntax.Stmt{f.Body}) {
			w.warn(c.Pos(), "function %s (line %d) runs here with errexit off, because this is a condition: only its last command counts", words[0], f.Pos().Line())
		}
	case *syntax.Block, *syntax.Subshell:
		if several(lists[0]) {
			w.warn(s.Pos(), "this group runs with errexit off, because it is a condition: only its last command counts")
		}
	}
}

// pipeline warns when a command before the last one can fail and pipefail is off. One warning serves
// for all of them: they have one remedy.
func (w *walk) pipeline(s *syntax.Stmt, c *syntax.BinaryCmd) {
	w.inPipe[c.X] = true
	if w.inPipe[s] || w.condition[s] || s.Negated || s.Background || firstFailing(c.X) == nil || cutsOff(c) { // pipefail would end it
		return
	}
	inFunction := slices.ContainsFunc(w.path, isFunction)
	if w.pipefail.IsValid() && (inFunction || !w.pipefail.After(s.Pos())) {
		return
	}
	if w.pipes++; w.pipes > 1 {
		return
	}
	w.firstPipe = len(w.found)
	if w.in.shell == "sh" {
		w.warn(s.Pos(), "only the last command of this pipeline counts, and POSIX sh has no pipefail: use #!/bin/bash with `set -o pipefail`, or a file in between")
		return
	}
	w.warn(s.Pos(), "only the last command of this pipeline counts: add `set -o pipefail`")
}

// call notes `set -e` and `set +e`, and the declarations of a dialect that has no syntax for them.
func (w *walk) call(c *syntax.CallExpr) {
	if errexit, pipefail := callChanges(c); errexit != unchanged || pipefail == on {
		if errexit != unchanged {
			w.switches = append(w.switches, errexitSwitch{c.Pos(), errexit, w.scope()})
		}
		if pipefail == on && w.in.shell == "sh" {
			w.warn(c.Pos(), "pipefail is not in every POSIX sh: a /bin/sh that is dash stops here; use #!/bin/bash")
		}
	}
	words, _ := commandWords(c)
	if len(words) > 1 && words[0] == "local" && slices.Contains(words, "-") {
		w.ownOptions()
	}
	if len(words) == 0 || !slices.Contains([]string{"local", "export", "readonly", "declare", "typeset"}, words[0]) {
		return
	}
	for _, arg := range c.Args[1:] {
		if lit, ok := arg.Parts[0].(*syntax.Lit); ok && strings.Contains(lit.Value, "=") {
			w.declaration(words[0], arg.Pos(), arg)
		}
	}
}

func (w *walk) declaration(keyword string, pos syntax.Pos, value syntax.Node) {
	if substitutionFails(value) {
		w.warn(pos, "`%s` hides the status of $(...) here: assign first, then %[1]s", keyword)
	}
}

// ownOptions is a `local -`: what the function sets is unset where it ends.
func (w *walk) ownOptions() {
	for _, n := range slices.Backward(w.path) {
		if f, ok := n.(*syntax.FuncDecl); ok {
			w.own[f] = true
			return
		}
	}
}

// scope is the innermost subshell of the node at hand, or the function with options of its own; nil for the script itself.
func (w *walk) scope() syntax.Node {
	for _, n := range slices.Backward(w.path) {
		switch n := n.(type) {
		case *syntax.Subshell, *syntax.CmdSubst, *syntax.ProcSubst:
			return n
		case *syntax.FuncDecl:
			if w.own[n] {
				return n
			}
		}
	}
	return nil
}

// switchedOff warns of each `set +e`, and says how far it reaches.
func (w *walk) switchedOff() {
	for i, s := range w.switches {
		if s.to != off {
			continue
		}
		next := slices.IndexFunc(w.switches[i+1:], func(o errexitSwitch) bool { return o.to == on && o.scope == s.scope })
		switch {
		case next >= 0:
			w.warn(s.pos, "errexit is off from line %d to line %d", s.pos.Line(), w.switches[i+1+next].pos.Line())
		case isFunction(s.scope):
			w.warn(s.pos, "errexit is off from here to the end of the function, line %d", s.scope.End().Line())
		case s.scope != nil:
			w.warn(s.pos, "errexit is off from here to the end of the subshell, line %d", s.scope.End().Line())
		default:
			w.warn(s.pos, "errexit is off from here to the end of the script")
		}
	}
}

func isFunction(n syntax.Node) bool {
	_, is := n.(*syntax.FuncDecl)
	return is
}

// setsErrexit reports whether a list starts with switching errexit on itself.
func setsErrexit(stmts []*syntax.Stmt) bool {
	var f flow
	f.run(stmts)
	return f.on && f.unguarded == nil
}
