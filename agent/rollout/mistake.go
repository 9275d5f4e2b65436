package rollout

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"usher/hooks"
)

// mistake is a value in usher.yml that cannot be used, at a path such as environments.production.bucket.
type mistake struct {
	path    string
	message string
}

func (m mistake) Error() string { return m.message }

// explainFile is an error about a file, which has this text, as one line in the form that editors understand.
func explainFile(file string, text []byte, err error) string {
	if m, ok := errors.AsType[mistake](err); ok {
		tk := valueAt(text, m.path)
		for path := m.path; tk == nil && path != ""; path = parent(path) { // it is missing: in what
			tk = keyAt(text, path)
		}
		return at(file, tk, m.message)
	}
	located, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return file + ": " + inOneLine(err.Error())
	}
	return at(file, located.GetToken(), plainly(located))
}

// plainly says in the words of the file's author what the YAML library says in its own.
func plainly(err yaml.Error) string {
	tk := err.GetToken()
	switch e := err.(type) {
	case *yaml.UnknownFieldError:
		keys := keysOf(reflect.TypeFor[contents]())
		if tk != nil && tk.Position != nil && tk.Position.Column > 1 {
			keys = keysOf(reflect.TypeFor[settings]())
		}
		if near := hooks.Closest(tk.Value, keys); near != "" {
			return fmt.Sprintf("unknown key %q: did you mean %s?", tk.Value, near)
		}
		return fmt.Sprintf("unknown key %q: the keys here are %s", tk.Value, strings.Join(keys, ", "))
	case *yaml.UnexpectedNodeTypeError:
		return "this must be lines `key: value`"
	case *yaml.TypeError:
		if e.DstType != nil && e.DstType.Kind() == reflect.Bool {
			return fmt.Sprintf("%s must be true or false", tk.Value)
		}
		return fmt.Sprintf("%s must be text: put it in quotes", tk.Value)
	case *yaml.SyntaxError:
		switch message := err.GetMessage(); {
		case strings.Contains(message, "\t"):
			return "a tab stands in the indentation, which YAML does not allow: use spaces"
		case strings.Contains(message, "already defined"):
			return fmt.Sprintf("%q is given twice", tk.Value)
		}
	}
	return inOneLine(err.GetMessage())
}

func at(file string, tk *token.Token, message string) string {
	if tk == nil || tk.Position == nil {
		return file + ": " + message
	}
	return fmt.Sprintf("%s:%d:%d: %s", file, tk.Position.Line, tk.Position.Column, message)
}

// parent is the path one key shorter, "" for the top.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i]
	}
	return ""
}

// valueAt is where the word at a path of a YAML text is, nil when there is none.
func valueAt(text []byte, path string) *token.Token {
	if value, ok := nodeAt(text, path).(ast.ScalarNode); ok && value.Type() != ast.NullType {
		return value.GetToken()
	}
	return nil
}

// keyAt is where the last key of a path stands in a YAML text, nil when it is not there.
func keyAt(text []byte, path string) *token.Token {
	within, ok := nodeAt(text, parent(path)).(*ast.MappingNode)
	if !ok {
		return nil
	}
	for _, v := range within.Values {
		if key := v.Key.GetToken(); key.Value == path[strings.LastIndexByte(path, '.')+1:] {
			return key
		}
	}
	return nil
}

// nodeAt is what a YAML text has at a path, nil for nothing.
func nodeAt(text []byte, path string) ast.Node {
	p, err := yaml.PathString(strings.TrimSuffix("$."+path, "."))
	if err != nil {
		return nil
	}
	node, err := p.ReadNode(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	return node
}

func inOneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
