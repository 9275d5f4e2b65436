package appspec

import (
	"slices"

	"github.com/goccy/go-yaml/ast"

	"usher/hooks"
)

// pair is one key of a map with its value; the value is nil when it is null, or bad.
type pair struct {
	key   string
	at    ast.Node // the key
	value ast.Node
	bad   bool // what is wrong with the value has been reported
}

// precious are the keys of which a second one would make scripts or files disappear. Of another key the last one
// counts, as with CodeDeploy's agent, and there is a warning.
var precious = append([]string{"hooks", "files", "permissions", "location", "source", "destination", "object"}, hooks.Events...)

// pairs are the keys and values of a map, with those that it merges (<<). Whatever is not a plain map is reported, and
// ok is false when there is nothing to go on with.
func (r *reader) pairs(n ast.Node, what string) (pairs []pair, ok bool) {
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		r.fail(n, "%s must be a map of `key: value` lines, not %s", what, kind(n))
		return nil, false
	}
	merged := map[string]bool{} // it comes from a merge key, and one of the map itself takes its place
	add := func(p pair, at ast.Node) {
		i := slices.IndexFunc(pairs, func(other pair) bool { return other.key == p.key })
		if i < 0 {
			pairs = append(pairs, p)
			return
		}
		if !merged[p.key] {
			line, _ := position(pairs[i].at)
			if slices.Contains(precious, p.key) {
				r.fail(at, "%s is given twice: line %d has it already", quote(p.key), line)
				return
			}
			r.warn(at, "%s is given twice, and this one counts: line %d has it already", quote(p.key), line)
		}
		pairs[i] = p
		delete(merged, p.key)
	}
	for _, v := range values {
		switch v.Key.(type) {
		case *ast.MergeKeyNode:
			for _, p := range r.merge(v.Value, what) {
				there := slices.ContainsFunc(pairs, func(other pair) bool { return other.key == p.key })
				if add(p, v.Key); !there {
					merged[p.key] = true
				}
			}
			continue
		case *ast.MappingKeyNode, *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
			r.fail(v.Key, "a key of %s must be plain text", what)
			continue
		}
		p := pair{key: v.Key.GetToken().Value, at: v.Key, value: r.resolve(v.Value)}
		p.bad = p.value == nil
		if !p.bad && p.value.Type() == ast.NullType {
			p.value = nil
		}
		add(p, v.Key)
	}
	return pairs, true
}

// merge are the pairs behind a merge key: those of a map, or of a list of maps, of which the first that has a key counts.
func (r *reader) merge(n ast.Node, what string) (pairs []pair) {
	if r.merging++; r.merging > maxDepth {
		r.fail(n, "its merge keys (<<) lead in a circle: write the keys out")
		return nil
	}
	defer func() { r.merging-- }()
	maps := []ast.Node{r.resolve(n)}
	if list, ok := maps[0].(*ast.SequenceNode); ok {
		maps = list.Values
	}
	for _, m := range maps {
		if m = r.resolve(m); m == nil {
			continue
		}
		more, _ := r.pairs(m, what)
		for _, p := range more {
			if !slices.ContainsFunc(pairs, func(other pair) bool { return other.key == p.key }) {
				pairs = append(pairs, p)
			}
		}
	}
	return pairs
}
