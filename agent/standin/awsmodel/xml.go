package awsmodel

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// node is an element of an answer of the Query protocol.
type node struct {
	name, space, text string
	children          []*node
}

// parse reads a whole document into nodes.
func parse(body []byte) (*node, error) {
	root := &node{}
	stack := []*node{root}
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch token := token.(type) {
		case xml.StartElement:
			n := &node{name: token.Name.Local, space: token.Name.Space}
			top.children = append(top.children, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text += string(token)
		}
	}
	if len(root.children) != 1 {
		return nil, errors.New("it is not one element")
	}
	return root.children[0], nil
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// namespaces of the Query services, which their models give.
var namespaces = map[string]string{
	"autoscaling": "http://autoscaling.amazonaws.com/doc/2011-01-01/",
	"sts":         "https://sts.amazonaws.com/doc/2011-06-15/",
}

// xml checks a successful answer of the Query protocol.
func (c *check) xml(name string, op Operation, body []byte) {
	root, err := parse(body)
	if err != nil {
		c.say(name, "the answer is not XML: %v", err)
		return
	}
	if root.name != name+"Response" || root.space != namespaces[c.Service] {
		c.say(name, "the answer is a %s of %q", root.name, root.space)
	}
	if meta := root.child("ResponseMetadata"); meta == nil || meta.child("RequestId") == nil || meta.child("RequestId").text == "" {
		c.say(name, "there is no ResponseMetadata with a RequestId")
	}
	at := name
	if wrapper := op.Output.ResultWrapper; wrapper != "" {
		if root = root.child(wrapper); root == nil {
			c.say(name, "there is no %s", wrapper)
			return
		}
	}
	if op.Output.Shape != "" {
		c.element(at, c.Shapes[op.Output.Shape], name+"Output", root)
	}
}

// element checks an element against a shape; goType is what the SDK calls the shape.
func (c *check) element(at string, s *Shape, goType string, n *node) {
	switch s.Type {
	case "structure":
		if strings.TrimSpace(n.text) != "" {
			c.say(at, "there is text beside the members: %q", n.text)
		}
		had := map[string]bool{}
		for _, child := range n.children {
			if had[child.name] {
				c.say(at, "the member %s is there twice", child.name)
			}
			had[child.name] = true
			ref, ok := c.member(at, s, goType, child.name)
			if !ok {
				continue
			}
			to := c.Shapes[ref.Shape]
			if to.Type == "string" {
				c.documentedAs(at+"."+child.name, c.only(s, child.name, ref), child.text)
			}
			c.element(at+"."+child.name, to, ref.Shape, child)
		}
		c.required(at, s, func(name string) bool { return had[name] })
	case "list":
		c.bounds(at, s, float64(len(n.children)), " elements")
		for _, child := range n.children {
			if child.name != "member" {
				c.say(at, "an element of the list is a %s, not a member", child.name)
			}
			c.element(at+"[]", c.Shapes[s.Member.Shape], s.Member.Shape, child)
		}
	default:
		if len(n.children) > 0 {
			c.say(at, "a %s has elements inside", s.Type)
		}
		c.scalar(at, s, n.text)
	}
}

// only are the documented values of a member that its shape does not give: those are checked with the shape.
func (c *check) only(s *Shape, member string, ref Ref) []string {
	if len(c.Shapes[ref.Shape].values) > 0 {
		return nil
	}
	return c.documented(s.name, member, ref)
}
