//go:build linux && !developer

// Package safepath is how root goes to a path that other users have a part in: by descriptors, from the root of the
// file system, one name after the other.
//
//	dir, name, err := safepath.Parent("/srv/shop/web/index.html")
//	f, err := dir.Create(".next-"+name, 0o644)      // in that very directory, whatever its path means by now
//	err = f.Chown(uid, gid)                         // that very file
//	err = dir.Rename(".next-"+name, name)
//
// The rule is systemd-tmpfiles': a link on the way is followed only if root made it and nobody else may change the
// directory where it lies, or any directory above that. Every other link is an UnsafeError, which names it. A name
// that is made, changed or removed is never looked up twice: what was opened is what is changed.
//
// Nor does root follow a link of /proc (/proc/self/root, /proc/PID/fd/N): the kernel takes it to an object, whatever text
// stands in it, and the process that it is of, which may be anybody's, decides what that is.
//
// Removal (RemoveAll) neither leaves the file system nor enters a mount point, a bind mount of the same disk and a
// mounted file included, and looks for them before it removes anything: see MountError. It asks no file system that is mounted
// there, and needs no more memory and open files for a tree that is deep or full, as any user can make one.
//
// Root is who runs usher on a server. For any other user, who has nothing to lose to itself (usher rehearse), every
// link is followed as open(2) does; the rest is the same.
//
// Caveats. Linux only: elsewhere, and with the build tag developer, there is RemoveAll and little else (elsewhere.go). A directory that another user owns may be written to: what lies in it is that user's to
// change at any time, and a caller must not believe it afterwards. Trusted reads owners and modes; POSIX ACLs show in
// the mode's group bits, and are judged so.
package safepath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFollow is how many links one path may go through: Linux's own limit (MAXSYMLINKS).
const maxFollow = 40

// UnsafeError says that a path goes through a link that somebody other than root could have made.
type UnsafeError struct {
	Path string // that was asked for
	Link string // the link on it
	UID  uint32 // who owns the link, or the directory where it lies
}

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("cannot follow %s: %s is a symbolic link that user %d could have made: look at it, and put a directory in its place (or let root own it, and the directory it is in)",
		e.Path, e.Link, e.UID)
}

// errProc is root's answer to a link of /proc.
var errProc = errors.New("root follows no link of /proc: name the directory itself")

// Dir is a directory that is held open.
type Dir struct {
	fd   int
	path string
	st   unix.Stat_t
	ours bool // nobody but root can change what a name in it, or on the way to it, means
}

// rootRuns says whether the rule counts.
func rootRuns() bool { return os.Geteuid() == 0 }

// private says whether a name in a directory, once root has made it, stays what it is: only root may write there, or
// it is sticky (/tmp).
func private(st *unix.Stat_t) bool {
	return !rootRuns() || st.Uid == 0 && (st.Mode&0o022 == 0 || st.Mode&unix.S_ISVTX != 0)
}

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// open opens the directory name in dir (unix.AT_FDCWD for an absolute one), not a link to one. One that may be passed
// and not read (0711) is opened for that alone.
func open(dir int, name, path string, above bool) (*Dir, error) {
	fd, err := unix.Openat(dir, name, openDir, 0)
	if err == unix.EACCES {
		fd, err = unix.Openat(dir, name, openDir|unix.O_PATH, 0)
	}
	if err != nil {
		return nil, err
	}
	d := &Dir{fd: fd, path: path}
	if err := unix.Fstat(fd, &d.st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d.ours = above && private(&d.st)
	return d, nil
}

// Open opens the directory at an absolute path.
func Open(path string) (*Dir, error) {
	d, rest, err := walk(path, true)
	if err != nil {
		return nil, err
	}
	if rest != "" {
		d.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.ENOENT}
	}
	return d, nil
}

// Parent opens the directory that an absolute path lies in, and returns it with the path's last name.
func Parent(path string) (*Dir, string, error) {
	path = filepath.Clean(path)
	d, err := Open(filepath.Dir(path))
	return d, filepath.Base(path), err
}

// Existing opens the deepest directory on the way to path that is there. rest is what is not, "" for nothing.
func Existing(path string) (d *Dir, rest string, err error) { return walk(path, false) }

// walk goes from the root to path as far as there is anything. Whatever is not a directory is an error, and so is
// what is not there, when it is to be there.
func walk(path string, all bool) (*Dir, string, error) {
	if !filepath.IsAbs(path) {
		return nil, "", fmt.Errorf("cannot follow %s: the path is not absolute", path)
	}
	at, err := open(unix.AT_FDCWD, "/", "/", true)
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	names, followed := split(path), 0
	for len(names) > 0 {
		name := names[0]
		next, err := open(at.fd, name, filepath.Join(at.path, name), at.ours)
		if err == nil {
			at.Close()
			at, names = next, names[1:]
			continue
		}
		if err == unix.ENOENT && !all {
			return at, filepath.Join(names...), nil
		}
		target, linked := "", false
		if err == unix.ENOTDIR || err == unix.ELOOP {
			target, linked, err = at.follow(name, path)
		}
		if err == nil && !linked {
			err = unix.ENOTDIR
		}
		if followed++; err == nil && followed > maxFollow {
			err = unix.ELOOP
		}
		here := filepath.Join(at.path, name)
		if err == nil {
			names = append(split(target), names[1:]...)
			if filepath.IsAbs(target) {
				at.Close()
				if at, err = open(unix.AT_FDCWD, "/", "/", true); err != nil {
					return nil, "", &fs.PathError{Op: "open", Path: "/", Err: err}
				}
			}
			continue
		}
		at.Close()
		if unsafe := (*UnsafeError)(nil); errors.As(err, &unsafe) {
			return nil, "", err
		}
		return nil, "", &fs.PathError{Op: "open", Path: here, Err: err}
	}
	return at, "", nil
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// follow is where a link leads, if it may be followed.
func (d *Dir) follow(name, path string) (target string, linked bool, err error) {
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false, err
	}
	switch {
	case rootRuns() && st.Uid != 0:
		return "", true, &UnsafeError{Path: path, Link: filepath.Join(d.path, name), UID: st.Uid}
	case rootRuns() && !d.ours:
		return "", true, &UnsafeError{Path: path, Link: filepath.Join(d.path, name), UID: d.st.Uid}
	}
	var in unix.Statfs_t
	if err := unix.Fstatfs(fd, &in); err != nil {
		return "", true, err
	}
	if rootRuns() && in.Type == unix.PROC_SUPER_MAGIC {
		return "", true, errProc
	}
	target, err = readlink(fd, "")
	return target, true, err
}

func readlink(dir int, name string) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}
