package release

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Flip makes the link point to target, an absolute path, in one rename; afterwards the new link is on
// disk. An empty target removes the link (the server had none before).
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
	// A fixed name: what a crash leaves behind is replaced by the next flip, never collected.
	next := filepath.Join(parent, "."+filepath.Base(link)+".next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the link an earlier flip left: %w", err)
	}
	if err := os.Symlink(target, next); err != nil {
		return fmt.Errorf("cannot make the next link: %w", err)
	}
	if err := os.Rename(next, link); err != nil {
		os.Remove(next)
		return fmt.Errorf("cannot switch %s to %s: %w", link, target, err)
	}
	return syncDir(parent)
}

// Prune removes old releases: of the good ones the newest keep stay, of the bad ones the newest (for
// diagnosis); those in protect (ids), the live one, unpacked ones (an image may carry them) and the base
// always stay. It returns what it removed, and goes on after a failure.
func (l Layout) Prune(keep int, protect ...string) (removed []string, err error) {
	all, err := l.All()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 { // whatever the link is
		return nil, l.sweep(protect)
	}
	_, live, err := l.Live()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Release) int { return b.Time.Compare(a.Time) })
	good, bad := 0, 0
	var errs []error
	for _, r := range all {
		spare := r.ID == live || slices.Contains(protect, r.ID)
		switch r.Status {
		case Good:
			good++
			spare = spare || good <= max(keep, 2) // the live one and the one to go back to, whatever keep says
		case Bad:
			bad++
			spare = spare || bad <= 1
		case InUse: // cut short, and not protected: no deployment will come back to it
		default:
			spare = true
		}
		if spare {
			continue
		}
		if err := l.remove(r.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, r.ID)
	}
	errs = append(errs, l.sweep(protect))
	return removed, errors.Join(errs...)
}

// sweep removes what attempts that were cut short left, but nothing of the protected releases.
func (l Layout) sweep(protect []string) error {
	entries, err := os.ReadDir(l.dir(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot list the releases: %w", err)
	}
	_, live, err := l.Live()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		id, left := strings.CutPrefix(e.Name(), ".incoming-")
		if !left {
			left = strings.HasPrefix(e.Name(), ".removing-") || strings.HasSuffix(e.Name(), ".json.next")
		}
		if left && !slices.Contains(protect, strings.TrimSuffix(id, ".tree")) {
			errs = append(errs, os.RemoveAll(l.dir(e.Name())))
		}
		// Facts of a release that is not whole: it was being made, or removed.
		if id, facts := strings.CutSuffix(e.Name(), ".json"); facts && id != live && !slices.Contains(protect, id) {
			if _, whole := l.Load(id); !whole {
				errs = append(errs, l.remove(id))
			}
		}
	}
	return errors.Join(errs...)
}

// Discard takes a release away that may have been damaged. It must not be live.
func (l Layout) Discard(id string) error {
	if _, live, err := l.Live(); err != nil || live == id {
		return cmp.Or(err, fmt.Errorf("cannot remove release %s: it is live", id))
	}
	return l.remove(id)
}

// remove takes a release away. Its directories are renamed before they are emptied, the unpacked revision
// first, so that a release half removed is never taken for one; its facts go last.
func (l Layout) remove(id string) error {
	for _, name := range []string{id + ".bundle", id} {
		gone := l.dir(".removing-" + name)
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("cannot remove release %s: %w", id, err)
		}
		if err := os.Rename(l.dir(name), gone); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("cannot remove release %s: %w", id, err)
		}
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("cannot remove release %s: %w", id, err)
		}
	}
	if err := os.Remove(l.dir(id + ".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove the facts of release %s: %w", id, err)
	}
	return nil
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
