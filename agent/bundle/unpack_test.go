//go:build !windows

package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// An application as it is packed, and the tree it becomes.
func TestUnpack(t *testing.T) {
	app := []entry{
		{name: "appspec.yml", body: "version: 0.0"},
		{name: "bin/", mode: 0o750},
		{name: "bin/run", body: "#!/bin/sh", mode: 0o755},
		{name: "lib/deep/down/x.txt", body: "x"},
		{name: "current", link: "lib/deep"},
		{name: "bin/x", link: "../current/down/x.txt"},
		{name: "empty/"},
	}
	appTree := map[string]string{
		"appspec.yml": "0644 version: 0.0", "bin/": "0750", "bin/run": "0755 #!/bin/sh", "lib/": "0755",
		"lib/deep/": "0755", "lib/deep/down/": "0755", "lib/deep/down/x.txt": "0644 x",
		"current": "-> lib/deep", "bin/x": "-> ../current/down/x.txt", "empty/": "0755",
	}
	tests := []struct {
		name    string
		kind    string
		archive []byte
		after   map[string]string
		stats   Stats
	}{
		{"zip", Zip, makeZip(t, app...), appTree, Stats{3, 5, 2, 22}},
		{"tar", Tar, makeTar(t, app...), appTree, Stats{3, 5, 2, 22}},
		{"tgz", Tgz, makeTgz(t, app...), appTree, Stats{3, 5, 2, 22}},
		{"tgz that is called tar", Tar, makeTgz(t, app...), appTree, Stats{3, 5, 2, 22}},
		{"tar that is called tgz", Tgz, makeTar(t, app...), appTree, Stats{3, 5, 2, 22}},
		{
			"a leading directory that holds the appspec is stripped; links and hard links follow", Tgz,
			makeTgz(t,
				entry{name: "shop-1a2b/", mode: 0o700},
				entry{name: "shop-1a2b/appspec.yml", body: "v"},
				entry{name: "shop-1a2b/shop-1a2b/inner", body: "i"},
				entry{name: "shop-1a2b/.leading", body: "l"},
				entry{name: "shop-1a2b/www/link", link: "../appspec.yml"},
				entry{name: "shop-1a2b/hard", hard: "shop-1a2b/appspec.yml"}),
			map[string]string{"appspec.yml": "0644 v", "shop-1a2b/": "0755", "shop-1a2b/inner": "0644 i", ".leading": "0644 l", "www/": "0755", "www/link": "-> ../appspec.yml", "hard": "0644 v"},
			Stats{4, 2, 2, 3},
		},
		{
			"so it is in a zip, and appspec.yaml counts too", Zip,
			makeZip(t, entry{name: "app/appspec.yaml", body: "v"}, entry{name: "app/x/", mode: 0o500 | fs.ModeDir}),
			map[string]string{"appspec.yaml": "0644 v", "x/": "0700"},
			Stats{1, 1, 0, 1},
		},
		{
			"so it is when there is something beside it, as Finder leaves", Zip,
			makeZip(t, entry{name: ".DS_Store", body: "d"}, entry{name: "shop/appspec.yml", body: "v"}, entry{name: "shop/www/link", link: "../appspec.yml"}, entry{name: "shop/__MACOSX/x", body: "x"},
				entry{name: "__MACOSX/._shop", body: "m"}, entry{name: "__MACOSX/shop/._appspec.yml", body: "m"}, entry{name: "latest", link: "shop"}, entry{name: ".leading/", mode: 0o700 | fs.ModeDir}),
			map[string]string{"appspec.yml": "0644 v", "www/": "0755", "www/link": "-> ../appspec.yml", "__MACOSX/": "0755", "__MACOSX/x": "0644 x"},
			Stats{2, 2, 1, 5},
		},
		{
			"not when another folder has one too", Tar,
			makeTar(t, entry{name: "shop/appspec.yml", body: "v"}, entry{name: "other/appspec.yml", body: "v"}),
			map[string]string{"shop/": "0755", "shop/appspec.yml": "0644 v", "other/": "0755", "other/appspec.yml": "0644 v"}, Stats{2, 2, 0, 2},
		},
		{
			"nor when its folder has two", Tar,
			makeTar(t, entry{name: "shop/appspec.yml", body: "v"}, entry{name: "shop/appspec.yml.bak", body: "b"}, entry{name: "README.md", body: "r"}),
			map[string]string{"shop/": "0755", "shop/appspec.yml": "0644 v", "shop/appspec.yml.bak": "0644 b", "README.md": "0644 r"}, Stats{3, 1, 0, 3},
		},
		{
			"nor when there is one at the top", Tar,
			makeTar(t, entry{name: "appspec.json", body: "{}"}, entry{name: "shop/appspec.yml", body: "v"}),
			map[string]string{"appspec.json": "0644 {}", "shop/": "0755", "shop/appspec.yml": "0644 v"}, Stats{2, 1, 0, 3},
		},
		{
			"nor when its folder is hidden", Tar,
			makeTar(t, entry{name: ".aws/appspec.yml", body: "v"}, entry{name: "README.md", body: "r"}),
			map[string]string{".aws/": "0755", ".aws/appspec.yml": "0644 v", "README.md": "0644 r"}, Stats{2, 1, 0, 2},
		},
		{
			"a single directory without an appspec stays", Tar,
			makeTar(t, entry{name: "app/x", body: "x"}),
			map[string]string{"app/": "0755", "app/x": "0644 x"}, Stats{1, 1, 0, 1},
		},
		{
			"`tar c .` names the root itself", Tar,
			makeTar(t, entry{name: "./"}, entry{name: "./a//b", body: "b"}, entry{name: "./a/./c", body: "c"}),
			map[string]string{"a/": "0755", "a/b": "0644 b", "a/c": "0644 c"}, Stats{2, 1, 0, 2},
		},
		{
			"zip without Unix modes, as `git archive` writes plain files", Zip,
			makeZip(t, entry{name: "dir/"}, entry{name: "dir/f", body: "f"}),
			map[string]string{"dir/": "0755", "dir/f": "0644 f"}, Stats{1, 1, 0, 1},
		},
		{
			"setuid, setgid and sticky are dropped; the owner can always read and write", Tar,
			makeTar(t, entry{name: "su", body: "x", mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid}, entry{name: "ro", body: "x", mode: 0o444},
				entry{name: "tmp/", mode: 0o777 | fs.ModeSticky}, entry{name: "shut/", mode: 0o055}, entry{name: "shut/in", mode: 0o001}),
			map[string]string{"su": "0755 x", "ro": "0644 x", "tmp/": "0777", "shut/": "0755", "shut/in": "0601 "}, Stats{3, 2, 0, 2},
		},
		{
			"the same in a zip", Zip,
			makeZip(t, entry{name: "su", body: "x", mode: 0o755 | fs.ModeSetuid}, entry{name: "ro", body: "x", mode: 0o444}),
			map[string]string{"su": "0755 x", "ro": "0644 x"}, Stats{2, 0, 0, 2},
		},
		{
			"of a file that comes twice the last counts (tar)", Tar,
			makeTar(t, entry{name: "f", body: "old and longer"}, entry{name: "g", body: "g"}, entry{name: "./f", body: "new", mode: 0o600}),
			map[string]string{"f": "0600 new", "g": "0644 g"}, Stats{2, 0, 0, 18},
		},
		{
			"of a file that comes twice the last counts (zip)", Zip,
			makeZip(t, entry{name: "f", body: "old and longer"}, entry{name: "f", body: "new", mode: 0o600}),
			map[string]string{"f": "0600 new"}, Stats{1, 0, 0, 3},
		},
		{
			"of anything that comes twice the last counts (zip)", Zip,
			makeZip(t, entry{name: "l", link: "x"}, entry{name: "l", link: "y"}, entry{name: "m", link: "y"}, entry{name: "m", body: "file"},
				entry{name: "f", body: "file"}, entry{name: "f", link: "m"}, entry{name: "f", body: "f"}, entry{name: "d", body: "file"}, entry{name: "d/"}, entry{name: "d/f", body: "f"}),
			map[string]string{"l": "-> y", "m": "0644 file", "f": "0644 f", "d/": "0755", "d/f": "0644 f"}, Stats{3, 1, 1, 6},
		},
		{
			"a directory of a header from before they had a type", Tar,
			append(oldDirectory(t, "d/"), makeTar(t, entry{name: "d/f", body: "f"})...),
			map[string]string{"d/": "0744", "d/f": "0644 f"}, Stats{1, 1, 0, 1},
		},
		{
			"a directory that comes twice", Tar,
			makeTar(t, entry{name: "d/f", body: "f"}, entry{name: "d/", mode: 0o700}, entry{name: "d/", mode: 0o711}),
			map[string]string{"d/": "0711", "d/f": "0644 f"}, Stats{1, 1, 0, 1},
		},
		{
			"links may dangle inside, and pass through other links", Tar,
			makeTar(t, entry{name: "later", link: "made/by/a/hook"}, entry{name: "a", link: "b"}, entry{name: "b", link: "c/../c"}, entry{name: "c/x", body: "x"}),
			map[string]string{"later": "-> made/by/a/hook", "a": "-> b", "b": "-> c/../c", "c/": "0755", "c/x": "0644 x"}, Stats{1, 1, 3, 1},
		},
		{
			"names as strange as Linux allows", Tar,
			makeTar(t, entry{name: "system-x\\x2d.service", body: "u"}, entry{name: " ", body: "s"}, entry{name: "a\nb", body: "n"}, entry{name: "...", body: "d"}, entry{name: strings.Repeat("n", 255), body: "l"}),
			map[string]string{"system-x\\x2d.service": "0644 u", " ": "0644 s", "a\nb": "0644 n", "...": "0644 d", strings.Repeat("n", 255): "0644 l"}, Stats{5, 0, 0, 5},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			stats, err := Unpack(t.Context(), saved(t, "bundle", test.archive), test.kind, dir, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := picture(t, dir); !maps.Equal(got, test.after) {
				t.Errorf("unpacked:\n%v\nwant:\n%v", got, test.after)
			}
			if stats != test.stats {
				t.Errorf("stats %+v, want %+v", stats, test.stats)
			}
		})
	}
}

