package hooks

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// stopsAtTheLink says of a command that its operand is the link itself, which is a folder under CodeDeploy's own agent, and
// that it cannot do there what it does to a folder.
func (l *liveLines) stopsAtTheLink(c *syntax.CallExpr, name string, args []string) bool {
	rest, command := args[1:], briefCommand([]byte(asText(args)))
	has := func(short string, long ...string) bool {
		return slices.ContainsFunc(rest, func(a string) bool {
			return slices.Contains(long, a) || isOption(a) && !strings.HasPrefix(a, "--") && strings.ContainsAny(a[1:], short)
		})
	}
	operands := slices.DeleteFunc(slices.Clone(rest), func(a string) bool { return strings.HasPrefix(a, "-") })
	isLink := func(a string) bool { return a == l.link }
	switch name {
	case "chown", "chgrp":
		if has("R", "--recursive") && !has("HL") && slices.ContainsFunc(operands, isLink) {
			l.add(c, fmt.Sprintf("`%s` changes nothing: %s is a link, which -R does not follow: write %[2]s/", command, l.link), !l.early)
			return true
		}
	case "find":
		if !has("HL") && slices.ContainsFunc(operands, isLink) {
			l.add(c, fmt.Sprintf("`%s` finds nothing: %s is a link, which find does not follow: write %[2]s/", command, l.link), !(l.early && destroys(name, rest)))
			return true
		}
	case "rm", "rmdir", "unlink", "mv":
		all := func(a string) bool { return a == l.link+"/*" || l.inside && (a == "*" || a == "./*") }
		if l.shown && l.script.Event == AfterInstall && name == "rm" && slices.ContainsFunc(operands, all) {
			l.add(c, fmt.Sprintf("`%s` in %s removes what has just been installed: leave it out, a release directory is new each time", command, l.script.Event), false)
			return true
		}
		gone := operands
		if name == "mv" && len(operands) > 1 && !has("t", "--target-directory") { // the last is where it goes
			gone = operands[:len(operands)-1]
		}
		if l.shown && slices.ContainsFunc(gone, func(a string) bool { return path.Clean("/"+a) == l.link }) {
			l.add(c, fmt.Sprintf("`%s` fails: %s is a link, which stays where it is: leave it out, a release directory is new each time", command, l.link), false)
			return true
		}
	case "ln":
		if n := len(operands); l.shown && n > 1 && isLink(operands[n-1]) && has("nT", "--no-dereference", "--no-target-directory") {
			l.add(c, fmt.Sprintf("`%s` fails: %s is changed by usher alone, after AfterInstall: leave it out", command, l.link), false)
			return true
		}
	}
	return false
}
