package bundle

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// A cursor writes into one directory of the tree at a time and keeps it open, because most
// neighbours in an archive are neighbours on disk. Each goroutine has its own.
type cursor struct {
	tree *tree
	dir  string   // the directory that is open
	at   *os.Root // nil: none
	buf  []byte   // nil until the first file
}

func (t *tree) cursor() *cursor { return &cursor{tree: t} }

func (c *cursor) close() {
	if c.at != nil {
		c.at.Close()
	}
}

// enter opens the directory of name and returns what name is called in there.
func (c *cursor) enter(name string) (base string, err error) {
	dir, base := path.Dir(name), path.Base(name)
	if c.at != nil && c.dir == dir {
		return base, nil
	}
	c.close()
	c.dir = dir
	c.at, err = c.tree.root.OpenRoot(dir)
	return base, err
}

// file writes a file. Its name is claimed already; a file that has it makes way.
func (c *cursor) file(ctx context.Context, name string, mode fs.FileMode, mtime time.Time, again bool, content io.Reader) error {
	base, err := c.enter(name)
	if err == nil && again {
		err = c.at.Remove(base)
	}
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", name, err)
	}
	f, err := c.at.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %q: %w", name, err)
	}
	err = c.copy(ctx, f, name, content)
	if err == nil {
		err = f.Chmod(mode.Perm() | 0o600) // without setuid, setgid and sticky, whatever the umask
	}
	if closeErr := f.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("cannot write %q: %w", name, closeErr)
	}
	if err == nil && !mtime.IsZero() {
		err = c.at.Chtimes(base, mtime, mtime)
	}
	return err
}

func (c *cursor) copy(ctx context.Context, f *os.File, name string, content io.Reader) error {
	if c.buf == nil {
		c.buf = make([]byte, copyBuffer)
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := content.Read(c.buf)
		if n > 0 {
			if err := c.tree.grow(n); err != nil {
				return fmt.Errorf("entry %q: %w", name, err)
			}
			if _, err := f.Write(c.buf[:n]); err != nil {
				return fmt.Errorf("cannot write %q: %w", name, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return damaged(name, err)
		}
	}
}

func (c *cursor) setDir(name string, d dirEntry) error {
	base, err := c.enter(name)
	if err == nil {
		err = c.at.Chmod(base, d.mode.Perm()|0o700)
	}
	if err == nil && !d.mtime.IsZero() {
		err = c.at.Chtimes(base, d.mtime, d.mtime)
	}
	return err
}
