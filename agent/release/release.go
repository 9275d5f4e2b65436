//go:build linux && !developer

// Package release puts a revision's files beside the ones in use and switches to them in one rename.
//
// On disk, with the defaults:
//
//	/opt/app                      the link the application is reached by
//	/opt/.app.spare               the link before the last flip, kept to go back by (see Flip)
//	/opt/app-base                 the application baked into the image
//	/opt/app-releases/ID/         a release: what the link points to
//	/opt/app-releases/ID.bundle/  the unpacked revision, when the release is a copy of it or of parts (Layout.Separate)
//	/opt/app-releases/ID.json     what usher knows of the release (Metadata)
//	/opt/app-releases/ID.scripts/ its appspec and hook scripts, as they were when they were checked (see ScriptsDir)
//	/opt/app-releases/ID.early/   what its BeforeInstall left at the link, until it is live (see Early)
//	/opt/app-releases/.incoming-* a release in the making: never linked to, removed by the next attempt
//	/opt/app-releases/.saved-ID/  files outside the link that the deployment under way has replaced
//
// A release directory appears under its name only when it is whole; it survives a power cut when Add or Sync has
// returned, and the link points to no other. Nothing in it, or in any other release, is overwritten by a later
// deployment, so what a running application has open or reads by a resolved path stays as it was until the
// release is pruned. The link is only ever replaced by rename(2): a reader sees the old release or the new one,
// never neither.
//
// Files whose destination is outside the link cannot be switched that way. They are replaced one by one,
// each by a rename, after the old ones were saved; what the release before installed and this one has not is
// removed with them, and directories that only it made. Restore puts all of it back.
//
// All this is done as root, in places that other users may have a part in: by descriptors, following no link that they
// could have made (package safepath). What such a user has put in the place of a file of ours is that user's: it is neither
// replaced without asking nor removed. Nothing is removed across a mount, and no release that processes run from. Of what
// is in the folder of releases, ID.json with the fields of Metadata makes ID usher's; .incoming-*, .removing-* and .saved-* are
// usher's by name.
//
// Checking (Check, Layout.Plan) is for any system; all the rest is Linux's.
//
// Caveats. Releases must be on one filesystem with each other; the link may be on another. Processes that
// resolved the link before a flip go on using the old release: they must be restarted or reloaded, by the
// revision's ApplicationStart. Restore brings back the file that was there, with what a process that
// still had it open has written to it since; where the releases are on another disk, a copy with its mode, owner, time and extended attributes.
package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"usher/agent/bundle"
	"usher/agent/safepath"
)

// Status of a release.
const (
	Unpacked = "unpacked" // its files are here; none of its scripts is known to have run
	InUse    = "in-use"   // a deployment of it is under way, or was cut short
	Good     = "good"     // a deployment of it succeeded, on the instance in Metadata
	Bad      = "bad"      // a deployment of it failed
)

// Metadata is what ID.json says of a release.
type Metadata struct {
	ID            string    `json:"id"`
	Revision      string    `json:"revision"` // as revision.Revision prints it
	ETag          string    `json:"etag,omitempty"`
	Status        string    `json:"status"`
	Instance      string    `json:"instance,omitempty"` // on which Status was reached
	Time          time.Time `json:"time"`               // when Status was reached
	Separate      bool      `json:"mapped,omitempty"`   // the release is a copy: the revision is in ID.bundle
	ExternalFiles []string  `json:"outside,omitempty"`  // files it installed outside the link, as the appspec names them
	// What of Outside, and of the directories that this group's deployments made for it (Dirs), was given to another user
	// than the agent's own: by path, the user's number. What belongs to anybody else by now is not ours any more.
	Dirs   []string       `json:"outside_dirs,omitempty"`
	Owners map[string]int `json:"outside_owners,omitempty"`

	NoScripts bool `json:"no_scripts,omitempty"` // its appspec has no hook scripts
	Built     bool `json:"built,omitempty"`      // an operator goes back to it: it is as a deployment that succeeded has left it
	Held      bool `json:"held,omitempty"`       // it would be gone, if processes did not run from it; that was said
}

// Release is one release on disk.
type Release struct {
	Metadata
	Dir    string // what the link points to
	Bundle string // the unpacked revision, with its appspec and scripts; the same as Tree unless Separate
}

// at is where a path of the server is on this disk: the same, or below Root in a rehearsal.
func (l Layout) at(path string) string {
	if l.Root == "" || l.Root == "/" {
		return path
	}
	return filepath.Join(l.Root, path)
}

// scriptsSuffix is how the name of a release's scripts ends: see keepScripts.
const scriptsSuffix = ".scripts"

func (l Layout) dir(name string) string { return l.at(filepath.Join(l.Releases, name)) }

func (l Layout) paths(f Metadata) Release {
	r := Release{Metadata: f, Dir: l.dir(f.ID), Bundle: l.dir(f.ID)}
	if f.Separate {
		r.Bundle = l.dir(f.ID + ".bundle")
	}
	return r
}

// Check judges the layout before anything is done: the link must be a symbolic link or absent, and the
// folder of releases must be there or can be made; nobody but root may write to either's. The error says what to type.
func (l Layout) Check() error {
	if err := l.CheckLink(); err != nil {
		return err
	}
	if err := l.CheckOwners(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.at(l.Link)), 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of the application link: %w", err)
	}
	if err := os.MkdirAll(l.dir(""), 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of releases: %w", err)
	}
	return nil
}

