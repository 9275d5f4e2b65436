//go:build linux && !developer

package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"usher/agent/bundle"
	"usher/agent/safepath"
)

// Installing is how Install goes about it.
type Installing struct {
	Exists       string   // the deployment's file_exists_behavior, "" for DISALLOW; the appspec's own wins
	Owned        []string // files outside the link that the release now in use installed: replaced without asking
	Built        bool     // the release is as its scripts and its application left it: only what is outside of it is installed
	Unprivileged bool     // not root: what only root may do (owners, contexts) is left out and told, not an error

	Dirs   []string       // directories outside the link that this group's deployments made: removed when nothing needs them
	Owners map[string]int // who the two were given to: see Metadata
}

// After is Installing for a deployment that follows a release.
func After(live Release) Installing {
	return Installing{Owned: live.ExternalFiles, Dirs: live.Dirs, Owners: live.Owners}
}

// Installed is what Install did.
type Installed struct {
	Files int      // installed into the release (0 when the revision is the release) and outside
	Early int      // that BeforeInstall left at the link, and the release has now
	Notes []string // what was left out, and why: each a line for a person
}

// Install puts the plan's files in place: into the release, which is not live yet, and to destinations
// outside the link, whose old files are saved first (see Restore). A release that is live already is left
// as it is. An error leaves the release unfinished; the caller then calls Restore.
func (l Layout) Install(ctx context.Context, r *Release, p *Plan, how Installing) (done Installed, err error) {
	if err := l.Restore(r.ID); err != nil { // of an attempt that was cut short
		return done, err
	}
	outside, err := l.conflicts(p, how)
	if err != nil {
		return done, err
	}
	done.Notes = append(done.Notes, outside.notes...)
	for _, dest := range outside.kept {
		done.Notes = append(done.Notes, fmt.Sprintf("%s exists already and is kept (file_exists_behavior RETAIN)", dest))
	}
	apply := applier{rules: p.rules, unprivileged: how.Unprivileged}
	live, _, err := l.Live()
	if err != nil {
		return done, err
	}
	switch {
	case live == r.Dir, how.Built:
	case p.Separate:
		if err := l.build(ctx, r, p, &apply); err != nil {
			return done, err
		}
		done.Files += countFiles(p.inside)
	case len(p.inside) > 0:
		if err := apply.all(p.inside, r.Dir, func(x mapping) string { return x.source }); err != nil {
			return done, err
		}
		if err := bundle.Sync(r.Dir); err != nil {
			return done, fmt.Errorf("cannot write release %s to disk: %w", r.ID, err)
		}
	}
	if live != r.Dir && !how.Built {
		taken, notes, err := l.takeEarly(*r)
		done.Early, done.Notes = taken, append(done.Notes, notes...)
		if err != nil {
			return done, err
		}
	}
	r.ExternalFiles = nil
	for _, x := range outside.install {
		if !x.mode.IsDir() {
			r.ExternalFiles = append(r.ExternalFiles, x.dest)
		}
	}
	if outside.some() {
		if err := outside.replaceOutside(ctx, r, &apply); err != nil {
			return done, err
		}
		done.Files += countFiles(outside.install)
	}
	done.Notes = append(done.Notes, apply.notes...)
	return done, nil
}

// build makes the release's tree beside its place and renames it there. Files are copies, not hard links:
// the scripts in the unpacked revision are run by root, and whoever is given a file of the tree must not
// be given those. On filesystems that share extents (XFS, Btrfs) a copy costs next to nothing.
func (l Layout) build(ctx context.Context, r *Release, p *Plan, apply *applier) error {
	tree, err := l.StagingDir(r.ID + ".tree")
	if err != nil {
		return err
	}
	place := func(x mapping) string { return rel(l.Link, x.dest) }
	from, err := newTree(r.Bundle)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := newTree(tree)
	if err != nil {
		return err
	}
	defer to.close()
	for _, x := range p.inside {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := x.copy(from, to, place(x)); err != nil {
			return fmt.Errorf("cannot install %s: %w", x.dest, err)
		}
	}
	if err := apply.all(p.inside, tree, place); err != nil {
		return err
	}
	if err := bundle.Sync(tree); err != nil {
		return fmt.Errorf("cannot write release %s to disk: %w", r.ID, err)
	}
	if err := safepath.RemoveAll(r.Dir); err != nil { // of an attempt that was cut short: it is not live
		return fmt.Errorf("cannot remove what an earlier attempt left: %w", err)
	}
	if err := os.Rename(tree, r.Dir); err != nil {
		return fmt.Errorf("cannot name the installed release: %w", err)
	}
	return syncDir(l.dir(""))
}

// copy copies a piece of the unpacked revision into the tree of a release.
func (x mapping) copy(from, to *openTree, at string) error {
	if x.mode.IsDir() {
		dir, err := to.make(at)
		if err != nil || x.source == "" {
			return err
		}
		// The mode of an intermediate directory is the revision's; writable by us while we fill it.
		f, err := dir.Handle()
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Chmod(x.mode.Perm() | 0o700)
	}
	source, err := from.open(filepath.Dir(x.source))
	if err != nil {
		return err
	}
	dir, err := to.make(filepath.Dir(at))
	if err != nil {
		return err
	}
	name := filepath.Base(x.source)
	if x.mode&fs.ModeSymlink == 0 {
		return copyFile(source, name, dir, filepath.Base(at), x.mode, nil)
	}
	target, err := source.Readlink(name)
	if err != nil {
		return err
	}
	return dir.Symlink(target, filepath.Base(at))
}

// openTree is a tree in which the directory used last is kept open: pieces come in an order that follows it.
type openTree struct {
	top, last *safepath.Dir
	rel       string // of last
}

func newTree(dir string) (*openTree, error) {
	top, err := safepath.Open(dir)
	return &openTree{top: top}, err
}

func (t *openTree) close() {
	t.top.Close()
	if t.last != nil {
		t.last.Close()
	}
}

// open is a directory of the tree; it is open until the next call.
func (t *openTree) open(rel string) (*safepath.Dir, error) {
	if rel = filepath.Clean(rel); t.last != nil && rel == t.rel {
		return t.last, nil
	}
	d, err := t.top.Down(rel)
	if err != nil {
		return nil, err
	}
	if t.last != nil {
		t.last.Close()
	}
	t.last, t.rel = d, rel
	return d, nil
}

// make is open for a directory that need not be there yet.
func (t *openTree) make(rel string) (*safepath.Dir, error) {
	d, err := t.open(rel)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	above, err := t.make(filepath.Dir(rel))
	if err != nil {
		return nil, err
	}
	made, err := above.Mkdir(filepath.Base(rel), 0o755)
	if err != nil {
		return nil, err
	}
	made.Close()
	return t.open(rel)
}

func countFiles(pieces []mapping) (n int) {
	for _, x := range pieces {
		if !x.mode.IsDir() {
			n++
		}
	}
	return n
}
