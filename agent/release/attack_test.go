//go:build linux && !developer

package release

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a local user may try who owns a part of what a revision installs. The attacks run in a loop beside the
// installation, as that user; whatever becomes of the installation, nothing that is root's may change.

const (
	appUID = 12345
	rounds = 200 // of each attack
)

// attacked is a server with things of root's that an attacker would like to have.
func attacked(t *testing.T) *server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be attacked so")
	}
	root, err := os.MkdirTemp("/dev/shm", "usher-attacked-") // in memory: hundreds of rounds
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	s := newServerIn(t, root)
	s.must(os.Chmod(root, 0o755))
	s.write(map[string]string{"/etc/profile.d/root.sh": "root's", "/etc/cron.d/root": "root's", "/etc/shadow": "secret", "/etc/hosts": "127.0.0.1",
		"/usr/lib/lib.so": "root's", "/usr/bin/su": "root's"})
	s.must(os.Chmod(filepath.Join(root, "etc/shadow"), 0o640))
	s.must(os.Chmod(filepath.Join(root, "usr/bin/su"), 0o755|os.ModeSetuid))
	return s
}

// roots is everything below etc and usr, with content, mode and owner.
func (s *server) roots() string {
	s.Helper()
	var all []string
	for _, top := range []string{"etc", "usr"} {
		err := filepath.Walk(filepath.Join(s.Root, top), func(path string, info os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			content := ""
			if info.Mode().IsRegular() {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				content = string(b)
			}
			all = append(all, fmt.Sprintf("%s %v %d %q", path, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, content))
			return nil
		})
		s.must(err)
	}
	return strings.Join(all, "\n")
}

