package hooks

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// mountsMarker is the line by which a script says that it mounts something for the machine, where that cannot be seen.
const mountsMarker = "# usher: mounts"

// mounters are commands that change what is mounted, by their own system calls: systemctl and systemd-mount have it done.
var mounters = []string{"mount", "umount", "fusermount", "fusermount3", "s3fs", "mount-s3", "goofys", "sshfs", "rclone"}

// Mounts says whether a script mounts something for the machine, so that it must not have a mount namespace of its own:
// it is for a shell and has a command that does, or it says so in a line "# usher: mounts". Files that it reads or starts
// are not looked at.
func Mounts(s Script) (found bool) {
	text, _, _, err := readScript(s.File)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		if string(bytes.TrimSpace(line)) == mountsMarker {
			return true
		}
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
