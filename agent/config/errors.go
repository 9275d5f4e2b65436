package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"usher/hooks"
)

// invalidValue is a value that cannot be used. It may be corrected at any of the paths.
type invalidValue struct {
	message string
	paths   []string
}

func (v invalidValue) Error() string { return v.message }

// Invalid is the error of a value that cannot be used, in a YAML file that usher reads. It stands at a path, such as
// keep_releases or environments.production.bucket, and may be corrected at any of the paths: Locate finds the first that the
// file has.
func Invalid(message string, paths ...string) error { return invalidValue{message, paths} }

// invalid is the error of the value of a key of agent.yml.
func invalid(key, format string, args ...any) error {
	return Invalid(key+fmt.Sprintf(format, args...), key)
}

// Locate is an error about a YAML file, which has this text, as one line in the form that editors understand,
// file:line:col: message, and in plain words. shape are the structs that the file was read into: that of the file, and when its
// values are structs too, that of these.
func Locate(file string, text []byte, err error, shape ...reflect.Type) string {
	if v, ok := errors.AsType[invalidValue](err); ok {
		for _, path := range v.paths {
			if tk := valueAt(text, path); tk != nil {
				return at(file, tk, v.message)
			}
		}
		for path := v.paths[0]; path != ""; path = parent(path) { // it is missing: from what
			if tk := keyAt(text, path); tk != nil {
				return at(file, tk, v.message)
			}
		}
		return file + ": " + v.message
	}
	if located, ok := errors.AsType[yaml.Error](err); ok {
		return at(file, located.GetToken(), translate(located, shape))
	}
	for f := range shape[0].Fields() { // the library has no place for a duration that is none
		key := f.Tag.Get("yaml")
		if tk := valueAt(text, key); tk != nil && f.Type == reflect.TypeFor[time.Duration]() {
			if _, err := time.ParseDuration(tk.Value); err != nil {
				return at(file, tk, typeHint(key, f.Type, tk))
			}
		}
	}
	return file + ": " + oneLine(err.Error())
}

// translate says in the words of the file's author what the YAML library says in its own.
func translate(err yaml.Error, shape []reflect.Type) string {
	tk := err.GetToken()
	switch e := err.(type) {
	case *yaml.UnknownFieldError:
		keys := keysOf(around(tk, shape))
		if near := hooks.Closest(tk.Value, keys); near != "" {
			return fmt.Sprintf("unknown key %q: did you mean %s?", tk.Value, near)
		}
		return fmt.Sprintf("unknown key %q: the keys here are %s", tk.Value, strings.Join(keys, ", "))
	case *yaml.UnexpectedNodeTypeError:
		return "this must be lines `key: value`"
	case *yaml.OverflowError:
		return fmt.Sprintf("%s is too large a number", e.SrcNum)
	case *yaml.TypeError:
		if colon := tk.Prev; colon != nil && colon.Prev != nil { // e names the outermost field, which may be another
			if kind, ok := field(colon.Prev.Value, shape); ok {
				return typeHint(colon.Prev.Value, kind, tk)
			}
		}
	case *yaml.SyntaxError:
		switch message := err.GetMessage(); {
		case strings.Contains(message, "\t"):
			return "a tab stands in the indentation, which YAML does not allow: use spaces"
		case strings.Contains(message, "already defined"):
			return fmt.Sprintf("%q is given twice", tk.Value)
		case strings.Contains(message, "sequence end token"):
			return "this [ is never closed with ]"
		}
	}
	return oneLine(err.GetMessage())
}

// around is the type of what a key stands in: what a key above it is read into, or else the last of shape.
func around(tk *token.Token, shape []reflect.Type) reflect.Type {
	if tk.Position == nil || tk.Position.Column <= 1 {
		return shape[0]
	}
	for colon := tk.Prev; colon != nil && colon.Prev != nil; colon = colon.Prev {
		if key := colon.Prev; colon.Type == token.MappingValueType && key.Position.Column < tk.Position.Column {
			f, known := field(key.Value, shape)
			if known && f.Kind() == reflect.Struct {
				return f
			}
			if !known {
				break
			}
		}
	}
	return shape[len(shape)-1]
}

// field is the type of the field that a key is read into.
func field(key string, shape []reflect.Type) (reflect.Type, bool) {
	for _, kind := range shape {
		for f := range kind.Fields() {
			if f.Tag.Get("yaml") == key {
				return f.Type, true
			}
		}
	}
	return nil, false
}

// typeHint says what a key wants.
func typeHint(key string, kind reflect.Type, tk *token.Token) string {
	want := "text"
	switch {
	case kind == reflect.TypeFor[time.Duration]():
		want = "a duration such as 90s, 30m or 1h30m"
	case kind.Kind() == reflect.Int, kind.Kind() == reflect.Int64:
		want = "a whole number"
	case kind.Kind() == reflect.Bool:
		want = "true or false"
	}
	if tk.Type == token.SequenceStartType || tk.Type == token.MappingStartType {
		return fmt.Sprintf("%s must be %s", key, want)
	}
	return fmt.Sprintf("%s is %s: it must be %s", key, tk.Value, want)
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

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// keysOf are the keys of a struct as the file writes them.
func keysOf(kind reflect.Type) (keys []string) {
	for f := range kind.Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// Keys are the keys of agent.yml, in the order of the struct.
func Keys() []string { return keysOf(reflect.TypeFor[Config]()) }
