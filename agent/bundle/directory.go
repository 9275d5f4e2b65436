package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Directory copies the revision in the directory src into dir, which exists and is empty, by the
// rules of Unpack: what could not be deployed as an archive is refused here too. Only .git
// directories are passed over, and dir itself where it lies below src; a leading directory is kept,
// because the developer chose what to name.
func Directory(ctx context.Context, src, dir string, l Limits) (Stats, error) {
	stats, err := copyDirectory(ctx, src, dir, l.withDefaults())
	if err != nil {
		return Stats{}, fmt.Errorf("cannot copy %s: %w", src, err)
	}
	return stats, nil
}

func copyDirectory(ctx context.Context, src, dir string, l Limits) (Stats, error) {
	from, err := os.OpenRoot(src)
	if err != nil {
		return Stats{}, err
	}
	defer from.Close()
	destination, err := os.Stat(dir)
	if err != nil {
		return Stats{}, err
	}
	t, err := newTree(dir, l)
	if err != nil {
		return Stats{}, err
	}
	defer t.close()
	c := t.cursor()
	defer c.close()

	err = t.walk(ctx, from, destination, func(name string, info fs.FileInfo) error {
		return copyFile(ctx, from, c, name, info)
	})
	if err != nil {
		return Stats{}, err
	}
	return t.finish(ctx)
}

// Survey judges the revision in the directory src as Directory does, where it lies: nothing is written, and of a file no more
// is read than that it can be.
func Survey(ctx context.Context, src string, l Limits) (Stats, error) {
	stats, err := survey(ctx, src, l.withDefaults())
	if err != nil {
		return Stats{}, fmt.Errorf("cannot use %s as a revision: %w", src, err)
	}
	return stats, nil
}

func survey(ctx context.Context, src string, l Limits) (Stats, error) {
	from, err := os.OpenRoot(src)
	if err != nil {
		return Stats{}, err
	}
	defer from.Close()
	t := &tree{limits: l, kinds: map[string]kind{}, dirs: map[string]dirEntry{}, links: map[string]link{}, unwrite: func(string) error { return nil }}
	err = t.walk(ctx, from, nil, func(name string, info fs.FileInfo) error {
		if _, err := t.reserve(name, isFile); err != nil {
			return err
		}
		f, err := from.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := t.addBytes(int(info.Size())); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return Stats{}, err
	}
	if err := t.judgeLinks(ctx); err != nil {
		return Stats{}, err
	}
	return t.stats(), nil
}

// walk takes what is in from into the tree, but for .git directories and the one that is copied into.
func (t *tree) walk(ctx context.Context, from *os.Root, destination fs.FileInfo, file func(name string, info fs.FileInfo) error) error {
	err := fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			if IsRepository(name) || destination != nil && os.SameFile(info, destination) {
				return fs.SkipDir
			}
			return t.dir(name, dirEntry{mode: info.Mode(), mtime: info.ModTime()})
		case fs.ModeSymlink:
			target, err := from.Readlink(name)
			if err != nil {
				return err
			}
			return t.symlink(name, target)
		case 0:
			return file(name, info)
		}
		return special(name, info.Mode())
	})
	if err == nil && len(t.kinds) == 0 {
		err = errors.New("the directory holds no files")
	}
	return err
}

// IsRepository says whether the directory of this name is git's own, which is no part of a revision.
func IsRepository(name string) bool { return filepath.Base(name) == ".git" }

func copyFile(ctx context.Context, from *os.Root, c *cursor, name string, info fs.FileInfo) error {
	clean, err := c.tree.reserve(name, isFile)
	if err != nil {
		return err
	}
	f, err := from.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.file(ctx, clean, info.Mode(), info.ModTime(), f)
}
