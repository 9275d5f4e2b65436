package rollout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/rollout"
)

// picture is what is in a bundle, an entry a line.
func picture(t *testing.T, b rollout.Bundle) string {
	t.Helper()
	f, err := os.Open(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if err == io.EOF {
			return strings.Join(lines, "\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%04o %s", h.Mode, h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			line += fmt.Sprintf(" %q", text)
		case tar.TypeSymlink:
			line += " -> " + h.Linkname
		}
		lines = append(lines, line)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("appspec.yml", "version: 0.0\n")
	w.write("scripts/start", "#!/bin/sh\r\n")
	w.write("test/big", "not for servers")
	w.write("notes.md", "not for servers")
	w.write("VERSION", "$Format:%H %as$\n")
	w.write(".gitattributes", "/test export-ignore\n*.md export-ignore\nVERSION export-subst\n.gitattributes export-ignore\nappspec.yml text=auto\n")
	if err := errors.Join(os.Chmod(filepath.Join(w.dir, "scripts/start"), 0o755), os.Symlink("scripts/start", filepath.Join(w.dir, "run"))); err != nil {
		t.Fatal(err)
	}
	sha := w.commit("one")
	w.write("appspec.yml", "changed, and not committed\n")
	w.write("new", "")
	// Settings of a developer that would change the archive.
	w.git("config", "tar.umask", "0000")
	w.git("config", "core.autocrlf", "true")
	w.git("config", "core.eol", "crlf")
	w.git("config", "core.attributesFile", write(t, filepath.Join(t.TempDir(), "attributes"), "scripts export-ignore\n"))
	w.git("config", "tar.tar.gz.command", "false")

	r, c := w.open(), w.resolve("HEAD")
	dir := t.TempDir()
	b, err := r.Archive(minute(t), c, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		`0644 VERSION "` + sha + ` 2026-01-02\n"`,
		`0644 appspec.yml "version: 0.0\n"`,
		`0777 run -> scripts/start`,
		`0755 scripts/`,
		`0755 scripts/start "#!/bin/sh\r\n"`,
	}, "\n")
	if got := picture(t, b); got != want {
		t.Errorf("the bundle has\n%s\nwant\n%s", got, want)
	}
	packed, err := os.ReadFile(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	gz, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(gz)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(packed)
	if b.Path != filepath.Join(dir, sha+".tgz") || b.Size != int64(len(packed)) || b.Unpacked != int64(len(unpacked)) || b.SHA256 != hex.EncodeToString(sum[:]) || b.Commit != c {
		t.Errorf("%+v, want %d bytes, %d unpacked, SHA-256 %x", b, len(packed), len(unpacked), sum)
	}
	ask := exec.Command("git", "get-tar-commit-id")
	ask.Stdin = bytes.NewReader(unpacked)
	if id, err := ask.Output(); err != nil || strings.TrimSpace(string(id)) != sha {
		t.Errorf("the archive says it is of %s, %v", id, err)
	}

	again, err := w.clone().open().Archive(minute(t), c, t.TempDir())
	if err != nil || again.SHA256 != b.SHA256 {
		t.Errorf("another clone, without those settings, packs %s, %v, want %s", again.SHA256, err, b.SHA256)
	}
}

func TestArchiveFails(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("appspec.yml", "")
	w.commit("one")
	r, c := w.open(), w.resolve("HEAD")

	dir := t.TempDir()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Archive(gone, c, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	missing := c
	missing.SHA = strings.Repeat("a", 40)
	if _, err := r.Archive(minute(t), missing, dir); err == nil || !strings.HasPrefix(err.Error(), "cannot pack commit "+missing.Short()+": git says: fatal: ") {
		t.Errorf("a commit that is not there: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := r.Archive(minute(t), c, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into no directory: %v", err)
	}
}
