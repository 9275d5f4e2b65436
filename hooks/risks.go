package hooks

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// risks are the commands of a script at which errexit ends it although nothing is wrong: pgrep on a new server, grep
// that finds nothing, a command whose status the next line reads. Under CodeDeploy's own agent nobody noticed them.
type risks struct {
	text      []byte // of the script
	shell     string
	pipefail  bool
	off       bool // by `set +e`
	asked     int  // depth of what runs only when a condition says so
	fed       int  // depth of what has a standard input: a pipe, a file, that of a function
	exists    func(name string) bool
	found     []Problem
	commands  []string       // as they are written, for each of found
	calls     map[string]int // of functions, outside conditions
	validates bool           // it is a script of ValidateService
	guarded   map[string]int // as conditions, where errexit is off in them
}

// findRisks finds them in the order of their lines. validates says that the script is of ValidateService, where a command
// that only asks (is it active? does it answer?) fails because it is meant to. exists tells whether a path that is not absolute is in the revision.
func findRisks(stmts []*syntax.Stmt, text []byte, shell string, pipefail, validates bool, exists func(string) bool) []Problem {
	r := &risks{text: text, shell: shell, pipefail: pipefail, validates: validates, exists: exists, calls: map[string]int{}, guarded: map[string]int{}}
	w := newWalk(stmts, interpreter{shell: shell}, syntax.Pos{})
	for _, s := range stmts {
		syntax.Walk(s, func(n syntax.Node) bool {
			if st, ok := n.(*syntax.Stmt); ok {
				if c, ok := st.Cmd.(*syntax.CallExpr); ok && len(c.Args) > 0 {
					name, _ := literal(c.Args[0])
					if w.condition[st] || st.Negated {
						r.guarded[name]++
					} else {
						r.calls[name]++
					}
				}
			}
			return true
		})
	}
	r.list(stmts, false)
	return r.found
}

// maxSuspects is how many commands a failure names that errexit may have ended its script at.
const maxSuspects = 3

// suspects are the commands at which errexit may have ended a script with a status, of a script whose shell does not tell.
func suspects(s Script, status int) (found []FailedCommand) {
	text, _, whole, err := readScript(s.File)
	if err != nil || !whole || len(text) == 0 {
		return nil
	}
	in := interpretFor(s, text[:min(len(text), headSize)], true)
	stmts, err := parse(text, in.shell)
	if in.shell == "" || err != nil {
		return nil
	}
	r := &risks{text: text, shell: in.shell, exists: existsIn(s)}
	r.list(stmts, false)
	for i, p := range r.found {
		if len(found) < maxSuspects && mayHave(p.Message, status) {
			found = append(found, FailedCommand{File: s.Location, Line: p.Line, Command: r.commands[i]})
		}
	}
	return found
}

// mayHave reports whether a command of which a message says "has status 9 when ..." may have ended with a status.
func mayHave(message string, status int) bool {
	_, known, ok := strings.Cut(message, " has status ")
	if !ok {
		return true
	}
	known, _, _ = strings.Cut(known, " ")
	n, err := strconv.Atoi(known)
	return err != nil || n == status
}

func (r *risks) say(n syntax.Node, format string, args ...any) {
	pos := n.Pos()
	r.found = append(r.found, Problem{Line: int(pos.Line()), Col: int(pos.Col()), Warning: true, Kind: KindErrexit, Message: fmt.Sprintf(format, args...)})
	r.commands = append(r.commands, r.source(n))
}

// source is how a node is written.
func (r *risks) source(n syntax.Node) string {
	from, to := n.Pos().Offset(), n.End().Offset()
	if st, ok := n.(*syntax.Stmt); ok && st.Semicolon.IsValid() {
		to = st.Semicolon.Offset()
	}
	if to > uint(len(r.text)) || from > to {
		return ""
	}
	return briefCommand(r.text[from:to])
}

// list looks at statements one after the other. handled tells that errexit overlooks what fails there.
func (r *risks) list(stmts []*syntax.Stmt, handled bool) {
	for i, s := range stmts {
		if i+1 < len(stmts) && !handled && !r.off && firstFailing(s) == s && readsStatus(stmts[i+1]) {
			r.say(s, "line %d reads the status of this with $?, and -e ends the script before that: write `%s || status=$?`, or make it the condition of the `if`",
				stmts[i+1].Pos().Line(), r.source(s))
			continue
		}
		r.statement(s, handled)
	}
}

// readsStatus reports whether a statement begins with what $? is of the one before.
func readsStatus(s *syntax.Stmt) bool {
	var first syntax.Node = s
	switch c := s.Cmd.(type) {
	case *syntax.IfClause:
		if len(c.Cond) > 0 {
			first = c.Cond[0]
		}
	case *syntax.CaseClause:
		first = c.Word
	case *syntax.BinaryCmd:
		return readsStatus(c.X)
	case *syntax.CallExpr, *syntax.TestClause, *syntax.ArithmCmd, *syntax.DeclClause:
	default:
		return false
	}
	reads := false
	syntax.Walk(first, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Param != nil && p.Param.Value == "?" {
			reads = true
		}
		_, inner := n.(*syntax.CmdSubst)
		return !inner
	})
	return reads
}

