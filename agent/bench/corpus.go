package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"usher/agent/bundle"
)

// A corpus is a revision that is made up, and the same each time.
type corpus struct {
	name  string
	files int
	about string
	tree  func(*source) []file
}

// A file of a corpus.
type file struct {
	name string
	mode os.FileMode
	body []byte
}

// The sizes: a service of a few files, an application with what it needs, one with its node_modules, and one that is too
// large for the memory of a small machine.
var (
	small = corpus{"small", 20, "20 files", func(s *source) []file { return s.application(20, func() int { return 200 + s.IntN(8_000) }) }}
	big   = corpus{"big", 5_000, "5,000 files, 100 MB", func(s *source) []file { return s.application(5_000, func() int { return 10_000 + s.IntN(20_000) }) }}
	bulk  = corpus{"bulk", 40_000, "40,000 files, 720 MB in a bundle of 500 MB", func(s *source) []file { return s.bulk(40_000) }}
	huge  = corpus{"huge", 40_000, "40,000 files, 127 MB, like node_modules", func(s *source) []file { return s.modules(40_000) }}
)

// appspec runs three scripts and makes the whole bundle the release.
const appspec = `version: 0.0
os: linux
hooks:
  BeforeInstall:
    - location: scripts/prepare.sh
  AfterInstall:
    - location: scripts/configure.sh
  ApplicationStart:
    - location: scripts/start.sh
`

// script does what a short script of a revision does: a few processes, and a file.
const script = `#!/bin/bash
set -euo pipefail
cd "$(dirname "$0")/.."
date +%s >".${0##*/}.ran"
test -s appspec.yml
`

// A source makes the contents of files.
type source struct {
	*rand.Rand
	text  []byte // source code, more or less: compresses to about a third
	noise []byte // pictures and the like: does not
}

// textPool is how much text there is to cut files from, in bytes: far more than a compressor looks back.
const textPool = 4 << 20

func newSource(name string) *source {
	seed := uint64(0)
	for _, c := range []byte(name) {
		seed = seed*131 + uint64(c)
	}
	s := &source{Rand: rand.New(rand.NewPCG(seed, 20))}
	words := make([][]byte, 3000)
	for i := range words {
		words[i] = make([]byte, 2+s.IntN(9))
		for j := range words[i] {
			words[i][j] = "etaoinshrdlucmfwypvbgkjqxz"[min(s.IntN(26), s.IntN(26))] // some letters are more common
		}
	}
	common := rand.NewZipf(s.Rand, 1.1, 8, uint64(len(words)-1))
	for len(s.text) < textPool {
		s.text = append(s.text, words[common.Uint64()]...)
		s.text = append(s.text, []string{" ", " ", " ", ".", "(", ");\n", " = ", "\n  ", ", "}[s.IntN(9)]...)
	}
	s.noise = make([]byte, textPool)
	for i := range s.noise {
		s.noise[i] = byte(s.Uint32())
	}
	return s
}

// body cuts a file of some size out of the text, or now and then out of the noise.
func (s *source) body(size int) []byte {
	from := s.text
	if s.IntN(12) == 0 {
		from = s.noise
	}
	at := s.IntN(len(from) - size)
	return from[at : at+size]
}

// application is a revision of some files, with its appspec and scripts among them.
func (s *source) application(files int, size func() int) []file {
	all := s.revision()
	for i := len(all); i < files; i++ {
		all = append(all, file{fmt.Sprintf("app/part%02d/module%d/file%d.rb", i%50, i%7, i), 0o644, s.body(size())})
	}
	return all
}

// modules is a revision whose files are almost all in node_modules: many directories, and most files tiny.
func (s *source) modules(files int) []file {
	all := s.revision()
	for pkg := 0; len(all) < files; pkg++ {
		dir := fmt.Sprintf("node_modules/package-%d", pkg)
		all = append(all, file{dir + "/package.json", 0o644, s.body(600 + s.IntN(1500))})
		for n := range min(5+s.IntN(50), files-len(all)) {
			size := 300 + int(s.ExpFloat64()*2500)
			if s.IntN(100) == 0 {
				size += s.IntN(100_000) // something minified
			}
			all = append(all, file{fmt.Sprintf("%s/%s/file%d.js", dir, []string{"lib", "dist", "dist/esm", "src/internal"}[n%4], n), 0o644, s.body(size)})
		}
	}
	return all
}

// bulk is a revision of which half does not compress.
func (s *source) bulk(files int) []file {
	all := s.revision()
	for i := len(all); i < files; i++ {
		from, size := s.text, 12_000+s.IntN(12_000)
		if i%2 == 0 {
			from = s.noise
		}
		at := s.IntN(len(from) - size)
		all = append(all, file{fmt.Sprintf("data/part%02d/set%d/file%d.bin", i%50, i%7, i), 0o644, from[at : at+size]})
	}
	return all
}

func (s *source) revision() []file {
	return []file{
		{"appspec.yml", 0o644, []byte(appspec)},
		{"scripts/prepare.sh", 0o755, []byte(script)},
		{"scripts/configure.sh", 0o755, []byte(script)},
		{"scripts/start.sh", 0o755, []byte(script)},
	}
}

// modified is when every file was.
var modified = time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)

// archive makes an archive of the corpus on the disk and returns its path. A second time it is there already.
func (b *bench) archive(c corpus, kind string) (string, error) {
	to := filepath.Join(b.disk, c.name+"."+kind)
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	b.say("making %s, %s", filepath.Base(to), c.about)
	f, err := os.Create(to)
	if err == nil {
		err = pack(f, c.tree(newSource(c.name)), kind)
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot make %s: %w", filepath.Base(to), err)
	}
	return to, nil
}

// pack writes an archive, with its directories, as zip and tar do.
func pack(to io.Writer, files []file, kind string) (err error) {
	slices.SortFunc(files, func(a, b file) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	var w archiver
	switch kind {
	case bundle.Zip:
		z := zip.NewWriter(to)
		z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
		w = zipArchiver{z}
	case bundle.Tar:
		w = tarArchiver{Writer: tar.NewWriter(to)}
	default:
		z := gzip.NewWriter(to)
		defer func() {
			if e := z.Close(); err == nil {
				err = e
			}
		}()
		w = tarArchiver{Writer: tar.NewWriter(z)}
	}
	made := map[string]bool{".": true}
	var directory func(name string) error
	directory = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		if err := directory(path.Dir(name)); err != nil {
			return err
		}
		return w.add(file{name: name + "/", mode: os.ModeDir | 0o755})
	}
	for _, f := range files {
		if err := directory(path.Dir(f.name)); err != nil {
			return err
		}
		if err := w.add(f); err != nil {
			return err
		}
	}
	return w.Close()
}

// An archiver writes one kind of archive.
type archiver interface {
	add(file) error
	Close() error
}

type zipArchiver struct{ *zip.Writer }

func (z zipArchiver) add(f file) error {
	header := &zip.FileHeader{Name: f.name, Modified: modified, Method: zip.Deflate}
	if f.mode.IsDir() {
		header.Method = zip.Store
	}
	header.SetMode(f.mode)
	entry, err := z.CreateHeader(header)
	if err == nil {
		_, err = entry.Write(f.body)
	}
	return err
}

type tarArchiver struct{ *tar.Writer }

func (t tarArchiver) add(f file) error {
	header := &tar.Header{Name: f.name, Mode: int64(f.mode.Perm()), Size: int64(len(f.body)), ModTime: modified, Typeflag: tar.TypeReg}
	if f.mode.IsDir() {
		header.Typeflag = tar.TypeDir
	}
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	_, err := t.Write(f.body)
	return err
}