// hostile runs do again and again, as the application's user, until stop is called, which says how often it did.
func hostile(t *testing.T, do func() bool) (stop func() int64) {
	t.Helper()
	var end atomic.Bool
	var did atomic.Int64
	ready, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread, which alone is that user, ends with this
		for _, call := range [][4]uintptr{{unix.SYS_SETGROUPS, 0, 0, 0}, {unix.SYS_SETRESGID, appUID, appUID, appUID}, {unix.SYS_SETRESUID, appUID, appUID, appUID}} {
			if _, _, no := unix.RawSyscall(call[0], call[1], call[2], call[3]); no != 0 {
				ready <- no
				return
			}
		}
		ready <- nil
		for !end.Load() {
			if do() {
				did.Add(1)
			}
			runtime.Gosched()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return func() int64 { end.Store(true); <-done; return did.Load() }
}

// exchange swaps what two names stand for, in one step.
func exchange(a, b string) bool {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil
}

const given = whole + `files:
  - {source: shop, destination: /srv/shop}
permissions:
  - {object: /srv/shop, pattern: "**", owner: "12345", mode: 4775, type: [file]}
  - {object: /srv/shop, pattern: "**", owner: "12345", mode: 777, type: [directory]}
`

func TestAHostileUserOfADestination(t *testing.T) {
	for name, attack := range map[string]func(s *server, web string) bool{
		"a directory becomes a link to /etc/profile.d": func(s *server, web string) bool {
			_ = os.Symlink(filepath.Join(s.Root, "etc/profile.d"), web+"/l1")
			return exchange(web+"/bin", web+"/l1")
		},
		"a new directory becomes a link to /usr": func(s *server, web string) bool {
			_ = os.Symlink(filepath.Join(s.Root, "usr"), web+"/l2")
			return exchange(web+"/vendor", web+"/l2")
		},
		"a file becomes a link to /etc/shadow": func(s *server, web string) bool {
			_ = os.Symlink(filepath.Join(s.Root, "etc/shadow"), web+"/l3")
			return exchange(web+"/index", web+"/l3")
		},
		"a file half written becomes a link to /etc/shadow": func(s *server, web string) bool {
			_ = os.Symlink(filepath.Join(s.Root, "etc/shadow"), web+"/l4")
			return exchange(web+"/.usher-index", web+"/l4")
		},
		"a file becomes a setuid program's hard link": func(s *server, web string) bool {
			_ = os.Link(filepath.Join(s.Root, "usr/bin/su"), web+"/l5") // where the kernel lets it
			if _, err := os.Lstat(web + "/l5"); err != nil {
				_ = os.Symlink(filepath.Join(s.Root, "usr/bin/su"), web+"/l5")
			}
			return exchange(web+"/index", web+"/l5")
		},
		"a directory becomes a link to /etc, where /etc/hosts would be removed": func(s *server, web string) bool {
			_ = os.Symlink(filepath.Join(s.Root, "etc"), web+"/l6")
			return exchange(web+"/conf", web+"/l6")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := attacked(t)
			before := s.roots()
			web := filepath.Join(s.Root, "srv/shop/web")
			first := map[string]string{"shop/web/bin/root.sh": "app's", "shop/web/index": "1", "shop/web/conf/hosts": "x", "shop/web/conf/shadow": "x"}
			second := map[string]string{"shop/web/bin/root.sh": "app's", "shop/web/index": "2", "shop/web/vendor/lib/lib.so": "app's", "shop/web/vendor/bin/su": "app's", "shop/web/conf/shadow": "y"}
			install := func(id string, files map[string]string, after Release) (Release, error) {
				r, p, err := s.tryAccept(id, given, files)
				s.must(err)
				how := After(after)
				how.Exists = "OVERWRITE"
				_, err = s.Install(context.Background(), &r, p, how)
				return r, err
			}
			// Without a race first: what is swapped before root comes.
			one, err := install("app-1", first, Release{})
			s.must(err)
			s.must(s.Keep(one, Release{}))
			stop := hostile(t, func() bool { return attack(s, web) })
			installed, refused := 0, 0
			for n := range rounds {
				two, err := install("app-2", second, one)
				if err == nil {
					installed++
				} else {
					refused++
				}
				if n%2 == 0 || err != nil {
					_ = s.Restore(two.ID) // the attacked files need not be what they were
				} else {
					s.must(s.Keep(two, one))
					if back, err := install("app-1", first, two); err == nil {
						one = back
						_ = s.Keep(one, two)
					} else {
						_ = s.Restore("app-1")
					}
				}
				if after := s.roots(); after != before {
					t.Fatalf("in round %d root's files became\n%s\nand they were\n%s", n, after, before)
				}
				// What is left of this round is not to end the attack: the next begins like the first.
				s.must(os.RemoveAll(s.dir(".saved-app-2")))
				s.must(os.RemoveAll(s.dir(".saved-app-1")))
				if n%8 == 7 {
					s.must(os.Rename(filepath.Join(s.Root, "srv"), filepath.Join(s.Root, fmt.Sprint("was-", n)))) // the attacker is in it
					if one, err = install("app-1", first, Release{}); err != nil {
						_ = s.Restore("app-1")
						continue
					}
					s.must(s.Keep(one, Release{}))
				}
			}
			if swaps := stop(); swaps == 0 {
				t.Error("the attack never came to anything: this test tests nothing")
			} else {
				t.Logf("%d installed, %d refused, under %d swaps", installed, refused, swaps)
			}
		})
	}
}

// The same without a race: what the application's user made before root came. It is said which link it is.
func TestALinkOfTheApplicationsUser(t *testing.T) {
	s := attacked(t)
	before := s.roots()
	files := map[string]string{"shop/web/bin/root.sh": "app's", "shop/web/conf/hosts": "x"}
	one, p := s.accept("app-1", given, files)
	s.install(&one, p, Installing{})
	s.must(s.Keep(one, Release{}))
	web := filepath.Join(s.Root, "srv/shop/web")
	for dir, to := range map[string]string{"bin": "etc/profile.d", "conf": "etc"} {
		s.must(os.Rename(filepath.Join(web, dir), filepath.Join(web, dir+".mine")))
		s.must(os.Symlink(filepath.Join(s.Root, to), filepath.Join(web, dir)))
		s.must(os.Lchown(filepath.Join(web, dir), appUID, appUID))
	}
	two, p := s.accept("app-2", given, map[string]string{"shop/web/bin/root.sh": "2"})
	if _, err := s.Install(context.Background(), &two, p, After(one)); err == nil || !strings.Contains(err.Error(), web+"/bin is a symbolic link that user 12345 could have made") {
		t.Errorf("a file through the link: %v", err)
	}
	s.must(s.Restore(two.ID))
	// A revision that has neither: the files are not ours any more, and the deployment goes on.
	three, p := s.accept("app-3", given, map[string]string{"shop/web/index": "3"})
	done := s.install(&three, p, After(one))
	if notes := strings.Join(done.Notes, "\n"); !strings.Contains(notes, "/srv/shop/web/conf/hosts, which the revision no longer installs, is left") {
		t.Errorf("it notes %q", notes)
	}
	s.must(s.Keep(three, one))
	if after := s.roots(); after != before {
		t.Errorf("root's files became\n%s\nand they were\n%s", after, before)
	}
	if !slices.Equal(three.ExternalFiles, []string{"/srv/shop/web/index"}) {
		t.Errorf("ours are %v", three.ExternalFiles)
	}
}

