//go:build !windows

package appspec

import (
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"usher/hooks"
)

// FuzzParse holds Parse to what its callers rely on, whatever the bytes: it ends, each problem is
// one printable line about a place in the file, and a Spec that is handed out is safe to act on.
// Findings are kept in testdata/fuzz.
func FuzzParse(f *testing.F) {
	for _, cases := range [][]bad{badText, badYAML, badTop, badFiles, badHooks, badPermissions} {
		for _, c := range cases {
			f.Add([]byte(c.in))
			f.Add([]byte(head + c.in))
		}
	}
	f.Add([]byte(head + "\npermissions:\n  - {object: /a, acls: [\"d:u:b:rw\", \"m::7\"], context: {type: t, range: \"s0-s1:c0.c3,c9\"}, except: [a, b*], mode: 4755}\n"))
	f.Add([]byte(head + "\nhooks:\n  AfterInstall: &a\n    - {location: a.sh, timeout: 5, runas: b, sudo: yes}\n  BeforeInstall: *a\n"))

	f.Fuzz(func(t *testing.T, src []byte) {
		spec, problems := Parse("appspec.yml", src)
		again, problemsAgain := Parse("appspec.yml", src)
		if !reflect.DeepEqual(spec, again) || !reflect.DeepEqual(problems, problemsAgain) {
			t.Fatal("two readings differ")
		}
		lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(src)), "\n") + 1 // YAML has three line ends
		fatal := false
		for _, p := range problems {
			fatal = fatal || !p.Warning
			if p.File != "appspec.yml" || p.Message == "" || p.Line < 0 || p.Line > lines || p.Line > 0 && p.Col < 1 {
				t.Errorf("problem %+v in a file of %d lines", p, lines)
			}
			if !utf8.ValidString(p.Message) || strings.ContainsFunc(p.Message, unicode.IsControl) || strings.HasSuffix(p.Message, ".") {
				t.Errorf("message %q is not one plain line", p.Message)
			}
		}
		if fatal == (spec != nil) || len(problems) > maxProblems+1 {
			t.Fatalf("a Spec: %v, with problems %v", spec != nil, problems)
		}
		if spec != nil {
			checkSpec(t, spec)
		}
	})
}

// checkSpec is what the rooms that act on a Spec take for granted.
func checkSpec(t *testing.T, spec *Spec) {
	absolute := func(what, p string) {
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			t.Errorf("%s %q is not absolute and clean", what, p)
		}
	}
	inside := func(what, p string) {
		if !filepath.IsLocal(p) || path.Clean(p) != p || strings.ContainsRune(p, 0) {
			t.Errorf("%s %q is not inside the bundle", what, p)
		}
	}
	for _, f := range spec.Files {
		inside("source", f.Source)
		absolute("destination", f.Destination)
		if f.Line < 1 || f.Col < 1 {
			t.Errorf("file %+v", f)
		}
	}
	for event, scripts := range spec.Hooks {
		if !slices.Contains(hooks.Events, event) {
			t.Errorf("event %q", event)
		}
		for _, h := range scripts {
			inside("location", h.Location)
			if h.Location == "." || h.Timeout < 0 || h.Timeout > MaxTimeout || h.Line < 1 || h.Col < 1 {
				t.Errorf("script %+v", h)
			}
		}
	}
	for _, p := range spec.Permissions {
		absolute("object", p.Object)
		if strings.Contains(p.Owner+p.Group, ":") {
			t.Errorf("permission %+v", p)
		}
		for _, a := range p.ACLs {
			if again, err := parseACE(a.String()); err != nil || again != a {
				t.Errorf("ACL entry %+v is written as %s, which is read as %+v, %v", a, a, again, err)
			}
		}
		for _, name := range []string{"/", p.Object, p.Object + "/x", p.Object + "/x/y", "/etc"} {
			if p.Matches(name, true) && name == p.Object {
				t.Errorf("directory %s matches its own permission", name)
			}
			p.Matches(name, false)
		}
	}
}

// FuzzGlob compares the patterns of permissions with a matcher that tries everything.
func FuzzGlob(f *testing.F) {
	f.Add("*.sh", "a.sh")
	f.Add("a*b*c", "aXbXbXc")
	f.Add("*ab*ab", "Xab")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 24 {
			return // trying everything takes exponential time
		}
		if got, want := glob(pattern, name), !strings.Contains(name, "/") && globSlow(pattern, name); got != want {
			t.Errorf("glob(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}

func globSlow(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if pattern[0] == '*' {
		return globSlow(pattern[1:], name) || name != "" && globSlow(pattern, name[1:])
	}
	return name != "" && name[0] == pattern[0] && globSlow(pattern[1:], name[1:])
}
