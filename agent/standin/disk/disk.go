// Package disk is file systems for tests: real ones, of the kernel's, that a test may fill to the last byte and cut off
// from power. Only tests use it; it needs root, and loop devices.
//
//	d := disk.New(t, "ext4", 64<<20, dir) // mounted on dir until the test ends
//	d.Fill()                              // not a block is left
//	d.Cut()                               // the power is gone
//	d.Restore()                           // and comes back
//
// A disk is mounted in a mount namespace of the goroutine that makes it, so that nothing else on the machine looks at it:
// a program that syncs every disk would get errors from one whose power is cut. The processes that the goroutine starts
// are in there too, other goroutines of the test are not.
package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file system that is mounted.
type Disk struct {
	Dir string // where

	t     testing.TB
	image string // of its block device
}

// New makes a file system of a kind, "ext4" or "xfs" (300 MB at least), or "tmpfs", and mounts it on a directory. Without
// root, or what makes the file system, the test is skipped; in CI it fails.
func New(t testing.TB, kind string, size int64, dir string) *Disk {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "only root can mount the disk this is about")
	}
	runtime.LockOSThread() // to the end of the goroutine, and then the thread ends too
	must(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	d := &Disk{t: t, Dir: dir}
	must(t, os.MkdirAll(dir, 0o755))
	if kind == "tmpfs" {
		run(t, "mount", "-t", kind, "-o", "mode=755,size="+strconv.FormatInt(size, 10), kind, dir)
	} else {
		if _, err := exec.LookPath("mkfs." + kind); err != nil {
			skip(t, err.Error())
		}
		d.image = filepath.Join(t.TempDir(), kind)
		must(t, os.WriteFile(d.image, nil, 0o600))
		must(t, os.Truncate(d.image, size))
		run(t, "mkfs."+kind, "-q", d.image)
		d.mount()
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return d
}

func (d *Disk) mount() {
	d.t.Helper()
	run(d.t, "mount", "-o", "loop", d.image, d.Dir)
}

// Fill fills the file system with a file, until not a block is left.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_RDWR, 0o600)
	must(d.t, err)
	defer f.Close()
	for end, chunk := int64(0), int64(64<<20); chunk >= 512; {
		switch err := unix.Fallocate(int(f.Fd()), 0, end, chunk); {
		case err == nil:
			end += chunk
		case errors.Is(err, unix.ENOSPC):
			chunk /= 2
		case !errors.Is(err, unix.EINTR):
			d.t.Fatal(err)
		}
	}
	must(d.t, f.Sync())
	if err := os.WriteFile(filepath.Join(d.Dir, "more"), make([]byte, 4096), 0o600); !errors.Is(err, unix.ENOSPC) {
		d.t.Fatalf("the disk is not full: %v", err)
	}
	_ = os.Remove(filepath.Join(d.Dir, "more"))
}

// Empty removes what Fill has made.
func (d *Disk) Empty() {
	d.t.Helper()
	must(d.t, os.Remove(d.ballast()))
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Shutdown of a file system at once, with what its log has in memory (EXT4_IOC_SHUTDOWN is XFS_IOC_GOINGDOWN).
const (
	iocShutdown = 0x8004587d
	noLogFlush  = 2
)

// Cut takes the power away: from now on nothing reaches the disk, neither files nor the log that are in memory only. Who
// has files open on it gets errors.
func (d *Disk) Cut() {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.IoctlSetPointerInt(int(f.Fd()), iocShutdown, noLogFlush))
}

// Sync brings everything to the disk.
func (d *Disk) Sync() {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.Syncfs(int(f.Fd())))
}

// busyTime bounds the wait for a process that has something open on a disk.
const busyTime = time.Minute

// Restore mounts a disk again whose power was cut. Nothing may be open there; who is about to end is waited for.
func (d *Disk) Restore() {
	d.t.Helper()
	err := unix.Unmount(d.Dir, 0)
	for began := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(began) < busyTime; err = unix.Unmount(d.Dir, 0) {
		time.Sleep(5 * time.Millisecond) // also a program that this process is just starting has its files for a moment
	}
	must(d.t, err)
	d.mount()
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}