// CheckLink is the part of Check that only looks: the link must be a symbolic link or absent.
func (l Layout) CheckLink() error {
	link, base := l.at(l.Link), l.at(l.Base)
	switch info, err := os.Lstat(link); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("cannot look at the application link: %w", err)
	case info.IsDir():
		return fmt.Errorf("%s is a directory, not a symbolic link: a release cannot be switched in under a directory. "+
			"Move it out of the way once, when baking the image: mv -T %[1]s %[2]s && ln -s %[2]s %[1]s", link, base)
	case info.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("%s is a %s, not a symbolic link: remove it, then: ln -s %s %[1]s", link, kindOf(info), base)
	}
	return nil
}

func kindOf(info fs.FileInfo) string {
	if info.Mode().IsRegular() {
		return "file"
	}
	return info.Mode().Type().String()
}

// StagingDir makes an empty directory to unpack a revision into, removing what an earlier attempt left.
func (l Layout) StagingDir(id string) (string, error) {
	dir := l.dir(".incoming-" + id)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if err := safepath.RemoveAll(dir); err != nil {
			return "", fmt.Errorf("cannot remove what an earlier attempt left: %w", err)
		}
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("cannot make a directory for the new release: %w", err)
	}
	return dir, nil
}

// Add makes the unpacked revision in incoming (from StagingDir) a release: everything is made durable, then it gets its
// name. A release of that id that is in the way is replaced, and must not be live. mapped is Separate's answer for its
// appspec.
func (l Layout) Add(incoming string, f Metadata, mapped bool) (Release, error) {
	f.Separate = mapped
	kept, err := l.keepScripts(incoming, &f)
	if err == nil {
		err = bundle.Sync(incoming)
	}
	if err == nil && kept != "" {
		err = bundle.Sync(kept)
	}
	if err != nil {
		return Release{}, fmt.Errorf("cannot write release %s to disk: %w", f.ID, err)
	}
	f.Status = Unpacked
	return l.name(incoming, kept, f, mapped)
}

// AddUnsynced is Add for a deployment under way that calls Sync later, so that its scripts need not wait for the disk. The
// release is in use from the beginning: after a power cut nobody takes it for whole.
func (l Layout) AddUnsynced(incoming string, f Metadata, mapped bool) (Release, error) {
	f.Status = InUse
	f.Separate = mapped
	kept, err := l.keepScripts(incoming, &f)
	if err != nil {
		return Release{}, fmt.Errorf("cannot write release %s to disk: %w", f.ID, err)
	}
	return l.name(incoming, kept, f, mapped)
}

// Sync makes everything in a release durable, also what scripts have made there. Before that nothing may point to it.
func (l Layout) Sync(r Release) error {
	err := bundle.Sync(r.Bundle)
	if err == nil && r.Separate && isDir(r.Dir) { // Install makes it, later than the revision is taken
		err = bundle.Sync(r.Dir)
	}
	if kept := l.dir(r.ID + scriptsSuffix); err == nil && isDir(kept) {
		err = bundle.Sync(kept)
	}
	if err != nil {
		return fmt.Errorf("cannot write release %s to disk: %w", r.ID, err)
	}
	return nil
}

func (l Layout) name(incoming, kept string, f Metadata, mapped bool) (Release, error) {
	f.Separate, f.Time = mapped, time.Now().UTC()
	r := l.paths(f)
	if live, _, err := l.Live(); err == nil && live == r.Dir {
		return Release{}, fmt.Errorf("cannot replace release %s: it is live; point %s elsewhere first: ln -sfn %s %[2]s", f.ID, l.LinkPath(), l.BasePath())
	}
	if err := l.remove(f.ID); err != nil {
		return Release{}, err
	}
	if err := l.save(f); err != nil { // first: a directory without facts would never be removed
		return Release{}, err
	}
	if kept != "" {
		if err := os.Rename(kept, l.dir(f.ID+scriptsSuffix)); err != nil {
			return Release{}, fmt.Errorf("cannot name the scripts of the new release: %w", err)
		}
	}
	if err := os.Rename(incoming, r.Bundle); err != nil {
		return Release{}, fmt.Errorf("cannot name the new release: %w", err)
	}
	return r, syncDir(l.dir(""))
}

// Live is what the link points to, absolute: a release's Tree, the base, another directory an operator
// chose, or "" when there is no link. id is the release's, "" for anything else.
func (l Layout) Live() (target, id string, err error) {
	target, err = os.Readlink(l.at(l.Link))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("cannot read the application link: %w", err)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(l.at(l.Link)), target)
	}
	target = filepath.Clean(target)
	if filepath.Dir(target) == filepath.Clean(l.dir("")) {
		id = filepath.Base(target)
	}
	return target, id, nil
}

// Kept are the directories that the scripts of a release have no business to write to before it is live: all other
// releases, the base, and what the link leads to; and those of the release itself among them.
func (l Layout) Kept(r Release) (readOnly, writable []string) {
	readOnly = []string{l.dir(""), l.BasePath()}
	if live, _, err := l.Live(); err == nil && live != "" && live != r.Dir && filepath.Dir(live) != filepath.Clean(l.dir("")) && live != l.BasePath() {
		readOnly = append(readOnly, live)
	}
	return readOnly, []string{r.Dir, r.Bundle, l.Early(r)}
}

// BasePath is the base on this disk.
func (l Layout) BasePath() string { return l.at(l.Base) }

// Dir is where the release with this id has its tree, whether it is there or not.
func (l Layout) Dir(id string) string { return l.dir(id) }

// LinkPath is the link on this disk.
func (l Layout) LinkPath() string { return l.at(l.Link) }

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
