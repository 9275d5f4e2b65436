//go:build linux && !developer

package release

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"usher/agent/appspec"
)

// applier applies the appspec's permissions to installed paths: owner and group first (changing them
// clears setuid), then mode, ACL and SELinux context.
//
// ACLs and contexts are written as the kernel's extended attributes, so neither setfacl nor semanage is
// needed. Unlike semanage, a context written so does not survive a full relabel (restorecon): a release
// directory is new each time, and a policy rule for each would pile up. Where the appspec names no context, a file that
// takes the place of another keeps that one's, and a new one has what the kernel gives a file that is made in its directory:
// what `cp` does. The policy's own idea of a path (matchpathcon) is not asked, for that is the policy's tools, which a base
// image may lack.
type applier struct {
	rules        map[string]appspec.Permission
	unprivileged bool
	notes        []string
	noted        map[string]bool
}

// all applies what the appspec says to pieces that are at place(piece) in a tree: what is in a directory before the
// directory, which may lose its write permission. No link in the tree is followed: a script may have given it away.
func (a *applier) all(pieces []mapping, top string, place func(mapping) string) error {
	t, err := newTree(top)
	if err != nil {
		return err
	}
	defer t.close()
	for _, x := range slices.Backward(pieces) {
		if _, ok := a.rules[x.dest]; !ok {
			continue
		}
		f, err := t.openPath(place(x), x.mode.IsDir())
		if err != nil {
			return fmt.Errorf("cannot open %s to set its permissions: %w", x.dest, err)
		}
		err = a.to(x.dest, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// openPath opens a file or directory of the tree to change its attributes.
func (t *openTree) openPath(rel string, isDir bool) (*os.File, error) {
	if isDir {
		d, err := t.open(rel)
		if err != nil {
			return nil, err
		}
		return d.Handle()
	}
	d, err := t.open(filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	f, _, err := d.OpenOwn(filepath.Base(rel))
	return f, err
}

// to applies what the appspec says of dest to the file or directory that is open.
func (a *applier) to(dest string, f *os.File) error {
	rule, ok := a.rules[dest]
	if !ok {
		return nil
	}
	if rule.Owner != "" || rule.Group != "" {
		if err := a.chown(rule, dest, f); err != nil {
			return err
		}
	}
	if rule.Mode != nil {
		if err := f.Chmod(*rule.Mode); err != nil {
			return fmt.Errorf("cannot set mode %s on %s: %w", *rule.Mode, dest, err)
		}
	}
	if rule.ACLs != nil {
		if err := setACL(f, rule.ACLs); err != nil {
			return fmt.Errorf("cannot set the ACL of %s (appspec line %d): %w", dest, rule.Line, err)
		}
	}
	if rule.Context != nil {
		return a.label(rule, dest, f)
	}
	return nil
}

func (a *applier) chown(rule appspec.Permission, dest string, f *os.File) error {
	uid, gid := -1, -1
	if rule.Owner != "" {
		u, err := lookupUser(rule.Owner)
		if err != nil && a.unprivileged {
			a.note(fmt.Sprintf("owner %s was not set: there is no such user here", rule.Owner))
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot give %s to user %q (appspec line %d): %w", dest, rule.Owner, rule.Line, err)
		}
		uid = u
	}
	if rule.Group != "" {
		g, err := lookupGroup(rule.Group)
		if err != nil && a.unprivileged {
			a.note(fmt.Sprintf("group %s was not set: there is no such group here", rule.Group))
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot give %s to group %q (appspec line %d): %w", dest, rule.Group, rule.Line, err)
		}
		gid = g
	}
	err := f.Chown(uid, gid)
	if err != nil && a.unprivileged && errors.Is(err, fs.ErrPermission) {
		a.note(fmt.Sprintf("owner %s:%s was not set: only root may give files away", rule.Owner, rule.Group))
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot change the owner of %s: %w", dest, err)
	}
	return nil
}

func (a *applier) label(rule appspec.Permission, dest string, f *os.File) error {
	if !isDir("/sys/fs/selinux/booleans") {
		a.note("SELinux contexts were not set: SELinux is not enabled here")
		return nil
	}
	label := rule.Context.String()
	if err := unix.Fsetxattr(int(f.Fd()), labelAttribute, append([]byte(label), 0), 0); err != nil {
		if a.unprivileged && errors.Is(err, fs.ErrPermission) {
			a.note("SELinux contexts were not set: only root may")
			return nil
		}
		return fmt.Errorf("cannot set the SELinux context %s on %s: %w", label, dest, err)
	}
	return nil
}

func (a *applier) note(text string) {
	if a.noted == nil {
		a.noted = map[string]bool{}
	}
	if !a.noted[text] {
		a.noted[text] = true
		a.notes = append(a.notes, text)
	}
}

// lookupUser resolves a name or a number against /etc/passwd (the binary is static: no NSS).
func lookupUser(name string) (int, error) {
	if u, err := user.Lookup(name); err == nil {
		return strconv.Atoi(u.Uid)
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	return 0, errors.New("no such user in /etc/passwd: create it in the image or in BeforeInstall")
}

func lookupGroup(name string) (int, error) {
	if g, err := user.LookupGroup(name); err == nil {
		return strconv.Atoi(g.Gid)
	}
	if id, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(id), nil
	}
	return 0, errors.New("no such group in /etc/group: create it in the image or in BeforeInstall")
}

// The kernel's ACL attribute: a version, then entries of tag, permissions and id, in this order of tags
// (include/uapi/linux/posix_acl.h and posix_acl_xattr.h).
const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
	aclNoID     = 0xffffffff
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// setACL does what `setfacl --set` does with the entries: what they leave out of owner, group and other
// comes from the file's mode, and the mask, unless given, is the union of what it limits. An empty list
// takes every entry away that is not the mode's.
func setACL(f *os.File, entries []appspec.ACE) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for _, set := range []struct {
		attribute string
		isDefault bool
	}{{"system.posix_acl_access", false}, {"system.posix_acl_default", true}} {
		given := slices.DeleteFunc(slices.Clone(entries), func(e appspec.ACE) bool { return e.Default != set.isDefault })
		if len(given) == 0 {
			if err := unix.Fremovexattr(int(f.Fd()), set.attribute); len(entries) == 0 && err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
			continue
		}
		list, err := completeACL(given, info.Mode().Perm())
		if err != nil {
			return err
		}
		if err := unix.Fsetxattr(int(f.Fd()), set.attribute, encodeACL(list), 0); err != nil {
			if errors.Is(err, unix.ENOTSUP) {
				return errors.New("this filesystem is mounted without ACLs")
			}
			return err
		}
	}
	return nil
}

func completeACL(given []appspec.ACE, mode fs.FileMode) ([]aclEntry, error) {
	list := []aclEntry{}
	for _, e := range given {
		entry := aclEntry{perm: uint16(e.Perm), id: aclNoID}
		switch {
		case e.Tag == 'u' && e.Name == "":
			entry.tag = aclUserObj
		case e.Tag == 'g' && e.Name == "":
			entry.tag = aclGroupObj
		case e.Tag == 'm':
			entry.tag = aclMask
		case e.Tag == 'o':
			entry.tag = aclOther
		default:
			lookup, tag := lookupUser, uint16(aclUser)
			if e.Tag == 'g' {
				lookup, tag = lookupGroup, aclGroup
			}
			id, err := lookup(e.Name)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", e.Name, err)
			}
			entry.tag, entry.id = tag, uint32(id)
		}
		list = append(list, entry)
	}
	has := func(tag uint16) bool {
		return slices.ContainsFunc(list, func(e aclEntry) bool { return e.tag == tag })
	}
	for tag, shift := range map[uint16]uint{aclUserObj: 6, aclGroupObj: 3, aclOther: 0} {
		if !has(tag) {
			list = append(list, aclEntry{tag: tag, perm: uint16(mode>>shift) & 7, id: aclNoID})
		}
	}
	if !has(aclMask) && (has(aclUser) || has(aclGroup)) {
		mask := aclEntry{tag: aclMask, id: aclNoID}
		for _, e := range list {
			if e.tag == aclUser || e.tag == aclGroup || e.tag == aclGroupObj {
				mask.perm |= e.perm
			}
		}
		list = append(list, mask)
	}
	slices.SortFunc(list, func(a, b aclEntry) int {
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	return list, nil
}

func encodeACL(list []aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}
