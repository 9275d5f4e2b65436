//go:build linux && !developer

package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// changes are what a deployment does to files outside the link: worked out before any is touched.
type changes struct {
	Layout
	plan          *Plan
	how           Installing
	install       []mapping
	kept          []string // destinations that are retained
	obsoleteFiles []string // files that the release in use installed and this one has not: they are removed
	gone          []string // directories that this group's deployments made and nobody needs any more, deepest first
	notes         []string

	led map[string]error // leadsIn, by directory
}

// conflicts decides what happens to each destination outside the link. What is there stays and fails the deployment,
// unless this group's release in use installed it, and it still belongs to whom it was given to then.
func (l Layout) conflicts(p *Plan, how Installing) (*changes, error) {
	c := &changes{Layout: l, plan: p, how: how, led: map[string]error{}}
	c.leave()
	for _, x := range p.outside {
		wanted, err := c.wanted(x)
		if err != nil {
			return nil, err
		}
		if wanted {
			c.install = append(c.install, x)
		}
	}
	return c, nil
}

// leave finds what the release in use installed and this revision has not.
func (c *changes) leave() {
	needed := map[string]bool{} // directories
	files := map[string]bool{}
	for _, x := range c.plan.outside {
		if x.mode.IsDir() {
			needed[x.dest] = true
		} else {
			files[x.dest] = true
		}
		for at := path.Dir(x.dest); at != "/" && !needed[at]; at = path.Dir(at) {
			needed[at] = true
		}
	}
	for _, dest := range c.how.Owned {
		if files[dest] {
			continue
		}
		info, err := c.stat(dest)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && info.IsDir() && needed[dest]:
		case err != nil:
			c.note("%s, which the revision no longer installs, is left: %v", dest, err)
		case info.IsDir() || !c.ours(dest, info):
			c.note("%s, which the revision no longer installs, is left: it is not what was installed, and belongs to user %d", dest, info.UID())
		default:
			c.obsoleteFiles = append(c.obsoleteFiles, dest)
		}
	}
	for _, dir := range c.how.Dirs {
		if info, err := c.stat(dir); !needed[dir] && err == nil && info.IsDir() && c.ours(dir, info) {
			c.gone = append(c.gone, dir)
		}
	}
	slices.SortFunc(c.gone, func(a, b string) int { return strings.Compare(b, a) }) // what is in a directory before it
}

// some says whether there is anything to do.
func (c *changes) some() bool {
	return len(c.install)+len(c.obsoleteFiles)+len(c.gone)+len(c.how.Dirs) > 0
}

func (c *changes) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// ours says whether what is at a path belongs to whom this group's deployment gave it to.
func (c *changes) ours(dest string, info safepath.Info) bool {
	given, known := c.how.Owners[dest]
	if !known {
		given = c.giveTo(dest)
	}
	return info.UID() == os.Geteuid() || info.UID() == given
}

// giveTo is who a path is given to by the plan.
func (c *changes) giveTo(dest string) int {
	if rule, ok := c.plan.rules[dest]; ok && rule.Owner != "" {
		if uid, err := lookupUser(rule.Owner); err == nil {
			return uid
		}
	}
	return os.Geteuid()
}

// stat looks at a destination.
func (c *changes) stat(dest string) (safepath.Info, error) {
	dir, name, err := safepath.Parent(c.at(dest))
	if errors.Is(err, unix.ENOTDIR) {
		err = fs.ErrNotExist // a file is where its directory was
	}
	if err != nil {
		return safepath.Info{}, err
	}
	defer dir.Close()
	return dir.Stat(name)
}

