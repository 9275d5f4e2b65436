package bundle

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A cursor writes into one directory of the tree at a time and keeps it open, with all above it, because most
// neighbours in an archive are neighbours on disk. Each goroutine has its own.
//
// Below the root, which os.Root opened, it goes by single names that judge has seen, and never through a link: no path
// leaves the tree, as os.Root promises too. It is not used here because it asks the kernel three times as much for each
// file, which was a third of the time that a bundle of 40,000 takes.
type cursor struct {
	tree *tree
	way  []opened // from below the root to the directory that is open
	buf  []byte   // nil until the first file
}

// opened is an open directory.
type opened struct {
	name string // in the archive
	fd   int
}

func (t *tree) cursor() *cursor { return &cursor{tree: t} }

func (c *cursor) close() {
	for _, d := range c.way {
		unix.Close(d.fd)
	}
	c.way = c.way[:0]
}

// enter opens the directory of name and returns what name is called in there.
func (c *cursor) enter(name string) (fd int, base string, err error) {
	dir, base := path.Dir(name), path.Base(name)
	for n := len(c.way); n > 0 && !below(dir, c.way[n-1].name); n = len(c.way) {
		unix.Close(c.way[n-1].fd)
		c.way = c.way[:n-1]
	}
	at := opened{".", c.tree.fd}
	if n := len(c.way); n > 0 {
		at = c.way[n-1]
	}
	for at.name != dir {
		start := 0
		if at.name != "." {
			start = len(at.name) + 1
		}
		part, _, _ := strings.Cut(dir[start:], "/")
		if err := retryEINTR(func() (err error) {
			fd, err = unix.Openat(at.fd, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		}); err != nil {
			return 0, "", err
		}
		at = opened{dir[:start+len(part)], fd}
		c.way = append(c.way, at)
	}
	return at.fd, base, nil
}

// below says whether dir is above, or somewhere in it.
func below(dir, above string) bool {
	return strings.HasPrefix(dir, above) && (len(dir) == len(above) || dir[len(above)] == '/')
}

// file writes a file. Its name is claimed already; a file that has it makes way.
func (c *cursor) file(ctx context.Context, name string, mode fs.FileMode, mtime time.Time, again bool, content io.Reader) error {
	f, err := c.create(name, mode, again)
	if err != nil {
		return err
	}
	return f.close(f.copy(ctx, content), mtime)
}

// data is file for content that is in memory.
func (c *cursor) data(name string, mode fs.FileMode, mtime time.Time, content []byte) error {
	f, err := c.create(name, mode, false)
	if err != nil {
		return err
	}
	return f.close(f.write(content), mtime)
}

// A newFile is a file being written.
type newFile struct {
	*cursor
	fd   int
	in   int    // the directory that base is in
	base string //
	name string // in the archive
	perm uint32
}

func (c *cursor) create(name string, mode fs.FileMode, again bool) (f newFile, err error) {
	f = newFile{cursor: c, name: name, perm: uint32(c.tree.narrow(mode).Perm() | 0o600)} // without setuid, setgid and sticky
	f.in, f.base, err = c.enter(name)
	if err == nil && again {
		err = retryEINTR(func() error { return unix.Unlinkat(f.in, f.base, 0) })
	}
	if err == nil {
		err = retryEINTR(func() (err error) {
			f.fd, err = unix.Openat(f.in, f.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, f.perm)
			return err
		})
	}
	if err != nil {
		return f, fmt.Errorf("cannot write %q: %w", name, err)
	}
	return f, nil
}

// copy writes the content to the file, and is the only place where content of unknown length is held.
func (f *newFile) copy(ctx context.Context, content io.Reader) error {
	if f.buf == nil {
		f.cursor.buf = make([]byte, copyBuffer)
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := fill(content, f.buf)
		if failed := f.write(f.buf[:n]); failed != nil {
			return failed
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return damaged(f.name, err)
		}
	}
}

// write writes all of b.
func (f *newFile) write(b []byte) error {
	if err := f.tree.addBytes(len(b)); err != nil {
		return fmt.Errorf("entry %q: %w", f.name, err)
	}
	for len(b) > 0 {
		var n int
		if err := retryEINTR(func() (err error) { n, err = unix.Write(f.fd, b); return err }); err != nil {
			return fmt.Errorf("cannot write %q: %w", f.name, err)
		}
		b = b[n:]
	}
	return nil
}

// close ends the file, which err is all that is known of, and gives it its mode and time.
func (f *newFile) close(err error, mtime time.Time) error {
	if err == nil && f.perm&f.tree.umask != 0 {
		if e := unix.Fchmod(f.fd, f.perm); e != nil {
			err = fmt.Errorf("cannot set the mode of %q: %w", f.name, e)
		}
	}
	if e := unix.Close(f.fd); err == nil && e != nil {
		err = fmt.Errorf("cannot write %q: %w", f.name, e)
	}
	if err == nil {
		if e := setTime(f.in, f.base, mtime); e != nil {
			err = fmt.Errorf("cannot set the time of %q: %w", f.name, e)
		}
	}
	return err
}

// mkdir makes a directory, which may exist.
func (c *cursor) mkdir(name string, perm fs.FileMode) error {
	dir, base, err := c.enter(name)
	if err == nil {
		err = retryEINTR(func() error { return unix.Mkdirat(dir, base, uint32(perm)) })
	}
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot make directory %q: %w", name, err)
	}
	return nil
}

// setDir gives a directory its mode and time.
func (c *cursor) setDir(name string, d dirEntry) error {
	dir, base, err := c.enter(name)
	if perm := d.mode.Perm() | 0o700; err == nil && perm != d.made {
		err = c.chmod(name, perm)
	}
	if err == nil {
		err = setTime(dir, base, d.mtime)
	}
	return err
}

// chmod gives a directory its mode.
func (c *cursor) chmod(name string, perm fs.FileMode) error {
	dir, base, err := c.enter(name)
	if err != nil {
		return err
	}
	at, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return unix.Fchmod(at, uint32(perm))
}

// setTime gives what is called base in a directory its time of modification, unless the archive had none.
func setTime(dir int, base string, mtime time.Time) error {
	if mtime.IsZero() {
		return nil
	}
	t, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// retryEINTR repeats a system call that a signal interrupted: the runtime's own do that, on some file systems.
func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// umask is what new files in a directory lack of the mode they are made with: what the process takes, read, because asking
// the kernel means setting it, for all threads. Where that cannot be known it is all there is, and modes are set once more:
// a default ACL takes something else, and setgid adds.
func umask(dir *os.File) uint32 {
	if info, err := dir.Stat(); err != nil || info.Mode()&fs.ModeSetgid != 0 {
		return 0o777
	}
	if _, err := unix.Fgetxattr(int(dir.Fd()), "system.posix_acl_default", nil); err != unix.ENODATA && err != unix.ENOTSUP {
		return 0o777
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "Umask:"); ok {
				if mask, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32); err == nil {
					return uint32(mask)
				}
			}
		}
	}
	return 0o777
}
