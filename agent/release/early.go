//go:build linux && !developer

package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// Scripts of BeforeInstall come before the files of the release, and CodeDeploy's agent lets them prepare the destination:
// empty it, make folders, put a configuration there. What they find at the link is ID.early, which is empty when they begin, as
// the destination is on a new server. Install copies what they left there into the release.

// earlySuffix is how the name of that directory ends.
const earlySuffix = ".early"

// Early is the directory that scripts of BeforeInstall find at the link.
func (l Layout) Early(r Release) string { return l.dir(r.ID + earlySuffix) }

// MakeEarly makes it, if it is not there yet: another script may have left something there.
func (l Layout) MakeEarly(r Release) error {
	if err := os.Mkdir(l.Early(r), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a directory for what BeforeInstall leaves at %s: %w", l.Link, err)
	}
	return nil
}

// leftEarly says whether there is anything in it.
func (l Layout) leftEarly(id string) bool {
	left, err := os.ReadDir(l.dir(id + earlySuffix))
	return err == nil && len(left) > 0
}

// RemoveEarly removes it, when Install will not be done again.
func (l Layout) RemoveEarly(r Release) error { return safepath.RemoveAll(l.Early(r)) }

// takeEarly copies what is there into the release, but nothing that the release has. It may be done again.
func (l Layout) takeEarly(r Release) (taken int, notes []string, err error) {
	from, err := safepath.Open(l.Early(r))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer from.Close()
	to, err := safepath.Open(r.Dir)
	if err != nil {
		return 0, nil, err
	}
	defer to.Close()
	e := early{link: l.Link}
	if err := e.take(from, to, ""); err != nil {
		return e.taken, nil, fmt.Errorf("cannot take what BeforeInstall left at %s into the release: %w", l.Link, err)
	}
	return e.taken, append(notOf(e.there, "the release has one of that name"), notOf(e.odd, "it is neither a file, a directory nor a link")...), nil
}

type early struct {
	link       string
	taken      int      // files
	there, odd []string // paths that are not taken
}

// mostNamed is how many of the paths that are not taken are named: a script may have copied all of the revision.
const mostNamed = 3

// notOf says which paths are not taken, and why.
func notOf(paths []string, why string) (notes []string) {
	for n, path := range paths {
		if n == mostNamed {
			return append(notes, fmt.Sprintf("%d more of BeforeInstall are not taken for the same reason", len(paths)-n))
		}
		notes = append(notes, fmt.Sprintf("%s of BeforeInstall is not taken: %s", path, why))
	}
	return notes
}

func (e *early) take(from, to *safepath.Dir, at string) error {
	names, err := from.Names()
	slices.Sort(names)
	for _, name := range names {
		if err != nil {
			return err
		}
		err = e.takeOne(from, to, name, at+"/"+name)
	}
	return err
}

func (e *early) takeOne(from, to *safepath.Dir, name, at string) error {
	info, err := from.Stat(name)
	if err != nil {
		return err
	}
	there, err := to.Stat(name)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case info.IsDir() && (missing || there.IsDir()):
		return e.takeDir(from, to, name, at, info, missing)
	case !missing:
		e.there = append(e.there, e.link+at)
	case info.IsRegular(), info.IsLink():
		next := tempName(name)
		if err := to.Unlink(next); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an attempt that was cut short
			return err
		}
		if err := preserve(from, name, to, next); err != nil {
			return err
		}
		e.taken++
		return to.Rename(next, name)
	default:
		e.odd = append(e.odd, e.link+at)
	}
	return nil
}

func (e *early) takeDir(from, to *safepath.Dir, name, at string, info safepath.Info, missing bool) error {
	source, err := from.Sub(name)
	if err != nil {
		return err
	}
	defer source.Close()
	open := to.Sub
	if missing {
		open = func(name string) (*safepath.Dir, error) { return to.Mkdir(name, 0o700) }
	}
	dir, err := open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := e.take(source, dir, at); err != nil || !missing {
		return err
	}
	f, err := dir.Handle()
	if err != nil {
		return err
	}
	defer f.Close()
	if os.Geteuid() == 0 {
		err = f.Chown(info.UID(), info.GID())
	}
	if err == nil {
		err = unix.Fchmod(int(f.Fd()), info.Mode())
	}
	return err
}
