package appspec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ACE is one entry of a POSIX access control list.
type ACE struct {
	Default bool   // of a directory: what is made in it later inherits the entry
	Tag     byte   // 'u' user, 'g' group, 'm' mask, 'o' other
	Name    string // user or group; "" for the base entries and the mask
	Perm    uint8  // 4 read, 2 write, 1 execute
}

// String is the entry as setfacl takes it: default:user:deploy:rw-
func (a ACE) String() string {
	s := map[byte]string{'u': "user", 'g': "group", 'm': "mask", 'o': "other"}[a.Tag] + ":" + a.Name + ":"
	if a.Default {
		s = "default:" + s
	}
	for i, c := range "rwx" {
		if a.Perm&(4>>i) != 0 {
			s += string(c)
		} else {
			s += "-"
		}
	}
	return s
}

// Context is an SELinux context. Its role is always object_r, the role of files.
type Context struct {
	Name  string // SELinux user; "" for system_u, semanage's default
	Type  string
	Range string // "" for s0, semanage's default
}

// String is the whole context: user:object_r:type:range
func (c Context) String() string {
	user, level := c.Name, c.Range
	if user == "" {
		user = "system_u"
	}
	if level == "" {
		level = "s0"
	}
	return user + ":object_r:" + c.Type + ":" + level
}

// acls reads the ACL of a permission.
func (r *reader) acls(f fields) []ACE {
	n := f["acls"]
	if n == nil {
		return nil
	}
	values, ok := r.list(n, "acls", "`- \"u:deploy:rw\"`")
	if !ok {
		return nil
	}
	aces := []ACE{}
	seen := map[ACE]bool{}
	for _, v := range values {
		s := r.textOf(v, "an entry of acls")
		if s == "" {
			continue
		}
		ace, err := parseACE(s)
		if err != nil {
			r.fail(v, "ACL entry %s: %s", quote(s), err)
			continue
		}
		whose := ace
		whose.Perm = 0
		if seen[whose] {
			r.fail(v, "ACL entry %s: there is an entry for the same user, group or mask already", quote(s))
		}
		seen[whose] = true
		aces = append(aces, ace)
	}
	return aces
}

var tags = map[string]byte{"u": 'u', "user": 'u', "g": 'g', "group": 'g', "m": 'm', "mask": 'm', "o": 'o', "other": 'o'}

var errACE = errors.New("must be [default:][user:|group:]NAME:PERMISSIONS or [default:]mask::PERMISSIONS, such as u:deploy:rw")

// parseACE reads one entry: [d|default:][u|g|m|o|user|group|mask|other:][NAME:]PERMISSIONS. Without
// a tag, a name is a user's.
func parseACE(s string) (ACE, error) {
	parts := strings.Split(s, ":")
	perm, err := parsePerm(parts[len(parts)-1])
	if len(parts) < 2 || len(parts) > 4 {
		return ACE{}, errACE
	}
	if err != nil {
		return ACE{}, err
	}
	a := ACE{Perm: perm}
	parts = parts[:len(parts)-1]
	if len(parts) > 1 && (parts[0] == "d" || parts[0] == "default") {
		a.Default = true
		parts = parts[1:]
	}
	switch len(parts) {
	case 1: // NAME, or the tag of the two kinds that have no name, or nothing: the owner
		switch tag := tags[parts[0]]; {
		case tag == 'm' || tag == 'o':
			a.Tag = tag
		case tag != 0 || parts[0] == "d" || parts[0] == "default":
			// CodeDeploy takes these for a user of that name: never what was meant.
			return ACE{}, fmt.Errorf("names nobody: for a user called %[1]s write user:%[1]s:PERMISSIONS", parts[0])
		default:
			a.Tag, a.Name = 'u', parts[0]
		}
	case 2:
		a.Tag, a.Name = tags[parts[0]], parts[1]
		if a.Tag == 0 {
			return ACE{}, errACE
		}
		if (a.Tag == 'm' || a.Tag == 'o') && a.Name != "" {
			return ACE{}, errors.New("mask and other take no name")
		}
	default:
		return ACE{}, errACE
	}
	if strings.ContainsAny(a.Name, " \t,/") {
		return ACE{}, fmt.Errorf("%s cannot be a name", quote(a.Name))
	}
	if !a.Default && a.Name == "" && a.Tag != 'm' {
		return ACE{}, errors.New("sets the permissions of owner, group or others: use mode for those")
	}
	return a, nil
}

