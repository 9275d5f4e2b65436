//go:build !linux || developer

package bundle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A cursor writes into the tree, by os.Root: where there is no server, an archive is unpacked to be looked at, and nobody
// waits for tens of thousands of files.
type cursor struct {
	tree *tree
	buf  []byte // nil until the first file
}

func (t *tree) cursor() *cursor { return &cursor{tree: t} }

func (c *cursor) close() {}

// openFile is a new file, open.
type openFile struct{ *os.File }

func (f openFile) write(b []byte) (int, error)  { return f.Write(b) }
func (f openFile) chmod(perm fs.FileMode) error { return f.Chmod(perm) }
func (f openFile) close() error                 { return f.Close() }

// possible tells whether a name, which can be good on a server, does not mean another place here: a backslash or a drive's colon on
// Windows. Elsewhere the system itself refuses what it cannot have.
func possible(name string) bool {
	if runtime.GOOS != "windows" {
		return true
	}
	_, err := filepath.Localize(name)
	return err == nil
}

func (c *cursor) open(name string, perm fs.FileMode) (openFile, error) {
	if !possible(name) {
		return openFile{}, fmt.Errorf("no file of %s can have this name", runtime.GOOS)
	}
	f, err := c.tree.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	return openFile{f}, err
}

// remove removes a file.
func (c *cursor) remove(name string) error { return c.tree.root.Remove(name) }

// makeDir makes a directory.
func (c *cursor) makeDir(name string, perm fs.FileMode) error {
	if !possible(name) {
		return fmt.Errorf("no directory of %s can have this name", runtime.GOOS)
	}
	return c.tree.root.Mkdir(name, perm)
}

// chmod gives a directory its mode.
func (c *cursor) chmod(name string, perm fs.FileMode) error { return c.tree.root.Chmod(name, perm) }

// setTime gives a file or directory its time of modification.
func (c *cursor) setTime(name string, mtime time.Time) error {
	return c.tree.root.Chtimes(name, time.Time{}, mtime)
}

// umask is what new files in a directory lack of the mode they are made with: not known, so modes are set once more.
func umask(*os.File) uint32 { return 0o777 }
