package appspec

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"usher/hooks"
)

const (
	// maxText is the longest path Linux takes (PATH_MAX), and nothing in an appspec is longer.
	maxText = 4096

	// maxShown is how much of a wrong value a message repeats: enough to find it by.
	maxShown = 60
)

// fields are the values of a map whose keys are known. A key that is null is not in it; a key whose
// value is bad, which has been reported, is in it with nil.
type fields map[string]ast.Node

// fields reads a map in which the keys given mean something; nil when it is no map. needed are those of
// them without which it means nothing.
func (r *reader) fields(n ast.Node, what string, needed []string, keys ...string) fields {
	pairs, ok := r.pairs(n, what)
	if !ok {
		return nil
	}
	f := fields{}
	for _, p := range pairs {
		if slices.Contains(keys, p.key) && (p.value != nil || p.bad) {
			f[p.key] = p.value
		}
	}
	for _, p := range pairs {
		if !slices.Contains(keys, p.key) {
			r.unknown(p, what, needed, keys, f)
		}
	}
	return f
}

// unknown says that a key is none of keys. CodeDeploy's agent reads the keys it knows and no others, so this is
// a warning, unless a needed key is missing that was probably meant: that one then counts as there, and is not
// reported as missing too.
func (r *reader) unknown(p pair, what string, needed, keys []string, f fields) {
	near := nearest(p.key, keys)
	if near == "" {
		r.warn(p.at, "unknown key %s in %s is ignored: it takes %s", quote(p.key), what, strings.Join(keys, ", "))
		return
	}
	if _, there := f[near]; !there && slices.Contains(needed, near) {
		r.fail(p.at, "unknown key %s in %s: did you mean %s?", quote(p.key), what, near)
		f[near] = nil
		return
	}
	r.warn(p.at, "unknown key %s in %s is ignored: did you mean %s?", quote(p.key), what, near)
}

// nearest is the candidate that was probably meant, "" when none is near. Wrong capitals, and a word in pieces (after_install),
// are no distance.
func nearest(word string, candidates []string) string {
	whole := strings.NewReplacer("_", "", "-", "", " ", "").Replace(word)
	for _, c := range candidates {
		if strings.EqualFold(word, c) || strings.EqualFold(whole, c) {
			return c
		}
	}
	return hooks.Closest(word, candidates)
}

// need reports a key that has to be there.
func (r *reader) need(n ast.Node, f fields, key, what, hint string) {
	if _, ok := f[key]; !ok {
		r.fail(n, "%s is missing in %s: %s", key, what, hint)
	}
}

// any reports whether one of the keys is there.
func (f fields) any(keys ...string) bool {
	for _, k := range keys {
		if _, ok := f[k]; ok {
			return true
		}
	}
	return false
}

// list are the values of a list; a null entry is reported. nil and false when it is no list.
func (r *reader) list(n ast.Node, what, example string) ([]ast.Node, bool) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 0 { // {} holds as little as []
		return nil, true
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(n, "%s must be a list, not %s: write %s", what, kind(n), example)
		return nil, false
	}
	var values []ast.Node
	for _, v := range seq.Values {
		value := r.resolve(v)
		switch {
		case value == nil: // reported, or too many
		case value.Type() == ast.NullType:
			r.fail(seq, "an entry of %s is empty: remove its `-`, or fill it in", what)
		default:
			values = append(values, value)
		}
	}
	return values, true
}

// text is the string at key; "" when it is not there, or is wrong, which has been reported then.
func (r *reader) text(f fields, key string) string {
	if f[key] == nil {
		return ""
	}
	return r.textOf(f[key], key)
}

// account is the name of a user or a group at key, or its number.
func (r *reader) account(f fields, key string) string {
	n, isNumber := f[key].(*ast.IntegerNode)
	if !isNumber {
		return r.user(f, key)
	}
	digits := n.GetToken().Value
	_, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		r.fail(n, "%s %s is no number of a user or a group: write a name, or 0 to %d", key, quoteless(digits), maxID)
		return ""
	}
	r.warn(n, "%s %s is taken as a number, whoever has it on the server: a name says who is meant", key, digits)
	return digits
}

// maxID is the largest number of a user or a group that every file system takes.
const maxID = 1<<31 - 1

// textOf is the string n holds, or "" when it is not one that can be used.
func (r *reader) textOf(n ast.Node, what string) string {
	s, ok := n.(*ast.StringNode)
	if block, isBlock := n.(*ast.LiteralNode); isBlock && block.Value != nil && !strings.Contains(block.Value.Value, "\n") {
		s, ok = block.Value, true // |- or >- and one line
	}
	if !ok {
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
			r.fail(n, "%s must be text, not %s: put quotes around it, as in %s", what, kind(n), quote(n.GetToken().Value))
		case *ast.LiteralNode:
			r.fail(n, "%s must be one line of text: write it without | or >", what)
		default:
			r.fail(n, "%s must be text, not %s", what, kind(n))
		}
		return ""
	}
	switch {
	case strings.TrimSpace(s.Value) == "":
		r.fail(n, "%s is empty", what)
	case len(s.Value) > maxText:
		r.fail(n, "%s is longer than %d bytes", what, maxText)
	case strings.Contains(strings.TrimSpace(s.Token.Origin), "\n"):
		// YAML folds a line that is indented deeper into the value before it: never meant here.
		r.fail(n, "%s runs on over the next line (%s): check the indentation there, and the space after its colon", what, quote(s.Value))
	case strings.ContainsFunc(s.Value, func(c rune) bool { return unicode.IsControl(c) || c == unicode.ReplacementChar }):
		r.fail(n, "%s %s holds a character that is not printable", what, quote(s.Value))
	default:
		return s.Value
	}
	return ""
}

// truth is the boolean at key. YAML 1.1, which CodeDeploy reads, also knows yes, no, on and off. Any other text or number is
// true to its agent, "false" in quotes too.
func (r *reader) truth(f fields, key string) bool {
	n := f[key]
	if n == nil {
		return false
	}
	tk := n.GetToken()
	switch n.(type) {
	case *ast.BoolNode, *ast.StringNode:
		if tk.Type != token.SingleQuoteType && tk.Type != token.DoubleQuoteType {
			switch strings.ToLower(tk.Value) {
			case "true", "yes", "on":
				return true
			case "false", "no", "off":
				return false
			}
		}
	}
	if _, ok := scalar(n); !ok {
		r.fail(n, "%s must be true or false, not %s", key, kind(n))
		return false
	}
	r.warn(n, "%s %s counts as true, here and by CodeDeploy: write true or false, without quotes", key, quote(tk.Value))
	return true
}

// scalar is the text of a number or a string as it stands in the file: `0644` is "0644".
func scalar(n ast.Node) (string, bool) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// kind is what a message calls the value it found.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "text"
}

// quote shows a value from the file in a message: on one line, printable, not too long.
func quote(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return strconv.Quote(s)
}

// quoteless is quote without the quotes.
func quoteless(s string) string {
	q := quote(s)
	return q[1 : len(q)-1]
}
