package hooks

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// NotThereYet finds the commands of BeforeInstall that need what Install makes: on a new server a destination outside of the link is not
// there before it, and they fail. CodeDeploy's own agent goes on there.
func NotThereYet(scripts []Script, destinations []string, p Policy) (found []Problem) {
	a := absent{}
	for _, d := range destinations {
		if d = path.Clean(d); !ofTheImage.MatchString(d) && !slices.Contains(a.places, d) {
			a.places = append(a.places, d)
		}
	}
	if p == Off || len(a.places) == 0 {
		return nil
	}
	for _, s := range scripts {
		if s.Event != BeforeInstall {
			continue
		}
		stmts := statements(s)
		a.walk, a.values, a.path, a.script = newWalk(stmts, interpreter{shell: "bash"}, syntax.Pos{}), variables{}, nil, s
		for _, stmt := range stmts {
			syntax.Walk(stmt, a.enter)
		}
		for _, f := range a.found {
			if !slices.Contains(found, f) {
				found = append(found, f)
			}
		}
		a.found = nil
	}
	return found
}

// ofTheImage are the places that are there on a server before its first deployment, or may be by a package.
var ofTheImage = regexp.MustCompile(`^/[^/]*$|^/(bin|boot|dev|etc|lib|lib64|mnt|proc|root|run|sbin|sys|tmp|usr|var/(lib|log|cache|spool|run|tmp))/|^/home/[^/]*$|^/var/www(/html)?$|/(webapps|html|conf\.d)$`)

// absent follows scripts of BeforeInstall.
type absent struct {
	places []string // that Install makes
	script Script
	walk   *walk
	values variables
	path   []syntax.Node
	found  []Problem
}

func (a *absent) enter(n syntax.Node) bool {
	if n == nil {
		a.path = a.path[:len(a.path)-1]
		return true
	}
	switch n := n.(type) {
	case *syntax.Assign:
		a.values.assign(n)
	case *syntax.Stmt:
		if c, ok := n.Cmd.(*syntax.CallExpr); ok {
			a.call(n, c)
		}
	}
	a.path = append(a.path, n)
	return true
}

func (a *absent) call(s *syntax.Stmt, c *syntax.CallExpr) {
	args := make([]string, 0, len(c.Args))
	for _, w := range c.Args {
		args = append(args, a.values.expand(w))
	}
	if args = withoutCarriers(args); len(args) == 0 {
		return
	}
	name := path.Base(args[0])
	defer a.makes(name, args[1:])
	if a.walk.condition[s] || s.Negated || s.Background || a.isOff(s.Pos()) || slices.ContainsFunc(a.path, asksBefore) {
		return
	}
	for _, word := range needed(name, args) {
		i := slices.IndexFunc(a.places, func(p string) bool { return isOrBelow(word, p) })
		if i < 0 {
			continue
		}
		a.found = append(a.found, Problem{File: a.script.Location, Line: int(c.Pos().Line()), Col: int(c.Pos().Col()), Warning: true, Kind: KindErrexit, Message: fmt.Sprintf(
			"`%s` fails on a new server, where %s is not there before Install, and -e ends the script: write `if [ -e %[2]s ]; then ...; fi`, or do it in AfterInstall",
			briefCommand([]byte(asText(args))), a.places[i])})
		return
	}
}

// makes takes note of what a command makes.
func (a *absent) makes(name string, args []string) {
	switch {
	case slices.Contains([]string{"cp", "mv", "ln", "rsync", "scp"}, name):
		args = args[max(len(args)-1, 0):]
	case name == "tar" && len(args) > 0 && !strings.Contains(args[0], "x"):
		return
	case !makers[name]:
		return
	}
	a.places = slices.DeleteFunc(a.places, func(p string) bool {
		return slices.ContainsFunc(args, func(arg string) bool { return isOrBelow(arg, p) })
	})
}

// isOff reports whether the script has switched errexit off by itself.
func (a *absent) isOff(at syntax.Pos) bool {
	to := unchanged
	for _, sw := range a.walk.switches {
		if at.After(sw.pos) {
			to = sw.to
		}
	}
	return to == off
}

// asksBefore reports whether what is within a node is run only when something is so.
func asksBefore(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.IfClause, *syntax.WhileClause:
		return true
	case *syntax.BinaryCmd:
		return isList(n)
	}
	return false
}

// makers are commands that may make what they name.
var makers = wordSet("mkdir install git svn unzip tar useradd adduser aws wget curl")

// needed are the words of a command that have to be there.
func needed(name string, args []string) []string {
	rest := args[1:]
	operands := slices.DeleteFunc(slices.Clone(rest), func(a string) bool { return strings.HasPrefix(a, "-") })
	switch name {
	case "cd", "pushd", "source", ".", "bash", "sh", "python", "python3", "node", "php", "ruby":
		return operands[:min(1, len(operands))]
	case "ls", "cat", "find", "touch":
		return operands
	case "chown", "chgrp", "chmod", "sed":
		return operands[min(1, len(operands)):]
	case "cp":
		return operands[:max(len(operands)-1, 0)]
	case "tar":
		if len(rest) > 0 && strings.Contains(rest[0], "c") && !strings.HasPrefix(rest[0], "--") {
			return operands[1:]
		}
	case "docker-compose", "docker":
		if i := slices.Index(rest, "-f"); i >= 0 && i+1 < len(rest) {
			return rest[i+1 : i+2]
		}
	}
	return args[:1]
}

func isOrBelow(word, place string) bool { return word == place || strings.HasPrefix(word, place+"/") }
