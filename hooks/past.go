package hooks

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// What gets past -e: it is an option of one shell, and a shell that this one starts has its own.

// revisionRoot is the folder of the revision a script is part of; "" for a role hook.
func revisionRoot(s Script) string {
	if root, ok := strings.CutSuffix(filepath.ToSlash(s.File), "/"+s.Location); ok && !s.Role {
		return root
	}
	return ""
}

// inRevision is the file of a revision that a word of a script names, relative to its top: as it is, or after a folder
// that only the running script knows ($(dirname "$0")/lib.sh). "" when there is none.
func inRevision(s Script, word string) string {
	root := revisionRoot(s)
	if root == "" || word == "" {
		return ""
	}
	candidates := []string{word, path.Join(path.Dir(s.Location), word)} // where the script may have gone
	if i := strings.LastIndex(word, unknown); i >= 0 {
		tail := strings.TrimLeft(word[i+len(unknown):], "/")
		candidates = []string{path.Join(path.Dir(s.Location), tail), tail}
	}
	for _, c := range candidates {
		if c = path.Clean(c); !filepath.IsLocal(c) {
			continue
		}
		if info, err := os.Stat(filepath.Join(root, c)); err == nil && info.Mode().IsRegular() {
			return c
		}
	}
	return ""
}

// past finds the shells within a script that do not have its -e.
func past(stmts []*syntax.Stmt, s Script) (found []Problem) {
	say := func(n syntax.Node, format string, args ...any) {
		found = append(found, Problem{Line: int(n.Pos().Line()), Col: int(n.Pos().Col()), Warning: true, Message: fmt.Sprintf(format, args...)})
	}
	functions := newWalk(stmts, interpreter{}, syntax.Pos{}).functions
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			st, ok := n.(*syntax.Stmt)
			if !ok {
				return true
			}
			c, ok := st.Cmd.(*syntax.CallExpr)
			if !ok {
				return true
			}
			args := arguments(c)
			if len(args) == 0 {
				return true
			}
			name := path.Base(args[0])
			switch {
			case name == "trap" && len(args) > 2 && hidesStatus(args, functions):
				say(c, "this makes a success of every failure: the script ends with status 0 whatever happens; write `trap 'status=$?; ...; exit $status' EXIT`")
			case shells[name] != "":
				shellCall(say, st, c, args, s)
			case name == "su" || name == "runuser":
				if command, is := optionValue(args[1:], "-c", "--command"); is && severalCommands(command) {
					say(c, "the shell that %s starts has no -e, and only its last command counts: begin it with `set -e; `", name)
				} else if hdoc := heredoc(st); hdoc != "" && severalCommands(hdoc) {
					say(c, "the shell that %s starts has no -e, and only its last command counts: begin its text with `set -e`", name)
				}
			case runsInside[name]:
				for i := 1; i < len(args)-1; i++ {
					if shells[path.Base(args[i])] != "" && isOption(args[i+1]) {
						shellCall(say, st, c, args[i:], s)
						break
					}
				}
			case name == "wait" && len(args) == 1:
				say(c, "`wait` has status 0 whatever became of what it waits for: write `wait PID`, for each")
			case strings.Contains(args[0], "/"):
				childScript(say, c, args[0], s)
			}
			return true
		})
	}
	return found
}

// runsInside are the commands that run another one behind words of their own.
var runsInside = wordSet("docker podman docker-compose kubectl find xargs parallel ssh chroot nsenter")

// shellCall looks at `bash ...`: with -c, with a script of the revision, with a text that follows.
func shellCall(say func(syntax.Node, string, ...any), st *syntax.Stmt, c *syntax.CallExpr, args []string, s Script) {
	if errexit, _ := optionChanges(args[1:]); errexit == on {
		return
	}
	command, isCommand := "", false
	for i, a := range args[1:] {
		if isOption(a) && !strings.HasPrefix(a, "--") && strings.Contains(a, "c") && i+2 < len(args) {
			command, isCommand = args[i+2], true
			break
		}
	}
	operand := slices.IndexFunc(args[1:], func(a string) bool { return !isOption(a) })
	switch hdoc := heredoc(st); {
	case isCommand && severalCommands(command):
		say(c, "this shell has no -e, and only its last command counts: write `%s -ec`", path.Base(args[0]))
	case !isCommand && operand >= 0:
		childScript(say, c, args[1:][operand], s)
	case !isCommand && hdoc != "" && severalCommands(hdoc):
		say(c, "this shell has no -e, and only its last command counts: write `%s -e`", path.Base(args[0]))
	}
}

