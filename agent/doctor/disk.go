//go:build linux && !developer

package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"usher/agent/format"
)

// Space is what a filesystem has left.
type Space struct {
	Bytes uint64
	Files uint64 // inodes
	Fixed bool   // the number of inodes is fixed: not on Btrfs, for one
}

// SpaceOf is the space of the filesystem that a folder is on.
func SpaceOf(folder string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return Space{}, fmt.Errorf("cannot look at the filesystem of %s: %w", folder, err)
	}
	return Space{Bytes: s.Bavail * uint64(s.Bsize), Files: s.Ffree, Fixed: s.Files > 0}, nil
}

// Use is what releases take.
type Use struct {
	Bytes, Files uint64 // of one release, unpacked
	Bundle       uint64 // of one download
	More         uint64 // releases that are still to come until there are keep + 1; at least one
}

// Disk finds out whether the next release, and those after it, have room.
func (r *Report) Disk(folder string, left Space, use Use) {
	next, all := use.Bytes+use.Bundle, use.More*use.Bytes+use.Bundle
	const do = "grow the volume, or keep fewer releases"
	fine := true
	judge := func(what string, left, next, all uint64, say func(uint64) string) {
		switch {
		case left < next:
			r.Problem("disk", do, "%s has %s %s left, and the next deployment needs %s", folder, say(left), what, say(next))
		case left < all:
			r.Warn("disk", do, "%s has %s %s left, and all the releases that are kept will need %s more", folder, say(left), what, say(all))
		default:
			return
		}
		fine = false
	}
	judge("of space", left.Bytes, next, all, func(n uint64) string { return format.Bytes(int64(min(n, 1<<62))) })
	if left.Fixed {
		judge("inodes", left.Files, use.Files, use.More*use.Files, func(n uint64) string { return fmt.Sprint(n) })
	}
	if fine {
		r.OK("disk", "%s has %s left, and the releases that are kept will need %s at most", folder, format.Bytes(int64(min(left.Bytes, 1<<62))), format.Bytes(int64(all)))
	}
}
