package systemd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// SyncDisks brings to the disks what anybody has written to a file system, so that it survives a power cut: on every disk
// that is mounted here and can be written to, and where the paths are. What is on the network is the server's that keeps
// it, and is not waited for. alive is called between two, for each takes as long as the kernel needs for what is in memory.
func SyncDisks(alive func(), paths ...string) error {
	var errs []error
	done := map[string]bool{}
	for _, m := range append(diskMounts("/proc/thread-self/mountinfo", "/proc/filesystems"), at(paths)...) {
		if done[m.device] {
			continue
		}
		f, err := os.OpenFile(m.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			continue // another mount of it may do: see the end
		}
		alive()
		err = unix.EINTR
		for err == unix.EINTR {
			err = unix.Syncfs(int(f.Fd()))
		}
		f.Close()
		if done[m.device] = true; err != nil {
			errs = append(errs, fmt.Errorf("cannot write to the disk what is in memory for %s: %w", m.path, err))
		}
	}
	for _, path := range paths {
		if m := at([]string{path}); len(m) > 0 && !done[m[0].device] {
			errs = append(errs, fmt.Errorf("cannot write to the disk what is in memory for %s: it cannot be opened", path))
		}
	}
	return errors.Join(errs...)
}

type mount struct{ device, path string }

// diskMounts are the mounts of file systems that keep what they have on a device, and can be written to. Where such a
// file system is mounted read-only, as all of them are in the sandbox of usher.service, others may write to it.
func diskMounts(mountinfo, filesystems string) (all []mount) {
	kept := []string{"zfs"} // it says "nodev", for it looks for its devices itself
	eachLine(filesystems, func(fields []string) {
		if len(fields) == 1 && !strings.HasPrefix(fields[0], "fuse") { // a program's: it may not answer
			kept = append(kept, fields[0])
		}
	})
	eachLine(mountinfo, func(fields []string) { // 36 35 98:0 /root /point options [optional ...] - type source options
		n := slices.Index(fields, "-")
		if n < 6 || len(fields) < n+4 || !slices.Contains(kept, fields[n+1]) || slices.Contains(strings.Split(fields[n+3], ","), "ro") {
			return
		}
		all = append(all, mount{fields[2], unescaped(fields[4])})
	})
	return all
}

// at is where paths are. What is not there is left out.
func at(paths []string) (all []mount) {
	for _, path := range paths {
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			all = append(all, mount{fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev)), path})
		}
	}
	return all
}
