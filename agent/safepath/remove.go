//go:build linux && !developer

package safepath

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

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
	return d.empty(name, here)
}

// empty removes a name, and first what is in it, unless it is of another mount: one may have come since it was looked for.
func (d *Dir) empty(name string, mount mountID) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM { // EPERM is POSIX's word for a directory; and of an immutable file
		return d.fail("remove", name, err)
	}
	sub, failed := d.Sub(name)
	if failed != nil {
		if errors.Is(failed, unix.ENOTDIR) || errors.Is(failed, unix.ELOOP) {
			return d.fail("remove", name, err)
		}
		return failed
	}
	defer sub.Close()
	if here, err := mountOf(sub.fd, ""); err != nil {
		return err
	} else if here != mount {
		return &MountError{Path: sub.path, Mount: sub.path}
	}
	names, failed := sub.Names()
	if failed != nil {
		return failed
	}
	var errs []error
	for _, n := range names { // the rest goes all the same
		if err := sub.empty(n, mount); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs[0]
	}
	if err := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return d.fail("remove", name, err)
	}
	return nil
}

// mounted looks for a mount at or below a name.
func (d *Dir) mounted(name string) error {
	here, err := mountOf(d.fd, "")
	if err != nil {
		return err
	}
	at, err := d.mountBelow(name, here)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case at != "":
		return &MountError{Path: filepath.Join(d.path, name), Mount: at}
	}
	return nil
}

func (d *Dir) mountBelow(name string, here mountID) (string, error) {
	mount, err := mountOf(d.fd, name)
	if err != nil {
		return "", d.fail("look at", name, err)
	}
	if mount != here {
		return filepath.Join(d.path, name), nil
	}
	sub, err := d.Sub(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer sub.Close()
	names, err := sub.Names()
	for _, n := range names {
		if err != nil {
			break
		}
		var at string
		if at, err = sub.mountBelow(n, here); at != "" {
			return at, nil
		}
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			err = nil
		}
	}
	return "", err
}

// mountID tells mounts apart, also two of the same file system.
type mountID uint64

// mountOf is the mount of a name in a directory, or of the directory itself for "". A mount on that name is the one.
func mountOf(dir int, name string) (mountID, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
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
