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

// bashisms are the words of bash in a script for sh. Where /bin/sh is bash (Amazon Linux, Red Hat) they work; where it
// is dash (Debian, Ubuntu) the script ends there. text is what bash makes of the script.
func bashisms(stmts []*syntax.Stmt) (found []Problem) {
	said := map[string]bool{}
	say := func(n syntax.Node, what, instead string) {
		if said[what] {
			return
		}
		said[what] = true
		if instead != "" {
			instead = ", or " + instead
		}
		found = append(found, Problem{Line: int(n.Pos().Line()), Col: int(n.Pos().Col()), Warning: true,
			Message: fmt.Sprintf("%s is bash's, and a /bin/sh that is dash stops here: use #!/bin/bash%s", what, instead)})
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
				if _, ok := n.Loop.(*syntax.CStyleLoop); ok {
					say(n, "`for ((`", "a while loop")
				}
				if n.Select {
					say(n, "`select`", "")
				}
			case *syntax.SglQuoted:
				if n.Dollar {
					say(n, "`$'...'`", "printf")
				}
			case *syntax.ParamExp:
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
					say(n, "`"+n.Op.String()+"`", "write `>FILE 2>&1`")
				case syntax.WordHdoc:
					say(n, "`<<<`", "printf and a pipe")
				}
			case *syntax.BinaryCmd:
				if n.Op == syntax.PipeAll {
					say(n, "`|&`", "write `2>&1 |`")
				}
			case *syntax.CallExpr:
				bashCall(say, n)
			}
			return true
		})
	}
	return found
}

func bashCall(say func(syntax.Node, string, string), c *syntax.CallExpr) {
	words, _ := commandWords(c)
	if len(words) == 0 {
		return
	}
	instead, known := bashWords[words[0]]
	switch {
	case known:
		say(c, "`"+words[0]+"`", instead)
	case words[0] == "read" && len(words) > 1 && strings.HasPrefix(words[1], "-") && strings.ContainsAny(words[1], "aepsntd"):
		say(c, "`read "+words[1]+"`", "plain read")
	case (words[0] == "[" || words[0] == "test") && slices.Contains(words, "=="):
		say(c, "`==` in `[`", "write `=`")
	case words[0] == "trap" && slices.Contains(words, "ERR"):
		say(c, "`trap ... ERR`", "")
	}
}