// A file that the application's user made in the place of one that was root's is neither removed nor replaced.
func TestAFileOfTheApplicationsUser(t *testing.T) {
	s := attacked(t)
	spec := whole + "files: [{source: www, destination: /srv/www}]\npermissions: [{object: /srv/www, owner: \"12345\", type: [directory]}]\n"
	one, p := s.accept("app-1", spec, map[string]string{"www/a": "1", "www/b": "1"})
	s.install(&one, p, Installing{})
	s.must(s.Keep(one, Release{}))
	for _, name := range []string{"a", "b"} {
		at := filepath.Join(s.Root, "srv/www", name)
		s.must(os.Remove(at))
		s.must(os.WriteFile(at, []byte("the user's"), 0o644))
		s.must(os.Chown(at, appUID, appUID))
	}
	two, p := s.accept("app-2", spec, map[string]string{"www/a": "2"})
	if _, err := s.Install(context.Background(), &two, p, After(one)); err == nil || !strings.Contains(err.Error(), "cannot install /srv/www/a: the file exists already") {
		t.Errorf("in place of the user's file: %v", err)
	}
	three, p := s.accept("app-3", spec, map[string]string{"www/c": "3"})
	s.install(&three, p, After(one))
	got := tree(t, filepath.Join(s.Root, "srv/www"))
	if fmt.Sprint(got) != fmt.Sprint(map[string]string{"/a": "the user's", "/b": "the user's", "/c": "3"}) {
		t.Errorf("it holds %v", got)
	}
}

// A release that a script gave away: what its owner puts there from elsewhere is neither read nor given to anybody.
func TestAHostileUserOfARelease(t *testing.T) {
	s := attacked(t)
	before := s.roots()
	spec := whole + "files: [{source: src, destination: /opt/app}]\npermissions: [{object: /opt/app, pattern: \"**\", owner: \"12345\"}]\n"
	for name, to := range map[string]string{"a directory is a link": "etc", "a file is a link": "etc/shadow", "a file is a hard link": "etc/shadow"} {
		r, p := s.accept("app-1", spec, map[string]string{"src/conf/shadow": "app's"})
		at := filepath.Join(r.Bundle, "src/conf")
		switch name {
		case "a directory is a link":
			s.must(os.Rename(at, at+".mine"))
			s.must(os.Symlink(filepath.Join(s.Root, to), at))
		default:
			s.must(os.Remove(at + "/shadow"))
			if name == "a file is a link" {
				s.must(os.Symlink(filepath.Join(s.Root, to), at+"/shadow"))
			} else {
				s.must(os.Link(filepath.Join(s.Root, to), at+"/shadow"))
			}
			s.must(os.Chown(at, appUID, appUID))
		}
		if _, err := s.Install(context.Background(), &r, p, Installing{}); err == nil {
			t.Errorf("%s: it was installed", name)
		}
		if got := tree(t, s.dir("")); strings.Contains(got["/app-1/conf/shadow"], "secret") {
			t.Errorf("%s: the secret is in the release", name)
		}
		s.must(s.Remove("app-1"))
	}
	if after := s.roots(); after != before {
		t.Errorf("root's files became\n%s\nand they were\n%s", after, before)
	}
}
