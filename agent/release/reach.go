//go:build linux && !developer

package release

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// How far the work on a revision's files reaches. A process whose sandbox leaves it the releases and the folder
// of the link to write to, and no setuid and setgid modes, can do all but what is asked about here.

// InstallReaches reports whether Install of a release by this plan goes beyond that: it installs files outside
// the link, removes those that the release before it installed there, or puts back those of an attempt that was cut
// short, or sets such a mode, or takes over what scripts of BeforeInstall have made, which may have one.
func (l Layout) InstallReaches(id string, p *Plan, how Installing) bool {
	for _, rule := range p.rules {
		if rule.Mode != nil && *rule.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return true
		}
	}
	return len(p.outside)+len(how.Owned)+len(how.Dirs) > 0 || l.RestoreReaches(id) || !how.Built && l.leftEarly(id)
}

// RestoreReaches reports whether Restore does: there is something to put back.
func (l Layout) RestoreReaches(id string) bool {
	_, err := os.Lstat(filepath.Join(l.dir(".saved-"+id), "manifest.json"))
	return !errors.Is(err, fs.ErrNotExist)
}
