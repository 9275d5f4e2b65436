//go:build linux && !developer

package release

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usher/agent/safepath"
)

// outdate makes good releases of which Prune(2) removes the first n.
func (s *server) outdate(n int) (old []Release) {
	s.Helper()
	at := time.Now().Add(-time.Hour)
	for i := range n + 2 {
		r, _ := s.accept(fmt.Sprintf("app-%d", i), whole, map[string]string{"uploads/": "", "bin/serve": "x", "n": fmt.Sprint(i)})
		r.Status, r.Time = Good, at.Add(time.Duration(i)*time.Minute)
		s.must(s.save(r.Metadata))
		if i < n {
			old = append(old, r)
		}
	}
	return old
}

// Shared storage is mounted below a release: neither it nor the release is touched, and what to do is said.
func TestPruneStaysOffMounts(t *testing.T) {
	s := newServer(t)
	s.write(map[string]string{"/srv/shared/invoice.pdf": "precious"})
	old := s.outdate(2)
	at := filepath.Join(old[0].Dir, "uploads")
	if err := unix.Mount(filepath.Join(s.Root, "srv/shared"), at, "", unix.MS_BIND, ""); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	before := tree(t, old[0].Dir)
	for range 2 { // said each time, because somebody has to do something
		removed, err := s.Prune(2)
		mounted := (*safepath.MountError)(nil)
		if !errors.As(err, &mounted) || mounted.Mount != at || !strings.Contains(err.Error(), "umount "+at) {
			t.Errorf("Prune: %v, want the mount at %s", err, at)
		}
		if after := tree(t, old[0].Dir); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the release had %v and has %v", before, after)
		}
		if r, ok := s.Load(old[0].ID); !ok || r.Status != Good {
			t.Error("the release is no longer one")
		}
		if len(removed) > 0 && removed[0] != old[1].ID {
			t.Errorf("removed %v", removed)
		}
	}
	if _, ok := s.Load(old[1].ID); ok {
		t.Error("the other old release is still there")
	}
	s.must(unix.Unmount(at, 0))
	if removed, err := s.Prune(2); err != nil || len(removed) != 1 {
		t.Errorf("unmounted: removed %v, %v", removed, err)
	}
	if got := tree(t, filepath.Join(s.Root, "srv/shared"))["/invoice.pdf"]; got != "precious" {
		t.Errorf("the shared file says %q", got)
	}
}

