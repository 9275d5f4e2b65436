package hooks

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Paths that mean something else here than under CodeDeploy's own agent.

// AtTheLink finds the lines of scripts at which the application's link is not what it is under CodeDeploy's own agent.
// Until the flip it is what is live. Scripts of AfterInstall find there what is being installed, and those of BeforeInstall an
// empty directory, unless they say otherwise (see SeesLive, Mounts), or are processes, where none can be shown another link. A command that would
// destroy what is live is an error, because nothing is left to go back to, and so is one that cannot work at a link.
func AtTheLink(scripts []Script, link string, processes bool) (found []Problem) {
	for _, s := range scripts {
		stmts := statements(s)
		l := liveLines{link: link, script: s, values: variables{}, said: map[uint]bool{}}
		l.early = s.Event == BeforeInstall || s.Event == AfterInstall
		l.shown = l.early && !processes && !Mounts(s) && !SeesLive(s)
		l.wanted = SeesLive(s)
		for _, stmt := range stmts {
			syntax.Walk(stmt, l.enter)
		}
		for _, f := range l.found {
			if !slices.Contains(found, f) {
				found = append(found, f)
			}
		}
	}
	return found
}

// statements are those of a shell script; nil of anything else, or of one that does not parse.
func statements(s Script) []*syntax.Stmt {
	text, _, whole, err := readScript(s.File)
	if err != nil || !whole || len(text) == 0 {
		return nil
	}
	in := interpretFor(s, text[:min(len(text), headSize)], false)
	if in.shell == "" {
		return nil
	}
	language := in.shell
	if language == "sh" {
		language = "bash" // which understands it too
	}
	stmts, _ := parse(text, language)
	return stmts
}

type liveLines struct {
	link   string
	script Script
	early  bool // it runs before the flip
	shown  bool // and finds the new release at the link all the same
	wanted bool // it says that it knows
	values variables
	inside bool          // the working directory is in the link
	said   map[uint]bool // lines
	found  []Problem
}

func (l *liveLines) enter(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.Assign:
		l.values.assign(n)
	case *syntax.CallExpr:
		l.call(n)
	case *syntax.Redirect:
		if l.early && n.Word != nil && l.names(l.expand(n.Word)) {
			l.say(n.Word, "", false)
		}
	}
	return true
}

func (l *liveLines) expand(w *syntax.Word) string { return l.values.expand(w) }

// variables are those of variables that a script sets to a known text.
type variables map[string]string

func (v variables) assign(a *syntax.Assign) {
	if a.Name != nil && a.Value != nil {
		v[a.Name.Value] = v.expand(a.Value)
	}
}

// expand is a word with the variables that are known.
func (v variables) expand(w *syntax.Word) string {
	var text strings.Builder
	syntax.Walk(w, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Lit:
			text.WriteString(n.Value)
		case *syntax.SglQuoted:
			text.WriteString(n.Value)
		case *syntax.ParamExp:
			if value, ok := v[n.Param.Value]; ok && n.Exp == nil && n.Repl == nil && n.Slice == nil {
				text.WriteString(value)
			} else {
				text.WriteString(unknown)
			}
			return false
		case *syntax.CmdSubst, *syntax.ArithmExp, *syntax.ProcSubst:
			text.WriteString(unknown)
			return false
		}
		return true
	})
	return text.String()
}

// names reports whether a word names the link or what lies below it.
func (l *liveLines) names(word string) bool {
	for i := 0; ; {
		at := strings.Index(word[i:], l.link)
		if at < 0 {
			return false
		}
		begin, end := i+at, i+at+len(l.link)
		before := begin == 0 || strings.ContainsRune("=:'\"@ ", rune(word[begin-1]))
		after := end == len(word) || strings.ContainsRune("/:'\" *;", rune(word[end]))
		if before && after {
			return true
		}
		i = end
	}
}

func (l *liveLines) call(c *syntax.CallExpr) {
	args := make([]string, 0, len(c.Args))
	for _, w := range c.Args {
		args = append(args, l.expand(w))
	}
	args = withoutCarriers(args)
	if len(args) == 0 {
		return
	}
	name := path.Base(args[0])
	named := slices.ContainsFunc(args, l.names)
	if name == "cd" && len(args) > 1 {
		l.inside = l.names(args[1]) || l.inside && !strings.HasPrefix(args[1], "/")
	}
	if l.stopsAtTheLink(c, name, args) || !l.early {
		return
	}
	relative := l.inside && slices.ContainsFunc(args[1:], func(a string) bool { return !strings.HasPrefix(a, "/") && !strings.HasPrefix(a, "-") })
	destroys := destroys(name, args[1:])
	switch {
	case named && slices.Contains(readers, name): // looks at it, and does nothing there
		if l.shown && l.script.Event == BeforeInstall && name != "echo" && name != "printf" && slices.ContainsFunc(args, l.looksInside) {
			l.say(c, "", false)
		}
	case named && destroys, relative && destroys && !l.shown:
		l.say(c, asText(args), true)
	case named:
		l.say(c, "", false)
	}
}

