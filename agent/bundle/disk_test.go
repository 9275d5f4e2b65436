//go:build linux && !developer

package bundle

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	if err := CheckSpace(dir, 1, 1); err != nil {
		t.Error(err)
	}
	for _, need := range []int64{1 << 60, math.MaxInt64} {
		err := CheckSpace(dir, need, 1)
		if err == nil || !strings.Contains(err.Error(), "the disk of "+dir+" is too full: ") || !strings.Contains(err.Error(), "and 64.0 MB to spare, but") {
			t.Errorf("room for %d bytes: %v", need, err)
		}
	}
	if err := CheckSpace(filepath.Join(dir, "missing"), 1, 1); err == nil {
		t.Error("no error for a directory that does not exist")
	}
}

func TestSync(t *testing.T) {
	for _, files := range []int{1, fewFiles / 2, fewFiles, 2 * fewFiles} {
		dir := t.TempDir()
		entries := []entry{{name: "l", link: "nowhere"}}
		for i := range files {
			entries = append(entries, entry{name: fmt.Sprintf("d/f%d", i), body: "x"})
		}
		if _, err := Unpack(t.Context(), saved(t, "b", makeTar(t, entries...)), Tar, dir, Limits{}); err != nil {
			t.Fatal(err)
		}
		if err := Sync(dir); err != nil {
			t.Error(err)
		}
		if err := syncFew(dir); errors.Is(err, errNotEach) != (files+2 > fewFiles) {
			t.Errorf("%d files and two directories: %v", files, err)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if err := Sync(missing); err == nil || !strings.Contains(err.Error(), "cannot sync "+missing) {
		t.Errorf("a directory that does not exist: %v", err)
	}
}

// What is no file any more when its turn comes is passed over. To open a FIFO would last until somebody writes into it.
func TestSyncOfWhatHasChanged(t *testing.T) {
	dir := t.TempDir()
	fifo, link, gone := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "gone")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.Symlink(fifo, link)); err != nil {
		t.Fatal(err)
	}
	if err := syncThese([]string{fifo, gone, dir}); err != nil {
		t.Error(err)
	}
	if err := syncThese([]string{link}); !errors.Is(err, errNotEach) {
		t.Errorf("a link: %v", err)
	}
	if err := Sync(dir); err != nil {
		t.Error(err)
	}
}

func TestKind(t *testing.T) {
	f := entry{name: "f", body: "x"}
	old := makeTar(t, f)
	copy(old[257:], make([]byte, 8)) // a header from before POSIX: no magic
	copy(old[148:], "        ")
	sum := 0
	for _, c := range old[:512] {
		sum += int(c)
	}
	copy(old[148:], strconv.FormatInt(int64(sum), 8)+"\x00")
	tests := []struct {
		path string
		head []byte
		want string
	}{
		{"a.zip", makeZip(t, f), "zip"},
		{"a.tgz", makeZip(t, f), "zip"},
		{"a", makeZip(t), "zip"},
		{"a.tar", makeTar(t, f), "tar"},
		{"a.bin", old, "tar"},
		{"a.tar", makeTgz(t, f), "tgz"},
		{"a.TAR.GZ", []byte("?"), "tgz"},
		{"/x/a.tar", make([]byte, 1024), "tar"},
		{"a.tar.xz", []byte("\xfd7zXZ\x00"), "cannot use a.tar.xz as a bundle: its content is xz, and CodeDeploy knows zip, tar and tgz"},
		{"/x/README", []byte("# hello"), "cannot use README as a bundle: it is neither a zip, tar or tgz archive nor named like one"},
		{"a.zip", nil, "cannot use a.zip as a bundle: it is empty"},
	}
	for _, test := range tests {
		got, err := Kind(test.path, test.head)
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("Kind(%s): %s, want %s", test.path, got, test.want)
		}
	}
}

// makeDir makes a directory of entries, as makeTar makes an archive of them.
func makeDir(t *testing.T, entries ...entry) string {
	t.Helper()
	dir := t.TempDir()
	for _, e := range entries {
		path := filepath.Join(dir, e.name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case e.link != "":
			err = os.Symlink(e.link, path)
		case strings.HasSuffix(e.name, "/"):
			err = os.Mkdir(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(e.body), 0o644)
		}
		if err == nil && e.mode != 0 {
			err = os.Chmod(path, e.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDirectory(t *testing.T) {
	src := makeDir(t,
		entry{name: "app/appspec.yml", body: "v"}, entry{name: "app/run", body: "r", mode: 0o755 | os.ModeSetuid},
		entry{name: "app/.git/config", body: "secret"}, entry{name: "app/sub/.git/config", body: "secret"},
		entry{name: "app/.gitignore", body: "i"}, entry{name: "app/l", link: "sub/"}, entry{name: "app/out/"})
	dir := filepath.Join(src, "app/out") // the copy lies in what is copied
	surveyed, err := Survey(t.Context(), src, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	stats, err := Directory(t.Context(), src, dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if surveyed.Dirs--; surveyed != stats { // app/out is part of it where it lies
		t.Errorf("surveyed %+v, copied %+v", surveyed, stats)
	}
	want := map[string]string{"app/": "0755", "app/appspec.yml": "0644 v", "app/run": "0755 r", "app/.gitignore": "0644 i", "app/sub/": "0755", "app/l": "-> sub/"}
	if got := picture(t, dir); !maps.Equal(got, want) {
		t.Errorf("copied %v, want %v", got, want)
	}
	if stats != (Stats{Files: 3, Dirs: 2, Links: 1, Bytes: 3}) {
		t.Errorf("stats %+v", stats)
	}
}

func TestDirectoryRefuses(t *testing.T) {
	fifo := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(fifo, "p"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(socket, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tests := []struct {
		name, src string
		limits    Limits
		message   string
	}{
		{"a link out", makeDir(t, entry{name: "d/l", link: "../../x"}), Limits{}, `link "d/l" to "../../x" leaves the bundle`},
		{"an absolute link", makeDir(t, entry{name: "l", link: "/etc"}), Limits{}, `link "l" points to the absolute path "/etc"`},
		{"a FIFO", fifo, Limits{}, `entry "p" is a FIFO`},
		{"a socket", socket, Limits{}, `entry "s" is a socket`},
		{"too large", makeDir(t, entry{name: "f", body: "xxx"}), Limits{MaxBytes: 2}, `entry "f": it holds more than 2 B`},
		{"too many", makeDir(t, entry{name: "f"}, entry{name: "g"}), Limits{MaxFiles: 1}, `it holds more than 1 files`},
		{"empty", t.TempDir(), Limits{}, `the directory holds no files`},
		{"missing", filepath.Join(fifo, "missing"), Limits{}, `no such file or directory`},
	}
	for _, test := range tests {
		_, err := Directory(t.Context(), test.src, t.TempDir(), test.limits)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot copy "+test.src) || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: error %v, want %s", test.name, err, test.message)
		}
		_, err = Survey(t.Context(), test.src, test.limits)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot use "+test.src+" as a revision") || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s, where it lies: error %v, want %s", test.name, err, test.message)
		}
	}
}
