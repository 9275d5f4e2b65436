//go:build linux && !developer

package release

import (
	"cmp"
	"fmt"
)

// ByPath is the release whose directory target is.
func (l Layout) ByPath(target string) (Release, bool) {
	all, err := l.All()
	if err != nil {
		return Release{}, false
	}
	for _, r := range all {
		if r.Dir == target {
			return r, true
		}
	}
	return Release{}, false
}

// IsLive says whether the link points to a release.
func (l Layout) IsLive(id string) bool {
	_, live, err := l.Live()
	return err == nil && id != "" && live == id
}

// Standing says, as an error, why a release is not what users get: the link leads to something else, or what it leads to is
// not whole.
func (l Layout) Standing(id string) error {
	target, live, err := l.Live()
	switch {
	case err != nil:
		return err
	case live != id:
		return fmt.Errorf("%s leads to %s, not to release %s", l.LinkPath(), cmp.Or(target, "nothing"), id)
	}
	if r, ok := l.Load(id); !ok || !isDir(r.Dir) {
		return fmt.Errorf("%s leads to release %s, and that is not whole: %s or what belongs to it is missing", l.LinkPath(), id, target)
	}
	return nil
}

// Has says whether a release is on the disk.
func (l Layout) Has(id string) bool { _, ok := l.Load(id); return ok }

// Fallback is target if it is there, else the base if that is there, else "": no link.
func (l Layout) Fallback(target string) string {
	for _, dir := range []string{target, l.BasePath()} {
		if dir != "" && isDir(dir) {
			return dir
		}
	}
	return ""
}
