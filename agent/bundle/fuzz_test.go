package bundle

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The fuzz targets start from every good and every hostile archive of the other tests, and from
// testdata/fuzz. Any input must be refused or unpacked, without a panic, and what was unpacked must
// keep the promises of the package.

func FuzzZip(f *testing.F) { fuzz(f, Zip) }
func FuzzTar(f *testing.F) { fuzz(f, Tar) }
func FuzzTgz(f *testing.F) { fuzz(f, Tgz) }

func fuzz(f *testing.F, kind string) {
	app := []entry{{name: "a/appspec.yml", body: "v"}, {name: "a/d/", mode: 0o711}, {name: "a/d/f", body: "f", mode: 0o4755 | fs.ModeSetuid}, {name: "a/l", link: "d/f"}}
	f.Add(map[string][]byte{Zip: makeZip(f, app...), Tar: makeTar(f, app...), Tgz: makeTgz(f, app...)}[kind])
	if kind != Zip {
		f.Add(makeTar(f, entry{name: "x", body: "x"}, entry{name: "h", hard: "x"}))
	}
	for _, h := range hostileArchives(f) {
		if h.kind == kind && len(h.archive) < 64<<10 {
			f.Add(h.archive)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		limits := Limits{MaxFiles: 50, MaxBytes: 256 << 10}
		stats, err := Unpack(t.Context(), saved(t, "b", data), kind, dir, limits)
		if names, _ := os.ReadDir(parent); len(names) != 1 {
			t.Fatalf("the directory has got a neighbour: %v", names)
		}
		if err == nil {
			promises(t, dir, stats, limits)
		}
	})
}

// promises checks what holds of every tree that Unpack says is good.
func promises(t *testing.T, dir string, stats Stats, l Limits) {
	var seen Stats
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode()
		if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 && d.Type() != fs.ModeSymlink {
			t.Errorf("%s has mode %s", path, mode)
		}
		switch d.Type() {
		case fs.ModeDir:
			seen.Dirs++
			if mode&0o700 != 0o700 {
				t.Errorf("directory %s has mode %s", path, mode)
			}
		case fs.ModeSymlink:
			if to, err := filepath.EvalSymlinks(path); err == nil && to != dir && !strings.HasPrefix(to, dir+"/") {
				t.Errorf("link %s leads to %s", path, to)
			}
		case 0:
			seen.Files++
			seen.Bytes += info.Size()
			if mode&0o600 != 0o600 {
				t.Errorf("file %s has mode %s", path, mode)
			}
		default:
			t.Errorf("%s has mode %s", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Dirs != stats.Dirs || seen.Files != stats.Files {
		t.Errorf("there are %+v, stats say %+v", seen, stats)
	}
	if seen.Files+seen.Dirs > l.MaxFiles || stats.Bytes > l.MaxBytes {
		t.Errorf("%+v is more than %+v", seen, l)
	}
}
