//go:build linux && !developer

package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usher/agent/appspec"
	"usher/hooks"
)

// server is a scratch server: everything below one directory.
type server struct {
	testing.TB
	Layout
}

func newServer(t testing.TB) *server { return newServerIn(t, t.TempDir()) }

func newServerIn(t testing.TB, root string) *server {
	s := &server{t, Layout{Link: "/opt/app", Base: "/opt/app-base", Releases: "/opt/app-releases", Root: root}}
	s.write(map[string]string{"/opt/app-base/VERSION": "base"})
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	s.must(s.Flip(s.BasePath()))
	return s
}

func (s *server) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// write makes files: path -> content; a path ending in / is a directory, a content "-> x" a link.
func (s *server) write(files map[string]string) {
	s.Helper()
	writeTree(s, s.Root, files)
}

func writeTree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for path, content := range files {
		at := filepath.Join(root, path)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, at))
		} else if strings.HasSuffix(path, "/") {
			err = errors.Join(err, os.MkdirAll(at, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(at, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tree is a picture of everything below dir: path -> content.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	picture := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + rel(dir, at)
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(at)
			picture[name] = "-> " + target
			return err
		case e.Type().IsRegular():
			b, err := os.ReadFile(at)
			picture[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// expect compares the server outside the folder of releases with a picture.
func (s *server) expect(when string, want map[string]string) {
	s.Helper()
	got := tree(s, s.Root)
	for path := range got {
		if strings.HasPrefix(path, "/opt/app-releases/") {
			delete(got, path)
		}
	}
	for path, content := range want {
		if target, ok := strings.CutPrefix(content, "-> "); ok && strings.HasPrefix(target, "/") {
			content = "-> " + s.Root + target
		}
		if got[path] != content {
			s.Errorf("%s: %s is %q, want %q", when, path, got[path], content)
		}
		delete(got, path)
	}
	for path := range got {
		s.Errorf("%s: there is also %s", when, path)
	}
}

// accept makes a release of a bundle.
func (s *server) accept(id, spec string, files map[string]string) (Release, *Plan) {
	s.Helper()
	r, p, err := s.tryAccept(id, spec, files)
	s.must(err)
	return r, p
}

func (s *server) tryAccept(id, spec string, files map[string]string) (Release, *Plan, error) {
	s.Helper()
	dir, err := s.StagingDir(id)
	s.must(err)
	writeTree(s, dir, files)
	writeTree(s, dir, map[string]string{"appspec.yml": spec})
	parsed, problems := appspec.Read(dir)
	if len(hooks.Errors(problems)) > 0 {
		s.Fatalf("appspec: %v", problems)
	}
	plan, problems := s.Plan(dir, parsed)
	if fatal := hooks.Errors(problems); len(fatal) > 0 {
		return Release{}, nil, errors.New(fatal[0].String())
	}
	r, err := s.Add(dir, Metadata{ID: id, Revision: "test"}, plan.Separate)
	if err != nil {
		return r, nil, err
	}
	return r, plan, nil
}

func (s *server) install(r *Release, p *Plan, how Installing) Installed {
	s.Helper()
	done, err := s.Install(context.Background(), r, p, how)
	s.must(err)
	return done
}

const whole = "version: 0.0\nos: linux\n"

func TestWholeBundleIsTheRelease(t *testing.T) {
	s := newServer(t)
	r, p := s.accept("app-1", whole+"files:\n  - {source: /, destination: /opt/app}\n", map[string]string{"VERSION": "1", "bin/x": "x"})
	if r.Dir != r.Bundle || p.Separate {
		t.Errorf("release %+v, mapped %v: want the bundle itself", r, p.Separate)
	}
	s.install(&r, p, Installing{})
	s.expect("before the flip", map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base"})
	s.must(s.Flip(r.Dir))
	s.expect("after the flip", map[string]string{"/opt/app": "-> /opt/app-releases/app-1", "/opt/.app.spare": "-> /opt/app-base", "/opt/app-base/VERSION": "base"})
	if got := tree(t, r.Dir); got["/VERSION"] != "1" || got["/bin/x"] != "x" {
		t.Errorf("the release holds %v", got)
	}
}

func TestMappedRelease(t *testing.T) {
	s := newServer(t)
	r, p := s.accept("app-1", whole+`files:
  - {source: src, destination: /opt/app}
  - {source: config/prod.yml, destination: /opt/app/config}
permissions:
  - {object: /opt/app, pattern: "*.sh", mode: 0750, type: [file]}
`, map[string]string{"src/VERSION": "1", "src/run.sh": "#!/bin/sh", "src/current": "-> VERSION", "src/empty/": "", "config/prod.yml": "a: 1", "scripts/start.sh": "echo"})
	done := s.install(&r, p, Installing{})
	if done.Files != 4 {
		t.Errorf("installed %d files, want 4", done.Files)
	}
	got := tree(t, r.Dir)
	want := map[string]string{"/VERSION": "1", "/run.sh": "#!/bin/sh", "/current": "-> VERSION", "/config/prod.yml": "a: 1"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the release holds %v, want %v", got, want)
	}
	if !isDir(filepath.Join(r.Dir, "empty")) {
		t.Error("an empty directory was lost")
	}
	if info, err := os.Stat(filepath.Join(r.Dir, "run.sh")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("run.sh: %v %v, want mode 0750", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(r.Bundle, "scripts/start.sh")); err != nil {
		t.Errorf("the scripts are gone: %v", err)
	}
	// Again, as after a restart of the agent in Install.
	s.install(&r, p, Installing{})
	if again := tree(t, r.Dir); fmt.Sprint(again) != fmt.Sprint(want) {
		t.Errorf("installed again it holds %v", again)
	}
}

const outside = whole + `files:
  - {source: /, destination: /opt/app}
  - {source: etc/app.conf, destination: /etc/app}
`

func TestFilesOutsideTheLink(t *testing.T) {
	bundle := map[string]string{"VERSION": "1", "etc/app.conf": "new"}
	base := map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base"}
	with := func(more ...string) map[string]string {
		m := map[string]string{}
		for k, v := range base {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, c := range []struct {
		name     string
		before   map[string]string
		exists   string
		owned    []string
		long     bool // there is one more file in the revision
		err      string
		after    map[string]string // when it was installed
		restored map[string]string // when it was then put back
	}{
		{name: "nothing there", after: with("/etc/app/app.conf", "new"), restored: base},
		{name: "there, DISALLOW", before: map[string]string{"/etc/app/app.conf": "old"}, err: "cannot install /etc/app/app.conf: the file exists already",
			after: with("/etc/app/app.conf", "old"), restored: with("/etc/app/app.conf", "old")},
		{name: "there, OVERWRITE", before: map[string]string{"/etc/app/app.conf": "old"}, exists: "OVERWRITE",
			after: with("/etc/app/app.conf", "new"), restored: with("/etc/app/app.conf", "old")},
		{name: "there, RETAIN", before: map[string]string{"/etc/app/app.conf": "old"}, exists: "RETAIN",
			after: with("/etc/app/app.conf", "old"), restored: with("/etc/app/app.conf", "old")},
		{name: "there, from the release in use", before: map[string]string{"/etc/app/app.conf": "old"}, owned: []string{"/etc/app/app.conf"},
			after: with("/etc/app/app.conf", "new"), restored: with("/etc/app/app.conf", "old")},
		{name: "a link that dangles is replaced, not written through", before: map[string]string{"/etc/app/app.conf": "-> ../shadow"}, exists: "OVERWRITE",
			after: with("/etc/app/app.conf", "new"), restored: with("/etc/app/app.conf", "-> ../shadow")},
		{name: "names as long as they may be", before: map[string]string{"/etc/app/" + longest: "old"}, exists: "OVERWRITE", long: true,
			after: with("/etc/app/app.conf", "new", "/etc/app/"+longest, "newer"), restored: with("/etc/app/"+longest, "old")},
		{name: "a directory in the way", before: map[string]string{"/etc/app/app.conf/x": "x"}, exists: "OVERWRITE", err: "a directory of that name exists already",
			after: with("/etc/app/app.conf/x", "x"), restored: with("/etc/app/app.conf/x", "x")},
		{name: "a file where the directory goes", before: map[string]string{"/etc/app": "x"}, exists: "OVERWRITE", err: "a file of that name exists already",
			after: with("/etc/app", "x"), restored: with("/etc/app", "x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.write(c.before)
			spec, bundle := outside, maps.Clone(bundle)
			if c.long {
				spec += "  - {source: etc/" + longest + ", destination: /etc/app}\n"
				bundle["etc/"+longest] = "newer"
			}
			r, p := s.accept("app-1", spec, bundle)
			was, _ := os.Lstat(filepath.Join(s.Root, "etc/app/app.conf"))
			_, err := s.Install(context.Background(), &r, p, Installing{Exists: c.exists, Owned: c.owned})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("Install: %v, want %q", err, c.err)
			}
			s.expect("installed", c.after)
			s.must(s.Restore(r.ID))
			s.expect("put back", c.restored)
			if is, err := os.Lstat(filepath.Join(s.Root, "etc/app/app.conf")); was != nil && (err != nil || !os.SameFile(was, is)) {
				t.Errorf("what was put back is not the file itself, but a copy of it: %v", err)
			}
			s.must(s.Restore(r.ID)) // any number of times
			s.expect("put back twice", c.restored)
		})
	}
}

// A bundle that holds a tree from / on: what lies at the link's path is the release, all else is outside.
func TestDestinationRoot(t *testing.T) {
	s := newServer(t)
	s.write(map[string]string{"/etc/hosts": "hosts"})
	s.must(os.Chmod(filepath.Join(s.Root, "etc"), 0o700))
	r, p := s.accept("app-1", whole+"files:\n  - {source: root, destination: /}\n", map[string]string{
		"root/opt/app/VERSION": "1", "root/opt/app/bin/run": "run", "root/etc/shop/shop.conf": "conf", "README": "no part of it"})
	done := s.install(&r, p, Installing{})
	if done.Files != 3 || fmt.Sprint(r.ExternalFiles) != "[/etc/shop/shop.conf]" {
		t.Errorf("installed %d files, outside %v", done.Files, r.ExternalFiles)
	}
	if got, want := tree(t, r.Dir), map[string]string{"/VERSION": "1", "/bin/run": "run"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the release holds %v, want %v", got, want)
	}
	before := map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base", "/etc/hosts": "hosts"}
	after := maps.Clone(before)
	after["/etc/shop/shop.conf"] = "conf"
	s.expect("installed", after)
	if info, err := os.Stat(filepath.Join(s.Root, "etc")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of /etc: %v, %v", info.Mode(), err)
	}
	s.must(s.Restore(r.ID))
	s.expect("put back", before)

	for _, inside := range []string{"root/opt/app-base/x", "root/opt/app-releases/r/x"} {
		_, _, err := newServer(t).tryAccept("app-2", whole+"files:\n  - {source: root, destination: /}\n", map[string]string{inside: "x"})
		if err == nil || !strings.Contains(err.Error(), "where a deployment never writes: use /opt/app") {
			t.Errorf("%s: %v", inside, err)
		}
	}
}

// A crash anywhere in Install: what was replaced so far is put back by Restore, or by the next Install.
func TestRestoreAfterACrash(t *testing.T) {
	s := newServer(t)
	s.write(map[string]string{"/etc/app/a.conf": "old a", "/etc/app/b.conf": "old b"})
	spec := whole + "file_exists_behavior: OVERWRITE\nfiles:\n  - {source: etc, destination: /etc/app}\n"
	r, p := s.accept("app-1", spec, map[string]string{"etc/a.conf": "new a", "etc/b.conf": "new b", "etc/c.conf": "new c"})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("power cut")) // the saved files are on disk; nothing is replaced yet
	if _, err := s.Install(ctx, &r, p, Installing{}); err == nil || err.Error() != "power cut" {
		t.Fatalf("Install: %v", err)
	}
	s.must(os.Remove(filepath.Join(s.Root, "etc/app/a.conf")))
	s.write(map[string]string{"/etc/app/a.conf": "new a", "/etc/app/.usher-b.conf": "half"}) // as far as it came
	s.must(s.Restore(r.ID))
	want := map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base", "/etc/app/a.conf": "old a", "/etc/app/b.conf": "old b"}
	s.expect("put back", want)

	s.install(&r, p, Installing{})
	want["/etc/app/a.conf"], want["/etc/app/b.conf"], want["/etc/app/c.conf"] = "new a", "new b", "new c"
	s.expect("installed after all", want)

	// The next release no longer has c.conf: it goes with the installation, before anything is started, and comes back
	// with a rollback.
	r2, p2 := s.accept("app-2", spec, map[string]string{"etc/a.conf": "newer a", "etc/b.conf": "newer b"})
	s.must(s.Keep(r, Release{}))
	s.install(&r2, p2, After(r))
	s.must(s.Restore(r2.ID))
	s.expect("the next put back", want)
	s.install(&r2, p2, After(r))
	want["/etc/app/a.conf"], want["/etc/app/b.conf"] = "newer a", "newer b"
	delete(want, "/etc/app/c.conf")
	s.expect("the next installed", want)
	s.must(s.Keep(r2, r))
	s.expect("the next kept", want)
	if r, _ = s.Load(r.ID); fmt.Sprint(r.ExternalFiles) != "[/etc/app/a.conf /etc/app/b.conf]" {
		t.Errorf("the release before still has %v", r.ExternalFiles)
	}

	// A crash in Restore, when one of two files was back.
	r3, p3 := s.accept("app-3", spec, map[string]string{"etc/a.conf": "newest a", "etc/b.conf": "newest b"})
	s.install(&r3, p3, After(r2))
	s.must(os.Rename(s.dir(".saved-app-3/n0"), filepath.Join(s.Root, "etc/app/a.conf")))
	s.must(s.Restore(r3.ID))
	s.expect("put back after that", want)
}

// What a process in a sandbox leaves to another that has none.
func TestReach(t *testing.T) {
	content := map[string]string{"bin/tool": "tool", "etc/a.conf": "a"}
	for _, c := range []struct {
		name, spec string
		reaches    bool
	}{
		{"the revision as it is", whole, false},
		{"parts of it, with owners and modes", "version: 0.0\nos: linux\nfiles: [{source: bin, destination: /opt/app/bin}]\n" +
			"permissions: [{object: /opt/app, mode: 1755, owner: \"0\"}]\n", false},
		{"outside the link", whole + "files: [{source: etc, destination: /etc/app}]\n", true},
		{"setuid", whole + "permissions: [{object: /opt/app/bin, mode: 4755, type: [file]}]\n", true},
		{"setgid for a directory", whole + "permissions: [{object: /opt/app, mode: 2755, type: [directory]}]\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			r, p := s.accept("app-1", c.spec, content)
			if got := s.InstallReaches(r.ID, p, Installing{}); got != c.reaches {
				t.Errorf("Install reaches beyond the release: %v", got)
			}
			if s.RestoreReaches(r.ID) {
				t.Error("Restore has something to put back")
			}
		})
	}
	s := newServer(t)
	r, p := s.accept("app-1", whole+"files: [{source: etc, destination: /etc/app}]\n", content)
	s.install(&r, p, Installing{})
	next, plan := s.accept("app-2", whole, content)
	if !s.RestoreReaches(r.ID) || !s.InstallReaches(r.ID, plan, Installing{}) {
		t.Error("there is something to put back")
	}
	if !s.InstallReaches(next.ID, plan, After(r)) || s.InstallReaches(next.ID, plan, After(Release{})) {
		t.Error("what the next release does not have is to be removed, and nothing else")
	}
}

// longest is a name as long as one may be.
var longest = "." + strings.Repeat("x", 254)

// What BeforeInstall leaves at the link comes into the release, in both forms of one, where the release has nothing of that
// name, with its mode; and again, when Install is done again.
func TestWhatBeforeInstallLeaves(t *testing.T) {
	for _, c := range []struct{ name, spec string }{
		{"the revision is the release", "version: 0.0\nos: linux\nfiles: [{source: /, destination: /opt/app}]\n"},
		{"the release is a copy", "version: 0.0\nos: linux\nfiles: [{source: www, destination: /opt/app/www}, {source: VERSION, destination: /opt/app}]\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			r, plan := s.accept("1", c.spec, map[string]string{"VERSION": "1", "www/index.html": "page", "www/many/1": "1", "www/many/2": "2", "www/many/3": "3"})
			s.must(s.MakeEarly(r))
			if s.InstallReaches(r.ID, plan, Installing{}) {
				t.Error("for nothing, a unit of its own")
			}
			early := rel(s.Root, s.Early(r))
			s.write(map[string]string{early + "/VERSION": "0", early + "/www/index.html/": "", early + "/www/upload/a": "a", early + "/logs/": "", early + "/.env": "KEY=1", early + "/www/many/1": "", early + "/www/many/2": "", early + "/www/many/3": "", early + "/now": "-> /etc/passwd", early + "/" + longest: "long"})
			s.must(os.Chmod(s.Early(r)+"/logs", fs.ModeSetgid|0o770))
			s.must(os.Chmod(s.Early(r)+"/.env", 0o600))
			s.must(syscall.Mkfifo(s.Early(r)+"/pipe", 0o600))
			s.must(s.MakeEarly(r)) // of the next script
			if !s.InstallReaches(r.ID, plan, Installing{}) {
				t.Error("the sandbox would keep Install from setting the mode of logs")
			}
			for n := range 2 {
				done := s.install(&r, plan, Installing{})
				notes := strings.Join(done.Notes, "\n")
				for _, want := range []string{"/opt/app/VERSION of BeforeInstall is not taken: the release has one of that name", "/opt/app/www/index.html of BeforeInstall is not taken: the release",
					"/opt/app/pipe of BeforeInstall is not taken: it is neither", "/opt/app/www/many/1 of BeforeInstall", "2 more of BeforeInstall are not taken for the same reason"} {
					if n == 0 && !strings.Contains(notes, want) {
						t.Errorf("no %q in\n%s", want, notes)
					}
				}
				got := tree(t, r.Dir)
				delete(got, "/appspec.yml")
				want := map[string]string{"/VERSION": "1", "/www/index.html": "page", "/www/upload/a": "a", "/.env": "KEY=1", "/now": "-> /etc/passwd", "/www/many/1": "1", "/www/many/2": "2", "/www/many/3": "3", "/" + longest: "long"}
				if !maps.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				for name, mode := range map[string]fs.FileMode{"logs": fs.ModeDir | fs.ModeSetgid | 0o770, ".env": 0o600} {
					if info, err := os.Stat(filepath.Join(r.Dir, name)); err != nil || info.Mode() != mode {
						t.Errorf("%s: %v, %v", name, info, err)
					}
				}
			}
			s.must(s.RemoveEarly(r))
			s.must(s.MakeEarly(r))
			s.must(s.Remove(r.ID))
			if left, _ := os.ReadDir(s.dir("")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestBadLayouts(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(link string) error
	}{
		{"a directory", "is a directory, not a symbolic link: a release cannot be switched in under a directory. Move it out of the way once, when baking the image: mv ",
			func(link string) error { return os.Mkdir(link, 0o755) }},
		{"a file", "is a file, not a symbolic link: remove it", func(link string) error { return os.WriteFile(link, nil, 0o644) }},
	} {
		s := newServer(t)
		link := s.LinkPath()
		s.must(os.Remove(link))
		s.must(c.make(link))
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("the link is %s: %v, want %q", c.name, err, c.want)
		}
		if err := s.Flip(s.BasePath()); c.name == "a directory" && err == nil {
			t.Errorf("the link is %s: it was flipped", c.name)
		}
	}
}

func TestPlanProblems(t *testing.T) {
	bundle := map[string]string{"a/x": "1", "b/x": "2", "f": "3"}
	for _, c := range []struct{ spec, want string }{
		{"files:\n  - {source: nope, destination: /opt/app}\n", "appspec.yml:4:5: source nope is not in the revision"},
		{"files:\n  - {source: a, destination: /opt/app-base}\n", "appspec.yml:4:5: destination /opt/app-base is in the base, which a deployment never writes to: use /opt/app"},
		{"files:\n  - {source: a, destination: /opt/app-releases/z}\n", "appspec.yml:4:5: destination /opt/app-releases/z is in the folder of releases, which a deployment never writes to: use /opt/app"},
		{"files:\n  - {source: a, destination: /opt/app}\n  - {source: b, destination: /opt/app}\n", "appspec.yml:5:5: /opt/app/x is installed twice: from a/x and from b/x"},
		{"permissions:\n  - {object: /opt/app/f, mode: 600}\n  - {object: /opt/app, pattern: f, mode: 644}\n",
			"appspec.yml:5:5: two permissions entries apply to /opt/app/f (the other is on line 4): use pattern, except or type so that one does"},
	} {
		s := newServer(t)
		if _, _, err := s.tryAccept("app-1", whole+c.spec, bundle); err == nil || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.spec, err, c.want)
		}
	}
}

// A destination that looks like the file itself is a directory, and there is a warning.
func TestDestinationLikeAFile(t *testing.T) {
	for _, c := range []struct{ source, destination, want string }{
		{"www/index.html", "/srv/www/index.html", "appspec.yml:4:5: warning: destination /srv/www/index.html is a directory, as with CodeDeploy's agent: the file comes to /srv/www/index.html/index.html, and keeps its name; write /srv/www"},
		{"www/index.html", "/srv/home.html", "appspec.yml:4:5: warning: destination /srv/home.html is a directory, as with CodeDeploy's agent: the file comes to /srv/home.html/index.html, and keeps its name; write /srv"},
		{"www/index.html", "/srv/www", ""},
		{"bin/shop", "/opt/shop", ""}, // a program in a directory of its name
		{"conf.d", "/etc/shop/conf.d", ""},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"appspec.yml": whole + "files:\n  - {source: " + c.source + ", destination: " + c.destination + "}\n",
			"www/index.html": "1", "bin/shop": "2", "conf.d/a.conf": "3"} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		spec, _ := appspec.Read(dir)
		_, problems := Layout{Link: "/opt/app", Base: "/opt/app-base", Releases: "/opt/app-releases"}.Plan(dir, spec)
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s: %q, want %q", c.destination, got, c.want)
		}
	}
}

func TestPrune(t *testing.T) {
	s := newServer(t)
	at := time.Now().Add(-time.Hour)
	for i, status := range []string{Good, Good, Bad, Good, Bad, Good, Unpacked, InUse} {
		r, _ := s.accept(fmt.Sprintf("app-%d", i), whole, map[string]string{"n": fmt.Sprint(i)})
		r.Status, r.Time = status, at.Add(time.Duration(i)*time.Minute)
		s.must(s.save(r.Metadata))
	}
	s.write(map[string]string{"/opt/app-releases/.incoming-app-9/x": "x", "/opt/app-releases/.incoming-app-7.tree/x": "x", "/opt/app-releases/somebody's/x": "x"})
	live, _ := s.Load("app-0") // an old one, which somebody went back to
	s.must(s.Flip(live.Dir))

	removed, err := s.Prune(2, "app-7")
	s.must(err)
	slices.Sort(removed)
	if got := strings.Join(removed, " "); got != "app-1 app-2" {
		t.Errorf("removed %s, want app-1 (good, too old) and app-2 (bad, not the last)", got)
	}
	left, err := os.ReadDir(s.dir(""))
	s.must(err)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	want := ".incoming-app-7.tree app-0 app-0.json app-3 app-3.json app-4 app-4.json app-5 app-5.json app-6 app-6.json app-7 app-7.json somebody's"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("left\n%s\nwant\n%s", got, want)
	}
}

func TestTheLiveReleaseIsNeverReplaced(t *testing.T) {
	s := newServer(t)
	r, _ := s.accept("app-1", whole, map[string]string{"VERSION": "1"})
	s.must(s.Flip(r.Dir))
	if _, _, err := s.tryAccept("app-1", whole, map[string]string{"VERSION": "2"}); err == nil || !strings.Contains(err.Error(), "it is live") {
		t.Errorf("accepting over the live release: %v", err)
	}
	if got := tree(t, r.Dir)["/VERSION"]; got != "1" {
		t.Errorf("the live release now says %q", got)
	}
}

// What the appspec gives to another user is a copy: the scripts that root runs stay root's.
func TestScriptsStayRoots(t *testing.T) {
	s := newServer(t)
	r, p := s.accept("app-1", whole+"permissions:\n  - {object: /opt/app, pattern: \"**\", owner: \"65534\"}\n", map[string]string{"VERSION": "1", "scripts/start.sh": "echo"})
	if !p.Separate || r.Dir == r.Bundle {
		t.Fatalf("release %+v: want a tree of its own", r)
	}
	if os.Geteuid() != 0 { // only root can give files away; that there are two is what matters
		return
	}
	s.install(&r, p, Installing{})
	for file, owner := range map[string]uint32{
		filepath.Join(r.Dir, "scripts/start.sh"): 65534, filepath.Join(r.Bundle, "scripts/start.sh"): 0, filepath.Join(r.Dir, "VERSION"): 65534,
	} {
		info, err := os.Stat(file)
		s.must(err)
		if got := info.Sys().(*syscall.Stat_t).Uid; got != owner {
			t.Errorf("%s belongs to %d, want %d", file, got, owner)
		}
	}
	s.must(os.WriteFile(filepath.Join(r.Dir, "scripts/start.sh"), []byte("changed"), 0o644))
	if got := tree(t, r.Bundle)["/scripts/start.sh"]; got != "echo" {
		t.Errorf("the script of the revision now says %q", got)
	}
}

// A release was given away and taken back, and the user still has a script open: root runs the one that is kept.
func TestAScriptThatIsOpenToWrite(t *testing.T) {
	s := newServer(t)
	if os.Geteuid() != 0 {
		t.Skip("only root has something to lose")
	}
	r, _ := s.accept("app-1", whole+"hooks:\n  ApplicationStart: [{location: scripts/start.sh}]\n", map[string]string{"scripts/start.sh": "#!/bin/sh\nset -e\n", "scripts/lib.sh": ":"})
	kept := s.dir(r.ID + scriptsSuffix)
	for _, name := range []string{"scripts/start.sh", "scripts/lib.sh"} {
		for _, c := range []struct {
			flags int
			want  string
		}{{os.O_RDONLY, r.Bundle}, {os.O_WRONLY, kept}, {os.O_RDWR, kept}} {
			f, err := os.OpenFile(filepath.Join(r.Bundle, name), c.flags, 0)
			s.must(err)
			if dir, err := s.ScriptsDir(r, 0); err != nil || dir != c.want {
				t.Errorf("%s is open with flags %x: it is run from %s, want %s: %v", name, c.flags, dir, c.want, err)
			}
			s.must(f.Close())
			if dir, err := s.ScriptsDir(r, 0); err != nil || dir != r.Bundle {
				t.Errorf("%s was open with flags %x: it is run from %s: %v", name, c.flags, dir, err)
			}
		}
	}
}

func TestDestinationsByWayOfALink(t *testing.T) {
	s := newServer(t)
	s.write(map[string]string{"/srv/app": "-> " + s.LinkPath(), "/srv/base": "-> ../opt/app-base"})
	for _, dest := range []string{"/srv/app", "/srv/base", "/srv/base/deep/er"} {
		r, p := s.accept("app-1", whole+"files:\n  - {source: VERSION, destination: "+dest+"}\n", map[string]string{"VERSION": "new"})
		_, err := s.Install(context.Background(), &r, p, Installing{Exists: "OVERWRITE"})
		if err == nil || !strings.Contains(err.Error(), "cannot install "+dest) || !strings.Contains(err.Error(), "by way of a symbolic link") {
			t.Errorf("destination %s: %v", dest, err)
		}
		if got := tree(t, s.BasePath())["/VERSION"]; got != "base" {
			t.Fatalf("destination %s: the base now says %q", dest, got)
		}
	}
}

// Cut off while the saved files are let go: neither Restore nor the next Install stumbles over the rest.
func TestRestoreCutOffAtItsEnd(t *testing.T) {
	s := newServer(t)
	s.write(map[string]string{"/etc/app/app.conf": "old"})
	r, p := s.accept("app-1", outside, map[string]string{"etc/app.conf": "new"})
	s.install(&r, p, Installing{Exists: "OVERWRITE"})
	s.must(os.Remove(s.dir(".saved-app-1/manifest.json"))) // as far as dropSaved came
	s.must(s.Restore("app-1"))
	s.install(&r, p, Installing{Exists: "OVERWRITE"})
	s.expect("installed again", map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base", "/etc/app/app.conf": "new"})
}

func TestAReleaseHalfRemovedIsRemoved(t *testing.T) {
	s := newServer(t)
	spec := whole + "files:\n  - {source: src, destination: /opt/app}\n"
	r, p := s.accept("app-1", spec, map[string]string{"src/VERSION": "1"})
	s.install(&r, p, Installing{})
	s.must(os.Rename(r.Bundle, s.dir(".removing-app-1.bundle"))) // as far as remove came
	if _, ok := s.Load("app-1"); ok {
		t.Error("half a release was taken for one")
	}
	if _, err := s.Prune(3); err != nil {
		t.Error(err)
	}
	if left := tree(t, s.dir("")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestACL(t *testing.T) {
	s := newServer(t)
	r, p := s.accept("app-1", whole+`permissions:
  - {object: /opt/app, pattern: secret, type: [file], mode: 640, acls: ["u:1234:rw", "g:4321:r"]}
`, map[string]string{"secret": "x"})
	_, err := s.Install(context.Background(), &r, p, Installing{})
	if err != nil && strings.Contains(err.Error(), "mounted without ACLs") {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the scratch directory's filesystem has no ACLs")
	}
	s.must(err)
	info, err := os.Stat(filepath.Join(r.Dir, "secret"))
	s.must(err)
	// With an ACL the group bits of the mode are the mask: the union rw- of u:1234:rw- and g:4321:r--.
	if info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, want 0660: the mask shows as the group's bits", info.Mode())
	}
}

// 100,000 flips between two releases under two readers: no read fails, and each sees one of the two.
func TestFlipsUnderReaders(t *testing.T) {
	const flips = 100_000
	// In memory: the question is what readers see between two renames, and on a disk the fsync of each flip
	// would make this a test of the disk.
	root, err := os.MkdirTemp("/dev/shm", "usher-flips-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	s := newServerIn(t, root)
	var trees [2]string
	for i := range trees {
		r, _ := s.accept(fmt.Sprintf("app-%d", i), whole, map[string]string{"VERSION": fmt.Sprint(i)})
		trees[i] = r.Dir
	}
	s.must(s.Flip(trees[0]))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for reads := 0; ; reads++ {
				select {
				case <-done:
					t.Logf("%d reads", reads)
					return
				default:
				}
				b, err := os.ReadFile(filepath.Join(s.LinkPath(), "VERSION"))
				if v := string(b); err != nil || v != "0" && v != "1" {
					t.Errorf("read %d: %q, %v", reads, v, err)
					return
				}
			}
		})
	}
	for i := range flips {
		s.must(s.Flip(trees[i%2]))
	}
	close(done)
	readers.Wait()
}
