package awsmodel

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// Documentation text, of two makers: botocore's HTML and the doc comments of the SDK for Go.

var (
	paragraph = regexp.MustCompile(`(?s)<p>(.*?)</p>`)
	codeMark  = regexp.MustCompile(`<code>(.*?)</code>`)
	listing   = regexp.MustCompile(`(?i)(?:the )?valid values(?: are)?:?\s`)
	sentence  = regexp.MustCompile(`(?s)^(.*?)(?: ?\.(?:\s|$)|$)`)
	spoken    = regexp.MustCompile(`(?s)^[A-Za-z_-]+ ?(?:\(default\))?(?:, (?:and )?| and )`)
	word      = regexp.MustCompile(`^[A-Za-z0-9_:-]+$`)
)

// documented are the values that the documentation of a member lists; nil when it lists none.
func (m *Model) documented(shape, member string, ref Ref) []string {
	return merged(inHTML(ref.Documentation), inText(m.sdk.docs[m.sdk.structs[shape]+"."+upperFirst(member)]))
}

// inHTML finds "Valid values: <code>A</code> | <code>B</code>" and "The valid values are <code>A</code>, …".
func inHTML(doc string) (values []string) {
	for _, p := range paragraph.FindAllStringSubmatch(doc, -1) {
		at := listing.FindStringIndex(p[1])
		if at == nil {
			continue
		}
		rest := p[1][at[1]:]
		if !strings.HasPrefix(strings.TrimSpace(rest), "<code>") {
			continue
		}
		if !strings.Contains(rest, " | ") {
			rest = sentence.FindStringSubmatch(rest)[1]
		}
		for _, c := range codeMark.FindAllStringSubmatch(rest, -1) {
			values = append(values, c[1])
		}
	}
	return few(values)
}

// inText finds "Valid values: A | B" and "The valid values are A , B , and C ."
func inText(doc string) (values []string) {
	for _, p := range strings.Split(doc, "\n\n") {
		p = strings.ReplaceAll(p, "\n", " ")
		at := listing.FindStringIndex(p)
		if at == nil {
			continue
		}
		rest := p[at[1]:]
		split := "|"
		if !strings.Contains(rest, " | ") {
			if !spoken.MatchString(strings.ReplaceAll(rest, " ,", ",")) {
				continue
			}
			rest, split = strings.ReplaceAll(sentence.FindStringSubmatch(rest)[1], " and ", " , "), ","
		}
		for _, v := range strings.Split(rest, split) {
			v = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "(default)"))
			if word.MatchString(v) {
				values = append(values, v)
			}
		}
	}
	return few(values)
}

// few is the list, or nothing: one value alone is no list of values.
func few(values []string) []string {
	if len(values) < 2 {
		return nil
	}
	return values
}

// sdk is what the SDK for Go says of a service.
type sdk struct {
	enums   map[string][]string // by type
	docs    map[string]string   // by TYPE.FIELD
	structs map[string]string   // botocore's shape to the SDK's type; the identity where it is not here
	fields  map[string]bool     // TYPE.FIELD that are there
	errors  map[string]bool     // "OP CODE": what the client of an operation takes for its errors
}

// loadSDK reads the source of the service's client, the version of go.mod.
func loadSDK(service string) (*sdk, error) {
	_, here, _, _ := runtime.Caller(0)
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/"+service)
	list.Dir = filepath.Dir(here) // the S3 server of other tests moves the process
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the SDK's source of %s: %w", service, err)
	}
	dir := strings.TrimSpace(string(out))
	s := &sdk{enums: map[string][]string{}, docs: map[string]string{}, structs: map[string]string{}, fields: map[string]bool{}, errors: map[string]bool{}}
	files, err := filepath.Glob(filepath.Join(dir, "types", "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("cannot find the SDK's types of %s in %s: %v", service, dir, err)
	}
	if err := s.readErrors(filepath.Join(dir, "deserializers.go")); err != nil {
		return nil, err
	}
	ops, _ := filepath.Glob(filepath.Join(dir, "api_op_*.go"))
	for _, file := range append(files, ops...) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("cannot read the SDK's source: %w", err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				s.read(g)
			}
		}
	}
	return s, nil
}

var (
	errorsOf = regexp.MustCompile(`^func \w+_deserializeOpError(\w+)\(`)
	oneError = regexp.MustCompile(`^\tcase strings\.EqualFold\("([^"]+)", errorCode\)`)
)

// readErrors reads which errors each operation has to the client.
func (s *sdk) readErrors(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the SDK's source: %w", err)
	}
	op := ""
	for line := range strings.Lines(string(text)) {
		if m := errorsOf.FindStringSubmatch(line); m != nil {
			op = m[1]
		}
		if m := oneError.FindStringSubmatch(line); m != nil {
			s.errors[op+" "+m[1]] = true
		}
	}
	return nil
}

func (s *sdk) read(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.ValueSpec:
			id, ok := spec.Type.(*ast.Ident)
			if !ok || len(spec.Values) != 1 {
				continue
			}
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				v, _ := strconv.Unquote(lit.Value)
				s.enums[id.Name] = append(s.enums[id.Name], v)
			}
		case *ast.TypeSpec:
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			s.structs[spec.Name.Name] = spec.Name.Name
			for _, field := range st.Fields.List {
				for _, name := range field.Names {
					s.fields[spec.Name.Name+"."+name.Name] = true
					s.docs[spec.Name.Name+"."+name.Name] = field.Doc.Text()
				}
			}
		}
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
