package hooks

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// bashWords are the commands of bash that a POSIX sh has not.
var bashWords = map[string]string{
	"source": "write `.` and the file's path", "pushd": "", "popd": "", "shopt": "", "mapfile": "", "readarray": "", "caller": "",
	"declare": "leave it out", "typeset": "leave it out", "let": "write $((...))", "disown": "", "enable": "", "compgen": "", "complete": "",
}

// bashVariables are those that bash has a value for by itself, and what to write instead.
var bashVariables = map[string]string{
	"RANDOM": "", "SECONDS": "", "UID": "`id -u`", "EUID": "`id -u`", "HOSTNAME": "`hostname`", "OSTYPE": "`uname -s`", "HOSTTYPE": "`uname -m`",
	"BASHPID": "", "FUNCNAME": "", "BASH_SOURCE": "`$0`",
}

// bashisms are the words of bash in a script for sh. Where /bin/sh is bash (Amazon Linux, Red Hat) they work; where it
// is dash (Debian, Ubuntu) the script ends there. text is what bash makes of the script.
func bashisms(stmts []*syntax.Stmt) (found []Problem) {
	said, assigned := map[string]bool{}, map[string]bool{}
	other := func(n syntax.Node, what, does, instead string) {
		if said[what] {
			return
		}
		said[what] = true
		if instead != "" {
			instead = ", or " + instead
		}
		found = append(found, Problem{Line: int(n.Pos().Line()), Col: int(n.Pos().Col()), Warning: true,
			Message: fmt.Sprintf("%s is bash's, and a /bin/sh that is dash %s: use #!/bin/bash%s", what, does, instead)})
	}
	say := func(n syntax.Node, what, instead string) { other(n, what, "stops here", instead) }
	braces := func(words []*syntax.Word) {
		for _, w := range words {
			if split := *w; syntax.SplitBraces(&split) {
				other(w, "`{a,b}`", "takes it as it is", "write all of them")
			}
		}
	}
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.TestClause:
				say(n, "`[[`", "`[`")
			case *syntax.ArithmCmd:
				say(n, "`((`", "`[ $((...)) -ne 0 ]`")
			case *syntax.ArrayExpr:
				say(n, "an array", "")
			case *syntax.FuncDecl:
				if n.RsrvWord {
					say(n, "the word `function`", "write `name() {`")
				}
			case *syntax.ProcSubst:
				say(n, "`<(...)`", "a file in between")
			case *syntax.LetClause:
				say(n, "`let`", "write $((...))")
			case *syntax.DeclClause:
				if v := n.Variant.Value; v == "declare" || v == "typeset" || v == "nameref" {
					say(n, "`"+v+"`", "leave it out")
				}
			case *syntax.ForClause:
				switch loop := n.Loop.(type) {
				case *syntax.CStyleLoop:
					say(n, "`for ((`", "a while loop")
				case *syntax.WordIter:
					braces(loop.Items)
				}
				if n.Select {
					say(n, "`select`", "")
				}
			case *syntax.SglQuoted:
				if n.Dollar {
					say(n, "`$'...'`", "printf")
				}
			case *syntax.Assign:
				if n.Name != nil {
					assigned[n.Name.Value] = true
				}
				if n.Append {
					say(n, "`x+=y`", "write `x=$x...`")
				}
			case *syntax.CmdSubst:
				if len(n.Stmts) == 1 && n.Stmts[0].Cmd == nil && len(n.Stmts[0].Redirs) == 1 && n.Stmts[0].Redirs[0].Op == syntax.RdrIn {
					other(n, "`$(<FILE)`", "leaves it empty", "write `$(cat FILE)`")
				}
			case *syntax.UnaryArithm:
				if n.Op == syntax.Inc || n.Op == syntax.Dec {
					say(n, "`"+n.Op.String()+"`", "write `i=$((i + 1))`")
				}
			case *syntax.BinaryArithm:
				if n.Op == syntax.Pow {
					say(n, "`**`", "")
				}
			case *syntax.ParamExp:
				if instead, known := bashVariables[n.Param.Value]; known && n.Index == nil && !assigned[n.Param.Value] {
					other(n, "`$"+n.Param.Value+"`", "leaves it empty", instead)
				}
				switch {
				case n.Repl != nil:
					say(n, "`${x/y/z}`", "sed")
				case n.Slice != nil:
					say(n, "`${x:1:2}`", "cut")
				case n.Index != nil:
					say(n, "an array", "")
				case n.Excl:
					say(n, "`${!x}`", "eval")
				case n.Exp != nil && slices.Contains([]string{"^", "^^", ",", ",,"}, n.Exp.Op.String()):
					say(n, "`${x"+n.Exp.Op.String()+"}`", "tr")
				}
			case *syntax.Redirect:
				switch n.Op {
				case syntax.RdrAll, syntax.AppAll:
					other(n, "`"+n.Op.String()+"`", "runs it in the background", "write `>FILE 2>&1`")
				case syntax.WordHdoc:
					say(n, "`<<<`", "printf and a pipe")
				}
			case *syntax.BinaryCmd:
				if n.Op == syntax.PipeAll {
					say(n, "`|&`", "write `2>&1 |`")
				}
			case *syntax.CallExpr:
				braces(n.Args)
				bashCall(other, n)
			}
			return true
		})
	}
	return found
}

// bashCall says what is bash's in a simple command.
func bashCall(other func(n syntax.Node, what, does, instead string), c *syntax.CallExpr) {
	words := arguments(c)
	if len(words) == 0 {
		return
	}
	say := func(what, instead string) { other(c, what, "stops here", instead) }
	instead, known := bashWords[words[0]]
	first := ""
	if len(words) > 1 {
		first = words[1]
	}
	switch name := words[0]; {
	case known:
		say("`"+name+"`", instead)
	case name == "read" && strings.HasPrefix(first, "-") && strings.ContainsAny(first, "aepsntd"):
		say("`read "+first+"`", "plain read")
	case (name == "[" || name == "test") && slices.Contains(words, "=="):
		other(c, "`==` in `[`", "takes it for false", "write `=`")
	case name == "echo" && strings.HasPrefix(first, "-") && strings.Trim(first[1:], "neE") == "" && strings.ContainsAny(first, "eE"):
		other(c, "`echo "+first+"`", "writes the "+first+" too", "printf")
	case name == "kill" && strings.HasPrefix(first, "-SIG"):
		say("`kill "+first+"`", "write `kill -"+first[len("-SIG"):]+"`")
	case name == "trap" && len(words) > 2:
		for _, signal := range words[2:] {
			if plain, is := strings.CutPrefix(signal, "SIG"); is {
				say("`trap ... "+signal+"`", "write `"+plain+"`")
			} else if slices.Contains([]string{"ERR", "DEBUG", "RETURN"}, signal) {
				say("`trap ... "+signal+"`", "")
			}
		}
	case name == "wait" && first == "-n", name == "type" && first == "-t", name == "printf" && first == "-v":
		say("`"+name+" "+first+"`", "")
	}
}
