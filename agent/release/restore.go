//go:build linux && !developer

package release

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// Restore puts back what a deployment of release id replaced or removed outside the link, and removes what it added.
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
	from, err := safepath.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot read what release %s replaced: %w", id, err)
	}
	defer from.Close()
	var errs []error
	for _, f := range m.Files {
		if err := takeAway(f); err != nil { // the others are taken away all the same
			errs = append(errs, fmt.Errorf("cannot take %s away: %w", f.Dest, err))
		}
	}
	for _, d := range slices.Backward(m.Dirs) {
		rmdir(d) // only when empty: what somebody else put there stays
	}
	for _, d := range m.Gone {
		if err := d.restoreFile(); err != nil {
			errs = append(errs, fmt.Errorf("cannot put back the directory %s: %w", d.Dest, err))
		}
	}
	for _, f := range m.Files {
		if err := f.restoreFile(from); err != nil { // the others are put back all the same
			errs = append(errs, fmt.Errorf("cannot put back %s (saved in %s): %w", f.Dest, dir, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return l.dropSaved(id)
}

// parent is safepath.Parent, none when it is not there: then there is nothing to take away.
func parent(path string) (*safepath.Dir, string, error) {
	dir, name, err := safepath.Parent(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, "", nil
	}
	return dir, name, err
}

// takeAway removes a file that the deployment added, durably. What is there instead by now, and was made by another user
// than it was given to, is that user's; so is what a link of such a user leads to.
func takeAway(f savedFile) error {
	dir, name, err := parent(f.Dest)
	if unsafe := (*safepath.UnsafeError)(nil); f.Copy == "" && errors.As(err, &unsafe) {
		return nil
	}
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Stat(tempName(name)); err == nil && !info.IsDir() { // half a file
		_ = dir.Unlink(tempName(name))
	}
	info, err := dir.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case f.Copy != "", info.IsDir(), info.UID() != os.Geteuid() && info.UID() != f.UID:
		return nil
	}
	if err := dir.Unlink(name); err != nil {
		return err
	}
	return dir.Sync()
}

func rmdir(path string) {
	dir, name, err := parent(path)
	if err != nil || dir == nil {
		return
	}
	defer dir.Close()
	_ = dir.Rmdir(name)
}

// restoreFile makes a directory again that the deployment removed.
func (d savedDir) restoreFile() error {
	dir, name, err := safepath.Parent(d.Dest)
	if err != nil {
		return err
	}
	defer dir.Close()
	if info, err := dir.Stat(name); err == nil && info.IsDir() {
		return nil
	}
	made, err := dir.Mkdir(name, 0o700)
	if err != nil {
		return err
	}
	defer made.Close()
	f, err := made.Handle()
	if err != nil {
		return err
	}
	defer f.Close()
	if os.Geteuid() == 0 {
		err = f.Chown(d.UID, d.GID)
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), d.Mode)
	}
	if err == nil {
		err = dir.Sync()
	}
	return err
}

// restoreFile restores one file, durably. The saved one is moved back, which needs no room: a full disk is why files are
// restored. Where it is on another disk it is copied, and goes after all are back.
func (f savedFile) restoreFile(from *safepath.Dir) error {
	if f.Copy == "" {
		return nil
	}
	if _, err := from.Stat(f.Copy); errors.Is(err, fs.ErrNotExist) { // it is back
		return nil
	}
	dir, name, err := safepath.Parent(f.Dest)
	if err != nil {
		return err
	}
	defer dir.Close()
	next := tempName(name)
	if err := dir.Unlink(next); err != nil { // half a file
		return err
	}
	err = from.Move(f.Copy, dir, name)
	if errors.Is(err, unix.EXDEV) {
		if err = preserve(from, f.Copy, dir, next); err == nil {
			err = dir.Rename(next, name)
		}
		if err != nil {
			_ = dir.Unlink(next)
		}
	}
	return cmp.Or(err, dir.Sync())
}

// dropSaved removes the saved files of a release. The manifest goes first: half a set of copies must not be
// taken for a whole one.
func (l Layout) dropSaved(id string) error {
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

// Keep ends a deployment that succeeded: the files it replaced or removed are let go, and those that only the release
// before it had are that release's no longer. before may be none.
func (l Layout) Keep(r, before Release) error {
	if gone := r.obsoleteFiles(before.ExternalFiles); len(gone) > 0 {
		before.ExternalFiles = slices.DeleteFunc(slices.Clone(before.ExternalFiles), func(dest string) bool { return slices.Contains(gone, dest) })
		if err := l.save(before.Metadata); err != nil {
			return err
		}
	}
	return l.dropSaved(r.ID)
}

// obsoleteFiles are those of another release's files outside the link that r has not.
func (r Release) obsoleteFiles(outside []string) []string {
	return slices.DeleteFunc(slices.Clone(outside), func(dest string) bool { return slices.Contains(r.ExternalFiles, dest) })
}