// wanted says whether a piece is to be installed.
func (c *changes) wanted(x mapping) (bool, error) {
	if err := c.resolvesInside(x.dest); err != nil {
		return false, err
	}
	info, err := c.stat(x.dest)
	behavior := c.plan.exists
	if behavior == "" {
		behavior = c.how.Exists
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("cannot look at the destination %s: %w", x.dest, err)
	case x.mode.IsDir() && slices.Contains(c.obsoleteFiles, x.dest): // a file of ours makes way
		return true, nil
	case x.mode.IsDir():
		d, rest, err := safepath.Existing(c.at(x.dest))
		if err == nil {
			d.Close()
		}
		if unsafe := (*safepath.UnsafeError)(nil); errors.As(err, &unsafe) {
			return false, fmt.Errorf("cannot install the directory %s: %w", x.dest, err)
		}
		if err != nil || rest != "" {
			return false, fmt.Errorf("cannot install the directory %s: a file of that name exists already: remove it", x.dest)
		}
		return false, nil // existing directories are fine, and keep their mode and owner
	case info.IsDir() && slices.Contains(c.gone, x.dest):
		return true, c.onlyOurs(x.dest)
	case info.IsDir():
		return false, fmt.Errorf("cannot install the file %s: a directory of that name exists already: remove it", x.dest)
	case slices.Contains(c.how.Owned, x.dest) && c.ours(x.dest, info): // from the release in use
		return true, nil
	case behavior == "OVERWRITE":
		return true, nil
	case behavior == "RETAIN":
		c.kept = append(c.kept, x.dest)
		return false, nil
	}
	return false, fmt.Errorf("cannot install %s: the file exists already and no release of this group installed it: "+
		"remove it, or set `file_exists_behavior: OVERWRITE` (or RETAIN) in the appspec", x.dest)
}

// onlyOurs is an error when a directory that a file is to replace holds more than what is removed.
func (c *changes) onlyOurs(dest string) error {
	d, err := safepath.Open(c.at(dest))
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Names()
	for _, name := range names {
		below := path.Join(dest, name)
		switch {
		case slices.Contains(c.obsoleteFiles, below):
		case slices.Contains(c.gone, below):
			if err := c.onlyOurs(below); err != nil {
				return err
			}
		default:
			return fmt.Errorf("cannot install a file in place of the directory %s: it holds %s, which no release of this group installed: remove it", dest, below)
		}
	}
	return err
}

// resolvesInside refuses a destination that is outside the link by name, but by way of a link or a mount in its path lies in
// the base, in a release or at the application's link after all.
func (c *changes) resolvesInside(dest string) error {
	dir := path.Dir(dest)
	err, known := c.led[dir]
	if !known {
		err = c.leadsInto(dir)
		c.led[dir] = err
	}
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", dest, err)
	}
	return nil
}

func (c *changes) leadsInto(dir string) error {
	d, _, err := safepath.Existing(c.at(dir))
	if at := (*fs.PathError)(nil); errors.As(err, &at) && errors.Is(err, unix.ENOTDIR) {
		if slices.ContainsFunc(c.obsoleteFiles, func(dest string) bool { return c.at(dest) == at.Path }) {
			return nil // a file of ours, which makes way for a directory
		}
		return fmt.Errorf("cannot install the directory %s: a file of that name exists already: remove it", at.Path)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for _, kept := range []string{c.Link, c.Base, c.Releases} {
		target, err := filepath.EvalSymlinks(c.at(kept))
		if err != nil {
			continue
		}
		if under(d.Path(), target) {
			return fmt.Errorf("by way of a symbolic link it lies in %s, which is %s; use a destination under %s", d.Path(), kept, c.Link)
		}
		if c.samePlace(d, target) {
			return fmt.Errorf("by way of a mount it lies in %s, which is %s; use a destination under %s", d.Path(), kept, c.Link)
		}
	}
	return nil
}

// samePlace says whether a directory is on the disk where another is, or below that.
func (c *changes) samePlace(d *safepath.Dir, target string) bool {
	t, err := safepath.Open(target)
	if err != nil {
		return false
	}
	defer t.Close()
	here, ok := d.Place()
	there, known := t.Place()
	return ok && known && here.Under(there)
}
