//go:build linux && !developer

package safepath

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Close lets the directory go.
func (d *Dir) Close() { unix.Close(d.fd) }

// Path is where the directory was found, without links, for messages.
func (d *Dir) Path() string { return d.path }

// Ours reports whether nobody but root can change what a name in the directory, or on the way to it, means.
func (d *Dir) Ours() bool { return d.ours && (!rootRuns() || d.st.Mode&0o022 == 0) }

// UID is the directory's owner.
func (d *Dir) UID() int { return int(d.st.Uid) }

// OnlyOf reports whether the directory belongs to one of the users, and no other may write to it.
func (d *Dir) OnlyOf(uids ...int) bool { return Info{d.st}.OnlyOf(uids...) }

// Is reports whether the directory is the one at path, by whatever way.
func (d *Dir) Is(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Dev == d.st.Dev && st.Ino == d.st.Ino
}

func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// Sub opens the directory of that name, which is a single one, and no link.
func (d *Dir) Sub(name string) (*Dir, error) {
	sub, err := open(d.fd, name, filepath.Join(d.path, name), d.ours)
	return sub, d.fail("open", name, err)
}

// Down opens a directory below, by a relative path in which no link is followed at all; "." is the directory itself.
func (d *Dir) Down(rel string) (*Dir, error) {
	at, err := d.Sub(".")
	for _, name := range split(filepath.Clean(rel)) {
		if err != nil {
			return nil, err
		}
		if name == "." {
			continue
		}
		next, failed := at.Sub(name)
		at.Close()
		at, err = next, failed
	}
	return at, err
}

// Stat looks at what has the name, and not at what a link of that name leads to.
func (d *Dir) Stat(name string) (Info, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return Info{st}, d.fail("look at", name, err)
}

// Names are what is in the directory, in no order.
func (d *Dir) Names() ([]string, error) {
	fd, err := unix.Openat(d.fd, ".", openDir, 0)
	if err != nil {
		return nil, d.fail("list", "", err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	return f.Readdirnames(-1)
}

// Open opens a regular file to read it: no link, no device, no FIFO.
func (d *Dir) Open(name string) (*os.File, Info, error) {
	return d.file(name, unix.O_RDONLY)
}

func (d *Dir) file(name string, flags int) (*os.File, Info, error) {
	fd, err := unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Info{}, d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, Info{}, d.fail("look at", name, err)
	}
	if i := (Info{st}); !i.IsRegular() {
		f.Close()
		return nil, i, fmt.Errorf("%s is not a regular file", filepath.Join(d.path, name))
	}
	return f, Info{st}, nil
}

// Create makes a file that is not there yet. Its mode is perm without the umask's.
func (d *Dir) Create(name string, perm uint32) (*os.File, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
	if err != nil {
		return nil, d.fail("create", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(d.path, name)), nil
}

// Mkdir makes a directory and opens it. One that is there already is an error.
func (d *Dir) Mkdir(name string, perm uint32) (*Dir, error) {
	if err := unix.Mkdirat(d.fd, name, perm); err != nil {
		return nil, d.fail("make directory", name, err)
	}
	sub, err := d.Sub(name)
	if err == nil && int(sub.st.Uid) != os.Geteuid() { // put there in its place
		sub.Close()
		return nil, fmt.Errorf("cannot make directory %s: somebody put another in its place", filepath.Join(d.path, name))
	}
	return sub, err
}

// Handle is the open directory as a file, for Chown, Chmod and extended attributes; the caller closes it.
func (d *Dir) Handle() (*os.File, error) {
	fd, err := unix.Openat(d.fd, ".", openDir, 0)
	if err != nil {
		return nil, d.fail("open", "", err)
	}
	return os.NewFile(uintptr(fd), d.path), nil
}

// Symlink makes a symbolic link.
func (d *Dir) Symlink(target, name string) error {
	return d.fail("make link", name, unix.Symlinkat(target, d.fd, name))
}

// Link gives what is no directory one more name, in another directory. A link is not followed.
func (d *Dir) Link(name string, to *Dir, as string) error {
	return d.fail("link", name, unix.Linkat(d.fd, name, to.fd, as, 0))
}

// Move gives what is no directory a name in another directory; what had that is replaced.
func (d *Dir) Move(name string, to *Dir, as string) error {
	return d.fail("move", name, unix.Renameat(d.fd, name, to.fd, as))
}

// Readlink is where a symbolic link points.
func (d *Dir) Readlink(name string) (string, error) {
	target, err := readlink(d.fd, name)
	return target, d.fail("read link", name, err)
}

// Rename gives what has a name in the directory another one there; what had that is replaced.
func (d *Dir) Rename(from, to string) error {
	return d.fail("rename", from, unix.Renameat(d.fd, from, d.fd, to))
}

// Unlink removes a file, a link or anything else that is not a directory. One that is not there is no error.
func (d *Dir) Unlink(name string) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == unix.ENOENT {
		return nil
	}
	return d.fail("remove", name, err)
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.fail("remove", name, unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR))
}

// Lchown gives a link, or anything else of that name, to a user.
func (d *Dir) Lchown(name string, uid, gid int) error {
	return d.fail("change the owner of", name, unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW))
}

// Sync makes the names in the directory survive a power cut.
func (d *Dir) Sync() error {
	f, err := d.Handle()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", d.path, err)
	}
	return nil
}

// Info is what Stat found.
type Info struct{ st unix.Stat_t }

// IsDir reports whether it is a directory.
func (i Info) IsDir() bool { return i.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular reports whether it is a regular file.
func (i Info) IsRegular() bool { return i.st.Mode&unix.S_IFMT == unix.S_IFREG }

// IsLink reports whether it is a symbolic link.
func (i Info) IsLink() bool { return i.st.Mode&unix.S_IFMT == unix.S_IFLNK }

// Mode is its permission bits, with setuid, setgid and sticky, as chmod(2) takes them.
func (i Info) Mode() uint32 { return i.st.Mode & 0o7777 }

// UID and GID are its owner and group.
func (i Info) UID() int { return int(i.st.Uid) }

// GID is its group.
func (i Info) GID() int { return int(i.st.Gid) }

// OnlyOf reports whether it belongs to one of the users, and no other may write to it.
func (i Info) OnlyOf(uids ...int) bool {
	return i.st.Mode&0o022 == 0 && slices.Contains(uids, i.UID())
}

// Links is how many names it has.
func (i Info) Links() int { return int(i.st.Nlink) }

// ModTime is when its content was changed last.
func (i Info) ModTime() time.Time { return time.Unix(i.st.Mtim.Unix()) }
