//go:build linux && !developer

package release

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"usher/agent/safepath"
)

// MakeRoom is Prune's keep where room is needed more than what tells why something failed: no more good releases stay than
// must, and no bad one.
const MakeRoom = -1

// Prune removes old releases: of the good ones the newest keep stay, one of each revision, of the bad ones the newest (for
// diagnosis); those in protect (ids), the live one, unpacked ones (an image may carry them), those that processes still run
// from, those in which something is mounted, and the base always stay. It returns what it removed, and goes on after a failure.
// That processes keep a release is an error once, and nothing that the caller must do anything about.
func (l Layout) Prune(keep int, protect ...string) (removed []string, err error) {
	old, err := l.outdated(keep, protect)
	if err != nil {
		return nil, err
	}
	users, err := l.usersOf(old)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, r := range old {
		if by := users[r.ID]; len(by) > 0 {
			errs = append(errs, l.hold(r, by))
			continue
		}
		if err := l.remove(r.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, r.ID)
	}
	errs = append(errs, l.removeLeftovers(protect))
	return removed, errors.Join(errs...)
}

// PruneReaches reports whether Prune has a release to remove, for which it has to see every process of the machine
// (see usersOf).
func (l Layout) PruneReaches(keep int, protect ...string) bool {
	old, err := l.outdated(keep, protect)
	return err == nil && len(old) > 0
}

// outdated are the releases that may go, for all that their facts say.
func (l Layout) outdated(keep int, protect []string) (old []Release, err error) {
	all, err := l.All()
	if err != nil || len(all) == 0 { // without any, whatever the link is
		return nil, err
	}
	_, live, err := l.Live()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Release) int { return b.Time.Compare(a.Time) })
	good, bad := 0, 0
	revisions := map[string]bool{}
	for _, r := range all {
		_, ours := l.facts(r.ID+".json", r.ID)
		spare := r.ID == live || slices.Contains(protect, r.ID) || !ours
		switch r.Status {
		case Good:
			if revisions[strings.TrimSuffix(r.ID, Beside)] {
				break // who goes back, goes to another one
			}
			revisions[strings.TrimSuffix(r.ID, Beside)] = true
			good++
			spare = spare || good <= max(keep, 2) // the live one and the one to go back to, whatever keep says
		case Bad:
			bad++
			spare = spare || bad <= 1 && keep != MakeRoom
		case InUse: // cut short, and not protected: no deployment will come back to it
		default:
			spare = true
		}
		if !spare {
			old = append(old, r)
		}
	}
	return old, nil
}

// hold says that a release stays because of who runs from it, the first time.
func (l Layout) hold(r Release, by []string) error {
	if r.Held {
		return nil
	}
	r.Held = true
	return errors.Join(l.save(r.Metadata), fmt.Errorf("release %s is not removed while processes run from it: %s; restart or reload them "+
		"(as a rule in the revision's ApplicationStart)", r.ID, strings.Join(by, ", ")))
}

// removeLeftovers removes what attempts that were cut short left, but nothing of the protected releases, and nothing that is not
// usher's: others may have files in the folder too.
func (l Layout) removeLeftovers(protect []string) error {
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
		id = strings.TrimSuffix(strings.TrimSuffix(id, ".tree"), scriptsSuffix)
		if before, ok := strings.CutSuffix(e.Name(), ".json.next"); ok {
			_, left = l.facts(e.Name(), before)
		}
		if strings.HasPrefix(e.Name(), ".removing-") {
			left = true
		}
		if left && !slices.Contains(protect, id) {
			errs = append(errs, safepath.RemoveAll(l.dir(e.Name())))
		}
		// Metadata of a release that is not whole: it was being made, or removed.
		if id, facts := strings.CutSuffix(e.Name(), ".json"); facts && id != live && !slices.Contains(protect, id) {
			if _, ours := l.facts(e.Name(), id); !ours {
				continue
			}
			if _, whole := l.Load(id); !whole {
				errs = append(errs, l.remove(id))
			}
		}
	}
	return errors.Join(errs...)
}

// Remove takes a release away that may have been damaged. It must not be live.
func (l Layout) Remove(id string) error {
	if _, live, err := l.Live(); err != nil || live == id {
		return cmp.Or(err, fmt.Errorf("cannot remove release %s: it is live", id))
	}
	return l.remove(id)
}

// remove takes a release away, but not one in which something is mounted, nor what has its name and is not a release of
// usher's. What of it cannot be removed is no release any more, and is in nobody's way: removeLeftovers tries again.
func (l Layout) remove(id string) error {
	aside, err := l.putAside(id)
	if err != nil {
		return fmt.Errorf("cannot remove release %s: %w", id, err)
	}
	for _, dir := range aside {
		_ = safepath.RemoveAll(dir)
	}
	return nil
}

// putAside renames the directories of a release, the unpacked revision first, so that a release half removed is never taken
// for one; its facts go last.
func (l Layout) putAside(id string) (aside []string, err error) {
	if _, ours := l.facts(id+".json", id); !ours {
		for _, name := range []string{id, id + ".bundle", id + ".json"} {
			if _, err := os.Lstat(l.dir(name)); err == nil {
				return nil, fmt.Errorf("%s is there, and usher did not make it: move it to another folder", l.dir(name))
			}
		}
		return nil, nil
	}
	parts := []string{id + ".bundle", id, id + scriptsSuffix, id + earlySuffix}
	for _, name := range parts {
		if err := safepath.Mounted(l.dir(name)); err != nil {
			return nil, err
		}
	}
	for _, name := range parts {
		at := l.dir(fmt.Sprintf(".removing-%s-%d", name, time.Now().UnixNano()))
		err := os.Rename(l.dir(name), at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission):
			return aside, fmt.Errorf("%w: it is immutable, as lsattr -d shows: chattr -R -i %s", err, l.dir(name))
		case err != nil:
			return aside, err
		}
		aside = append(aside, at)
	}
	if err := os.Remove(l.dir(id + ".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return aside, err
	}
	return aside, nil
}
