//go:build linux && !developer

package hooks

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// ksh93 and mksh have bash's ERR trap, and no file that they read before a script: theirs is for interactive shells, and
// what the machine has for those would come with it. The script is therefore read by `.`, with its own path as $0. LINENO, $0
// and what runs at the top level are as without it; what a script can notice is a c in $-, and the shell's arguments.
// dash has neither the trap nor, as Debian builds it, LINENO.

// kshTrap is the ERR trap of a shell, REPORT in the place of the file that it writes to; "" of a shell that is not known to
// have one.
func kshTrap(shell string) string {
	switch filepath.Base(shell) {
	case "ksh93":
		return `{ printf '%s\0%s\0%s\0%s\0%s\0\0' "$?" "$-" "${.sh.subshell}" "${.sh.file-}" "$LINENO" >>REPORT; } 2>/dev/null || :`
	case "mksh", "lksh": // printf is a program there, and print takes up to three digits behind \0
		return `{ print -n -- "$?\0000$-\0000$((BASHPID != $$))\0000\0000$LINENO\0000\0000" >>REPORT; } 2>/dev/null || :`
	}
	return ""
}

// kshTrace is newTrace for the Korn shells.
func kshTrace(s Script, text []byte, in interpreter, argv []string) (trace, []string) {
	// A script without a first line may fail on it, and so does, in the end, what reads it. -v and -x would show what does.
	if !bytes.HasPrefix(text, []byte("#!")) || slices.ContainsFunc(in.options, func(o string) bool { return strings.ContainsAny(o, "csvx") }) {
		return trace{}, argv
	}
	real, err := filepath.EvalSymlinks(findProgram(in.name, lookupPath(s.Env)))
	trap := kshTrap(real)
	if err != nil || trap == "" || argv[len(argv)-1] != s.File {
		return trace{}, argv
	}
	if hidesLine(s) {
		return trace{}, argv
	}
	t, err := makeTrace(s)
	if err != nil {
		return trace{}, argv
	}
	t.korn = true
	// On one line, which is 1 in LINENO when the script as a whole fails: see read. No $ among the arguments, which systemd would expand.
	code := "trap " + quoteForShell(strings.ReplaceAll(trap, "REPORT", quoteForShell(t.file("report")))) + " ERR; . \"$0\"\n"
	if t.write(code) != nil {
		return trace{}, argv
	}
	argv = slices.Clone(argv[:len(argv)-1])
	return t, append(argv, "-c", ". "+quoteForShell(t.file("env")), s.File)
}

// hidesLine reports whether a script has commands of which LINENO tells the wrong line, that of a simple command before them
// (a pipeline, a subshell, a test in [[ ]] or (( ))), or what is not a line of its own file: what it reads, and eval.
func hidesLine(s Script) (hides bool) {
	stmts := statements(s)
	w := newWalk(stmts, interpreter{shell: "ksh"}, syntax.Pos{})
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			st, ok := n.(*syntax.Stmt)
			if _, inner := n.(*syntax.CmdSubst); inner || !ok || hides {
				return !inner && !hides
			}
			guarded := w.condition[st] || st.Negated
			switch c := st.Cmd.(type) {
			case *syntax.Subshell, *syntax.TestClause, *syntax.ArithmCmd:
				hides = !guarded
			case *syntax.BinaryCmd:
				hides = !guarded && !isList(c)
			case *syntax.CallExpr:
				args := arguments(c)
				hides = len(args) > 0 && (args[0] == "." || args[0] == "source" || args[0] == "eval")
			}
			return !hides
		})
	}
	return hides
}
