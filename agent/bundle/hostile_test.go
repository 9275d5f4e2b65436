package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"usher/agent/format"
)

// rawZip is a zip of one entry whose header says what h says, whatever the data is.
func rawZip(t testing.TB, h zip.FileHeader, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deflated(t testing.TB, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A hostileArchive is an archive that must be refused, and with which words.
type hostileArchive struct {
	name    string
	kind    string
	archive []byte
	limits  Limits
	message string
}

// hostileArchives are what each hostile or broken archive is answered with.
func hostileArchives(t testing.TB) []hostileArchive {
	f := entry{name: "f", body: "x"}
	whole := makeTar(t, entry{name: "a", body: strings.Repeat("a", 600)}, entry{name: "b", body: "b"})
	wholeGz := gzipped(t, whole)
	wholeZip := makeZip(t, entry{name: "a", body: strings.Repeat("abc", 600)})
	flip := func(data []byte, at int) []byte {
		data = bytes.Clone(data)
		data[at] ^= 0xff
		return data
	}
	unix := func(mode uint32) uint32 { return mode << 16 }
	bomb := deflated(t, 4<<20)
	long := strings.Repeat("n", 256)

	return []hostileArchive{
		// Names.
		{"tar: absolute", Tar, makeTar(t, entry{name: "/etc/cron.d/x", body: "x"}), Limits{}, `entry "/etc/cron.d/x" has an absolute name: make the archive with relative names`},
		{"zip: absolute", Zip, makeZip(t, entry{name: "/etc/cron.d/x", body: "x"}), Limits{}, `entry "/etc/cron.d/x" has an absolute name`},
		{"tar: up and out", Tar, makeTar(t, entry{name: "../canary", body: "x"}), Limits{}, `entry "../canary" leaves the archive through ".."`},
		{"zip: up and out", Zip, makeZip(t, entry{name: "../canary", body: "x"}), Limits{}, `entry "../canary" leaves the archive through ".."`},
		{"up in the middle", Tar, makeTar(t, entry{name: "a/../../canary", body: "x"}), Limits{}, `entry "a/../../canary" leaves the archive`},
		{"up at the end", Zip, makeZip(t, entry{name: "a/.."}), Limits{}, `entry "a/.." leaves the archive`},
		{"up as a directory", Tar, makeTar(t, entry{name: "../"}), Limits{}, `entry "../" leaves the archive`},
		{"no name", Zip, makeZip(t, entry{name: ""}), Limits{}, `has an entry without a name`},
		{"NUL in a name", Zip, makeZip(t, entry{name: "a\x00b"}), Limits{}, `entry "a\x00b" has a NUL in its name`},
		{"the root as a file", Zip, makeZip(t, entry{name: "."}), Limits{}, `entry "." is a file where the archive's root should be`},
		{"the root as a link", Tar, makeTar(t, entry{name: ".", link: "x"}), Limits{}, `entry "." is a link where the archive's root should be`},
		{"a name longer than Linux has", Tar, makeTar(t, entry{name: long}), Limits{}, `has a name longer than 255 bytes`},
		{"a path longer than Linux has", Zip, makeZip(t, entry{name: strings.Repeat("dir/", 1100) + "f"}), Limits{}, `has a name longer than 4095 bytes`},
		{"backslashes from Windows, up and out", Zip, rawZip(t, zip.FileHeader{Name: `app\..\..\x`, CreatorVersion: 0}, nil), Limits{}, `entry "app/../../x" leaves the archive`},
		{"a backslash at the front", Zip, rawZip(t, zip.FileHeader{Name: `\x`, CreatorVersion: 10 << 8}, nil), Limits{}, `entry "/x" has an absolute name`},

		// Names that disagree.
		{"directory, then file", Zip, makeZip(t, entry{name: "f/"}, f), Limits{}, `entry "f" is a file, and earlier in the archive a directory`},
		{"implied directory, then link", Tar, makeTar(t, entry{name: "d/f", body: "x"}, entry{name: "d", link: "e"}), Limits{}, `entry "d" is a link, and earlier in the archive a directory`},
		{"file below a file", Zip, makeZip(t, f, entry{name: "f/g", body: "x"}), Limits{}, `entry "f/g" lies below "f", which is a file`},
		{"file through a link", Tar, makeTar(t, entry{name: "l", link: "."}, entry{name: "l/f", body: "x"}), Limits{}, `entry "l/f" lies below "l", which is a link`},
		{"zip: file through a link", Zip, makeZip(t, entry{name: "l", link: "."}, entry{name: "l/f", body: "x"}), Limits{}, `entry "l/f" lies below "l", which is a link`},
		{"link twice, the second one out", Tar, makeTar(t, entry{name: "l", link: "x"}, entry{name: "l", link: "../y"}), Limits{}, `link "l" to "../y" leaves the bundle`},
		{"file below what has become a link", Tar, makeTar(t, f, entry{name: "f", link: "."}, entry{name: "f/x", body: "x"}), Limits{}, `entry "f/x" lies below "f", which is a link`},

		// Links.
		{"link to an absolute path", Tar, makeTar(t, entry{name: "l", link: "/etc/shadow"}), Limits{}, `link "l" points to the absolute path "/etc/shadow"`},
		{"zip: link to an absolute path", Zip, makeZip(t, entry{name: "l", link: "/etc/shadow"}), Limits{}, `link "l" points to the absolute path "/etc/shadow"`},
		{"link out", Tar, makeTar(t, entry{name: "d/l", link: "../../canary"}), Limits{}, `link "d/l" to "../../canary" leaves the bundle`},
		{"zip: link out", Zip, makeZip(t, entry{name: "d/l", link: "../../canary"}), Limits{}, `link "d/l" to "../../canary" leaves the bundle`},
		{"link out through a link, though its text stays inside", Tar, makeTar(t, entry{name: "p/l", link: ".."}, entry{name: "q/out", link: "../p/l/../canary"}), Limits{}, `link "q/out" to "../p/l/../canary" leaves the bundle`},
		{"link out through a name that does not exist yet", Tar, makeTar(t, entry{name: "out", link: "later/../../canary"}), Limits{}, `link "out" to "later/../../canary" leaves the bundle`},
		{"link out once the leading directory is stripped", Tar, makeTar(t, entry{name: "app/appspec.yml"}, entry{name: "app/l", link: "../canary"}), Limits{}, `link "app/l" to "../canary" leaves the bundle`},
		{"links in a circle", Tar, makeTar(t, entry{name: "a", link: "b"}, entry{name: "b", link: "a"}), Limits{}, `link "a" to "b" goes round in circles`},
		{"empty link", Zip, rawZip(t, zip.FileHeader{Name: "l", CreatorVersion: 3 << 8, ExternalAttrs: unix(0o120777)}, nil), Limits{}, `link "l" points nowhere`},
		{"link with an endless target", Zip, makeZip(t, entry{name: "l", link: strings.Repeat("x/", 1<<20)}), Limits{}, `link "l" has a target longer than 4095 bytes`},
		{"hard link out", Tar, makeTar(t, entry{name: "h", hard: "../canary"}), Limits{}, `hard link "h": its target: entry "../canary" leaves the archive`},
		{"hard link to an absolute path", Tar, makeTar(t, entry{name: "h", hard: "/etc/shadow"}), Limits{}, `hard link "h": its target: entry "/etc/shadow" has an absolute name`},
		{"hard link to what comes later", Tar, makeTar(t, entry{name: "h", hard: "f"}, f), Limits{}, `hard link "h" points to "f", which is not a file or link earlier in the archive`},
		{"hard link to itself alone", Tar, makeTar(t, entry{name: "f", hard: "f"}), Limits{}, `hard link "f" points to "f", which is not a file or link earlier in the archive`},
		{"hard link to itself, too often", Tar, makeTar(t, f, entry{name: "f", hard: "f"}, entry{name: "f", hard: "f"}), Limits{MaxFiles: 2}, `it holds more than 2 files`},

		// What is not a file.
		{"tar: character device", Tar, makeTar(t, entry{name: "null", typ: tar.TypeChar}), Limits{}, `entry "null" is a device: a bundle holds files, directories and links only`},
		{"tar: block device", Tar, makeTar(t, entry{name: "sda", typ: tar.TypeBlock}), Limits{}, `entry "sda" is a device`},
		{"tar: FIFO", Tar, makeTar(t, entry{name: "p", typ: tar.TypeFifo}), Limits{}, `entry "p" is a FIFO`},
		{"tar: a type nobody knows", Tar, makeTar(t, entry{name: "q", typ: 'Q'}), Limits{}, `entry "q" is of type 'Q'`},
		{"zip: device", Zip, makeZip(t, entry{name: "d", mode: fs.ModeDevice | 0o600}), Limits{}, `entry "d" is a device`},
		{"zip: FIFO", Zip, makeZip(t, entry{name: "p", mode: fs.ModeNamedPipe | 0o600}), Limits{}, `entry "p" is a FIFO`},
		{"zip: socket", Zip, makeZip(t, entry{name: "s", mode: fs.ModeSocket | 0o600}), Limits{}, `entry "s" is a socket`},

		// Too much.
		{"too many files", Tar, makeTar(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"}), Limits{MaxFiles: 2}, `it holds more than 2 files, directories and links: raise max_files`},
		{"too many files (zip)", Zip, makeZip(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"}), Limits{MaxFiles: 2}, `it holds more than 2 files`},
		{"too many implied directories", Tar, makeTar(t, entry{name: "a/b/c/d/e/f"}), Limits{MaxFiles: 5}, `it holds more than 5 files`},
		{"one name too often", Tar, makeTar(t, f, f, f), Limits{MaxFiles: 2}, `it holds more than 2 files`},
		{"too large", Tar, makeTar(t, entry{name: "a", body: strings.Repeat("x", 60)}, entry{name: "b", body: strings.Repeat("x", 60)}), Limits{MaxBytes: 100}, `it holds more than 100 B unpacked: raise max_bytes`},
		{"too large, as it says itself", Tar, makeTar(t, entry{name: "a", body: strings.Repeat("x", 200)}), Limits{MaxBytes: 100}, `entry "a": it holds more than 100 B unpacked`},
		{"too large (zip)", Zip, makeZip(t, entry{name: "a", body: strings.Repeat("x", 200)}), Limits{MaxBytes: 100}, `it holds more than 100 B unpacked`},
		{"a bomb (tgz)", Tgz, makeTgz(t, entry{name: "bomb", body: strings.Repeat("\x00", 4<<20)}), Limits{MaxBytes: 1 << 20}, `entry "bomb": it holds more than 1.0 MB unpacked`},
		{"a bomb (zip)", Zip, makeZip(t, entry{name: "bomb", body: strings.Repeat("\x00", 4<<20)}), Limits{MaxBytes: 1 << 20}, `it holds more than 1.0 MB unpacked`},
		{"a bomb that says it is small", Zip, rawZip(t, zip.FileHeader{Name: "bomb", Method: zip.Deflate, UncompressedSize64: 10, CompressedSize64: uint64(len(bomb)), CRC32: crc32.ChecksumIEEE(make([]byte, 4<<20))}, bomb), Limits{}, `entry "bomb" is damaged or cut off`},
		{"a small file that says it is huge", Zip, rawZip(t, zip.FileHeader{Name: "f", Method: zip.Store, UncompressedSize64: 1 << 62, CompressedSize64: 1}, []byte("x")), Limits{}, `it holds more than 8.0 GB unpacked`},
		{"a file larger than the disk", Zip, rawZip(t, zip.FileHeader{Name: "f", Method: zip.Store, UncompressedSize64: 1 << 50, CompressedSize64: 1}, []byte("x")), Limits{MaxBytes: 1 << 60}, `is too full: 1125899.9 GB are needed`},
		{"zeros without end after the end", Tgz, gzipped(t, append(makeTar(t, f), make([]byte, maxPadding+1)...)), Limits{}, `more than 4.0 MB follow the end of the tar archive`},

		// Broken, or not what it is said to be.
		{"empty", Tar, nil, Limits{}, `the archive is empty`},
		{"no entries (tar)", Tar, makeTar(t), Limits{}, `the archive holds no files`},
		{"no entries (zip)", Zip, makeZip(t), Limits{}, `the archive holds no files`},
		{"only the root", Tar, makeTar(t, entry{name: "./"}), Limits{}, `the archive holds no files`},
		{"an unknown kind", "tar.xz", whole, Limits{}, `unknown kind "tar.xz": CodeDeploy knows zip, tar and tgz`},
		{"a zip called tgz", Tgz, wholeZip, Limits{}, `its bundle type says tgz, but its content is zip: register the revision with the right bundle type`},
		{"a tgz called zip", Zip, wholeGz, Limits{}, `its bundle type says zip, but its content is tgz`},
		{"xz called tar", Tar, []byte("\xfd7zXZ\x00...."), Limits{}, `its bundle type says tar, but its content is xz`},
		{"an error page called tgz", Tgz, []byte("<html>404</html>"), Limits{}, `it is damaged, cut off or not a gzip file`},
		{"an error page called tar", Tar, []byte("<html>404</html>"), Limits{}, `it is damaged, cut off or not a tar archive`},
		{"an error page called zip", Zip, []byte("<html>404</html>"), Limits{}, `it is damaged, cut off or not a zip archive`},
		{"gzip of something else", Tgz, gzipped(t, []byte(strings.Repeat("hello ", 200))), Limits{}, `it is damaged, cut off or not a tar archive`},
		{"tar cut off in a file", Tar, whole[:800], Limits{}, `entry "a" is damaged or cut off, make the archive again: unexpected EOF`},
		{"tar cut off in a header", Tar, whole[:1536+100], Limits{}, `it is damaged, cut off or not a tar archive: unexpected EOF`},
		{"tar cut off between two entries", Tar, whole[:1536], Limits{}, `it is cut off: the end-of-archive mark is missing`},
		{"tgz cut off", Tgz, wholeGz[:len(wholeGz)-20], Limits{}, `unexpected EOF`},
		{"tgz cut off after the tar, before gzip's checksum", Tgz, wholeGz[:len(wholeGz)-6], Limits{}, `it is damaged or cut off after its last entry`},
		{"tgz whose checksum differs", Tgz, flip(wholeGz, len(wholeGz)-8), Limits{}, `gzip: invalid checksum`},
		{"tgz followed by rubbish", Tgz, append(bytes.Clone(wholeGz), "rubbish..........."...), Limits{}, `it is damaged or cut off after its last entry`},
		{"zip cut off", Zip, wholeZip[:len(wholeZip)-30], Limits{}, `it is damaged, cut off or not a zip archive`},
		{"zip whose data differs", Zip, flip(wholeZip, 40), Limits{}, `entry "a" is damaged or cut off`},
		{"zip whose checksum differs", Zip, rawZip(t, zip.FileHeader{Name: "f", CRC32: 1, UncompressedSize64: 1, CompressedSize64: 1}, []byte("x")), Limits{}, `entry "f" is damaged or cut off, make the archive again: zip: checksum error`},
		{"zip shorter than it says", Zip, rawZip(t, zip.FileHeader{Name: "f", CRC32: crc32.ChecksumIEEE([]byte("x")), UncompressedSize64: 9, CompressedSize64: 1}, []byte("x")), Limits{}, `entry "f" is damaged or cut off`},
		{"encrypted", Zip, rawZip(t, zip.FileHeader{Name: "f", Flags: 1}, nil), Limits{}, `entry "f" is encrypted: make the archive without a password`},
		{"bzip2 inside a zip", Zip, rawZip(t, zip.FileHeader{Name: "f", Method: 12}, nil), Limits{}, `entry "f" uses zip compression method 12 (bzip2): only stored and deflated`},
	}
}

// Whatever an archive tries, nothing appears outside the directory, and removing the directory leaves
// the disk as it was.
func TestUnpackRefuses(t *testing.T) {
	for _, test := range hostileArchives(t) {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "a file larger than the disk" && CheckSpace(t.TempDir(), 1<<50, 1) == nil {
				t.Skip("no server: the disk is not looked at")
			}
			parent := t.TempDir()
			if err := os.WriteFile(filepath.Join(parent, "canary"), []byte("alive"), 0o600); err != nil {
				t.Fatal(err)
			}
			before := picture(t, parent)
			dir := filepath.Join(parent, "incoming")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			archive := saved(t, "shop.bundle", test.archive)
			var err error
			synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left behind
				_, err = Unpack(t.Context(), archive, test.kind, dir, test.limits)
			})
			if err == nil || !strings.HasPrefix(err.Error(), "cannot unpack the bundle: ") || !strings.Contains(err.Error(), test.message) {
				t.Errorf("error: %v\nwant:  cannot unpack the bundle: %s", err, test.message)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if after := picture(t, parent); !maps.Equal(after, before) {
				t.Errorf("outside the directory: %v, before: %v", after, before)
			}
		})
	}
}

// Link targets that only together are too much.
func TestTreeBoundsNames(t *testing.T) {
	tree, err := newTree(t.TempDir(), Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	target := strings.Repeat("n", maxPath)
	for i := range maxNames/maxPath + 1 {
		if err = tree.symlink(strconv.Itoa(i), target); err != nil {
			break
		}
	}
	if err == nil || err.Error() != "the names in the archive are longer than 64.0 MB together" {
		t.Errorf("error %v", err)
	}
}

// A bomb of any size takes a few MB of memory and no more disk than the limit.
func TestUnpackBoundsMemory(t *testing.T) {
	const limit = 24 << 20
	zeros := deflated(t, 48<<20)
	h := zip.FileHeader{Name: "bomb", Method: zip.Deflate, UncompressedSize64: limit / 2, CompressedSize64: uint64(len(zeros))}
	archives := map[string][]byte{
		Zip: rawZip(t, h, zeros),
		Tgz: makeTgz(t, entry{name: "bomb", body: strings.Repeat("\x00", 48<<20)}),
	}
	for kind, archive := range archives {
		f, dir := saved(t, "b", archive), t.TempDir()
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Unpack(t.Context(), f, kind, dir, Limits{MaxBytes: limit})
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: a bomb was unpacked", kind)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%s: %s of memory were used", kind, format.Bytes(int64(used)))
		}
		if info, err := os.Stat(filepath.Join(dir, "bomb")); err == nil && info.Size() > limit {
			t.Errorf("%s: %s were written", kind, format.Bytes(info.Size()))
		}
	}
}

// A zip whose directory of names alone would fill the memory.
func TestUnpackBoundsDirectory(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	comment := strings.Repeat("c", 60_000)
	for range maxNames/len(comment) + 10 {
		if _, err := w.CreateHeader(&zip.FileHeader{Name: "f", Comment: comment}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Unpack(t.Context(), saved(t, "b", b.Bytes()), Zip, t.TempDir(), Limits{})
	if err == nil || !strings.Contains(err.Error(), "list of files is longer than 64.0 MB") {
		t.Errorf("error %v", err)
	}
}

// Somebody on the server who may write into a directory of the tree puts a link in the place of another: nothing is
// written through it, and nothing behind it is changed.
func TestNothingGoesThroughALinkThatAppears(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := errors.Join(os.Mkdir(kept, 0o700), os.WriteFile(filepath.Join(kept, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	tree, err := newTree(dir, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	if err := errors.Join(tree.dir("a", dirEntry{mode: 0o777}), tree.dir("a/kept", dirEntry{mode: 0o777, mtime: time.Unix(1, 0)})); err != nil {
		t.Fatal(err)
	}
	tree.at.close()
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "a")), os.Symlink(outside, filepath.Join(dir, "a"))); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for what, do := range map[string]func(*cursor) error{
		"a file":        func(c *cursor) error { return c.data("a/new", 0o644, now, []byte("x")) },
		"a file again":  func(*cursor) error { return tree.removeFile("a/kept/file") },
		"a directory":   func(c *cursor) error { return c.mkdir("a/dir", 0o755) },
		"a mode":        func(c *cursor) error { return c.setDir("a/kept", dirEntry{mode: 0o777}) },
		"the link":      func(c *cursor) error { return c.setDir("a", dirEntry{mode: 0o777}) },
		"the rest":      func(*cursor) error { _, err := tree.finish(t.Context()); return err },
		"a hard link":   func(c *cursor) error { return tree.root.Link("a/kept/file", "here") },
		"through a new": func(c *cursor) error { return c.data("a/kept/x/y", 0o644, now, nil) },
	} {
		c := tree.cursor()
		if err := do(c); err == nil {
			t.Errorf("%s: no error", what)
		}
		c.close()
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory outside: %v, %v", info, err)
	}
	if names, err := filepath.Glob(outside + "/*/*"); err != nil || len(names) != 1 {
		t.Errorf("outside are %v, %v", names, err)
	}
}