func (r *risks) statement(s *syntax.Stmt, handled bool) {
	if s == nil || s.Background || s.Coprocess || s.Disown {
		return
	}
	handled = handled || s.Negated
	call, isCall := s.Cmd.(*syntax.CallExpr)
	if slices.ContainsFunc(s.Redirs, isInput) {
		r.fed++
		if !isCall || len(call.Args) == 0 || call.Args[0].Lit() != "exec" { // which is for all that follows
			defer func() { r.fed-- }()
		}
	}
	switch c := s.Cmd.(type) {
	case *syntax.CallExpr:
		r.call(s, c, handled)
	case *syntax.BinaryCmd:
		if isList(c) {
			r.statement(c.X, true)
		} else {
			if r.pipefail && !handled && !r.off && cutsOff(c) {
				r.say(s, "`%s` has status 141 under pipefail, because its last command stops reading what has no end, and -e ends the script: write `head -c 4096 /dev/urandom | ...`, or `%[1]s || true`", r.source(s))
				return
			}
			r.statement(c.X, handled || !r.pipefail)
		}
		within := &r.fed
		if isList(c) {
			within = &r.asked
		}
		*within++
		r.statement(c.Y, handled)
		*within--
	case *syntax.ArithmCmd:
		if assigns(c.X) && !handled && !r.off {
			r.say(s, "`%s` has status 1 when its result is 0, and -e ends the script: write `: $((...))`, or an assignment", r.source(s))
		}
	case *syntax.LetClause:
		if !handled && !r.off {
			r.say(s, "`let` has status 1 when its result is 0, and -e ends the script: write an assignment with $((...))")
		}
	case *syntax.TimeClause:
		r.statement(c.Stmt, handled)
	case *syntax.FuncDecl:
		r.function(c)
	case *syntax.IfClause:
		for branch := c; branch != nil; branch = branch.Else {
			r.list(branch.Cond, true)
			r.asked++
			r.list(branch.Then, handled)
			r.asked--
		}
	case *syntax.WhileClause:
		r.list(c.Cond, true)
		r.list(c.Do, handled)
	default:
		lists, _ := bodies(s)
		for _, list := range lists {
			r.list(list, handled)
		}
	}
}

// function looks at a function's body. Its last command is its status: a test there ends the script that calls it.
func (r *risks) function(f *syntax.FuncDecl) {
	if f.Body == nil || f.Name != nil && r.calls[f.Name.Value] == 0 && r.guarded[f.Name.Value] > 0 {
		return
	}
	r.fed++
	r.statement(f.Body, false)
	r.fed--
	lists, _ := bodies(f.Body)
	if len(lists) != 1 || len(lists[0]) == 0 || f.Name == nil || r.calls[f.Name.Value] == 0 || r.off {
		return
	}
	last := lists[0][len(lists[0])-1]
	if c, ok := last.Cmd.(*syntax.BinaryCmd); ok && c.Op == syntax.AndStmt && isTest(c.X) {
		r.say(last, "function %s has status 1 when this test is false, and -e ends the script where it is called: write `if ...; then ...; fi`, or `return 0` below", f.Name.Value)
	}
}

func isInput(r *syntax.Redirect) bool {
	switch r.Op {
	case syntax.RdrIn, syntax.RdrInOut, syntax.DplIn, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return true
	}
	return false
}

func isTest(s *syntax.Stmt) bool {
	switch c := s.Cmd.(type) {
	case *syntax.TestClause:
		return true
	case *syntax.CallExpr:
		words, _ := commandWords(c)
		return len(words) > 0 && (words[0] == "[" || words[0] == "test")
	}
	return false
}

func assigns(x syntax.ArithmExpr) bool {
	found := false
	if x != nil {
		syntax.Walk(x, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.UnaryArithm:
				found = found || n.Op == syntax.Inc || n.Op == syntax.Dec
			case *syntax.BinaryArithm:
				found = found || strings.HasSuffix(n.Op.String(), "=") && !slices.Contains([]string{"==", "!=", "<=", ">="}, n.Op.String())
			}
			return true
		})
	}
	return found
}

// call looks at a simple command, and at the $(...) whose status an assignment has.
func (r *risks) call(s *syntax.Stmt, c *syntax.CallExpr, handled bool) {
	switch errexit, pipefail := callChanges(c); {
	case errexit != unchanged:
		r.off = errexit == off
	case pipefail == on:
		r.pipefail = true
	}
	if handled || r.off {
		return
	}
	if len(c.Args) == 0 {
		r.assignment(c)
		return
	}
	args := arguments(c)
	if len(args) == 0 {
		return
	}
	why, write := r.risk(args)
	if r.asked > 0 && changes[path.Base(args[0])] {
		why = ""
	}
	if why == "" && callFails(c) && silenced(s) {
		why, write = "throws its errors away, so it is expected to fail", orTrue
	}
	if why != "" {
		what := r.source(c)
		r.say(c, "`%s` %s, and -e ends the script: write %s", what, why, strings.ReplaceAll(write, "THIS", what))
	}
}

// assignment looks at x=$(...), whose status is that of the last one's last command.
func (r *risks) assignment(c *syntax.CallExpr) {
	var last *syntax.CmdSubst
	for _, a := range c.Assigns {
		syntax.Walk(a, func(n syntax.Node) bool {
			sub, ok := n.(*syntax.CmdSubst)
			if ok {
				last = sub
			}
			return !ok
		})
	}
	if last == nil || len(last.Stmts) == 0 {
		return
	}
	before := len(r.found)
	if r.shell == "bash" { // which switches errexit off inside
		r.statement(last.Stmts[len(last.Stmts)-1], false)
	} else {
		r.list(last.Stmts, false)
	}
	for i := before; i < len(r.found); i++ { // where the script ends is the assignment
		r.found[i].Line, r.found[i].Col = int(c.Pos().Line()), int(c.Pos().Col())
	}
}
