//go:build linux && !developer

package release

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// tempName is a name for the next content of a file, in the same folder.
func tempName(name string) string {
	temp := ".usher-" + strings.TrimPrefix(name, ".")
	if len(temp) > unix.NAME_MAX {
		temp = fmt.Sprintf(".usher-%x", sha256.Sum256([]byte(name)))
	}
	return temp
}

// source opens the directory of a file of the unpacked revision. Of a directory that was given away, nothing is taken
// that its owner could have put there from elsewhere.
func source(bundle, file string) (dir *safepath.Dir, name string, err error) {
	top, err := safepath.Open(bundle)
	if err != nil {
		return nil, "", err
	}
	defer top.Close()
	dir, err = top.Down(filepath.Dir(file))
	return dir, filepath.Base(file), err
}

// copyFile copies a regular file to a new name with its permission bits and time; then does something to it. It follows
// no link, and does not make the copy durable.
func copyFile(from *safepath.Dir, name string, to *safepath.Dir, as string, mode fs.FileMode, then func(*os.File) error) error {
	in, info, err := from.OpenOwn(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.Create(as, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(mode.Perm())
	}
	if err == nil {
		err = setTime(out, info.ModTime())
	}
	if err == nil && then != nil {
		err = then(out)
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = to.Unlink(as)
	}
	return err
}

func setTime(f *os.File, t time.Time) error {
	return unix.Futimes(int(f.Fd()), []unix.Timeval{unix.NsecToTimeval(t.UnixNano()), unix.NsecToTimeval(t.UnixNano())})
}

// preserve copies a file or symbolic link to a new name with mode, owner (where allowed), time and extended attributes: ACLs,
// capabilities, the SELinux label; durably. All of them are of the file that was opened.
func preserve(from *safepath.Dir, name string, to *safepath.Dir, as string) error {
	info, err := from.Stat(name)
	if err != nil {
		return err
	}
	if info.IsLink() {
		target, err := from.Readlink(name)
		if err == nil {
			err = to.Symlink(target, as)
		}
		if err == nil && os.Geteuid() == 0 {
			err = to.Lchown(as, info.UID(), info.GID())
		}
		return err
	}
	in, info, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.Create(as, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil && os.Geteuid() == 0 {
		err = out.Chown(info.UID(), info.GID())
	}
	if err == nil { // chown clears setuid and setgid, and capabilities
		err = unix.Fchmod(int(out.Fd()), info.Mode())
	}
	if err == nil {
		err = copyAttributes(in, out)
	}
	if err == nil {
		err = setTime(out, info.ModTime())
	}
	if err == nil {
		err = out.Sync()
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = to.Unlink(as)
	}
	return err
}

// labelAttribute is the extended attribute that is a file's SELinux context.
const labelAttribute = "security.selinux"

// copyAttributes gives a file the extended attributes of another, as far as its file system has such, and as this process may: labels
// of an SELinux that is switched off are in the way of nothing.
func copyAttributes(from, to *os.File) error {
	names := make([]byte, 64<<10) // the kernel's limit, as is that of a value
	n, err := unix.Flistxattr(int(from.Fd()), names)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list the attributes of %s: %w", from.Name(), err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "security.evm") || strings.HasPrefix(name, "security.ima") { // they are of that one file
			continue
		}
		if err := copyAttribute(from, to, name); err != nil {
			return err
		}
	}
	return nil
}

func copyAttribute(from, to *os.File, name string) error {
	value := make([]byte, 64<<10)
	n, err := unix.Fgetxattr(int(from.Fd()), name, value)
	if err == nil {
		err = unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, fs.ErrPermission):
		return nil
	}
	return fmt.Errorf("cannot copy the attribute %s of %s: %w", name, from.Name(), err)
}

// keepLabel gives a file that is about to take another's place the other's SELinux label, as a copy over it would have kept it.
func keepLabel(dir *safepath.Dir, name string, next *os.File) error {
	was, _, err := dir.Open(name)
	if err != nil {
		return nil // there is none, or it is no regular file
	}
	defer was.Close()
	return copyAttribute(was, next, labelAttribute)
}
