package awsmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// json checks a successful answer of JSON 1.1.
func (c *check) json(name string, op Operation, body []byte) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		c.say(name, "the answer is not JSON: %v", err)
		return
	}
	if op.Output.Shape == "" {
		if m, ok := v.(map[string]any); !ok || len(m) > 0 {
			c.say(name, "there is no output, and the answer has one")
		}
		return
	}
	c.value(name, c.Shapes[op.Output.Shape], name+"Output", v)
}

// value checks a value against a shape; goType is what the SDK calls the shape.
func (c *check) value(at string, s *Shape, goType string, v any) {
	switch s.Type {
	case "structure":
		fields, ok := v.(map[string]any)
		if !ok {
			c.say(at, "%v is not an object", v)
			return
		}
		for name, value := range fields {
			ref, ok := c.member(at, s, goType, name)
			if !ok {
				continue
			}
			to := c.Shapes[ref.Shape]
			if text, ok := value.(string); ok {
				c.documentedAs(at+"."+name, c.only(s, name, ref), text)
			}
			c.value(at+"."+name, to, ref.Shape, value)
		}
		c.required(at, s, func(name string) bool { _, ok := fields[name]; return ok })
	case "list":
		items, ok := v.([]any)
		if !ok {
			c.say(at, "%v is not a list", v)
			return
		}
		c.bounds(at, s, float64(len(items)), " elements")
		for _, item := range items {
			c.value(at+"[]", c.Shapes[s.Member.Shape], s.Member.Shape, item)
		}
	case "map":
		fields, ok := v.(map[string]any)
		if !ok {
			c.say(at, "%v is not an object", v)
			return
		}
		for key, value := range fields {
			c.scalar(at+" key", c.Shapes[s.Key.Shape], key)
			c.value(at+"."+key, c.Shapes[s.Value.Shape], s.Value.Shape, value)
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			c.say(at, "%v is not a boolean", v)
		}
	case "timestamp", "integer", "long", "double", "float": // a time is seconds since 1970, a number
		n, ok := v.(json.Number)
		if !ok {
			c.say(at, "%q is not a number", fmt.Sprint(v))
			return
		}
		if s.Type == "integer" || s.Type == "long" {
			c.scalar(at, s, n.String())
		}
	case "string":
		text, ok := v.(string)
		if !ok {
			c.say(at, "%v is not a string", v)
			return
		}
		c.scalar(at, s, text)
	default:
		c.say(at, "a %s is not known here", s.Type)
	}
}