// looksInside says whether a word names something below the link.
func (l *liveLines) looksInside(word string) bool {
	return l.names(word) && strings.Contains(word, l.link+"/") && !strings.HasSuffix(word, l.link+"/")
}

// asText is a command as a message quotes it.
func asText(args []string) string { return strings.ReplaceAll(strings.Join(args, " "), unknown, "...") }

// readers are commands that look at what they name and change nothing. What they write elsewhere is a redirection, which
// is looked at by itself.
var readers = []string{"echo", "printf", "cat", "head", "tail", "grep", "test", "[", "ls", "stat", "readlink", "realpath", "basename",
	"dirname", "diff", "cmp", "wc", "file", "sha256sum", "md5sum"}

// destroys reports whether a command takes something away from what its arguments name.
func destroys(name string, args []string) bool {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(args, w) })
	}
	recursive := slices.ContainsFunc(args, func(a string) bool {
		return a == "--recursive" || isOption(a) && !strings.HasPrefix(a, "--") && strings.ContainsAny(a, "R")
	})
	switch name {
	case "rm", "rmdir", "unlink", "shred", "mv":
		return true
	case "chown", "chmod", "chgrp":
		return recursive
	case "find":
		return has("-delete") || has("rm")
	case "rsync":
		return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--delete") })
	case "git":
		return has("clean") || has("reset")
	}
	return false
}

func (l *liveLines) say(n syntax.Node, command string, destroys bool) {
	if l.wanted && !destroys {
		return
	}
	right := "write $USHER_RELEASE_DIR"
	if l.script.Event == BeforeInstall {
		right = "leave it to the deployment, whose release directory is new each time, or do it in AfterInstall in $USHER_RELEASE_DIR"
	}
	message := fmt.Sprintf("in %s %s is still what is live, not what is being installed: %s", l.script.Event, l.link, right)
	switch {
	case l.shown && l.script.Event == BeforeInstall:
		message = fmt.Sprintf("in %s %s is an empty directory for this script, and not in usher rehearse: what it leaves there comes into the release, what is live is at $USHER_PREVIOUS_RELEASE", l.script.Event, l.link)
	case l.shown:
		message = fmt.Sprintf("in %s %s leads this script alone to the new release, and not in usher rehearse: write $USHER_RELEASE_DIR, which is that everywhere", l.script.Event, l.link)
	case destroys:
		message = fmt.Sprintf("`%s` in %s destroys what is live, and nothing is left to go back to: %s", briefCommand([]byte(command)), l.script.Event, right)
	}
	l.add(n, message, !destroys || l.shown)
}

func (l *liveLines) add(n syntax.Node, message string, warning bool) {
	line := n.Pos().Line()
	if l.said[line] {
		return
	}
	l.said[line] = true
	l.found = append(l.found, Problem{File: l.script.Location, Line: int(line), Col: int(n.Pos().Col()), Message: message, Warning: warning, Kind: KindLive})
}

// agentPaths are the places of CodeDeploy's own agent, which is not there.
var agentPaths = []string{"/opt/codedeploy-agent", "/var/log/aws/codedeploy-agent", "/etc/codedeploy-agent"}

// ofTheAgent finds the lines of a script that name places of CodeDeploy's own agent.
func ofTheAgent(stmts []*syntax.Stmt) (found []Problem) {
	said := map[uint]bool{}
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			w, ok := n.(*syntax.Word)
			if !ok || said[w.Pos().Line()] {
				return true
			}
			text := wordText(w)
			for _, p := range agentPaths {
				if !strings.Contains(text, p) {
					continue
				}
				said[w.Pos().Line()] = true
				message := fmt.Sprintf("%s is CodeDeploy's own agent's, and not on this server", p)
				if strings.Contains(text, "deployment-root") {
					message = "the unpacked revision is not below /opt/codedeploy-agent here: it is the working directory in every event; leave the path out, or write $PWD"
				}
				found = append(found, Problem{Line: int(w.Pos().Line()), Col: int(w.Pos().Col()), Warning: true, Message: message})
				break
			}
			return true
		})
	}
	return found
}
