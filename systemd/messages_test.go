package systemd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every message has an ID of its own, of the form sd-id128(3) asks for, and a comment that says when it is
// logged and what to do.
func TestMessageIDs(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "messages.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[0-9a-f]{32}$`)
	names := make(map[string]string) // by ID
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		name := spec.Names[0].Name
		id, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		switch {
		case err != nil:
			t.Errorf("%s is not a string", name)
		case !strings.HasPrefix(name, "Message"):
			t.Errorf("%s does not start with Message", name)
		case !form.MatchString(id):
			t.Errorf("%s = %q is not 32 lower-case hexadecimal digits", name, id)
		case names[id] != "":
			t.Errorf("%s and %s have one ID", name, names[id])
		case !strings.HasPrefix(spec.Doc.Text(), name+": "):
			t.Errorf("%s has no comment of its own", name)
		}
		names[id] = name
		return false
	})
	if len(names) < 20 {
		t.Errorf("found %d messages only: is this test looking at the right file?", len(names))
	}
}
