//go:build linux && !developer

package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Flip makes the link point to target, an absolute path, in one rename; afterwards the new link is on
// disk. An empty target removes the link (the server had none before).
//
// The link that was there is kept beside it (spare), so that to go back needs no inode: a full disk is why one goes back.
func (l Layout) Flip(target string) error {
	link := l.at(l.Link)
	parent := filepath.Dir(link)
	if target == "" {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the link %s: %w", link, err)
		}
		return syncDir(parent)
	}
	if !isDir(target) {
		return fmt.Errorf("cannot point %s to %s: it is not a directory", link, target)
	}
	spare := filepath.Join(parent, "."+filepath.Base(link)+".spare")
	if kept, _ := os.Readlink(spare); kept != target { // or what a crash has left
		if err := os.Remove(spare); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the link an earlier flip left: %w", err)
		}
		if err := os.Symlink(target, spare); err != nil {
			return fmt.Errorf("cannot make the next link: %w", err)
		}
	}
	_, err := os.Readlink(link) // only a link is exchanged
	if err == nil {
		err = unix.Renameat2(unix.AT_FDCWD, spare, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
	}
	if err != nil { // there is none, or the file system cannot exchange
		err = os.Rename(spare, link)
	}
	if err != nil {
		return fmt.Errorf("cannot switch %s to %s: %w", link, target, err)
	}
	return syncDir(parent)
}

// IsBase reports whether what the link may lead to is the base, by whatever way (a bind mount).
func (l Layout) IsBase(target string) bool {
	a, err := os.Stat(target)
	if err != nil {
		return false
	}
	b, err := os.Stat(l.BasePath())
	return err == nil && os.SameFile(a, b)
}

// writeDurably replaces a file: written beside it, fsynced, renamed over it, and the folder fsynced.
func writeDurably(path string, content []byte, mode fs.FileMode) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot open %s to sync it: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}
