package release

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/bundle"
	"usher/agent/safepath"
)

// Installing is how Install goes about it.
type Installing struct {
	Exists       string   // the deployment's file_exists_behavior, "" for DISALLOW; the appspec's own wins
	Owned        []string // files outside the link that the release now in use installed: replaced without asking
	Unprivileged bool     // not root: what only root may do (owners, contexts) is left out and told, not an error
}

// Installed is what Install did.
type Installed struct {
	Files int      // installed into the release (0 when the revision is the release) and outside
	Notes []string // what was left out, and why: each a line for a person
}

// Install puts the plan's files in place: into the release, which is not live yet, and to destinations
// outside the link, whose old files are saved first (see Restore). A release that is live already is left
// as it is. An error leaves the release unfinished; the caller then calls Restore.
func (l Layout) Install(ctx context.Context, r *Release, p *Plan, how Installing) (done Installed, err error) {
	if err := l.Restore(r.ID); err != nil { // of an attempt that was cut short
		return done, err
	}
	outside, kept, err := l.conflicts(p, how)
	if err != nil {
		return done, err
	}
	for _, dest := range kept {
		done.Notes = append(done.Notes, fmt.Sprintf("%s exists already and is kept (file_exists_behavior RETAIN)", dest))
	}
	apply := applier{rules: p.rules, unprivileged: how.Unprivileged}
	live, _, err := l.Live()
	if err != nil {
		return done, err
	}
	switch {
	case live == r.Tree:
	case p.Mapped:
		if err := l.build(ctx, r, p, &apply); err != nil {
			return done, err
		}
		done.Files += countFiles(p.inside)
	case len(p.inside) > 0:
		if err := apply.all(p.inside, func(x piece) string { return filepath.Join(r.Tree, x.source) }); err != nil {
			return done, err
		}
		if err := bundle.Sync(r.Tree); err != nil {
			return done, fmt.Errorf("cannot write release %s to disk: %w", r.ID, err)
		}
	}
	r.Outside = nil
	for _, x := range outside {
		if !x.mode.IsDir() {
			r.Outside = append(r.Outside, x.dest)
		}
	}
	if len(outside) > 0 {
		if err := l.save(r.Facts); err != nil {
			return done, err
		}
		if err := l.replaceOutside(ctx, r, outside, &apply); err != nil {
			return done, err
		}
		done.Files += countFiles(outside)
	}
	done.Notes = append(done.Notes, apply.notes...)
	return done, nil
}

// build makes the release's tree beside its place and renames it there. Files are copies, not hard links:
// the scripts in the unpacked revision are run by root, and whoever is given a file of the tree must not
// be given those. On filesystems that share extents (XFS, Btrfs) a copy costs next to nothing.
func (l Layout) build(ctx context.Context, r *Release, p *Plan, apply *applier) error {
	tree, err := l.Incoming(r.ID + ".tree")
	if err != nil {
		return err
	}
	place := func(x piece) string { return filepath.Join(tree, rel(l.Link, x.dest)) }
	for _, x := range p.inside {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := place(x)
		switch {
		case x.mode.IsDir():
			// The mode of an intermediate directory is the revision's; writable by us while we fill it.
			if err = os.MkdirAll(at, 0o755); err == nil && x.source != "" {
				err = os.Chmod(at, x.mode.Perm()|0o700)
			}
		case x.mode&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(filepath.Join(r.Bundle, x.source)); err == nil {
				err = os.Symlink(target, at)
			}
		default:
			err = copyFile(filepath.Join(r.Bundle, x.source), at, x.mode)
		}
		if err != nil {
			return fmt.Errorf("cannot install %s: %w", x.dest, err)
		}
	}
	if err := apply.all(p.inside, place); err != nil {
		return err
	}
	if err := bundle.Sync(tree); err != nil {
		return fmt.Errorf("cannot write release %s to disk: %w", r.ID, err)
	}
	if err := safepath.RemoveAll(r.Tree); err != nil { // of an attempt that was cut short: it is not live
		return fmt.Errorf("cannot remove what an earlier attempt left: %w", err)
	}
	if err := os.Rename(tree, r.Tree); err != nil {
		return fmt.Errorf("cannot name the installed release: %w", err)
	}
	return syncDir(l.dir(""))
}

func countFiles(pieces []piece) (n int) {
	for _, x := range pieces {
		if !x.mode.IsDir() {
			n++
		}
	}
	return n
}

// copyFile copies a regular file to a new name with its permission bits and time. It follows no link, and
// does not make the copy durable.
func copyFile(from, to string, mode fs.FileMode) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is a %s, not a file", from, kindOf(info))
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := out.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(to)
		}
	}()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Chmod(mode.Perm()); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}

// syncFile makes a file's content durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// beside is a name for the next content of path, in the same folder.
func beside(path string) string {
	return filepath.Join(filepath.Dir(path), ".usher-"+strings.TrimPrefix(filepath.Base(path), "."))
}
