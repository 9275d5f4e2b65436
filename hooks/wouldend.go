//go:build linux && !developer

package hooks

import (
	"cmp"
	"path/filepath"
	"slices"

	"mvdan.cc/sh/v3/syntax"
)

// wouldEnd are the commands at which errexit would have ended s, each once, in the order they were first reached. What a
// failure brings with it, in the function or subshell that ends with its status, is the same one.
func wouldEnd(all []failed, s Script) (found []FailedCommand) {
	overlooked := overlooks{s: s, files: map[string]*exemptions{}}
	told := map[frame]bool{}
	ends := false // the one before would have ended it, or was brought by one
	for i, f := range all {
		before := ends
		ends = !f.errexit && !overlooked.failure(f) // on by the script itself: that is no difference
		switch {
		case !ends:
		case before && brings(all[i-1], f):
		case told[frame{f.File, f.Line}]:
		case len(found) < maxFailed:
			told[frame{f.File, f.Line}] = true
			found = append(found, f.whole(s))
		}
	}
	return found
}

// brings reports whether a failure is the one before it, as the caller sees it.
func brings(before, f failed) bool {
	if before.Status != f.Status || len(f.frames) == 0 {
		return false
	}
	inner := len(before.frames) - len(f.frames)
	return inner > 0 && slices.Equal(before.frames[inner:], f.frames) || inner >= 0 && before.depth > f.depth && slices.Equal(before.frames[inner+1:], f.frames[1:])
}

// overlooks tells for failures whether errexit would have overlooked them.
type overlooks struct {
	s     Script
	files map[string]*exemptions
}

// failure goes by the lines of the files, from the failure outwards to where the script called what called it.
func (o overlooks) failure(f failed) bool {
	decided := false
	for i, at := range f.frames {
		e := o.exemptions(at.file)
		line := uint(at.line)
		within := func(r lines) bool { return r.has(line) }
		if slices.ContainsFunc(e.negated, within) || f.depth > 0 && slices.ContainsFunc(e.apart, within) {
			return true
		}
		if decided {
			continue
		}
		to := e.switched(line, i == len(f.frames)-1)
		if to == off {
			return true
		}
		decided = to == on
	}
	return false
}

// lines are those from one to another, with both.
type lines struct{ from, to uint }

func (l lines) has(line uint) bool { return l.from <= line && line <= l.to }

// exemptions are the places of a file where errexit is off, or ends what the script does not see.
type exemptions struct {
	apart     []lines         // what runs in a subshell whose status does not count, or that has switched it off
	negated   []lines         // what stands behind !, of which bash tells what fails in a function
	functions []lines         // bodies of functions
	switches  []errexitSwitch // in the order of their lines
}

// exemptions reads a file, of the revision only.
func (o overlooks) exemptions(file string) *exemptions {
	if e := o.files[file]; e != nil {
		return e
	}
	e := &exemptions{}
	o.files[file] = e
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(o.s.Dir, path)
	}
	if in, err := filepath.Rel(o.s.Dir, path); file != o.s.File && (err != nil || !filepath.IsLocal(in)) {
		return e
	}
	text, _, _, err := readScript(path)
	if err != nil {
		return e
	}
	own, _, _, _ := readScript(o.s.File)
	posix := interpretFor(o.s, own[:min(len(own), headSize)], true).shell == "sh" // where $(...) has -e
	stmts, _ := parse(text, "bash")
	var script flow
	script.run(stmts)
	w := newWalk(stmts, interpreter{shell: "bash"}, syntax.Pos{})
	for i, sw := range w.switches {
		switch {
		case sw.scope == nil, isFunction(sw.scope):
			e.switches = append(e.switches, sw)
		case sw.to == off: // a subshell's own
			end := sw.scope.End()
			for _, next := range w.switches[i+1:] {
				if next.to == on && next.scope == sw.scope {
					end = next.pos
					break
				}
			}
			e.apart = append(e.apart, lines{sw.pos.Line(), end.Line()})
		}
	}
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			if n == nil {
				return false
			}
			is := lines{n.Pos().Line(), n.End().Line()}
			switch n := n.(type) {
			case *syntax.FuncDecl:
				e.functions = append(e.functions, is)
				return true
			case *syntax.CallExpr: // a file that is read may leave errexit switched off
				words, _ := commandWords(n)
				if len(words) > 1 && (words[0] == "." || words[0] == "source") && o.exemptions(words[1]).leavesOff() {
					e.switches = append(e.switches, errexitSwitch{pos: n.Pos(), to: off})
				}
				return true
			case *syntax.CmdSubst:
				if w.inherit || posix {
					return true
				}
			case *syntax.ProcSubst, *syntax.CoprocClause:
			case *syntax.Redirect: // what is expanded in the text of a here-document has the line of its command
				if n.Hdoc == nil || !substitutes(n.Hdoc) {
					return true
				}
				is.to = n.Hdoc.End().Line()
			case *syntax.Stmt:
				if n.Negated {
					e.negated = append(e.negated, is)
				}
				if !n.Background && !n.Coprocess {
					return true
				}
			case *syntax.BinaryCmd:
				if isList(n) || script.pipefail.IsValid() {
					return true
				}
				is = lines{n.X.Pos().Line(), n.X.End().Line()}
			default:
				return true
			}
			e.apart = append(e.apart, is)
			return true
		})
	}
	slices.SortStableFunc(e.switches, func(a, b errexitSwitch) int { return cmp.Compare(a.pos.Line(), b.pos.Line()) })
	return e
}

// leavesOff reports whether errexit is off at the end of a file.
func (e *exemptions) leavesOff() bool {
	to := unchanged
	for _, sw := range e.switches {
		if e.function(sw.pos.Line()) == (lines{}) {
			to = sw.to
		}
	}
	return to == off
}

// substitutes reports whether there is a $(...) within a word.
func substitutes(word *syntax.Word) (found bool) {
	syntax.Walk(word, func(n syntax.Node) bool {
		_, is := n.(*syntax.CmdSubst)
		found = found || is
		return !found
	})
	return found
}

// switched is how errexit was last set before a line, by what is in the same function or at the same top level; for the outermost
// line also by a function, which may have been called before.
func (e *exemptions) switched(line uint, outermost bool) (to change) {
	within := e.function(line)
	for _, sw := range e.switches {
		if sw.pos.Line() <= line && e.function(sw.pos.Line()) == within && (to != off || sw.pos.Line() < line) { // of one line the island
			to = sw.to
		}
	}
	if to == unchanged && outermost {
		for _, sw := range e.switches {
			if sw.pos.Line() <= line && sw.scope == nil {
				to = sw.to
			}
		}
	}
	return to
}

// function is the innermost function that a line is in, or none.
func (e *exemptions) function(line uint) (in lines) {
	for _, f := range e.functions { // the outer ones come first
		if f.has(line) {
			in = f
		}
	}
	return in
}
