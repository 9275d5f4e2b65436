package hooks

import (
	"slices"

	"mvdan.cc/sh/v3/syntax"
)

// harmless are the commands that may stand before `set -e`: they do not fail, or they end the script
// or the function themselves.
var harmless = []string{
	":", "true", "echo", "printf", "set", "shopt", "umask", "trap", "unset", "alias", "unalias",
	"export", "readonly", "local", "declare", "typeset",
	"exit", "exec", "return", "break", "continue",
}

// firstFailing is the first command within s whose failure errexit would notice, or nil. Errexit
// overlooks conditions, the left side of && and ||, what follows `!`, and what runs in the background.
func firstFailing(s *syntax.Stmt) *syntax.Stmt {
	if s == nil || s.Background || s.Coprocess || s.Disown || s.Negated {
		return nil
	}
	call, isCall := s.Cmd.(*syntax.CallExpr)
	if isCall {
		if words, _ := commandWords(call); len(words) > 0 && words[0] == "exec" {
			return nil // when it fails, or its redirection, the shell exits by itself
		}
	}
	if redirectsFail(s) {
		return s
	}
	switch c := s.Cmd.(type) {
	case nil, *syntax.FuncDecl, *syntax.DeclClause, *syntax.CoprocClause:
		return nil
	case *syntax.CallExpr:
		if callFails(c) {
			return s
		}
		return nil
	case *syntax.BinaryCmd:
		if isList(c) {
			return firstFailing(c.Y)
		}
		return firstOf([]*syntax.Stmt{c.X, c.Y})
	case *syntax.TimeClause:
		return firstFailing(c.Stmt)
	}
	bodies, compound := bodies(s)
	if !compound {
		return s // [[ ]], (( )), let: a status like any other
	}
	for _, body := range bodies {
		if f := firstOf(body); f != nil {
			return f
		}
	}
	return nil
}

func firstOf(stmts []*syntax.Stmt) *syntax.Stmt {
	for _, s := range stmts {
		if f := firstFailing(s); f != nil {
			return f
		}
	}
	return nil
}

// bodies are the lists of statements a compound command runs, its conditions apart.
func bodies(s *syntax.Stmt) (lists [][]*syntax.Stmt, compound bool) {
	switch c := s.Cmd.(type) {
	case *syntax.Block:
		return [][]*syntax.Stmt{c.Stmts}, true
	case *syntax.Subshell:
		return [][]*syntax.Stmt{c.Stmts}, true
	case *syntax.IfClause:
		for branch := c; branch != nil; branch = branch.Else {
			lists = append(lists, branch.Then)
		}
		return lists, true
	case *syntax.WhileClause:
		return [][]*syntax.Stmt{c.Do}, true
	case *syntax.ForClause:
		return [][]*syntax.Stmt{c.Do}, true
	case *syntax.CaseClause:
		for _, item := range c.Items {
			lists = append(lists, item.Stmts)
		}
		return lists, true
	}
	return nil, false
}

// several reports whether errexit makes a difference within a list: whether a command can fail that
// is not the last one, whose status is the list's own anyway.
func several(stmts []*syntax.Stmt) bool {
	for i, s := range stmts {
		if i < len(stmts)-1 && firstFailing(s) != nil {
			return true
		}
	}
	if len(stmts) == 0 {
		return false
	}
	last := stmts[len(stmts)-1]
	switch last.Cmd.(type) {
	case *syntax.WhileClause, *syntax.ForClause: // every round but the last one
		return firstFailing(last) != nil
	}
	lists, _ := bodies(last)
	return slices.ContainsFunc(lists, several)
}

// callFails judges a simple command.
func callFails(c *syntax.CallExpr) bool {
	if len(c.Args) == 0 { // assignments have the status of their last $(…)
		return slices.ContainsFunc(c.Assigns, func(a *syntax.Assign) bool { return substitutionFails(a) })
	}
	words, _ := commandWords(c)
	return len(words) == 0 || !slices.Contains(harmless, words[0])
}

// substitutionFails reports whether a $(…) within node can fail.
func substitutionFails(node syntax.Node) bool {
	fails := false
	syntax.Walk(node, func(n syntax.Node) bool {
		if sub, ok := n.(*syntax.CmdSubst); ok {
			// Within, the status of the last command is all there is.
			fails = fails || len(sub.Stmts) > 0 && firstFailing(sub.Stmts[len(sub.Stmts)-1]) != nil
			return false
		}
		return !fails
	})
	return fails
}

// redirectsFail reports whether a redirection of s opens a file that may not be there.
func redirectsFail(s *syntax.Stmt) bool {
	return slices.ContainsFunc(s.Redirs, func(r *syntax.Redirect) bool {
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc, syntax.DplIn, syntax.DplOut:
			return false
		}
		target, _ := literal(r.Word)
		return !slices.Contains([]string{"/dev/null", "/dev/stdout", "/dev/stderr"}, target)
	})
}

// isList reports whether c is `a && b` or `a || b`, not a pipeline.
func isList(c *syntax.BinaryCmd) bool { return c.Op == syntax.AndStmt || c.Op == syntax.OrStmt }

// commandWords are the words of a simple command, `command` and `builtin` in front of it left out, up
// to the first one that is not known before it runs; all tells whether that is all of them.
func commandWords(c *syntax.CallExpr) (words []string, all bool) {
	for _, arg := range c.Args {
		w, ok := literal(arg)
		if !ok {
			return words, false
		}
		if len(words) > 0 || w != "command" && w != "builtin" {
			words = append(words, w)
		}
	}
	return words, true
}

// literal is a word's text when nothing in it is expanded.
func literal(w *syntax.Word) (string, bool) {
	if w == nil {
		return "", false
	}
	text := ""
	for _, part := range w.Parts {
		switch p := part.(type) {
		case *syntax.Lit:
			text += p.Value
		case *syntax.SglQuoted:
			text += p.Value
		case *syntax.DblQuoted:
			inner, ok := literal(&syntax.Word{Parts: p.Parts})
			if !ok {
				return "", false
			}
			text += inner
		default:
			return "", false
		}
	}
	return text, true
}
