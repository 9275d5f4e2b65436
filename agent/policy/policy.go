package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Policy is an IAM policy, as AWS writes one.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    List
	Resource  List
	Condition map[string]map[string]string `json:",omitempty"`
}

// List is written as a string when it is of one.
type List []string

// MarshalJSON writes a list of one as a string.
func (l List) MarshalJSON() ([]byte, error) {
	if len(l) == 1 {
		return json.Marshal(l[0])
	}
	return json.Marshal([]string(l))
}

// For is the least policy that lets a side make all its calls: one statement for each purpose and kind of resource.
func For(side Side, names Names) Policy {
	p := Policy{Version: "2012-10-17"}
	type place struct{ sid, on string }
	at := map[place]int{}
	for _, c := range calls[side] {
		for _, n := range c.needs {
			resources := names.resources(n.on)
			if len(resources) == 0 {
				continue // no key
			}
			here := place{c.sid, n.on}
			if n.on == onKey {
				here.sid = "Key"
			}
			i, ok := at[here]
			if !ok {
				i = len(p.Statement)
				at[here] = i
				p.Statement = append(p.Statement, Statement{Sid: here.sid, Effect: "Allow", Resource: resources, Condition: names.condition(n.on)})
			}
			if s := &p.Statement[i]; !slices.Contains(s.Action, n.action) {
				s.Action = append(s.Action, n.action)
			}
		}
	}
	p.number()
	return p
}

// condition limits the use of a key to S3's.
func (n Names) condition(kind string) map[string]map[string]string {
	if kind != onKey || n.Region == "" {
		return nil
	}
	return map[string]map[string]string{"StringEquals": {"kms:ViaService": "s3." + n.Region + "." + n.domain()}}
}

// number gives every statement a Sid of its own, as IAM demands.
func (p *Policy) number() {
	seen := map[string]int{}
	for i := range p.Statement {
		s := &p.Statement[i]
		seen[s.Sid]++
		if n := seen[s.Sid]; n > 1 {
			s.Sid = fmt.Sprintf("%s%d", s.Sid, n)
		}
	}
}

// JSON is the policy as a document, with a line for each key and for each statement's actions and resources.
func (p Policy) JSON() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"Version\": %q,\n  \"Statement\": [\n", p.Version)
	for i, s := range p.Statement {
		line := func(name string, v any, end string) error {
			text, err := encode(v)
			if err == nil {
				fmt.Fprintf(&b, "     %q: %s%s\n", name, text, end)
			}
			return err
		}
		fmt.Fprintf(&b, "    {%s: %q, %s: %q,\n", `"Sid"`, s.Sid, `"Effect"`, s.Effect)
		err := line("Action", s.Action, ",")
		end := "}"
		if i < len(p.Statement)-1 {
			end = "},"
		}
		if err == nil && s.Condition != nil {
			if err = line("Resource", s.Resource, ","); err == nil {
				err = line("Condition", s.Condition, end)
			}
		} else if err == nil {
			err = line("Resource", s.Resource, end)
		}
		if err != nil {
			return "", fmt.Errorf("cannot write the policy: %w", err)
		}
	}
	b.WriteString("  ]\n}\n")
	return b.String(), nil
}

// encode is a value in JSON on one line, with a blank after every comma and colon of a list or an object.
func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	text := strings.TrimSpace(b.String())
	return strings.NewReplacer(`","`, `", "`, `":"`, `": "`, `":{`, `": {`).Replace(text), nil
}
