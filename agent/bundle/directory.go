package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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

	err = fs.WalkDir(from.FS(), ".", func(name string, d fs.DirEntry, err error) error {
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
			if path.Base(name) == ".git" || os.SameFile(info, destination) {
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
			return copyFile(ctx, from, c, name, info)
		}
		return special(name, info.Mode())
	})
	if err != nil {
		return Stats{}, err
	}
	if len(t.kinds) == 0 {
		return Stats{}, errors.New("the directory holds no files")
	}
	return t.finish(ctx)
}

func copyFile(ctx context.Context, from *os.Root, c *cursor, name string, info fs.FileInfo) error {
	clean, _, err := c.tree.reserve(name, isFile)
	if err != nil {
		return err
	}
	f, err := from.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.file(ctx, clean, info.Mode(), info.ModTime(), false, f)
}
