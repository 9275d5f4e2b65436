package hooks

import (
	"path"
	"slices"

	"mvdan.cc/sh/v3/syntax"
)

// cutsOff reports whether the end of a pipeline stops reading before a command that writes without end has ended, which SIGPIPE then
// ends: `tr -dc a-z </dev/urandom | head -c 8`.
func cutsOff(pipe *syntax.BinaryCmd) bool {
	name := func(s *syntax.Stmt) string {
		if c, ok := s.Cmd.(*syntax.CallExpr); ok {
			if words, _ := commandWords(c); len(words) > 0 {
				return path.Base(words[0])
			}
		}
		return ""
	}
	if name(pipe.Y) != "head" {
		return false
	}
	endless, bounded := false, false
	syntax.Walk(pipe.X, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			endless = endless || name(n) == "yes"
			bounded = bounded || slices.Contains([]string{"head", "dd", "od"}, name(n))
		case *syntax.Word:
			text, _ := literal(n)
			endless = endless || slices.Contains([]string{"/dev/urandom", "/dev/random", "/dev/zero"}, text)
		}
		return true
	})
	return endless && !bounded
}

// silenced reports whether a statement's errors go nowhere.
func silenced(s *syntax.Stmt) bool {
	output, errors := "", ""
	for _, r := range s.Redirs {
		target, _ := literal(r.Word)
		ofErrors := r.N != nil && r.N.Value == "2"
		switch {
		case r.Op == syntax.RdrAll || r.Op == syntax.AppAll:
			output, errors = target, target
		case r.Op == syntax.DplOut && ofErrors && target == "1":
			errors = output
		case r.Op != syntax.RdrOut && r.Op != syntax.AppOut:
		case ofErrors:
			errors = target
		case r.N == nil || r.N.Value == "1":
			output = target
		}
	}
	return errors == "/dev/null"
}
