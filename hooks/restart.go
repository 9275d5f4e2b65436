package hooks

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// StartWithoutStop finds, in the scripts of ApplicationStart, the commands that start a service and do nothing while it
// runs, of a revision that has no script to stop it: after a flip the old release would go on serving, and after a
// rollback the failed one.
func StartWithoutStop(scripts []Script) (found []Problem) {
	if slices.ContainsFunc(scripts, func(s Script) bool { return s.Event == ApplicationStop }) {
		return nil
	}
	for _, s := range scripts {
		if s.Event != ApplicationStart {
			continue
		}
		for _, stmt := range statements(s) {
			syntax.Walk(stmt, func(n syntax.Node) bool {
				c, ok := n.(*syntax.CallExpr)
				if !ok {
					return true
				}
				args := arguments(c)
				write := restartOf(args)
				if write == "" {
					return true
				}
				found = append(found, Problem{File: s.Location, Line: int(c.Pos().Line()), Col: int(c.Pos().Col()), Warning: true, Kind: KindRestart,
					Message: fmt.Sprintf("`%s` does nothing while the application runs, and no ApplicationStop script stops it: the release before it would go on serving. Write `%s`",
						strings.Join(args, " "), write)})
				return true
			})
		}
	}
	return found
}

// restartOf is what to write instead of a command that starts a service, "" for any other.
func restartOf(args []string) string {
	if len(args) < 2 {
		return ""
	}
	at := -1
	switch name := path.Base(args[0]); {
	case name == "systemctl":
		at = slices.IndexFunc(args[1:], func(a string) bool { return !strings.HasPrefix(a, "-") }) + 1
	case name == "service" && len(args) > 2:
		at = 2
	case strings.HasPrefix(args[0], "/etc/init.d/"):
		at = 1
	}
	if at < 1 || args[at] != "start" {
		return ""
	}
	write := slices.Clone(args)
	write[at] = "restart"
	return strings.Join(write, " ")
}
