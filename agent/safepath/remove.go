//go:build linux && !developer

package safepath

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MountError says that something is mounted at or below what was to be removed. Nothing of it was removed.
type MountError struct {
	Path  string // that was to be removed
	Mount string // where something is mounted
}

func (e *MountError) Error() string {
	return fmt.Sprintf("%s is left as it is: something is mounted at %s, which is not removed with it. Unmount it (umount %[2]s), and keep shared storage outside of releases",
		e.Path, e.Mount)
}

// RemoveAll removes what a path names, with all that is in it, as os.RemoveAll does; what is not there is no
// error. Where something is mounted at or below it, nothing is removed, and the error is a MountError.
func RemoveAll(path string) error {
	path, err := filepath.Abs(path) // TMPDIR may be relative
	if err != nil {
		return err
	}
	d, name, err := Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.RemoveAll(name)
}

// Mounted reports, as a MountError, that something is mounted at or below an absolute path.
func Mounted(path string) error {
	d, name, err := Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.mounted(name)
}

// IsMount reports whether something is mounted at an absolute path, or nobody can say.
func IsMount(path string) bool {
	d, name, err := Parent(path)
	if err != nil {
		return true
	}
	defer d.Close()
	here, err := mountOf(d.fd, "")
	if err != nil {
		return true
	}
	there, err := mountOf(d.fd, name)
	return err != nil || here != there
}

// RemoveAll is the function of that name, for a name in the directory.
func (d *Dir) RemoveAll(name string) error {
	err := unix.Unlinkat(d.fd, name, 0) // most are files
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err := d.mounted(name); err != nil {
		return err
	}
	here, err := mountOf(d.fd, "")
	if err != nil {
		return err
	}
	r := removal{mount: here}
	return r.remove(d, name, 0)
}

// A tree is as deep, and a directory as full, as its owner has made it, while root removes it.
const (
	deepest = 64   // directories in each other that are held open; what is below moves up first
	batch   = 4096 // names of a directory that are read at a time
	passes  = 1000 // over one directory, to which somebody may add without end
)

// removal is that of one tree.
type removal struct {
	mount mountID
	top   *Dir // the tree
	moved int  // directories that were moved up into it
}

// remove removes a name, and first what is in it, unless it is of another mount: one may have come since it was looked for.
func (r *removal) remove(d *Dir, name string, deep int) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM { // EPERM is POSIX's word for a directory; and of an immutable file
		return d.failRemove(name, err)
	}
	if deep == deepest {
		r.moved++
		return d.fail("move", name, unix.Renameat(d.fd, name, r.top.fd, fmt.Sprintf(".deep-%d-%d", r.moved, rand.Uint64())))
	}
	sub, failed := d.Sub(name)
	if failed != nil {
		if errors.Is(failed, unix.ENOTDIR) || errors.Is(failed, unix.ELOOP) {
			return d.failRemove(name, err)
		}
		return failed
	}
	defer sub.Close()
	if deep == 0 {
		r.top = sub
	}
	if here, err := mountOf(sub.fd, ""); err != nil {
		return err
	} else if here != r.mount {
		return &MountError{Path: sub.path, Mount: sub.path}
	}
	for pass := 0; ; pass++ {
		removed, failed := r.empty(sub, deep+1)
		err := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if removed == 0 || pass == passes || err != unix.ENOTEMPTY && err != unix.EEXIST {
			return cmp.Or(failed, d.failRemove(name, err))
		}
	}
}

func (d *Dir) failRemove(name string, err error) error {
	if err == unix.EPERM && rootRuns() {
		err = fmt.Errorf("%w: it or its directory is immutable, as lsattr shows: chattr -i", err)
	}
	return d.fail("remove", name, err)
}

// empty removes what is in a directory, and goes on after an error: it returns the first.
func (r *removal) empty(d *Dir, deep int) (removed int, failed error) {
	f, err := d.Handle()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(batch)
		for _, name := range names {
			if err := r.remove(d, name, deep); err != nil {
				failed = cmp.Or(failed, err)
			} else {
				removed++
			}
		}
		if err == io.EOF {
			return removed, failed
		}
		if err != nil {
			return removed, cmp.Or(failed, err)
		}
	}
}

// mounted looks for a mount at or below a name, by the kernel's table: a mount that is asked may not answer. Without the table,
// nothing more is known than what is seen on the way (see remove).
func (d *Dir) mounted(name string) error {
	here, err := mountOf(d.fd, "")
	if err != nil {
		return err
	}
	path, err := d.fdPath()
	if err != nil {
		return nil
	}
	path = filepath.Join(path, name)
	for _, m := range mounts("self") {
		if m.parent == here && (m.point == path || strings.HasPrefix(m.point, path+"/")) {
			return &MountError{Path: filepath.Join(d.path, name), Mount: m.point}
		}
	}
	return nil
}

// mountID tells mounts apart, also two of the same file system.
type mountID uint64

// mountOf is the mount of a name in a directory, or of the directory itself for "". A mount on that name is the one.
func mountOf(dir int, name string) (mountID, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC // no server is asked
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, name, flags, unix.STATX_MNT_ID, &st); err != nil && err != unix.ENOSYS {
		return 0, err
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		return mountID(st.Mnt_id), nil
	}
	// Linux before 5.8
	fd := dir
	if name != "" {
		var err error
		if fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return 0, err
		}
		defer unix.Close(fd)
	}
	return mountFromProc(fd)
}

// mountFromProc is the mount of an open file as /proc/self/fdinfo has it, since Linux 3.15.
func mountFromProc(fd int) (mountID, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, fmt.Errorf("cannot tell mounts apart, so nothing is removed (mount /proc): %w", err)
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			id, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 64)
			return mountID(id), err
		}
	}
	return 0, errors.New("cannot tell mounts apart, so nothing is removed: the kernel does not say which mount a file is of")
}
