package hooks

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Lines by which a script says what cannot be seen: that it mounts something for the machine, and that it wants the
// application's link to be what it is for everybody else.
const (
	mountsMarker = "# usher: mounts"
	liveMarker   = "# usher: live"
)

// mounters are commands that change what is mounted, by their own system calls: systemctl and systemd-mount have it done.
var mounters = []string{"mount", "umount", "fusermount", "fusermount3", "s3fs", "mount-s3", "goofys", "sshfs", "rclone"}

// Mounts says whether a script mounts something for the machine, so that it must not have a mount namespace of its own:
// it is for a shell and has a command that does, or it says so in a line "# usher: mounts". Files that it reads or starts
// are not looked at.
func Mounts(s Script) (found bool) {
	if hasLine(s, mountsMarker) {
		return true
	}
	for _, stmt := range statements(s) {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			c, ok := n.(*syntax.CallExpr)
			if !ok || found {
				return !found
			}
			if args := withoutCarriers(arguments(c)); len(args) > 0 {
				name := path.Base(args[0])
				found = slices.Contains(mounters, name) || strings.HasPrefix(name, "mount.")
			}
			return !found
		})
	}
	return found
}

// SeesLive says whether a script says, in a line "# usher: live", that it wants the application's link to be what it is for
// everybody else.
func SeesLive(s Script) bool { return hasLine(s, liveMarker) }

func hasLine(s Script, want string) bool {
	text, _, _, err := readScript(s.File)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		if string(bytes.TrimSpace(line)) == want {
			return true
		}
	}
	return false
}