// childScript warns of a script of the revision that is run by a shell of its own.
func childScript(say func(syntax.Node, string, ...any), c *syntax.CallExpr, word string, s Script) {
	file := inRevision(s, word)
	if file == "" {
		return
	}
	text, _, whole, err := readScript(filepath.Join(revisionRoot(s), file))
	if err != nil || !whole || len(text) == 0 {
		return
	}
	in := interpret(text[:min(len(text), headSize)])
	if in.shell == "" {
		return
	}
	stmts, err := parse(text, in.shell)
	if err != nil {
		return
	}
	var f flow
	f.options(in.options)
	f.run(stmts)
	if f.unguarded != nil && several(stmts) {
		say(c, "%s is run by a shell of its own, without -e: at its line %d it goes on after a failure; put `set -e` at its top", file, f.unguarded.Pos().Line())
	}
}

// severalCommands reports whether errexit would make a difference in a text that a shell is given.
func severalCommands(text string) bool {
	stmts, err := parse([]byte(strings.ReplaceAll(text, unknown, "x")), "bash")
	return err == nil && several(stmts) && !setsErrexit(stmts)
}

func heredoc(st *syntax.Stmt) string {
	for _, r := range st.Redirs {
		if (r.Op == syntax.Hdoc || r.Op == syntax.DashHdoc) && r.Hdoc != nil {
			return wordText(r.Hdoc)
		}
	}
	return ""
}

// optionValue is the value of an option, also in the word of its own.
func optionValue(args []string, names ...string) (string, bool) {
	for i, a := range args {
		for _, name := range names {
			if a == name && i+1 < len(args) {
				return args[i+1], true
			}
			if value, ok := strings.CutPrefix(a, name+"="); ok && strings.HasPrefix(name, "--") {
				return value, true
			}
		}
	}
	return "", false
}

// maxSourced bounds how many files that a script reads are looked at, and how deep they read each other.
const maxSourced = 20

// sourced looks at the files of the revision that a script reads with `.` or source: -e is in effect in them too. Of
// files of the server nobody knows what they do under -e; those of a login are known not to be written for it.
func sourced(stmts []*syntax.Stmt, s Script, pipefail bool, seen map[string]bool) (found []Problem) {
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			c, ok := n.(*syntax.CallExpr)
			if !ok {
				return true
			}
			args := arguments(c)
			if len(args) < 2 || args[0] != "." && args[0] != "source" {
				return true
			}
			if notForErrexit.MatchString(args[1]) {
				found = append(found, Problem{Line: int(c.Pos().Line()), Col: int(c.Pos().Col()), Warning: true, Kind: KindErrexit, Message: fmt.Sprintf(
					"what `%s %s` reads runs under -e too, and files of a login are not written for that: put `set +e` before it and `set -e` behind it", args[0], strings.ReplaceAll(args[1], unknown, "..."))})
			}
			file := inRevision(s, args[1])
			if file == "" || seen[file] || len(seen) == maxSourced {
				return true
			}
			seen[file] = true
			text, _, whole, err := readScript(filepath.Join(revisionRoot(s), file))
			if err != nil || !whole {
				return true
			}
			inner, err := parse(text, "bash")
			if err != nil {
				return true // its script says so when it gets there; it may be for another shell
			}
			var more []Problem
			more = append(more, findRisks(inner, text, "bash", pipefail, s.Event == ValidateService, existsIn(s))...)
			more = append(more, Of(KindUnchecked, past(inner, s))...)
			for i := range more {
				more[i].File = file
			}
			found = append(append(found, more...), sourced(inner, s, pipefail, seen)...)
			return true
		})
	}
	return found
}

// notForErrexit are the files of a login, and nvm's and rvm's, which end a script under -e.
var notForErrexit = regexp.MustCompile(`^/etc/(profile|bashrc|bash\.bashrc|profile\.d/.*)$|(^|/)(\.bashrc|\.bash_profile|\.profile|nvm\.sh|\.rvm/scripts/rvm|scripts/rvm)$`)

// existsIn tells of a path that is not absolute whether it is in the revision of s.
func existsIn(s Script) func(string) bool {
	return func(name string) bool { return inRevision(s, name) != "" || inFolder(s, name) }
}

func inFolder(s Script, name string) bool {
	root := revisionRoot(s)
	if root == "" || !filepath.IsLocal(name) {
		return false
	}
	_, err := os.Lstat(filepath.Join(root, name))
	return err == nil
}
