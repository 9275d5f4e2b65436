// Package image takes from an image what belongs to the machine it was made on, so that every instance of it starts
// as one of its own.
//
//	done, err := image.Clean([]string{image.MachineID, image.Journal}, image.Places{State: "/var/lib/usher"})
//
// It works on the tree that is the process's root, so that no link in an image leads out of it: to clean another tree,
// chroot(2) first.
//
// What is mounted somewhere in the tree is no part of the image: it is neither removed nor looked into, and a folder that
// has a mount in it is left as it is.
//
// Caveats. Nothing asks whether this is an image: the caller must know. What is removed is gone. A service that runs
// writes anew: clean last, and power off. /etc/machine-id is left empty, not removed and not "uninitialized": systemd
// gives an empty one a new id as well, but takes "uninitialized" for a first boot, at which it enables units by preset,
// among them those that the image has disabled.
package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/safepath"
)

// What can be cleaned.
const (
	Record    = "record"     // usher's record, hold and socket, and what a cut-off download left
	MachineID = "machine-id" // /etc/machine-id, and D-Bus's copy
	Journal   = "journal"    // /var/log/journal
	Logs      = "logs"       // every other file in /var/log: emptied, and removed when it is rotated away
	CloudInit = "cloud-init" // what cloud-init knows of this instance; its seed and scripts stay
	SSHKeys   = "ssh-keys"   // the host keys of sshd: the first boot makes new ones
)

// Parts are all of these, in the order in which they are cleaned.
var Parts = []string{Record, Journal, Logs, CloudInit, SSHKeys, MachineID}

// Usual are those that an image should never carry.
var Usual = []string{Record, Journal, CloudInit, SSHKeys, MachineID}

// Places are what the configuration says of where things are.
type Places struct {
	State    string // folder of usher's record
	Releases string // folder of releases
}

// Clean removes the parts, and returns what it removed or emptied. It goes on after a failure, and the error has all.
func Clean(parts []string, at Places) (done []string, err error) {
	var errs []error
	for _, part := range Parts {
		if !slices.Contains(parts, part) {
			continue
		}
		c := cleaner{}
		switch part {
		case Record:
			c.removeIn(at.State, func(string) bool { return true })
			c.removeIn(at.Releases, func(name string) bool {
				return strings.HasPrefix(name, ".incoming-") || strings.HasPrefix(name, ".removing-") || strings.HasPrefix(name, ".saved-")
			})
		case MachineID:
			c.empty("/etc/machine-id")
			if info, err := os.Lstat("/var/lib/dbus/machine-id"); err == nil && info.Mode().IsRegular() {
				c.remove("/var/lib/dbus/machine-id")
			}
		case Journal:
			c.removeIn("/var/log/journal", func(string) bool { return true })
		case Logs:
			c.logs("/var/log")
		case CloudInit:
			for _, name := range []string{"instance", "instances", "data", "sem"} {
				c.remove("/var/lib/cloud/" + name)
			}
			for _, name := range []string{"cloud-init.log", "cloud-init-output.log"} {
				c.remove("/var/log/" + name)
			}
		case SSHKeys:
			keys, _ := filepath.Glob("/etc/ssh/ssh_host_*key*") // the pattern is good
			for _, key := range keys {
				c.remove(key)
			}
		}
		done = append(done, c.done...)
		errs = append(errs, c.errs...)
	}
	return done, errors.Join(errs...)
}

// cleaner notes what it does.
type cleaner struct {
	done []string
	errs []error
}

func (c *cleaner) remove(path string) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := safepath.RemoveAll(path); err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot clean the image: %w", err))
		return
	}
	c.done = append(c.done, path)
}

// removeIn removes what is in a folder and is wanted away; the folder stays, with its owner and mode.
func (c *cleaner) removeIn(folder string, away func(name string) bool) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.errs = append(c.errs, fmt.Errorf("cannot clean the image: %w", err))
	}
	for _, e := range entries {
		if away(e.Name()) {
			c.remove(filepath.Join(folder, e.Name()))
		}
	}
}

// empty leaves a file as it is but for its content.
func (c *cleaner) empty(path string) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err == nil && info.Mode().IsRegular() && info.Size() == 0:
		return
	}
	if err := safepath.Truncate(path); err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot clean the image: %w", err))
		return
	}
	c.done = append(c.done, path)
}

// logs removes rotated logs and empties the others: their writers need them to be there, with their owners. The
// journal is a part of its own.
func (c *cleaner) logs(folder string) {
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir() && e.Name() == "journal":
			return fs.SkipDir
		case e.IsDir() && path != folder && safepath.IsMount(path): // shared storage, as a rule: not the image's
			return fs.SkipDir
		case !e.Type().IsRegular():
			return nil
		case rotated(e.Name()):
			c.remove(path)
		default:
			c.empty(path)
		}
		return nil
	})
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("cannot clean the image: %w", err))
	}
}

// rotated reports whether a log's name is one that logrotate gives to what nobody writes to any more.
func rotated(name string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".xz")
	suffix := filepath.Ext(name)
	return strings.HasSuffix(name, ".old") || len(suffix) > 1 && strings.Trim(suffix[1:], "0123456789") == "" || strings.Contains(name, ".log-20")
}
