package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"usher/agent/safepath"
)

// saved is the manifest of .saved-ID/: what was at each destination outside the link before the
// deployment touched it. It is on disk before the first file is replaced.
type saved struct {
	Files []savedFile `json:"files"`
	Dirs  []string    `json:"dirs"` // directories the deployment made, parents first
}

type savedFile struct {
	Dest string `json:"dest"`
	Copy string `json:"copy,omitempty"` // name in .saved-ID/; "" when there was nothing
}

// conflicts decides what happens to each destination outside the link, before anything is copied. It
// returns the pieces to install and the destinations that are retained.
func (l Layout) conflicts(p *Plan, how Installing) (install []piece, kept []string, err error) {
	behavior := p.exists
	if behavior == "" {
		behavior = how.Exists
	}
	for _, x := range p.outside {
		if err := l.leadsIn(x.dest); err != nil {
			return nil, nil, err
		}
		info, err := os.Lstat(l.at(x.dest))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, fmt.Errorf("cannot look at the destination %s: %w", x.dest, err)
		case x.mode.IsDir():
			if info, err := os.Stat(l.at(x.dest)); err != nil || !info.IsDir() {
				return nil, nil, fmt.Errorf("cannot install the directory %s: a file of that name exists already: remove it", x.dest)
			}
			continue // existing directories are fine, and keep their mode and owner
		case info.IsDir():
			return nil, nil, fmt.Errorf("cannot install the file %s: a directory of that name exists already: remove it", x.dest)
		case slices.Contains(how.Owned, x.dest): // ours, from the release in use
		case behavior == "OVERWRITE":
		case behavior == "RETAIN":
			kept = append(kept, x.dest)
			continue
		default:
			return nil, nil, fmt.Errorf("cannot install %s: the file exists already and no release of this group installed it: "+
				"remove it, or set `file_exists_behavior: OVERWRITE` (or RETAIN) in the appspec", x.dest)
		}
		install = append(install, x)
	}
	return install, kept, nil
}

// leadsIn refuses a destination that is outside the link by name, but by way of a link in its path lies in
// the base, in a release or at the application's link after all.
func (l Layout) leadsIn(dest string) error {
	at := filepath.Dir(l.at(dest))
	real, err := filepath.EvalSymlinks(at)
	for ; errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at); real, err = filepath.EvalSymlinks(at) {
		at = filepath.Dir(at)
	}
	if err != nil {
		return fmt.Errorf("cannot follow the path of the destination %s: %w", dest, err)
	}
	for _, kept := range []string{l.Link, l.Base, l.Releases} {
		if target, err := filepath.EvalSymlinks(l.at(kept)); err == nil && under(real, target) {
			return fmt.Errorf("cannot install %s: by way of a symbolic link it lies in %s, which is %s; use a destination under %s",
				dest, real, kept, l.Link)
		}
	}
	return nil
}

// replaceOutside saves what is at the destinations and puts the new files there, each by a rename.
func (l Layout) replaceOutside(ctx context.Context, r *Release, pieces []piece, apply *applier) error {
	dir := l.dir(".saved-" + r.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make a directory for the files to be replaced: %w", err)
	}
	var m saved
	for i, x := range pieces {
		at := l.at(x.dest)
		if x.mode.IsDir() {
			m.Dirs = append(m.Dirs, missingParents(at)...)
			continue
		}
		m.Dirs = append(m.Dirs, missingParents(filepath.Dir(at))...)
		keep := savedFile{Dest: at}
		if _, err := os.Lstat(at); err == nil {
			keep.Copy = strconv.Itoa(i)
			if err := preserve(at, filepath.Join(dir, keep.Copy)); err != nil {
				return fmt.Errorf("cannot save %s before it is replaced: %w", x.dest, err)
			}
		}
		m.Files = append(m.Files, keep)
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = writeDurably(filepath.Join(dir, "manifest.json"), text, 0o600)
	}
	if err == nil {
		err = syncDir(l.dir(""))
	}
	if err != nil {
		return fmt.Errorf("cannot record the files to be replaced: %w", err)
	}
	for _, x := range pieces {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := l.putOutside(r, x, apply); err != nil {
			return fmt.Errorf("cannot install %s: %w", x.dest, err)
		}
	}
	dirs := slices.DeleteFunc(slices.Clone(pieces), func(x piece) bool { return !x.mode.IsDir() })
	return apply.all(dirs, func(x piece) string { return l.at(x.dest) })
}

