package awsmodel

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"usher/agent/standin"
)

// timestamp is ISO 8601 as the Query protocol writes it, in UTC.
var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$`)

// check collects what is wrong with one answer.
type check struct {
	*Model
	wrong []string
}

func (c *check) say(at, format string, args ...any) {
	c.wrong = append(c.wrong, at+": "+fmt.Sprintf(format, args...))
}

// Check says all that is wrong with an answer; nothing when it is as the model has it.
func (m *Model) Check(e standin.Exchange) []string {
	c := &check{Model: m}
	answersChecked.Add(1)
	op, known := m.Operations[e.Op]
	switch {
	case e.ErrorCode != "":
		errorsChecked.Add(1)
		seen.Store(m.Service+"."+e.Op+" "+e.ErrorCode, true)
		c.failure(e, op)
	case !known:
		c.say(e.Op, "the service has no such operation")
	default:
		seen.Store(m.Service+"."+e.Op, true)
		if e.Status != 200 {
			c.say(e.Op, "a success has the status %d", e.Status)
		}
		if m.Service == "codedeploy" {
			c.json(e.Op, op, e.Body)
		} else {
			c.xml(e.Op, op, e.Body)
		}
	}
	return c.wrong
}

// member finds a member of a structure: the model's, or one that only the SDK has.
func (c *check) member(at string, s *Shape, goType, name string) (ref Ref, ok bool) {
	if ref, ok = s.Members[name]; ok {
		return ref, true
	}
	if !c.sdk.fields[goType+"."+upperFirst(name)] {
		c.say(at, "there is no member %s in %s", name, s.name)
	}
	return Ref{}, false
}

// required says which members are missing.
func (c *check) required(at string, s *Shape, has func(string) bool) {
	for _, name := range s.Required {
		if !has(name) {
			c.say(at, "the required member %s of %s is absent", name, s.name)
		}
	}
}

// scalar checks a string, number, boolean or time of the Query protocol, and the strings of JSON.
func (c *check) scalar(at string, s *Shape, text string) {
	var err error
	switch s.Type {
	case "boolean":
		if text != "true" && text != "false" {
			c.say(at, "%q is not a boolean", text)
		}
	case "integer", "long":
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		c.bounds(at, s, float64(n), "")
	case "double", "float":
		_, err = strconv.ParseFloat(text, 64)
	case "timestamp":
		if !timestamp.MatchString(text) {
			c.say(at, "%q is not a time as the Query protocol writes it", text)
		}
	case "string":
		c.text(at, s, text)
	default:
		c.say(at, "a %s is not a %s", "scalar", s.Type)
	}
	if err != nil {
		c.say(at, "%q is not of type %s", text, s.Type)
	}
}

func (c *check) text(at string, s *Shape, text string) {
	c.bounds(at, s, float64(utf8.RuneCountInString(text)), " characters")
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		c.say(at, "%q is none of %s: %s", text, s.name, strings.Join(s.Enum, ", "))
	}
	if s.pattern != nil && !s.pattern.MatchString(text) {
		c.say(at, "%q does not match %s", text, s.Pattern)
	}
	if s.Pattern != "" && strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\r\n\t", r) }) {
		c.say(at, "%q has a control character", text)
	}
	c.documentedAs(at, s.values, text)
}

// documentedAs checks a value against those that are documented, if any are.
func (c *check) documentedAs(at string, values []string, text string) {
	if len(values) == 0 {
		return
	}
	valuesChecked.Add(1)
	if !slices.Contains(values, text) {
		c.say(at, "%q is none of the documented values: %s", text, strings.Join(values, " | "))
	}
}

func (c *check) bounds(at string, s *Shape, n float64, unit string) {
	if s.Min != nil && n < *s.Min {
		c.say(at, "%v%s are less than %v", n, unit, *s.Min)
	}
	if s.Max != nil && n > *s.Max {
		c.say(at, "%v%s are more than %v", n, unit, *s.Max)
	}
}
