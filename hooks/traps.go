package hooks

import (
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// hidesStatus reports whether a trap ends the script with 0.
func hidesStatus(args []string, functions map[string]*syntax.FuncDecl) bool {
	if !slices.ContainsFunc(args[2:], func(a string) bool { return a == "EXIT" || a == "0" || a == "ERR" }) {
		return false
	}
	stmts, err := parse([]byte(strings.ReplaceAll(args[1], unknown, "x")), "bash")
	if err != nil {
		return false
	}
	first := true
	ends, _ := endsWithZero(stmts, functions, &first, 0)
	return ends || exitsWithZero.MatchString(args[1])
}

var exitsWithZero = regexp.MustCompile(`(^|[;&|{\s])exit\s+0\s*([;&|}\n]|$)`)

// maxCalls is how deep functions that call each other are followed.
const maxCalls = 8

// endsWithZero reports whether a list ends the shell with status 0 on every way through it, and whether it ends it at all. first tells that
// nothing was run yet: $? is still that of the failure.
func endsWithZero(stmts []*syntax.Stmt, functions map[string]*syntax.FuncDecl, first *bool, depth int) (zero, ends bool) {
	for _, s := range stmts {
		lists, _ := bodies(s)
		if _, isBlock := s.Cmd.(*syntax.Block); isBlock {
			if zero, ends = endsWithZero(lists[0], functions, first, depth); ends {
				return zero, true
			}
			continue
		}
		c, ok := s.Cmd.(*syntax.CallExpr)
		if !ok || len(c.Args) == 0 {
			*first = false
			continue
		}
		name := c.Args[0].Lit()
		if name == "exit" {
			return len(c.Args) > 1 && (c.Args[1].Lit() == "0" || !*first && isStatus(c.Args[1])), true
		}
		if f := functions[name]; f != nil && depth < maxCalls {
			if zero, ends = endsWithZero([]*syntax.Stmt{f.Body}, functions, first, depth+1); ends {
				return zero, true
			}
		}
		*first = false
	}
	return false, false
}

// isStatus reports whether a word is $?.
func isStatus(w *syntax.Word) bool {
	if len(w.Parts) != 1 {
		return false
	}
	part := w.Parts[0]
	if quoted, ok := part.(*syntax.DblQuoted); ok && len(quoted.Parts) == 1 {
		part = quoted.Parts[0]
	}
	p, ok := part.(*syntax.ParamExp)
	return ok && p.Param != nil && p.Param.Value == "?"
}
