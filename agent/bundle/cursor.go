//go:build linux && !developer

package bundle

import (
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

// openFile is a new file, open.
type openFile int

func (c *cursor) open(name string, perm fs.FileMode) (openFile, error) {
	dir, base, err := c.enter(name)
	if err != nil {
		return 0, err
	}
	var fd int
	err = retryEINTR(func() (err error) {
		fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm))
		return err
	})
	return openFile(fd), err
}

func (f openFile) write(b []byte) (n int, err error) {
	err = retryEINTR(func() (err error) { n, err = unix.Write(int(f), b); return err })
	return n, err
}

func (f openFile) chmod(perm fs.FileMode) error { return unix.Fchmod(int(f), uint32(perm)) }

func (f openFile) close() error { return unix.Close(int(f)) }

// remove removes a file.
func (c *cursor) remove(name string) error {
	dir, base, err := c.enter(name)
	if err != nil {
		return err
	}
	return retryEINTR(func() error { return unix.Unlinkat(dir, base, 0) })
}

// makeDir makes a directory.
func (c *cursor) makeDir(name string, perm fs.FileMode) error {
	dir, base, err := c.enter(name)
	if err != nil {
		return err
	}
	return retryEINTR(func() error { return unix.Mkdirat(dir, base, uint32(perm)) })
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

// setTime gives a file or directory its time of modification.
func (c *cursor) setTime(name string, mtime time.Time) error {
	dir, base, err := c.enter(name)
	if err != nil {
		return err
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