// oldDirectory is the header of an empty file whose name ends as a directory's, which Go writes for nobody.
func oldDirectory(t *testing.T, name string) []byte {
	header := makeTar(t, entry{name: strings.Repeat("x", len(name))})[:headSize]
	copy(header, name)
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00", sum))
	return header
}

// Modes do not depend on the umask of the agent.
func TestUnpackIgnoresUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	archive := makeTar(t, entry{name: "implied/file", body: "x", mode: 0o666})
	if _, err := Unpack(t.Context(), saved(t, "b", archive), Tar, dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"implied/": "0755", "implied/file": "0666 x"}
	if got := picture(t, dir); !maps.Equal(got, want) {
		t.Errorf("unpacked %v, want %v", got, want)
	}
}

// A directory is never open to more than it will be, not even while it is filled and before it is named.
func TestUnpackKeepsShut(t *testing.T) {
	entries := []entry{{name: "secret/a", body: "x"}, {name: "secret/", mode: 0o700}, {name: "secret/key", body: "x"}, {name: "open/", mode: 0o777}, {name: "open/b", body: "x"}}
	for kind, archive := range map[string][]byte{Zip: makeZip(t, entries...), Tar: makeTar(t, entries...)} {
		dir := t.TempDir()
		seen := 0
		wide := func() {
			if _, err := os.Stat(filepath.Join(dir, "secret/key")); kind == Tar && err != nil {
				return // the archive has not said yet that it is one
			}
			for _, name := range []string{"secret", "open"} {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
					if seen++; info.Mode().Perm() != 0o700 {
						t.Errorf("%s: %s is %s while it is filled", kind, name, info.Mode())
					}
				}
			}
		}
		if _, err := Unpack(t.Context(), saved(t, "b", archive), kind, dir, Limits{Alive: wide}); err != nil {
			t.Fatal(err)
		}
		if seen == 0 {
			t.Errorf("%s: nothing was seen", kind)
		}
	}
}

