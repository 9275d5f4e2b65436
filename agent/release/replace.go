//go:build linux && !developer

package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// saved is the manifest of .saved-ID/: what was at each destination outside the link before the
// deployment touched it. It is on disk before the first file is replaced or removed.
type saved struct {
	Files []savedFile `json:"files"`
	Dirs  []string    `json:"dirs"`           // directories the deployment made, parents first
	Gone  []savedDir  `json:"gone,omitempty"` // directories the deployment removes, parents first
}

type savedFile struct {
	Dest string `json:"dest"`           // on this disk
	Copy string `json:"copy,omitempty"` // name in .saved-ID/; "" when there was nothing
	UID  int    `json:"uid,omitempty"`  // who the deployment gives the new file to
}

type savedDir struct {
	Dest string `json:"dest"`
	Mode uint32 `json:"mode"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
}

// replaceOutside saves what is at the destinations, removes what the revision has no more, and puts the new files
// there, each by a rename.
func (c *changes) replaceOutside(ctx context.Context, r *Release, apply *applier) error {
	if err := c.save(r); err != nil {
		return err
	}
	for _, dest := range c.obsoleteFiles {
		if err := c.unlink(dest); err != nil {
			return fmt.Errorf("cannot remove %s, which the revision no longer installs: %w", dest, err)
		}
	}
	for _, dest := range c.gone {
		if err := c.rmdir(dest); err != nil {
			return err
		}
	}
	var dirs []mapping
	for _, x := range c.install {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := c.put(r, x, apply)
		if err != nil {
			return fmt.Errorf("cannot install %s: %w", x.dest, err)
		}
		if x.mode.IsDir() {
			dirs = append(dirs, x)
		}
	}
	for _, x := range slices.Backward(dirs) { // what is in a directory before the directory
		if _, ok := apply.rules[x.dest]; !ok {
			continue
		}
		if err := c.applyTo(x, apply); err != nil {
			return err
		}
	}
	return nil
}

// save writes the manifest and the copies.
func (c *changes) save(r *Release) error {
	dir := c.dir(".saved-" + r.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make a directory for the files to be replaced: %w", err)
	}
	to, err := safepath.Open(dir)
	if err != nil {
		return err
	}
	defer to.Close()
	var m saved
	made := map[string]bool{}
	missing := func(at string) error {
		d, rest, err := safepath.Existing(c.at(at))
		if errors.Is(err, unix.ENOTDIR) { // at or below a file that makes way
			for ; at != "/" && !made[at]; at = path.Dir(at) {
				made[at] = true
				if slices.Contains(c.obsoleteFiles, at) {
					break
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		d.Close()
		for ; rest != "" && rest != "."; rest, at = filepath.Dir(rest), path.Dir(at) {
			made[at] = true
		}
		return nil
	}
	owners := map[string]int{}
	for i, x := range c.install {
		if uid := c.giveTo(x.dest); uid != os.Geteuid() {
			owners[x.dest] = uid
		}
		at := x.dest
		if !x.mode.IsDir() {
			at = path.Dir(at)
			keep := savedFile{Dest: c.at(x.dest), UID: c.giveTo(x.dest)}
			if !slices.Contains(c.gone, x.dest) {
				if keep.Copy, err = c.copyTo(to, x.dest, "n"+strconv.Itoa(i)); err != nil {
					return err
				}
			}
			m.Files = append(m.Files, keep)
		}
		if err := missing(at); err != nil {
			return fmt.Errorf("cannot look at the way to %s: %w", x.dest, err)
		}
	}
	for i, dest := range c.obsoleteFiles {
		keep := savedFile{Dest: c.at(dest)}
		if keep.Copy, err = c.copyTo(to, dest, "l"+strconv.Itoa(i)); err != nil {
			return err
		}
		m.Files = append(m.Files, keep)
	}
	for _, dest := range slices.Backward(c.gone) {
		if info, err := c.stat(dest); err == nil {
			m.Gone = append(m.Gone, savedDir{Dest: c.at(dest), Mode: info.Mode(), UID: info.UID(), GID: info.GID()})
		}
	}
	var dirs []string
	for dir := range made {
		dirs = append(dirs, dir)
		m.Dirs = append(m.Dirs, c.at(dir))
	}
	slices.Sort(m.Dirs)
	for _, dir := range c.how.Dirs { // those that stay are this release's from now on
		if info, err := c.stat(dir); !made[dir] && err == nil && info.IsDir() {
			dirs = append(dirs, dir)
			if uid, ok := c.how.Owners[dir]; ok && owners[dir] == 0 {
				owners[dir] = uid
			}
		}
	}
	slices.Sort(dirs)
	r.Dirs, r.Owners = dirs, owners
	if err := c.Layout.save(r.Metadata); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = writeDurably(filepath.Join(dir, "manifest.json"), text, 0o600)
	}
	if err == nil {
		err = syncDir(c.dir(""))
	}
	if err != nil {
		return fmt.Errorf("cannot record the files to be replaced: %w", err)
	}
	return nil
}

// copyTo saves what is at a destination under a name, and returns that; "" when there is nothing. It is not copied where one more
// name will do: its owner may have made it as large as no disk is.
func (c *changes) copyTo(to *safepath.Dir, dest, name string) (string, error) {
	from, base, err := safepath.Parent(c.at(dest))
	if err == nil {
		defer from.Close()
		if err = from.Link(base, to, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = preserve(from, base, to, name)
		}
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot save %s before it is replaced: %w", dest, err)
	}
	return name, nil
}

func (c *changes) unlink(dest string) error {
	dir, name, err := safepath.Parent(c.at(dest))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Unlink(name); err != nil {
		return err
	}
	return dir.Sync()
}

// rmdir removes a directory that only the old revision made, if it is empty: what somebody else put there stays.
func (c *changes) rmdir(dest string) error {
	dir, name, err := safepath.Parent(c.at(dest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s, which the revision no longer installs: %w", dest, err)
	}
	defer dir.Close()
	if dir.Rmdir(name) != nil {
		return nil
	}
	return dir.Sync()
}

// makeDirs makes the directories on the way to one, and opens it.
func (c *changes) makeDirs(dest string) (*safepath.Dir, error) {
	d, rest, err := safepath.Existing(c.at(dest))
	for _, name := range strings.FieldsFunc(rest, func(r rune) bool { return r == '/' }) {
		if err != nil {
			return nil, err
		}
		sub, failed := d.Mkdir(name, 0o755)
		d.Close()
		d, err = sub, failed
	}
	return d, err
}

// put puts a piece at its destination.
func (c *changes) put(r *Release, x mapping, apply *applier) error {
	if x.mode.IsDir() {
		d, err := c.makeDirs(x.dest)
		if err != nil {
			return err
		}
		defer d.Close()
		if d.UID() != os.Geteuid() { // somebody made it meanwhile
			return nil
		}
		f, err := d.Handle()
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Chmod(x.mode.Perm() | 0o700)
	}
	dir, err := c.makeDirs(path.Dir(x.dest))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(x.dest)
	next := tempName(name)
	if err := dir.Unlink(next); err != nil {
		return err
	}
	from, base, err := source(r.Bundle, x.source)
	if err != nil {
		return err
	}
	defer from.Close()
	if x.mode&fs.ModeSymlink != 0 {
		target, err := from.Readlink(base)
		if err != nil {
			return err
		}
		if err := dir.Symlink(target, next); err != nil {
			return err
		}
	} else if err := copyFile(from, base, dir, next, x.mode, func(f *os.File) error {
		if err := keepLabel(dir, name, f); err != nil {
			return err
		}
		if err := apply.to(x.dest, f); err != nil {
			return err
		}
		return f.Sync()
	}); err != nil {
		return err
	}
	if err := dir.Rename(next, name); err != nil {
		_ = dir.Unlink(next)
		return err
	}
	return dir.Sync()
}

// applyTo applies the permissions to a directory that was made here.
func (c *changes) applyTo(x mapping, apply *applier) error {
	d, err := safepath.Open(c.at(x.dest))
	if err == nil && d.UID() != os.Geteuid() {
		d.Close()
		err = fmt.Errorf("it belongs to user %d by now", d.UID())
	}
	if err != nil {
		return fmt.Errorf("cannot set the permissions of %s: %w", x.dest, err)
	}
	defer d.Close()
	f, err := d.Handle()
	if err != nil {
		return err
	}
	defer f.Close()
	return apply.to(x.dest, f)
}
