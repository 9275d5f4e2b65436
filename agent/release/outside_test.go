//go:build linux && !developer

package release

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const www = whole + "files:\n  - {source: www, destination: /srv/www}\n  - {source: VERSION, destination: /opt/app}\n"

// What changes from a release to the next outside the link: the server is as if the first had never been there, before
// anything is started; and after a rollback as if the second had not.
func TestOutsideIsAsCleanAsInside(t *testing.T) {
	base := map[string]string{"/opt/app": "-> /opt/app-base", "/opt/app-base/VERSION": "base"}
	for _, c := range []struct {
		name     string
		before   map[string]string // what others have there
		one, two map[string]string // below www
		between  map[string]string // what others put there between them
		want     map[string]string // after the second, besides before
		gone     string            // a directory that goes
		err      string
	}{
		{name: "a file that the second has no more", one: map[string]string{"a": "1", "old.conf": "1"}, two: map[string]string{"a": "2"},
			want: map[string]string{"/srv/www/a": "2"}},
		{name: "a file becomes a directory", one: map[string]string{"news": "a page"}, two: map[string]string{"news/index.html": "pages", "news/deep/er": "x"},
			want: map[string]string{"/srv/www/news/index.html": "pages", "/srv/www/news/deep/er": "x"}},
		{name: "a directory becomes a file", one: map[string]string{"news/index.html": "pages", "news/deep/er": "x"}, two: map[string]string{"news": "a page"},
			want: map[string]string{"/srv/www/news": "a page"}},
		{name: "directories only the first made", one: map[string]string{"a": "1", "b/c/d": "1"}, two: map[string]string{"a": "2"},
			want: map[string]string{"/srv/www/a": "2"}, gone: "/srv/www/b"},
		{name: "a directory that somebody else uses too", one: map[string]string{"a": "1", "b/c": "1"}, two: map[string]string{"a": "2"},
			between: map[string]string{"/srv/www/b/upload": "theirs"}, want: map[string]string{"/srv/www/a": "2", "/srv/www/b/upload": "theirs"}},
		{name: "a directory that was there before", before: map[string]string{"/srv/www/b/": ""}, one: map[string]string{"a": "1", "b/c": "1"}, two: map[string]string{"a": "2"},
			want: map[string]string{"/srv/www/a": "2"}},
		{name: "a directory of ours, with somebody else's file, where a file goes", one: map[string]string{"news/index.html": "pages"}, two: map[string]string{"news": "a page"},
			between: map[string]string{"/srv/www/news/upload": "theirs"}, err: "it holds /srv/www/news/upload, which no release of this group installed"},
		{name: "a directory of somebody else's where a file goes", before: map[string]string{"/srv/www/news/theirs": "x"}, one: map[string]string{"a": "1"}, two: map[string]string{"news": "a page"},
			err: "cannot install the file /srv/www/news: a directory of that name exists already"},
		{name: "a link of the first", one: map[string]string{"l": "-> a", "a": "1"}, two: map[string]string{"a": "2"}, want: map[string]string{"/srv/www/a": "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.write(c.before)
			files := func(f map[string]string, version string) map[string]string {
				all := map[string]string{"VERSION": version}
				for name, content := range f {
					all["www/"+name] = content
				}
				return all
			}
			one, p := s.accept("app-1", www, files(c.one, "1"))
			s.install(&one, p, Installing{})
			s.must(s.Keep(one, Release{}))
			s.write(c.between)
			first := tree(t, filepath.Join(s.Root, "srv"))
			dirs := directories(t, filepath.Join(s.Root, "srv"))
			two, p := s.accept("app-2", www, files(c.two, "2"))
			_, err := s.Install(context.Background(), &two, p, After(one))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("Install: %v, want %q", err, c.err)
				}
			} else {
				s.must(err)
				want := maps.Clone(base)
				maps.Copy(want, c.want)
				s.expect("the second installed", want)
				if c.gone != "" && isDir(filepath.Join(s.Root, c.gone)) {
					t.Errorf("%s is still there", c.gone)
				}
			}
			s.must(s.Restore(two.ID))
			if got := tree(t, filepath.Join(s.Root, "srv")); fmt.Sprint(got) != fmt.Sprint(first) {
				t.Errorf("rolled back it is\n%v\nand it was\n%v", got, first)
			}
			if got := directories(t, filepath.Join(s.Root, "srv")); got != dirs {
				t.Errorf("rolled back its directories are\n%s\nand they were\n%s", got, dirs)
			}
			if c.err != "" {
				return
			}
			// Good this time; and on to a third that has nothing there at all.
			s.install(&two, p, After(one))
			s.must(s.Keep(two, one))
			three, p := s.accept("app-3", whole, map[string]string{"VERSION": "3"})
			s.install(&three, p, After(two))
			if !isDir(filepath.Join(s.Root, "srv")) {
				return // the first made it
			}
			for path := range tree(t, filepath.Join(s.Root, "srv")) {
				if c.before["/srv"+path] == "" && c.between["/srv"+path] == "" {
					t.Errorf("the third leaves /srv%s", path)
				}
			}
		})
	}
}

// directories are all below one, with mode and owner.
func directories(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(dir, e.Name()), &st); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %o %d\n%s", filepath.Join(dir, e.Name()), st.Mode, st.Uid, directories(t, filepath.Join(dir, e.Name())))
		}
	}
	return b.String()
}

// A bind mount of the base, or of a part of it, is the base.
func TestDestinationsByWayOfAMount(t *testing.T) {
	for _, part := range []string{"", "deep"} {
		s := newServer(t)
		s.write(map[string]string{"/srv/www/": "", "/opt/app-base/deep/VERSION": "base"})
		at := filepath.Join(s.Root, "srv/www")
		if err := unix.Mount(filepath.Join(s.BasePath(), part), at, "", unix.MS_BIND, ""); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skipf("cannot mount here: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		for _, dest := range []string{"/srv/www", "/srv/www/new"} {
			r, p := s.accept("app-1", whole+"files:\n  - {source: VERSION, destination: "+dest+"}\n", map[string]string{"VERSION": "new"})
			_, err := s.Install(context.Background(), &r, p, Installing{Exists: "OVERWRITE"})
			if err == nil || !strings.Contains(err.Error(), "cannot install "+dest) || !strings.Contains(err.Error(), "by way of a mount it lies in ") {
				t.Errorf("destination %s: %v", dest, err)
			}
		}
		if got := tree(t, s.BasePath()); len(got) != 2 || got["/VERSION"] != "base" || got["/deep/VERSION"] != "base" {
			t.Errorf("the base is now %v", got)
		}
	}
}