// Modes are the archive's, whatever the directory says that new files in it should be like.
func TestUnpackIgnoresDefaults(t *testing.T) {
	archive := makeTar(t, entry{name: "lib/", mode: 0o755}, entry{name: "lib/a", body: "x"}, entry{name: "implied/b", body: "x"})
	want := picture(t, unpackedIn(t, t.TempDir(), archive))
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o755|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if got := picture(t, unpackedIn(t, shared, archive)); !maps.Equal(got, want) {
		t.Errorf("setgid: %v\nwant %v", got, want)
	}
	// version 2: u::rwx g::r-x o::---
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 0x20, 0, 0, 0, 255, 255, 255, 255}
	shut := t.TempDir()
	switch err := unix.Setxattr(shut, "system.posix_acl_default", acl, 0); {
	case err == unix.ENOTSUP && os.Getenv("CI") == "":
		t.Skip("the file system of temporary files has no ACLs")
	case err != nil:
		t.Fatal(err)
	}
	if got := picture(t, unpackedIn(t, shut, archive)); !maps.Equal(got, want) {
		t.Errorf("a default ACL: %v\nwant %v", got, want)
	}
}

func unpackedIn(t *testing.T, dir string, archive []byte) string {
	t.Helper()
	if _, err := Unpack(t.Context(), saved(t, "b", archive), Tar, dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnpackKeepsTimes(t *testing.T) {
	entries := []entry{{name: "top/"}, {name: "top/appspec.yml", body: "v"}, {name: "top/d/"}, {name: "top/d/f", body: "f"}, {name: "top/d/l", link: "f"}}
	for kind, archive := range map[string][]byte{Zip: makeZip(t, entries...), Tgz: makeTgz(t, entries...)} {
		dir := t.TempDir()
		if _, err := Unpack(t.Context(), saved(t, "b", archive), kind, dir, Limits{}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"appspec.yml", "d", "d/f"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !info.ModTime().Equal(noon) {
				t.Errorf("%s: %s was modified at %s, want %s", kind, name, info.ModTime(), noon)
			}
		}
	}
}

// Many files of all sizes come out of both workers as they went in.
func TestUnpackMany(t *testing.T) {
	var entries []entry
	want := map[string]string{}
	for i := range 1000 {
		name := filepath.Join("d"+string(rune('a'+i%26)), "sub", "f"+strings.Repeat("x", i%50)+string(rune('0'+i%10)))
		body := strings.Repeat(name, i%40)
		if i%200 == 0 {
			body = strings.Repeat(name, smallFile/8)
		}
		entries = append(entries, entry{name: name, body: body})
		want[name] = "0644 " + body
	}
	for kind, archive := range map[string][]byte{Zip: makeZip(t, entries...), Tar: makeTar(t, entries...), Tgz: makeTgz(t, entries...)} {
		dir := t.TempDir()
		if _, err := Unpack(t.Context(), saved(t, "b", archive), kind, dir, Limits{}); err != nil {
			t.Fatal(err)
		}
		got := picture(t, dir)
		for name, content := range want {
			if got[name] != content {
				t.Fatalf("%s: %s differs", kind, name)
			}
		}
	}
}

func TestUnpackStops(t *testing.T) {
	archive := makeTgz(t, entry{name: "f", body: strings.Repeat("x", 1<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for kind, archive := range map[string][]byte{Tgz: archive, Zip: makeZip(t, entry{name: "f", body: "x"})} {
		if _, err := Unpack(ctx, saved(t, "b", archive), kind, t.TempDir(), Limits{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", kind, err)
		}
	}
}

func TestUnpackWantsAnEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Unpack(t.Context(), saved(t, "b", makeTar(t, entry{name: "f"})), Tar, dir, Limits{})
	if err == nil || !strings.Contains(err.Error(), `is not empty: it holds "old"`) {
		t.Error(err)
	}
}