func (l Layout) putOutside(r *Release, x piece, apply *applier) error {
	at := l.at(x.dest)
	if x.mode.IsDir() {
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		return os.Chmod(at, x.mode.Perm()|0o700)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	next := beside(at)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if x.mode&fs.ModeSymlink != 0 {
		target, err := os.Readlink(filepath.Join(r.Bundle, x.source))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, next); err != nil {
			return err
		}
	} else {
		if err := copyFile(filepath.Join(r.Bundle, x.source), next, x.mode); err != nil {
			return err
		}
		err := apply.to(x.dest, next)
		if err == nil {
			err = syncFile(next)
		}
		if err != nil {
			os.Remove(next)
			return err
		}
	}
	if err := os.Rename(next, at); err != nil {
		os.Remove(next)
		return err
	}
	return syncDir(filepath.Dir(at))
}

// Restore puts back what a deployment of release id replaced outside the link, and removes what it added.
// It may be called at any time, any number of times; without anything saved it does nothing.
func (l Layout) Restore(id string) error {
	dir := l.dir(".saved-" + id)
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, fs.ErrNotExist) { // nothing was replaced yet
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil // and nothing is to be removed: the disk may be read-only
		}
		return safepath.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot read what release %s replaced: %w", id, err)
	}
	var m saved
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("cannot read what release %s replaced: %s/manifest.json: %w", id, dir, err)
	}
	var errs []error
	for _, f := range m.Files {
		if err := putBack(f, dir); err != nil { // the others are put back all the same
			errs = append(errs, fmt.Errorf("cannot put back %s (saved in %s): %w", f.Dest, dir, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, d := range slices.Backward(m.Dirs) {
		os.Remove(d) // only when empty: what somebody else put there stays
	}
	return l.letGo(id)
}

// putBack restores one file, durably: the saved copy goes only after all are back.
func putBack(f savedFile, dir string) error {
	os.Remove(beside(f.Dest))
	if f.Copy == "" {
		if err := os.Remove(f.Dest); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return syncDir(filepath.Dir(f.Dest))
	}
	if err := preserve(filepath.Join(dir, f.Copy), beside(f.Dest)); err != nil {
		return err
	}
	if err := os.Rename(beside(f.Dest), f.Dest); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Dest))
}

// letGo removes the saved files of a release. The manifest goes first: half a set of copies must not be
// taken for a whole one.
func (l Layout) letGo(id string) error {
	dir := l.dir(".saved-" + id)
	if err := os.Remove(filepath.Join(dir, "manifest.json")); errors.Is(err, fs.ErrNotExist) {
		return safepath.RemoveAll(dir)
	} else if err != nil {
		return fmt.Errorf("cannot let the saved files go: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := safepath.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot remove the saved files: %w", err)
	}
	return syncDir(l.dir(""))
}

// Keep ends a deployment that succeeded: the files it replaced are let go, and the files outside the link
// that only the release before it had are removed, and are that release's no longer. before may be none.
func (l Layout) Keep(r, before Release) error {
	gone := r.leaves(before)
	for _, dest := range gone {
		if err := os.Remove(l.at(dest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove %s, which the new release no longer installs: %w", dest, err)
		}
	}
	if len(gone) > 0 {
		before.Outside = slices.DeleteFunc(slices.Clone(before.Outside), func(dest string) bool { return slices.Contains(gone, dest) })
		if err := l.save(before.Facts); err != nil {
			return err
		}
	}
	return l.letGo(r.ID)
}

// missingParents are the directories that MkdirAll(dir) would make, parents first.
func missingParents(dir string) (missing []string) {
	for {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			slices.Reverse(missing)
			return missing
		}
		missing = append(missing, dir)
		dir = filepath.Dir(dir)
	}
}

// preserve copies a file or symbolic link to a new name with mode, owner (where allowed) and time.
func preserve(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	if err := copyFile(from, to, info.Mode()); err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		if err := os.Chmod(to, info.Mode()); err != nil { // chown clears setuid and setgid
			return err
		}
	}
	return syncFile(to)
}
