package runner

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"usher/hooks"
	"usher/systemd"
)

// Before the flip a script finds the new release at the application's link, or in BeforeInstall an empty directory, while all the
// machine finds there what is live.
// The link cannot be changed for one process, and no directory can be mounted over a link; another link can, in a mount
// namespace (move_mount(2), since Linux 5.2). systemd follows links where it mounts, so `usher run-with-link` does it, which
// the unit starts in the script's place and which then becomes the script. That is some milliseconds, most of them the start
// of a program.
//
// What else was tried: to mount the new release over the directory that the link leads to (BindPaths=), which is one line,
// but then its real path is the old release's, and that is what Python's environments, caches of PHP frameworks and
// build systems write down; and what is live cannot be read any more. To cover the folder of the link by a copy in which
// all else is mounted: what a script makes there is lost, and what is there can be neither renamed nor removed.

// linkFile is the name of the link, in the runtime directory, that is mounted over the application's.
const linkFile = "link"

// withLink is the unit of a script that finds s.Shown at s.Link. Where there is no link it is the unit as it is: nothing is
// live.
func (u *units) withLink(unit systemd.Unit, s hooks.Script) (systemd.Unit, error) {
	if _, err := os.Lstat(s.Link); errors.Is(err, fs.ErrNotExist) {
		return unit, nil
	}
	from := filepath.Join(cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), u.opt.StateDir), linkFile) // systemd's, of RuntimeDirectory=
	self, err := os.Executable()
	if err == nil {
		err = replaceLink(s.Shown, from)
	}
	if err != nil {
		return unit, fmt.Errorf("cannot make %s lead elsewhere for a script: %w", s.Link, err)
	}
	// The user is changed to after the mount.
	text, err := json.Marshal(linkRequest{From: from, Link: s.Link, User: s.RunAs, Dir: s.Dir, Argv: unit.Argv})
	unit.User, unit.Argv = "", []string{self, "run-with-link", string(text)}
	return unit, err
}

// replaceLink makes a link, or changes where it leads, in one rename.
func replaceLink(target, name string) error {
	next := name + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// linkRequest is what `usher run-with-link` is to do.
type linkRequest struct {
	From, Link string   // the link that is mounted, and the one it covers
	User       string   // whom the command runs as; "" for root
	Dir        string   // its working directory
	Argv       []string // the command
}

// RunWithLink is `usher run-with-link`: it covers a link by another, in the mount namespace of its unit, and becomes the
// command. It returns only when it cannot.
func RunWithLink(request string) error {
	var q linkRequest
	if err := json.Unmarshal([]byte(request), &q); err != nil {
		return fmt.Errorf("cannot read what is to be run: %w", err)
	}
	runtime.LockOSThread() // it has the namespace, and the command takes its place
	if err := cover(q.Link, q.From); err != nil {
		return fmt.Errorf("cannot make %s lead elsewhere for this script (the line %q in it lets it see what is live): %w", q.Link, "# usher: live", err)
	}
	if q.User != "" {
		if err := hooks.Become(q.User); err != nil {
			return err
		}
	}
	if err := os.Chdir(q.Dir); err != nil { // again, as that user
		return fmt.Errorf("cannot start %s as user %s: %w", q.Argv[0], cmp.Or(q.User, "root"), err)
	}
	return fmt.Errorf("cannot start %s: %w", q.Argv[0], syscall.Exec(q.Argv[0], q.Argv, os.Environ()))
}

// cover mounts the link from over link, following neither, in a mount namespace of this thread's own: whatever the unit has,
// the machine's link stays as it is.
func cover(link, from string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil { // what the machine mounts is still seen
		return os.NewSyscallError("mount", err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "open_tree", Path: from, Err: err}
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, link, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &fs.PathError{Op: "move_mount", Path: link, Err: err}
	}
	return nil
}
