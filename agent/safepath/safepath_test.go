//go:build linux && !developer

package safepath

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const app = 12345 // a user of the application's

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func asRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the rule is root's")
	}
}

func mkdir(t testing.TB, path string, mode os.FileMode, uid int) {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	must(t, os.Chown(path, uid, -1))
	must(t, os.Chmod(path, mode))
}

// mountAt mounts a tmpfs, or binds another directory or file, for the time of a test.
func mountAt(t testing.TB, from, at string) {
	t.Helper()
	var err error
	if from == "" {
		err = unix.Mount("tmpfs", at, "tmpfs", 0, "size=1m")
	} else {
		err = unix.Mount(from, at, "", unix.MS_BIND, "")
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("cannot mount here: %v", err)
	}
	must(t, err)
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// A link is followed only where root alone decides what it is.
func TestLinksThatAreFollowed(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name  string
		make  func(dir string)
		path  string
		links string // the link that is refused, "" for none
	}{
		{"root's, in root's directory", func(dir string) { must(t, os.Symlink("real", dir+"/link")) }, "link/file", ""},
		{"an absolute one", func(dir string) { must(t, os.Symlink(dir+"/real", dir+"/link")) }, "link/file", ""},
		{"through another, and up again", func(dir string) {
			must(t, os.Symlink("../"+filepath.Base(dir)+"/real", dir+"/link"))
			must(t, os.Symlink("link", dir+"/two"))
		}, "two/file", ""},
		{"the application's, in root's directory", func(dir string) {
			must(t, os.Symlink("real", dir+"/link"))
			must(t, os.Lchown(dir+"/link", app, app))
		}, "link/file", "link"},
		{"root's, in the application's directory", func(dir string) {
			mkdir(t, dir+"/theirs", 0o755, app)
			must(t, os.Symlink("../real", dir+"/theirs/link"))
		}, "theirs/link/file", "theirs/link"},
		{"root's, in a directory that all may write to", func(dir string) {
			mkdir(t, dir+"/theirs", 0o777, 0)
			must(t, os.Symlink("../real", dir+"/theirs/link"))
		}, "theirs/link/file", "theirs/link"},
		{"root's, in one that a group may write to", func(dir string) {
			mkdir(t, dir+"/theirs", 0o775, 0)
			must(t, os.Symlink("../real", dir+"/theirs/link"))
		}, "theirs/link/file", "theirs/link"},
		{"root's, in a sticky one", func(dir string) {
			mkdir(t, dir+"/sticky", 0o777|os.ModeSticky, 0)
			must(t, os.Symlink("../real", dir+"/sticky/link"))
		}, "sticky/link/file", ""},
		{"root's, in root's directory below the application's, which may rename that", func(dir string) {
			mkdir(t, dir+"/theirs", 0o755, app)
			mkdir(t, dir+"/theirs/deep", 0o755, 0)
			must(t, os.Symlink("../../real", dir+"/theirs/deep/link"))
		}, "theirs/deep/link/file", "theirs/deep/link"},
		{"no link at all, below the application's directory", func(dir string) { mkdir(t, dir+"/theirs/deep", 0o755, app) }, "theirs/deep/file", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			mkdir(t, dir+"/real", 0o755, 0)
			c.make(dir)
			d, name, err := Parent(filepath.Join(dir, c.path))
			unsafe := (*UnsafeError)(nil)
			switch {
			case c.links == "":
				must(t, err)
				defer d.Close()
				if name != "file" {
					t.Errorf("the name is %q", name)
				}
			case !errors.As(err, &unsafe) || unsafe.Link != filepath.Join(dir, c.links):
				t.Errorf("%v, want link %s to be refused", err, c.links)
			}
		})
	}
}

