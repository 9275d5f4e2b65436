//go:build linux && !developer

package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"usher/agent/format"
)

const (
	// roomMargin is what CheckSpace wants to stay free besides what is needed, in bytes: the journal, the
	// application's first logs and the agent's own record live on the same disk as a rule.
	roomMargin = 64_000_000

	// fewFiles is up to how many files and directories Sync syncs by themselves. That took 9 ms for 90
	// fresh small files; one syncfs took 2 to 10 ms on an idle disk, but it waits for what everybody
	// else wrote too, which was 200 ms and more in the rush of a boot.
	fewFiles = 96

	// syncsAtOnce is how many of them are synced at the same time. Those that wait together share one
	// commit of the file system's journal: on ext4, 20 files took 2.6 ms and not 27 ms, 90 files 9 ms
	// and not 110 ms. More gained little.
	syncsAtOnce = 16
)

// roomFiles is the same for inodes, which are what is short where small files fill a disk.
const roomFiles = 2000

// CheckSpace reports, as an error (IsFull), that the file system of dir has no room for need more bytes and so many files besides
// a margin of 64 MB and 2000 inodes. It asks for what is free for ordinary users, without the blocks reserved for
// root: a disk filled into its reserve breaks everything else on the instance.
func CheckSpace(dir string, need int64, files int) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("cannot look how much of the disk of %s is free: %w", dir, err)
	}
	block := uint64(s.Bsize)
	if s.Bavail < (uint64(max(need, 0))+roomMargin)/block+1 {
		free := format.Bytes(int64(s.Bavail * block))
		if need <= 0 { // in the middle of an archive that does not say how much is to come
			return fullError{fmt.Errorf("the disk of %s is too full: %s are to stay free, but only %s are: enlarge the volume or keep fewer releases",
				dir, format.Bytes(roomMargin), free)}
		}
		return fullError{fmt.Errorf("the disk of %s is too full: %s are needed, and %s to spare, but %s are free: enlarge the volume or keep fewer releases",
			dir, format.Bytes(need), format.Bytes(roomMargin), free)}
	}
	if fixed := s.Files > 0; fixed && s.Ffree < uint64(max(files, 0))+roomFiles { // Btrfs, for one, makes them as it goes
		return fullError{fmt.Errorf("the disk of %s has too few inodes: %d are needed, and %d to spare, but %d are free (df -i): remove what has many small files, or keep fewer releases",
			dir, files, roomFiles, s.Ffree)}
	}
	return nil
}

// Sync makes everything below dir survive a power cut: few files are synced by themselves, for many the whole file
// system is synced at once. The entry for dir in its own parent is the caller's to sync.
func Sync(dir string) error {
	err := syncFew(dir)
	if errors.Is(err, errNotEach) {
		err = syncAll(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot sync %s to disk: %w", dir, err)
	}
	return nil
}

// NeedsSyncfs says whether Sync would sync the whole file system for so many files, which is worth beginning early.
func NeedsSyncfs(files int) bool { return files > fewFiles }

// errNotEach is why the files of a directory are not synced by themselves.
var errNotEach = errors.New("they are many, or cannot be opened")

// syncAll syncs the file system of dir. Since Linux 5.8 it reports what could not be written.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// syncFew syncs every file and directory below dir, if they are few. A link is in its directory, and synced with it.
// Programs may be at work in there: what is gone is passed over, no link is followed, nothing is waited for, and what is
// mounted there is not this file system's.
func syncFew(dir string) error {
	var paths []string
	here, err := device(dir)
	if err != nil {
		return err
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case path != dir && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return errNotEach
		case d.IsDir():
			if on, err := device(path); err != nil || on != here {
				return errNotEach
			}
		case !d.Type().IsRegular():
			return nil
		}
		if paths = append(paths, path); len(paths) > fewFiles {
			return errNotEach
		}
		return nil
	}); err != nil {
		return err
	}
	return syncThese(paths)
}

// syncThese syncs files and directories, syncsAtOnce at a time.
func syncThese(paths []string) error {
	next := make(chan string, len(paths))
	for _, path := range paths {
		next <- path
	}
	close(next)
	failures := make([]error, syncsAtOnce)
	var closed atomic.Bool
	var group sync.WaitGroup
	for i := range failures {
		group.Go(func() {
			for path := range next {
				f, err := os.OpenFile(path, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
				if err == nil {
					if info, err := f.Stat(); err == nil && (info.Mode().IsRegular() || info.IsDir()) {
						failures[i] = errors.Join(failures[i], f.Sync())
					}
					f.Close()
				} else if !errors.Is(err, fs.ErrNotExist) {
					closed.Store(true)
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil || !closed.Load() {
		return err // told now: the kernel tells it once
	}
	return errNotEach
}

// device is the file system that a path is on.
func device(path string) (uint64, error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return s.Dev, nil
}
