//go:build linux && !developer

package safepath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// NotRootsError says that somebody other than root may change what root relies on.
type NotRootsError struct {
	Path  string // that root relies on
	Where string // the file or directory that is not root's alone: it, or one above it
	Why   string // "belongs to app (12345)", "may be written to by others (mode 0777)"
	Do    string // the command that mends it
}

func (e *NotRootsError) Error() string {
	where := e.Where
	if e.Where != e.Path {
		where = e.Path + " is in " + e.Where + ", which"
	}
	return fmt.Sprintf("%s %s: who may write there decides what root runs, overwrites and removes. As root: %s", where, e.Why, e.Do)
}

// Trusted reports, as a NotRootsError, that somebody other than root owns or may write to a directory, or could put
// another in its place. A directory that is not there yet will be as good as the deepest above it that is. For another
// user than root everything is good.
func Trusted(dir string) error {
	d, rest, err := Existing(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if d.Ours() {
		return nil
	}
	// Which one is it? By name is good enough to tell a person.
	names, at := split(d.path), "/"
	for i := -1; i < len(names); i++ {
		if i >= 0 {
			at = filepath.Join(at, names[i])
		}
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: at, Err: err}
		}
		if last := i == len(names)-1 && rest == ""; last && st.Mode&0o022 != 0 || !private(&st) || last && st.Uid != 0 {
			return notRoots(dir, at, &st)
		}
	}
	var st unix.Stat_t // sticky, and nothing of it is there yet
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	return notRoots(dir, d.path, &st)
}

// TrustedFile is Trusted for a file, or for a link and all that it leads through to the file.
func TrustedFile(path string) error { return trustedFile(path, path, 0) }

func trustedFile(asked, path string, followed int) error {
	d, name, err := Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := Trusted(d.path); err != nil {
		if e := (*NotRootsError)(nil); errors.As(err, &e) {
			e.Path = asked
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return d.fail("look at", name, err)
	}
	linked := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if rootRuns() && (st.Uid != 0 || !linked && st.Mode&0o022 != 0) {
		return notRoots(asked, filepath.Join(d.path, name), &st)
	}
	if !linked {
		return nil
	}
	target, err := d.Readlink(name)
	if err == nil && followed == maxFollow {
		err = d.fail("follow", name, unix.ELOOP)
	}
	if err != nil {
		return err
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(d.path, target)
	}
	return trustedFile(asked, target, followed+1)
}

// TrustedLink reports, as a NotRootsError, that a symbolic link is not root's, or is in a directory that is not. Where
// it leads is another question. A link that is not there is good when its directory is.
func TrustedLink(path string) error {
	if err := Trusted(filepath.Dir(path)); err != nil {
		if e := (*NotRootsError)(nil); errors.As(err, &e) {
			e.Path = path
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || !rootRuns() || st.Uid == 0 {
		return nil
	}
	return notRoots(path, path, &st)
}

func notRoots(path, at string, st *unix.Stat_t) *NotRootsError {
	e := &NotRootsError{Path: path, Where: at}
	var do []string
	if st.Uid != 0 {
		e.Why = "belongs to " + nameOf(st.Uid)
		do = append(do, "chown -h root:root "+at)
	}
	if st.Mode&0o022 != 0 && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if e.Why != "" {
			e.Why += " and "
		}
		e.Why += fmt.Sprintf("may be written to by others (mode %04o)", st.Mode&0o7777)
		do = append(do, "chmod go-w "+at)
	}
	e.Do = strings.Join(do, " && ")
	return e
}

// nameOf is a user for people.
func nameOf(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username + " (" + id + ")"
	}
	return "user " + id
}

// Truncate empties a regular file at an absolute path, which no link leads to.
func Truncate(path string) error {
	d, name, err := Parent(path)
	if err != nil {
		return err
	}
	defer d.Close()
	f, _, err := d.file(name, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(0)
}
