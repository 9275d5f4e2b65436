package appspec

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// everything is the pattern of a permission that gives none.
const everything = "**"

// permission reads one entry of permissions.
func (r *reader) permission(n ast.Node, spec *Spec) {
	before := len(r.problems) + r.more
	f := r.fields(n, "an entry of permissions", []string{"object"}, permissionKeys...)
	if f == nil {
		return
	}
	r.need(n, f, "object", "an entry of permissions", "it is the installed file or directory they are for")
	p := Permission{
		Pattern: r.pattern(f),
		Except:  r.except(f),
		Owner:   r.account(f, "owner"),
		Group:   r.account(f, "group"),
		Mode:    r.mode(f),
		ACLs:    r.acls(f),
		Context: r.context(f),
	}
	if n, ok := f["mode"].(*ast.IntegerNode); ok {
		p.LeadingZero = len(n.GetToken().Value) > 1 && n.GetToken().Value[0] == '0'
	}
	p.Files, p.Directories = r.types(f)
	p.Line, p.Col = position(n)
	if s := strings.TrimSpace(r.text(f, "object")); s != "" {
		p.Object = r.fromRoot(f["object"], "object", s)
	}
	if len(r.problems)+r.more == before && !f.any("owner", "group", "mode", "acls", "context") {
		r.warn(n, "this permission sets nothing: give it owner, group, mode, acls or context")
	}
	spec.Permissions = append(spec.Permissions, p)
}

func (r *reader) pattern(f fields) string {
	if empty(f["pattern"]) {
		r.warn(f["pattern"], "pattern is empty and matches nothing: leave it out for everything in object")
		return ""
	}
	p := r.text(f, "pattern")
	if p == "" {
		return everything
	}
	if strings.Contains(p, "/") {
		r.warn(f["pattern"], "pattern %s matches nothing: * and ** cannot be part of a path; name the directory in object, and a file name such as \"*.sh\" here", quote(p))
	}
	return p
}

func (r *reader) except(f fields) []string {
	n := f["except"]
	if n == nil {
		return nil
	}
	values, _ := r.list(n, "except", "`except: [\"*.sh\"]`")
	var names []string
	for _, v := range values {
		if empty(v) {
			r.warn(v, "an entry of except is empty and matches nothing")
			continue
		}
		name := r.textOf(v, "an entry of except")
		if strings.Contains(name, "/") {
			r.warn(v, "except %s matches nothing: it takes names of what lies directly in object, without a path", quote(name))
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// types are the kinds of object the permission is for: both, when it does not say.
func (r *reader) types(f fields) (files, directories bool) {
	n := f["type"]
	if n == nil {
		return true, true
	}
	values, ok := r.list(n, "type", "`type: [file]`")
	if ok && len(values) == 0 {
		r.warn(n, "type is an empty list, and the entry applies to nothing: name file or directory, or leave type out for both")
	}
	for _, v := range values {
		switch t := r.textOf(v, "type"); t {
		case "":
		case "file":
			files = true
		case "directory":
			directories = true
		default:
			r.fail(v, "unknown type %s: it is file or directory", quote(t))
		}
	}
	return files, directories
}

// mode is 1 to 4 octal digits, with or without quotes and a zero in front. The text of the token
// counts: YAML 1.1 would make 420 of 0644, and CodeDeploy does.
func (r *reader) mode(f fields) *fs.FileMode {
	n := f["mode"]
	if n == nil {
		return nil
	}
	s, ok := scalar(n)
	if !ok {
		r.fail(n, "mode must be octal digits, such as 0644, not %s", kind(n))
		return nil
	}
	bits, err := strconv.ParseUint(s, 8, 12)
	if err != nil || len(strings.TrimPrefix(s, "0")) > 4 || strings.Trim(s, "01234567") != "" {
		r.fail(n, "mode %s must be 1 to 4 octal digits, such as 0644", quote(s))
		return nil
	}
	m := fs.FileMode(bits) & fs.ModePerm
	for _, special := range []struct {
		bit  uint64
		flag fs.FileMode
	}{{04000, fs.ModeSetuid}, {02000, fs.ModeSetgid}, {01000, fs.ModeSticky}} {
		if bits&special.bit != 0 {
			m |= special.flag
		}
	}
	return &m
}

// Matches reports whether the permission is for the path, the absolute destination of an installed
// file, or with dir of a directory that this deployment made. The rules are CodeDeploy's, by its
// own code:
//
//   - Object itself matches when it is a file, never when it is a directory: a permission on a
//     directory is for what lies in it. CheckFile says whether pattern and except allow it.
//   - The pattern ** matches everything below Object, at any depth.
//   - Any other pattern matches names directly in Object. Its * stands for any number of
//     characters but /, a leading dot included; everything else stands for itself.
//   - Except works like a pattern, so it too is for names directly in Object, even beside **.
func (p Permission) Matches(path string, dir bool) bool {
	if dir && !p.Directories || !dir && !p.Files {
		return false
	}
	path = strings.TrimSuffix(path, "/")
	if path == p.Object {
		return !dir
	}
	name, below := strings.CutPrefix(path, strings.TrimSuffix(p.Object, "/")+"/")
	if !below || p.Object == "" || name == "" {
		return false
	}
	if p.Pattern != everything && !glob(p.Pattern, name) {
		return false
	}
	for _, e := range p.Except {
		if glob(e, name) {
			return false
		}
	}
	return true
}

// CheckFile is why CodeDeploy refuses to give these permissions to the installed file at path, for
// which Matches is true; nil when it does not. Whether Object is a file shows only at install, so
// Parse cannot say it.
func (p Permission) CheckFile(path string) error {
	if path == p.Object && (p.Pattern != everything || len(p.Except) > 0) {
		return fmt.Errorf("cannot set permissions of %s: it is a file, and pattern and except are for directories: remove them", path)
	}
	for _, ace := range p.ACLs {
		if ace.Default {
			return fmt.Errorf("cannot set permissions of %s: it is a file, and the default ACL entry %s is for directories: add `type: [directory]`", path, ace)
		}
	}
	return nil
}

// glob reports whether the pattern matches the whole name, which must be a single name.
func glob(pattern, name string) bool {
	if strings.Contains(name, "/") {
		return false
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	rest, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, last); !ok {
		return false
	}
	// Between the ends, each part as far left as it fits leaves the most room for the next.
	for _, part := range parts[1 : len(parts)-1] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return true
}
