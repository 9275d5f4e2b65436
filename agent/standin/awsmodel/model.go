package awsmodel

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// folders are where python3-botocore has its models: Debian's package first.
var folders = []string{"/usr/lib/python3/dist-packages/botocore/data", "/usr/local/lib/python3/dist-packages/botocore/data"}

// Model is one service, as botocore describes it.
type Model struct {
	Service    string
	Operations map[string]Operation
	Shapes     map[string]*Shape

	sdk *sdk
}

// Operation is a call: the shapes of its input and output ("" for none), and of its errors.
type Operation struct {
	Input, Output Ref
	Errors        []Ref
}

// Ref is a use of a shape: a member, an element, an input.
type Ref struct {
	Shape         string
	ResultWrapper string
	LocationName  string
	Documentation string // HTML
}

// Shape is a type of the service.
type Shape struct {
	Type     string
	Members  map[string]Ref
	Member   *Ref // of a list
	Key      *Ref // of a map
	Value    *Ref
	Required []string
	Enum     []string
	Min, Max *float64
	Pattern  string
	Error    struct {
		Code           string
		HTTPStatusCode int
	}
	Fault bool

	name    string
	values  []string // documented: nil: none are
	pattern *regexp.Regexp
}

// beyond are words that a service answers though its enumerations lack them, because they cannot be asked for: by the
// member whose documentation says so. They count only while it does.
var beyond = map[string]string{"MinimumHealthyHosts.type": "MOST_CONCURRENCY"}

// load reads a service's model, and what its documentation and the SDK add.
func load(service, folder string) (*Model, error) {
	m := &Model{Service: service}
	var text []byte
	err := fmt.Errorf("there are no models in %s: install python3-botocore", strings.Join(folders, ", "))
	for _, at := range folders {
		b, failed := os.ReadFile(filepath.Join(at, folder, "service-2.json"))
		if failed == nil {
			text, err = b, nil
			break
		}
	}
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the model of %s: %w", service, err)
	}
	if m.sdk, err = loadSDK(service); err != nil {
		return nil, err
	}
	for name, s := range m.Shapes {
		s.name = name
		s.Enum = merged(s.Enum, m.sdk.enums[name])
		if s.Pattern != "" && !strings.Contains(s.Pattern, `\u`) { // the others forbid control characters only: see control
			s.pattern = regexp.MustCompile("^(?:" + s.Pattern + ")$")
		}
	}
	m.document()
	return m, nil
}

// merged is the union of two lists, nil when both are empty; an enumeration that botocore lacks stays free.
func merged(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// document collects what the documentation of every member says: the words beyond an enumeration, and documented values. Where a shape has no constraint of its own, and so says
// nothing but what the string is, what one of its members documents holds for all: LifecycleTransition.
func (m *Model) document() {
	byShape := map[string][]string{}
	for name, s := range m.Shapes {
		for member, ref := range s.Members {
			if extra := beyond[name+"."+member]; extra != "" && strings.Contains(ref.Documentation, extra) {
				m.Shapes[ref.Shape].Enum = merged(m.Shapes[ref.Shape].Enum, []string{extra})
			}
			values := m.documented(name, member, ref)
			if to := m.Shapes[ref.Shape]; len(values) > 0 && to.Type == "string" && to.Max == nil && to.Pattern == "" {
				byShape[ref.Shape] = merged(byShape[ref.Shape], values)
			}
		}
	}
	for name, values := range byShape {
		m.Shapes[name].values = values
	}
}

// Values are the documented values of a member of a shape; nil when none are documented.
func (m *Model) Values(shape, member string) []string {
	ref := m.Shapes[shape].Members[member]
	return merged(m.Shapes[ref.Shape].values, m.documented(shape, member, ref))
}

// InputOf is the shape of an operation's input; nil when it takes none.
func (m *Model) InputOf(op string) *Shape { return m.Shapes[m.Operations[op].Input.Shape] }

// Name is the shape's.
func (s *Shape) Name() string { return s.name }

// codeOf is the error code of an error's shape, and its HTTP status.
func (m *Model) codeOf(name string) (code string, status int) {
	s := m.Shapes[name]
	code, status = name, 400
	if s.Fault {
		status = 500
	}
	if s.Error.Code != "" {
		code = s.Error.Code
	}
	if s.Error.HTTPStatusCode != 0 {
		status = s.Error.HTTPStatusCode
	}
	return code, status
}
