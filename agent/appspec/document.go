package appspec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"usher/hooks"
)

const (
	// maxTokens bounds the work the YAML parser is given: it takes time and memory that grow with
	// the square of the depth. 20,000 tokens are some 5,000 lines; long real appspecs have 500.
	maxTokens = 20_000

	// maxMarks bounds the punctuation and line ends in the text, which is what YAML tokens begin and
	// end at: the scanner makes all tokens, of some 300 bytes each, before they can be counted.
	maxMarks = 5 * maxTokens

	// maxDepth bounds brackets within brackets, and `- - -` on one line, because the parser calls
	// itself for each. The grammar of an appspec is six deep.
	maxDepth = 32

	// maxVisits bounds how many values are looked at: a list behind an alias is looked at again
	// for each use of the alias, so that a short file could otherwise ask for days of work.
	maxVisits = 50_000

	// maxProblems is where a developer has enough to do; what follows is mostly the same mistake.
	maxProblems = 50
)

// mark is the byte order mark that some editors begin a file with.
var mark = []byte("\ufeff")

// reader walks one appspec and notes what is wrong with it.
type reader struct {
	file     string
	problems []hooks.Problem // at most maxProblems

	more      int  // problems beyond those
	moreFatal bool // one of them is more than a warning

	anchors map[string]*ast.AnchorNode
	visits  int
	merging int // merge keys within merge keys
}

// document turns the text into the one YAML node it holds; nil when it cannot.
func (r *reader) document(src []byte) ast.Node {
	if len(src) > MaxSize {
		r.add(0, 0, false, "is longer than %d bytes: an appspec names scripts and files, it does not hold them", MaxSize)
		return nil
	}
	if bytes.HasPrefix(src, mark) {
		src = src[len(mark):]
		r.add(1, 1, true, "begins with a byte order mark, with which CodeDeploy's agent does not find the second line: save it as UTF-8 without one")
	}
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	src = bytes.ReplaceAll(src, []byte("\r"), []byte("\n")) // YAML's third line end
	if !r.characters(string(src)) {
		return nil
	}
	file, err := parseYAML(string(src))
	if err != nil {
		r.yamlError(err, string(src))
		return nil
	}

	var roots []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.DirectiveType {
			roots = append(roots, doc.Body)
		}
	}
	if len(roots) == 0 || len(roots) == 1 && roots[0].Type() == ast.NullType {
		r.add(0, 0, false, "is empty: it needs at least `version: 0.0` and `os: linux`")
		return nil
	}
	if len(roots) > 1 {
		r.fail(roots[1], "a second YAML document begins before this line: an appspec is one document, remove the `---`")
		return nil
	}
	r.anchors = map[string]*ast.AnchorNode{}
	r.collectAnchors(roots[0])
	return roots[0]
}

// characters refuses what YAML does not allow in a text at all.
func (r *reader) characters(src string) bool {
	line, col := 1, 1
	for i, c := range src {
		switch {
		case c == utf8.RuneError && !strings.HasPrefix(src[i:], "\ufffd"):
			r.add(line, col, false, "is not UTF-8 here (byte 0x%02x): save the file as UTF-8", src[i])
			return false
		case c == '\n':
			line, col = line+1, 0
		case c != '\t' && unicode.IsControl(c):
			r.add(line, col, false, "the control character %U stands here: remove it", c)
			return false
		}
		col++
	}
	return true
}

var (
	errTooDeep = errors.New("too deep")
	errTooMany = fmt.Errorf("has more than %d YAML tokens: an appspec is a short file", maxTokens)
)

// parseYAML parses the text within the limits above. A panic of the YAML library counts as an
// error: whatever a bundle holds, it must not end the agent, which would leave the launch without
// a decision.
func parseYAML(src string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("is not YAML: %v", p)
		}
	}()
	marks := 0
	for i := range len(src) {
		if strings.IndexByte("[]{},:-?&*!#|>'\"%@`\n", src[i]) >= 0 {
			marks++
		}
	}
	if marks > maxMarks {
		return nil, errTooMany
	}
	tokens := lexer.Tokenize(src)
	if len(tokens) > maxTokens {
		return nil, errTooMany
	}
	brackets, run := 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
			run = 0
		case token.SequenceEndType, token.MappingEndType:
			brackets--
			run = 0
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			run++
		default:
			run = 0
		}
		if brackets > maxDepth || run > maxDepth {
			return nil, &yamlError{errTooDeep, tk}
		}
	}
	// Duplicate keys are found by reader.pairs, which knows what they are.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// yamlError is an error of our own at a token.
type yamlError struct {
	error
	tk *token.Token
}

func (e *yamlError) GetMessage() string     { return e.Error() }
func (e *yamlError) GetToken() *token.Token { return e.tk }

// collectAnchors notes every `&name`. It is bounded by maxDepth and by the width of indentation.
func (r *reader) collectAnchors(n ast.Node) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		if _, ok := r.anchors[name]; ok {
			r.fail(n, "the anchor &%s is defined twice: give each its own name", quoteless(name))
		} else {
			r.anchors[name] = n
		}
		r.collectAnchors(n.Value)
	case *ast.TagNode:
		r.collectAnchors(n.Value)
	case *ast.SequenceNode:
		for _, v := range n.Values {
			r.collectAnchors(v)
		}
	case *ast.MappingNode:
		for _, v := range n.Values {
			r.collectAnchors(v.Value)
		}
	case *ast.MappingValueNode:
		r.collectAnchors(n.Value)
	}
}

// resolve follows anchors and aliases to the value itself; nil when there is none, which has been
// reported then.
func (r *reader) resolve(n ast.Node) ast.Node {
	if r.visits++; r.visits > maxVisits {
		if r.visits == maxVisits+1 {
			r.fail(n, "its aliases unfold to more than %d values: write them out", maxVisits)
		}
		return nil
	}
	for range maxDepth {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			name := v.Value.GetToken().Value
			anchor, ok := r.anchors[name]
			if !ok || !before(anchor, v) {
				r.fail(v, "*%[1]s is a YAML alias, and no anchor &%[1]s stands before it: put quotes around text that begins with an asterisk: \"*%[1]s\"", quoteless(name))
				return nil
			}
			n = anchor.Value
		case *ast.TagNode:
			r.fail(v, "YAML tags such as %s are not used in an appspec: remove it", quote(v.GetToken().Value))
			return nil
		default:
			return n
		}
	}
	r.fail(n, "its aliases lead in a circle: write the value out")
	return nil
}

// before reports whether a stands before b in the file.
func before(a, b ast.Node) bool {
	aLine, aCol := position(a)
	bLine, bCol := position(b)
	return aLine < bLine || aLine == bLine && aCol < bCol
}

// position is where the value begins. A block map has its first colon for a token: its first key
// is meant.
func position(n ast.Node) (line, col int) {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			n = v.Values[0].Key
		}
	case *ast.MappingValueNode:
		n = v.Key
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return 0, 0
	}
	at := n.GetToken().Position
	return at.Line, at.Column
}

func (r *reader) fail(n ast.Node, format string, args ...any) {
	line, col := position(n)
	r.add(line, col, false, format, args...)
}

func (r *reader) warn(n ast.Node, format string, args ...any) {
	line, col := position(n)
	r.add(line, col, true, format, args...)
}

func (r *reader) add(line, col int, warning bool, format string, args ...any) {
	if len(r.problems) == maxProblems {
		r.more++
		r.moreFatal = r.moreFatal || !warning
		return
	}
	r.problems = append(r.problems, hooks.Problem{File: r.file, Line: line, Col: col,
		Message: fmt.Sprintf(format, args...), Warning: warning})
}
