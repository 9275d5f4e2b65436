//go:build linux && !developer

package release

import (
	"fmt"
	"path/filepath"

	"usher/agent/safepath"
)

// CheckOwners refuses a link or a folder of releases that somebody other than root could change: who may write there
// decides what is live, which scripts root runs, and what it removes. The error has the command that mends it.
func (l Layout) CheckOwners() error {
	if err := safepath.TrustedLink(l.at(l.Link)); err != nil {
		return fmt.Errorf("cannot use the application link: %w", err)
	}
	if err := safepath.Trusted(l.dir("")); err != nil {
		return fmt.Errorf("cannot use the folder of releases: %w", err)
	}
	return nil
}

// Owners are, by what they are about ("link", "releases", "base", "state", "role hooks"), what is wrong with the owners and
// modes of all that root relies on: what CheckOwners refuses, and the base, whose scripts are not run then, and the folders
// of the record and of role hooks, "" for none.
func (l Layout) Owners(state, roleHooks string) map[string]error {
	found := map[string]error{"link": safepath.TrustedLink(l.at(l.Link)), "releases": safepath.Trusted(l.dir("")), "base": safepath.Trusted(l.at(l.Base))}
	for about, dir := range map[string]string{"state": state, "role hooks": roleHooks} {
		if filepath.IsAbs(dir) {
			found[about] = safepath.Trusted(dir)
		}
	}
	for about, err := range found {
		if err == nil {
			delete(found, about)
		}
	}
	return found
}
