//go:build linux && !developer

package release

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/appspec"
	"usher/agent/safepath"
	"usher/hooks"
)

// Whoever may write to a script that root runs is root. The scripts of a release lie in it, and a release is given away:
// by a `chown -R` in a hook as a rule. So the appspec and the hook scripts, as they were when they were checked, are also
// kept in ID.scripts, which is root's. What is run is what is kept: in its place in the release while it is the same
// there and nobody but root can change it (or the user whom the script runs as), else from ID.scripts.
//
// Kept are the appspec and all that is in the directories of hook scripts, from the revision's top on: of scripts/hooks/start.sh
// all of scripts, so that a script finds what it sources beside it ("$(dirname "$0")/lib.sh"); of the top itself, where a
// script may lie too, only the files. Links are kept as the files they lead to. Everything else of the top is a link into the
// release ("${0%/*}/../VERSION"): what a script reads there, or by its working directory, is the release's, and whoever that
// was given to may have changed it.

// keepScripts copies the appspec and the hook scripts of the unpacked revision in incoming, which nobody else can write
// to yet, beside it. Of a revision without scripts there is nothing to keep but the fact.
func (l Layout) keepScripts(incoming string, f *Metadata) (kept string, err error) {
	spec, _ := appspec.Read(incoming)
	if spec == nil { // nothing runs from it
		return "", nil
	}
	f.NoScripts = true
	for _, scripts := range spec.Hooks {
		f.NoScripts = f.NoScripts && len(scripts) == 0
	}
	if f.NoScripts || os.Geteuid() != 0 { // or the release is nobody else's than the scripts
		return "", nil
	}
	if kept, err = l.StagingDir(f.ID + scriptsSuffix); err != nil {
		return "", err
	}
	for _, name := range []string{appspec.Name, appspec.AltName} {
		if err := keep(incoming, kept, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot keep the appspec: %w", err)
		}
	}
	var done []string
	for _, scripts := range spec.Hooks {
		for _, s := range scripts {
			dir, _, _ := strings.Cut(path.Dir(path.Clean(s.Location)), "/")
			if slices.Contains(done, dir) {
				continue
			}
			done = append(done, dir)
			if err := keepAll(incoming, kept, dir, 0); err != nil {
				return "", fmt.Errorf("cannot keep the hook scripts in %s: %w", dir, err)
			}
		}
	}
	return kept, linkRest(incoming, kept, filepath.Base(l.paths(*f).Bundle))
}

// linkRest makes links to what is not kept of the revision's top, where it will be.
func linkRest(incoming, kept, release string) error {
	entries, err := os.ReadDir(incoming)
	for _, e := range entries {
		if err != nil {
			break
		}
		at := filepath.Join(kept, e.Name())
		if _, missing := os.Lstat(at); errors.Is(missing, fs.ErrNotExist) {
			err = os.Symlink(filepath.Join("..", release, e.Name()), at)
		}
	}
	return err
}

// maxDeep bounds directories in each other, which links could make endless.
const maxDeep = 40

func keepAll(from, to, dir string, deep int) error {
	entries, err := os.ReadDir(filepath.Join(from, dir))
	if errors.Is(err, fs.ErrNotExist) { // said by who checks scripts
		return nil
	}
	if err == nil {
		err = os.MkdirAll(filepath.Join(to, dir), 0o755)
	}
	for _, e := range entries {
		if err != nil {
			return err
		}
		at := path.Join(dir, e.Name())
		info, failed := os.Stat(filepath.Join(from, at))
		switch {
		case failed != nil: // a link that leads nowhere
		case info.IsDir() && (dir == "." || deep == maxDeep):
		case info.IsDir():
			err = keepAll(from, to, at, deep+1)
		case info.Mode().IsRegular():
			err = keep(from, to, at)
		}
	}
	return err
}

// keep copies one file with its mode, if it is not there yet.
func keep(from, to, name string) error {
	in, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(to, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(info.Mode().Perm() &^ 0o022)
	}
	return errors.Join(err, out.Close())
}