func TestTrusted(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		name, path, want string // DIR for the scratch directory
		make             func(dir string)
	}{
		{"root's", "a/b", "", func(dir string) {}},
		{"not there yet", "a/b/c/d", "", func(dir string) {}},
		{"the application's", "a/b", "DIR/a/b belongs to user 12345: who may write there decides what root runs, overwrites and removes. As root: chown -h root:root DIR/a/b",
			func(dir string) { mkdir(t, dir+"/a/b", 0o755, app) }},
		{"in the application's", "a/b", "DIR/a/b is in DIR/a, which belongs to user 12345: who may write there decides what root runs, overwrites and removes. As root: chown -h root:root DIR/a",
			func(dir string) { mkdir(t, dir+"/a", 0o755, app) }},
		{"everybody's", "a/b", "DIR/a/b may be written to by others (mode 0777): who may write there decides what root runs, overwrites and removes. As root: chmod go-w DIR/a/b",
			func(dir string) { mkdir(t, dir+"/a/b", 0o777, 0) }},
		{"a group's", "a/b", "DIR/a/b may be written to by others (mode 0775): who may write there decides what root runs, overwrites and removes. As root: chmod go-w DIR/a/b",
			func(dir string) { mkdir(t, dir+"/a/b", 0o775, 0) }},
		{"below a sticky one", "a/b", "", func(dir string) { mkdir(t, dir+"/a", 0o777|os.ModeSticky, 0) }},
		{"a sticky one", "a", "DIR/a may be written to by others (mode 1777): who may write there decides what root runs, overwrites and removes. As root: chmod go-w DIR/a",
			func(dir string) { mkdir(t, dir+"/a", 0o777|os.ModeSticky, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			mkdir(t, dir+"/a/b", 0o755, 0)
			c.make(dir)
			got := ""
			if err := Trusted(filepath.Join(dir, c.path)); err != nil {
				got = strings.ReplaceAll(err.Error(), dir, "DIR")
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Nothing is removed where something is mounted, be it of the same disk, and nothing that is mounted is touched.
func TestRemovalStaysOffMounts(t *testing.T) {
	asRoot(t)
	for _, kind := range []string{"tmpfs", "a bind mount of the same disk", "a mounted file", "the directory itself"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			mkdir(t, dir+"/shared", 0o755, 0)
			mkdir(t, dir+"/gone/a/b", 0o755, 0)
			for _, f := range []string{"shared/precious", "gone/first", "gone/a/mounted", "gone/a/z"} {
				must(t, os.WriteFile(filepath.Join(dir, f), []byte("precious"), 0o644))
			}
			at := dir + "/gone/a/b"
			switch kind {
			case "tmpfs":
				mountAt(t, "", at)
				must(t, os.WriteFile(at+"/precious", []byte("precious"), 0o644))
			case "a mounted file":
				at = dir + "/gone/a/mounted"
				mountAt(t, dir+"/shared/precious", at)
			case "the directory itself":
				at = dir + "/gone"
				mountAt(t, dir+"/gone", at)
			default:
				mountAt(t, dir+"/shared", at)
			}
			before, _ := exec.Command("find", dir).Output()
			mounted := (*MountError)(nil)
			if err := RemoveAll(dir + "/gone"); !errors.As(err, &mounted) || mounted.Mount != at || !strings.Contains(err.Error(), "umount "+at) {
				t.Errorf("RemoveAll: %v, want the mount at %s", err, at)
			}
			if after, _ := exec.Command("find", dir).Output(); string(after) != string(before) {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
			must(t, unix.Unmount(at, 0))
			must(t, RemoveAll(dir+"/gone"))
			if _, err := os.Lstat(dir + "/gone"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("still there: %v", err)
			}
			if _, err := os.Stat(dir + "/shared/precious"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Before Linux 5.8 /proc tells mounts apart.
func TestMountsOfOldKernels(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	mkdir(t, dir+"/shared", 0o755, 0)
	mkdir(t, dir+"/at", 0o755, 0)
	mountAt(t, dir+"/shared", dir+"/at")
	ids := map[string]mountID{}
	for _, name := range []string{"shared", "at", "."} {
		d, err := Open(filepath.Join(dir, name))
		must(t, err)
		defer d.Close()
		old, err := mountFromProc(d.fd)
		must(t, err)
		now, err := mountOf(d.fd, "")
		must(t, err)
		if ids[name] = now; old != now {
			t.Errorf("%s: /proc says %d, statx %d", name, old, now)
		}
	}
	if ids["shared"] != ids["."] || ids["at"] == ids["."] {
		t.Errorf("mounts: %v", ids)
	}
}

// What a link leads to is not removed, and neither is what a hostile process moves into the way.
func TestRemovalFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/gone/a", 0o755))
	must(t, os.MkdirAll(dir+"/kept", 0o755))
	must(t, os.WriteFile(dir+"/kept/f", nil, 0o644))
	must(t, os.Symlink("../../kept", dir+"/gone/a/link"))
	must(t, RemoveAll(dir+"/gone"))
	must(t, RemoveAll(dir+"/gone"))
	must(t, RemoveAll(dir+"/none/of/it"))
	if _, err := os.Stat(dir + "/kept/f"); err != nil {
		t.Error(err)
	}
}

// A link of /proc means what a process decides: root's own, and a user's, are refused, also behind a link of root's.
func TestLinksOfProc(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	mkdir(t, dir+"/real", 0o755, 0)
	held, err := os.Open(dir + "/real")
	must(t, err)
	defer held.Close()
	theirs := exec.Command("sleep", "600")
	theirs.Dir, theirs.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: app, Gid: app}}
	must(t, theirs.Start())
	defer func() { _ = theirs.Process.Kill(); _ = theirs.Wait() }()
	must(t, os.Symlink("/proc/self/cwd", dir+"/here"))
	must(t, os.Symlink(fmt.Sprintf("/proc/%d/root", os.Getpid()), dir+"/root"))
	for _, path := range []string{
		"/proc/self/root" + dir + "/real/file", "/proc/thread-self/cwd/file", fmt.Sprintf("/proc/%d/root/etc/file", os.Getpid()),
		fmt.Sprintf("/proc/%d/fd/%d/file", os.Getpid(), held.Fd()), fmt.Sprintf("/proc/%d/cwd/file", theirs.Process.Pid),
		fmt.Sprintf("/proc/%d/root/file", theirs.Process.Pid), fmt.Sprintf("/dev/fd/%d/file", held.Fd()), dir + "/here/file", dir + "/root/etc/file",
	} {
		for what, walk := range map[string]func() (*Dir, error){
			"Parent":   func() (*Dir, error) { d, _, err := Parent(path); return d, err },
			"Existing": func() (*Dir, error) { d, _, err := Existing(path); return d, err },
			"Open":     func() (*Dir, error) { return Open(filepath.Dir(path)) },
		} {
			d, err := walk()
			if err == nil {
				d.Close()
			}
			if unsafe := (*UnsafeError)(nil); !errors.Is(err, errProc) && !errors.As(err, &unsafe) {
				t.Errorf("%s of %s: %v", what, path, err)
			}
		}
		if err := RemoveAll(path); err == nil {
			t.Errorf("RemoveAll of %s went there", path)
		}
	}
	if _, err := os.Stat(dir + "/real"); err != nil {
		t.Error(err)
	}
}

// A file is read where another user may have put something else: no file of somebody else's is, and no FIFO is waited for.
func TestFilesThatAreOpened(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	mkdir(t, dir+"/theirs", 0o755, app)
	write := func(path string, uid int) {
		must(t, os.WriteFile(path, []byte("text"), 0o600))
		must(t, os.Chown(path, uid, -1))
	}
	link := func(target, path string, uid int) {
		must(t, os.Symlink(target, path))
		must(t, os.Lchown(path, uid, -1))
	}
	write(dir+"/roots", 0)
	write(dir+"/theirs/own", app)
	link("roots", dir+"/to-roots", 0)
	link(dir+"/to-roots", dir+"/to-link", 0)
	link("theirs/own", dir+"/to-theirs", 0)
	link("theirs/to-roots", dir+"/by-theirs", 0)
	link("loop", dir+"/loop", 0)
	link("own", dir+"/theirs/to-own", app)
	link("../roots", dir+"/theirs/to-roots", app)
	link("../roots", dir+"/theirs/to-roots-by-root", 0)
	link("..", dir+"/theirs/up", app)
	must(t, os.Link(dir+"/roots", dir+"/theirs/hard"))
	must(t, unix.Mkfifo(dir+"/theirs/fifo", 0o666))
	link("fifo", dir+"/theirs/to-fifo", app)
	for name, opened := range map[string]bool{
		"roots": true, "to-roots": true, "to-link": true, "theirs/own": true, "to-theirs": true, "theirs/to-own": true,
		"by-theirs": false, "loop": false, "none": false, "theirs": false, "theirs/to-roots": false, "theirs/to-roots-by-root": false,
		"theirs/up/roots": false, "theirs/up/theirs/own": true, "theirs/hard": false, "theirs/fifo": false, "theirs/to-fifo": false,
	} {
		f, err := OpenFile(filepath.Join(dir, name))
		if (err == nil) != opened {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// A mount of a user's that root may not look at, and whose server does not answer, is found and left without asking it.
func TestRemovalAsksNoMount(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	mkdir(t, dir+"/gone/a", 0o755, 0)
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = unix.Mount("silent", dir+"/gone/a", "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%[2]d", fuse.Fd(), app))
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("no such mount can be made here: %v", err)
	}
	defer unix.Unmount(dir+"/gone/a", unix.MNT_DETACH)
	defer fuse.Close() // whoever waits for it goes on
	found := make(chan error, 1)
	go func() { found <- RemoveAll(dir + "/gone") }()
	select {
	case err := <-found:
		if mounted := (*MountError)(nil); !errors.As(err, &mounted) || mounted.Mount != dir+"/gone/a" {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("removal waits for the mount")
	}
	if !IsMount(dir + "/gone/a") {
		t.Error("IsMount does not say so")
	}
}

// The depth of a tree is its owner's to choose: removal takes no more files and memory for it.
func TestRemovalOfADeepTree(t *testing.T) {
	dir := t.TempDir()
	top, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	must(t, err)
	const levels = 3000
	for range levels {
		must(t, unix.Mkdirat(top, "gone", 0o755))
		next, err := unix.Openat(top, "gone", unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(top))
		top = next
		for _, name := range []string{"a", "z"} {
			f, err := unix.Openat(top, name, unix.O_CREAT, 0o644)
			must(t, err)
			must(t, unix.Close(f))
		}
	}
	must(t, unix.Close(top))
	var was unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: levels / 4, Max: was.Max}))
	err = RemoveAll(dir + "/gone")
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
	if left, _ := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v; left: %v", err, left)
	}
}

// What cannot be removed stays, and all else goes: also what is deep below, or many.
func TestRemovalGoesOn(t *testing.T) {
	asRoot(t)
	dir := t.TempDir()
	deep := dir + "/gone" + strings.Repeat("/d", 3*deepest)
	must(t, os.MkdirAll(deep, 0o755))
	for n := range 3 * batch {
		must(t, os.WriteFile(fmt.Sprintf("%s/gone/%d", dir, n), nil, 0o644))
	}
	kept := dir + "/gone/kept"
	must(t, os.WriteFile(kept, nil, 0o644))
	set := func(flags int) error {
		f, err := os.Open(kept)
		must(t, err)
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(0x10); err != nil { // FS_IMMUTABLE_FL
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("no file can be made immutable here: %v", err)
	}
	defer set(0)
	err := RemoveAll(dir + "/gone")
	if left, _ := os.ReadDir(dir + "/gone"); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), kept) || len(left) != 1 {
		t.Errorf("%v; left: %v", err, left)
	}
}
