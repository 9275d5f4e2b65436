package bundle

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An entry of an archive in a test. Which kind it is shows in what is set.
type entry struct {
	name string
	body string      // a file's contents
	link string      // a symbolic link's target
	hard string      // a hard link's target
	mode fs.FileMode // 0: 0644, or 0755 for a directory; names ending in "/" are directories
	typ  byte        // tar only: the entry's type as it is
}

// noon is the modification time of every entry.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Mode: tarMode(e), ModTime: noon}
		switch {
		case e.typ != 0:
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarMode(e entry) int64 {
	mode := int64(e.mode.Perm())
	for bit, unix := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if e.mode&bit != 0 {
			mode |= unix
		}
	}
	if mode == 0 {
		mode = 0o644
		if strings.HasSuffix(e.name, "/") {
			mode = 0o755
		}
	}
	return mode
}

func makeTgz(t testing.TB, entries ...entry) []byte { return gzipped(t, makeTar(t, entries...)) }

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: noon}
		body := e.body
		switch {
		case e.link != "":
			h.SetMode(fs.ModeSymlink | 0o777)
			body = e.link
		case e.mode != 0:
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved is data as an open file.
func saved(t testing.TB, name string, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// picture is everything below dir: "rwx" modes and contents of files, "-> target" of links.
func picture(t testing.TB, dir string) map[string]string {
	t.Helper()
	p := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			p[name+"/"] = fmt.Sprintf("%04o", unixMode(info.Mode()))
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			p[name] = "-> " + target
			return err
		default:
			content, err := os.ReadFile(path)
			p[name] = fmt.Sprintf("%04o %s", unixMode(info.Mode()), content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unixMode(m fs.FileMode) int64 {
	return tarMode(entry{mode: m})
}