// parsePerm reads one octal digit, or up to three of r, w, x and -, each letter once, in any order.
func parsePerm(s string) (uint8, error) {
	if len(s) == 1 && s[0] >= '0' && s[0] <= '7' {
		return s[0] - '0', nil
	}
	err := fmt.Errorf("permissions %s must be one digit from 0 to 7, or letters such as rw- or r-x", quote(s))
	if s == "" || len(s) > 3 {
		return 0, err
	}
	var perm uint8
	for _, c := range s {
		if c == '-' {
			continue
		}
		bit := map[rune]uint8{'r': 4, 'w': 2, 'x': 1}[c]
		if bit == 0 || perm&bit != 0 {
			return 0, err
		}
		perm |= bit
	}
	return perm, nil
}

// context reads the SELinux context of a permission.
func (r *reader) context(f fields) *Context {
	n := f["context"]
	if n == nil {
		return nil
	}
	// AWS documents the key as `user` and its agent reads `name`: both are taken.
	c := r.fields(n, "context", nil, "name", "user", "type", "range", "role")
	if c == nil {
		return nil
	}
	if c.any("name") && c.any("user") {
		r.fail(c["user"], "user and name are the same in context: give one")
		return nil
	}
	if c.any("role") {
		r.warn(c["role"], "role of context is ignored, here and by CodeDeploy: it is always object_r")
	}
	r.need(n, c, "type", "context", "it is the SELinux type, such as httpd_sys_content_t")
	ctx := &Context{Name: r.label(c, "name") + r.label(c, "user"), Type: r.label(c, "type"), Range: r.text(c, "range")}
	if ctx.Range != "" {
		if err := checkRange(ctx.Range); err != nil {
			r.fail(c["range"], "range %s: %s", quote(ctx.Range), err)
		}
	}
	return ctx
}

// label is one part of a context.
func (r *reader) label(f fields, key string) string {
	s := r.text(f, key)
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.-", c)) {
			r.fail(f[key], "%s %s of context must be letters, digits, and _ . -", key, quote(s))
			return ""
		}
	}
	return s
}

var errRange = errors.New("must be sN or sN-sN, then :cN, :cN.cN or a list of them, such as s0-s3:c0.c7,c13")

// maxCategory is the highest category of an MLS range that CodeDeploy takes.
const maxCategory = 1023

// checkRange checks an MLS range: s0-s3:c0.c7,c13
func checkRange(s string) error {
	levels, categories, hasCategories := strings.Cut(s, ":")
	low, high, isSpan := strings.Cut(levels, "-")
	from, ok := numbered('s', low)
	to, ok2 := from, true
	if isSpan {
		to, ok2 = numbered('s', high)
	}
	if !ok || !ok2 {
		return errRange
	}
	if to < from {
		return errors.New("its second sensitivity is lower than its first")
	}
	if !hasCategories {
		return nil
	}
	used := map[int]bool{}
	for _, part := range strings.Split(categories, ",") {
		low, high, isSpan := strings.Cut(part, ".")
		from, ok := numbered('c', low)
		to, ok2 := from, true
		if isSpan {
			to, ok2 = numbered('c', high)
		}
		if !ok || !ok2 {
			return errRange
		}
		if from > maxCategory || to > maxCategory {
			return fmt.Errorf("category numbers go up to c%d", maxCategory)
		}
		if to < from {
			return fmt.Errorf("%s runs backwards", part)
		}
		for c := from; c <= to; c++ {
			if used[c] {
				return fmt.Errorf("c%d is named twice", c)
			}
			used[c] = true
		}
	}
	return nil
}

// numbered is the N of sN or cN.
func numbered(letter byte, s string) (int, bool) {
	if len(s) < 2 || s[0] != letter || strings.Trim(s[1:], "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s[1:])
	return n, err == nil
}
