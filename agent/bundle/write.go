package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// What is written of an archive, by the few calls of a cursor: openat(2) and the like on a server (cursor.go), and os.Root
// on any other system (rootcursor.go).

// file writes a file. Its name is reserved already.
func (c *cursor) file(ctx context.Context, name string, mode fs.FileMode, mtime time.Time, content io.Reader) error {
	f, err := c.create(name, mode)
	if err != nil {
		return err
	}
	return f.close(f.copy(ctx, content), mtime)
}

// data is file for content that is in memory.
func (c *cursor) data(name string, mode fs.FileMode, mtime time.Time, content []byte) error {
	f, err := c.create(name, mode)
	if err != nil {
		return err
	}
	return f.close(f.write(content), mtime)
}

// A newFile is a file being written.
type newFile struct {
	*cursor
	at   openFile
	name string // in the archive
	perm fs.FileMode
}

func (c *cursor) create(name string, mode fs.FileMode) (f newFile, err error) {
	f = newFile{cursor: c, name: name, perm: c.tree.narrow(mode).Perm() | 0o600} // without setuid, setgid and sticky
	if f.at, err = c.open(name, f.perm); err != nil {
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
		n, err := f.at.write(b)
		if err != nil {
			return fmt.Errorf("cannot write %q: %w", f.name, err)
		}
		b = b[n:]
	}
	return nil
}

// close ends the file, which err is all that is known of, and gives it its mode and time.
func (f *newFile) close(err error, mtime time.Time) error {
	if err == nil && uint32(f.perm)&f.tree.umask != 0 {
		if e := f.at.chmod(f.perm); e != nil {
			err = fmt.Errorf("cannot set the mode of %q: %w", f.name, e)
		}
	}
	if e := f.at.close(); err == nil && e != nil {
		err = fmt.Errorf("cannot write %q: %w", f.name, e)
	}
	if err == nil && !mtime.IsZero() { // the archive may have none
		if e := f.setTime(f.name, mtime); e != nil {
			err = fmt.Errorf("cannot set the time of %q: %w", f.name, e)
		}
	}
	return err
}

// mkdir makes a directory, which may exist.
func (c *cursor) mkdir(name string, perm fs.FileMode) error {
	if err := c.makeDir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make directory %q: %w", name, err)
	}
	return nil
}

// setDir gives a directory its mode and time.
func (c *cursor) setDir(name string, d dirEntry) error {
	if perm := d.mode.Perm() | 0o700; perm != d.made {
		if err := c.chmod(name, perm); err != nil {
			return err
		}
	}
	if d.mtime.IsZero() {
		return nil
	}
	return c.setTime(name, d.mtime)
}
