package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"usher/hooks"
)

// Mistakes in the configuration file are said as an editor understands them, file:line:col: message, and
// with what is right.

// mistake is a value that cannot be used. keys are those it may be corrected at.
type mistake struct {
	keys    []string
	message string
}

func (m mistake) Error() string { return m.message }

// mistaken makes a mistake in the value of a key.
func mistaken(key, format string, args ...any) error {
	return mistake{[]string{key}, key + fmt.Sprintf(format, args...)}
}

// explain is an error about the configuration file, which has this text, as one line.
func explain(file string, text []byte, err error) string {
	if m, ok := errors.AsType[mistake](err); ok {
		for _, key := range m.keys {
			if tk := valueOf(text, key); tk != nil {
				return at(file, tk, m.message)
			}
		}
		return file + ": " + m.message
	}
	located, ok := errors.AsType[yaml.Error](err)
	if !ok { // the library has no place for a duration that is none
		for _, key := range []string{"hold_for", "patience", "drift_repair"} {
			if tk := valueOf(text, key); tk != nil {
				if _, err := time.ParseDuration(tk.Value); err != nil {
					return at(file, tk, wanted(key, reflect.TypeFor[time.Duration](), tk))
				}
			}
		}
		return file + ": " + oneLine(err.Error())
	}
	return at(file, located.GetToken(), plainly(located))
}

// plainly says in the words of this file's author what the YAML library says in its own.
func plainly(err yaml.Error) string {
	tk := err.GetToken()
	switch e := err.(type) {
	case *yaml.UnknownFieldError:
		if near := hooks.Closest(tk.Value, configKeys()); near != "" {
			return fmt.Sprintf("unknown key %q: did you mean %s?", tk.Value, near)
		}
		return fmt.Sprintf("unknown key %q: the keys are %s", tk.Value, strings.Join(configKeys(), ", "))
	case *yaml.UnexpectedNodeTypeError:
		return "the file must consist of lines `key: value`"
	case *yaml.OverflowError:
		return fmt.Sprintf("%s is too large a number", e.SrcNum)
	case *yaml.TypeError:
		if e.StructFieldName != nil {
			name := (*e.StructFieldName)[strings.LastIndex(*e.StructFieldName, ".")+1:]
			if f, ok := reflect.TypeFor[Config]().FieldByName(name); ok {
				return wanted(f.Tag.Get("yaml"), f.Type, tk)
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

// wanted says what a key wants.
func wanted(key string, kind reflect.Type, tk *token.Token) string {
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

// valueOf is where the value of a key begins in a YAML text, nil when the key is not there.
func valueOf(text []byte, key string) *token.Token {
	path, err := yaml.PathString("$." + key)
	if err != nil {
		return nil
	}
	node, err := path.ReadNode(bytes.NewReader(text))
	if err != nil || node == nil {
		return nil
	}
	return node.GetToken()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func configKeys() (keys []string) {
	for f := range reflect.TypeFor[Config]().Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}