// SpecDir is where the appspec of a release is read to install it: a directory that only root can write to.
func (l Layout) SpecDir(r Release) (string, error) {
	if !r.NoScripts || os.Geteuid() != 0 {
		return l.ScriptsDir(r, 0)
	}
	for _, name := range []string{appspec.Name, appspec.AltName} {
		if err := safepath.TrustedFile(filepath.Join(r.Bundle, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot install release %s again, whose files were given away: %w", r.ID, err)
		}
	}
	return r.Bundle, nil
}

// ScriptsDir is where the appspec and the hook scripts of a release are read and run from, on behalf of a user (0 for
// root): its Bundle, or where they are kept; "" for a release that has no scripts. The error says why nothing of it is
// to be run, and what to do. A process that is not root's, and
// has nothing to lose to itself, takes what lies in the release.
func (l Layout) ScriptsDir(r Release, uid int) (string, error) {
	if os.Geteuid() != 0 {
		return r.Bundle, nil
	}
	if r.NoScripts {
		return "", nil
	}
	placed, err := safepath.Open(r.Bundle)
	if err != nil {
		return "", fmt.Errorf("cannot look at the scripts of %s: %w", r.Bundle, err)
	}
	defer placed.Close()
	kept, err := safepath.Open(l.dir(r.ID + scriptsSuffix))
	switch {
	case r.ID != "" && err == nil:
		defer kept.Close()
		if same(kept, placed, uid) {
			return r.Bundle, nil
		}
		return kept.Path(), nil
	case r.ID != "" && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot look at the kept scripts of release %s: %w", r.ID, err)
	}
	// The base, or a release of before scripts were kept.
	if err := safepath.Trusted(r.Bundle); err != nil {
		return "", fmt.Errorf("no script of %s is run as root: %w", r.Bundle, err)
	}
	spec, _ := appspec.Read(r.Bundle)
	if spec == nil {
		return r.Bundle, nil // who runs them says what is wrong
	}
	for _, scripts := range spec.Hooks {
		for _, s := range scripts {
			file := filepath.Join(r.Bundle, filepath.FromSlash(s.Location))
			if err := safepath.TrustedFile(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("no script of %s is run as root: %w", r.Bundle, err)
			}
		}
	}
	return r.Bundle, nil
}

// same says whether all that is kept lies in the release as it was, where root, and the user, alone can change it.
func same(kept, placed *safepath.Dir, uid int) bool {
	if !placed.OnlyOf(0, uid) {
		return false
	}
	names, err := kept.Names()
	if err != nil {
		return false
	}
	for _, name := range names {
		info, err := kept.Stat(name)
		if err != nil {
			return false
		}
		if info.IsLink() { // into the release
			continue
		}
		if !info.IsDir() {
			if !sameFile(kept, placed, name, uid) {
				return false
			}
			continue
		}
		k, err := kept.Sub(name)
		if err != nil {
			return false
		}
		p, err := placed.Sub(name)
		alike := err == nil && same(k, p, uid)
		k.Close()
		if err == nil {
			p.Close()
		}
		if !alike {
			return false
		}
	}
	return true
}

func sameFile(kept, placed *safepath.Dir, name string, uid int) bool {
	p, info, err := placed.Open(name)
	if err != nil {
		return false
	}
	defer p.Close()
	return info.OnlyOf(0, uid) && !(uid == 0 && openToWrite(p)) && sameContent(kept, p, name)
}

// openToWrite says whether somebody has a file open to write to it, as one may go on who could write to it once. The kernel
// gives no read lease on such a file.
func openToWrite(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return err == unix.EAGAIN // else the file system has no leases
}

func sameContent(kept *safepath.Dir, p *os.File, name string) bool {
	k, _, err := kept.Open(name)
	if err != nil {
		return false
	}
	defer k.Close()
	a, b := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := io.ReadFull(k, a)
		m, failed := io.ReadFull(p, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return false
		}
		if err != nil || failed != nil { // both at their end, or neither can be believed
			return (err == io.EOF || err == io.ErrUnexpectedEOF) && (failed == io.EOF || failed == io.ErrUnexpectedEOF)
		}
	}
}

// Changed says whether a script that is kept is another in the release by now. One that was removed there is not.
func (l Layout) Changed(r Release, location string) bool {
	dir, name := path.Split(path.Clean(location))
	open := func(root string) (*safepath.Dir, error) {
		top, err := safepath.Open(root)
		if err != nil {
			return nil, err
		}
		defer top.Close()
		return top.Down(dir)
	}
	kept, err := open(l.dir(r.ID + scriptsSuffix))
	if err != nil {
		return false
	}
	defer kept.Close()
	placed, err := open(r.Bundle)
	if err != nil {
		return false
	}
	defer placed.Close()
	p, _, err := placed.Open(name)
	if err != nil {
		return false
	}
	defer p.Close()
	return !sameContent(kept, p, name)
}

// CheckRelease is Check for a release on disk, by the appspec and the scripts that root alone can change.
func CheckRelease(layout Layout, r Release, roleHooks string, policy hooks.Policy, check Checker) (*Plan, []hooks.Problem) {
	by, err := layout.SpecDir(r)
	if err != nil {
		return nil, []hooks.Problem{{File: r.Bundle, Kind: hooks.KindBundle, Message: err.Error()}}
	}
	return checkBy(layout, by, r.Bundle, roleHooks, policy, check)
}
