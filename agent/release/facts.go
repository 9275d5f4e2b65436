//go:build linux && !developer

package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Beside ends the id of a release that is made beside another one of the same revision. A revision that is deployed again
// gets a directory of its own: its scripts write into it, and users are on the live one.
const Beside = ".2"

// Load is the release with this id, if its facts and its directories are all here.
func (l Layout) Load(id string) (Release, bool) {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return Release{}, false
	}
	f, _ := l.facts(id+".json", id)
	if f.ID == "" {
		return Release{}, false
	}
	r := l.paths(f)
	if !isDir(r.Bundle) {
		return Release{}, false
	}
	return r, true
}

// facts are what a file in the folder of releases says of a release: none, when it is not of this one. ours says that it
// has all that usher writes, so that what it is about may be removed: others may keep files of any name in the folder.
func (l Layout) facts(file, id string) (f Metadata, ours bool) {
	text, err := os.ReadFile(l.dir(file))
	if err != nil || json.Unmarshal(text, &f) != nil {
		return Metadata{}, false
	}
	if known := f.Status == Unpacked || f.Status == InUse || f.Status == Good || f.Status == Bad; f.ID != id || !known {
		return Metadata{}, false
	}
	return f, f.Revision != "" && !f.Time.IsZero()
}

// All are the releases on disk, in no order.
func (l Layout) All() ([]Release, error) {
	entries, err := os.ReadDir(l.dir(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without the folder there are none
		return nil, fmt.Errorf("cannot list the releases: %w", err)
	}
	var all []Release
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			if r, ok := l.Load(id); ok {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// Mark records a release's new status, durably.
func (l Layout) Mark(r *Release, status, instance string) error {
	r.Status, r.Instance, r.Time = status, instance, time.Now().UTC()
	return l.save(r.Metadata)
}

func (l Layout) save(f Metadata) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the facts of release %s: %w", f.ID, err)
	}
	if err := writeDurably(l.dir(f.ID+".json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot record the state of release %s: %w", f.ID, err)
	}
	return nil
}