// A process that runs from a release, in any of these ways, keeps it. That is said once.
func TestPruneLeavesWhatProcessesRunFrom(t *testing.T) {
	for name, run := range map[string]func(r Release) *exec.Cmd{
		"working directory": func(r Release) *exec.Cmd {
			cmd := exec.Command("sh", "-c", "echo up; read x")
			cmd.Dir = filepath.Join(r.Dir, "uploads")
			return cmd
		},
		"open file": func(r Release) *exec.Cmd {
			return exec.Command("sh", "-c", "exec 3<"+filepath.Join(r.Dir, "n")+"; echo up; read x")
		},
		"mounted in a container": func(r Release) *exec.Cmd {
			if os.Geteuid() != 0 {
				t.Skip("only root can make one")
			}
			cmd := exec.Command("unshare", "--mount", "sh", "-c", "mount --bind "+filepath.Join(r.Dir, "uploads")+" /mnt; echo up; read x")
			cmd.Dir = "/"
			return cmd
		},
		"program": func(r Release) *exec.Cmd {
			sh, err := exec.LookPath("sh")
			if err == nil {
				var text []byte
				if text, err = os.ReadFile(sh); err == nil {
					err = os.WriteFile(filepath.Join(r.Dir, "bin/sh"), text, 0o755)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			return exec.Command(filepath.Join(r.Dir, "bin/sh"), "-c", "echo up; read x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			old := s.outdate(1)[0]
			cmd := run(old)
			in, err := cmd.StdinPipe()
			s.must(err)
			out, err := cmd.StdoutPipe()
			s.must(err)
			s.must(cmd.Start())
			_, err = bufio.NewReader(out).ReadString('\n')
			s.must(err)
			want := fmt.Sprintf("(%d)", cmd.Process.Pid)
			if removed, err := s.Prune(2); len(removed) > 0 || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("first: removed %v, %v, want process %s to be named", removed, err, want)
			}
			if removed, err := s.Prune(2); len(removed) > 0 || err != nil {
				t.Errorf("second: removed %v, %v, want nothing said again", removed, err)
			}
			s.must(in.Close())
			_ = cmd.Wait() // read failed
			if removed, err := s.Prune(2); len(removed) != 1 || err != nil {
				t.Errorf("it has ended: removed %v, %v", removed, err)
			}
		})
	}
}

// The folder of releases is shared: what others keep in it stays, whatever it is called.
func TestPruneLeavesWhatIsNotOurs(t *testing.T) {
	s := newServer(t)
	theirs := map[string]string{
		"/opt/app-releases/X.json": "{}", "/opt/app-releases/X/data": "theirs",
		"/opt/app-releases/Y.json": `{"id": "Y", "name": "an export"}`, "/opt/app-releases/Y.bundle/data": "theirs",
		"/opt/app-releases/Z.json": `not JSON`, "/opt/app-releases/W.json.next": `{"half": `, "/opt/app-releases/app-0.txt": "notes",
	}
	s.write(theirs)
	s.outdate(1)
	if removed, err := s.Prune(2); err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
	got := tree(t, s.Root)
	for path, content := range theirs {
		if got[path] != content {
			t.Errorf("%s is %q, want %q", path, got[path], content)
		}
	}
	// And none of them is replaced by a release of that name.
	if _, _, err := s.tryAccept("X", whole, map[string]string{"n": "1"}); err == nil || !strings.Contains(err.Error(), "usher did not make it") {
		t.Errorf("a release in place of theirs: %v", err)
	}
}

// A hook has made a file immutable: it is named at each prune, the rest of its release goes, and the revision may come again.
func TestPruneOfAFileThatCannotBeRemoved(t *testing.T) {
	s := newServer(t)
	old := s.outdate(1)[0]
	kept := filepath.Join(old.Dir, "uploads", ".user.ini")
	s.must(os.WriteFile(kept, nil, 0o644))
	immutable := func(file string, flags int) error {
		f, err := os.Open(file)
		s.must(err)
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := immutable(kept, 0x10); err != nil { // FS_IMMUTABLE_FL
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("no file can be made immutable here: %v", err)
	}
	s.must(immutable(old.Dir, 0x10))
	removed, err := s.Prune(2)
	s.must(immutable(old.Dir, 0))
	if len(removed) > 0 || err == nil || !strings.Contains(err.Error(), "chattr -R -i "+old.Dir) {
		t.Errorf("a directory that is immutable: removed %q, %v", removed, err)
	}
	defer func() {
		left, err := filepath.Glob(filepath.Join(s.dir(""), "*", "uploads", ".user.ini"))
		s.must(err)
		for _, file := range append(left, kept) {
			if _, err := os.Lstat(file); err == nil {
				s.must(immutable(file, 0))
			}
		}
	}()
	for n := range 3 {
		_, err := s.Prune(2)
		left, _ := filepath.Glob(filepath.Join(s.dir(""), ".removing-*", "uploads", ".user.ini"))
		if len(left) != 1 || err == nil || !strings.Contains(err.Error(), left[0]) || !strings.Contains(err.Error(), "chattr -i") {
			t.Fatalf("%d: Prune: %v, left: %q", n, err, left)
		}
		kept = left[0]
		if more := tree(t, filepath.Dir(filepath.Dir(kept))); len(more) != 1 {
			t.Errorf("%d: more is left: %v", n, more)
		}
		if n == 1 {
			if r, _ := s.accept(old.ID, whole, map[string]string{"bin/serve": "again"}); r.ID != old.ID {
				t.Error("the revision does not come again")
			}
			if err := s.Remove(old.ID); err != nil {
				t.Error(err)
			}
		}
	}
}
