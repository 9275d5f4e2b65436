package bundle

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"

	"usher/agent/format"
)

const (
	// zipReadBuffer is how much of a compressed entry is decompressed from at once, in bytes.
	zipReadBuffer = 32 << 10

	// zipRun and zipRunBytes bound how many neighbours in the archive a worker takes at once: they are mostly
	// neighbours on disk, and two workers that write into one directory wait for each other.
	zipRun, zipRunBytes = 32, 1 << 20
)

// A zipFile is one regular file still to be written.
type zipFile struct {
	file *zip.File
	name string // clean
}

// unpackZip takes the names from the directory at the end of the archive first, so that nothing is
// written before all names are known to be good, then writes the files with two workers.
func unpackZip(ctx context.Context, t *tree, archive input) error {
	limited := &directoryLimit{ReaderAt: archive.ReaderAt, left: maxNames}
	r, err := zip.NewReader(limited, archive.size)
	if err != nil {
		return fmt.Errorf("it is damaged, cut off or not a zip archive: %w", err)
	}
	limited.off = true
	limited.ReaderAt = &readCache{ReaderAt: archive.ReaderAt}
	r.RegisterDecompressor(zip.Deflate, inflate)

	files, err := planZip(t, r)
	if err != nil {
		return err
	}
	if err := zipRoom(t, files, archive.remaining()); err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runs := make(chan []zipFile, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			c := t.cursor()
			defer c.close()
			for run := range runs {
				for _, f := range run {
					if ctx.Err() != nil {
						break
					}
					if err := c.zipFile(ctx, f); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for len(files) > 0 && ctx.Err() == nil {
		n, bytes := 1, files[0].file.CompressedSize64
		for n < min(len(files), zipRun) && bytes+files[n].file.CompressedSize64 < zipRunBytes {
			bytes += files[n].file.CompressedSize64
			n++
		}
		runs <- files[:n]
		files = files[n:]
	}
	close(runs)
	group.Wait()
	return context.Cause(ctx)
}

// planZip judges every entry and returns the regular files, each name once. Directories are made and
// links noted on the way.
func planZip(t *tree, r *zip.Reader) ([]zipFile, error) {
	files := make([]zipFile, 0, min(len(r.File), t.limits.MaxFiles))
	place := make(map[string]int, cap(files))
	t.unwrite = func(name string) error { files[place[name]].file = nil; return nil }
	guessed, windows := 0, 0
	for _, f := range r.File {
		if err := judgeZip(f); err != nil {
			return nil, err
		}
		if nameZip(f) {
			guessed++
		}
		if separators(f) {
			windows++
		}
		mode := zipMode(f)
		switch mode.Type() {
		case fs.ModeDir:
			if err := t.dir(f.Name, dirEntry{mode: mode, mtime: f.Modified}); err != nil {
				return nil, err
			}
		case fs.ModeSymlink:
			target, err := zipLink(f)
			if err != nil {
				return nil, err
			}
			if err := t.symlink(f.Name, target); err != nil {
				return nil, err
			}
		case 0:
			name, err := t.reserve(f.Name, isFile)
			if err != nil {
				return nil, err
			}
			place[name] = len(files)
			files = append(files, zipFile{f, name})
		default:
			return nil, special(f.Name, mode)
		}
	}
	if guessed > 0 {
		t.limits.Warn(fmt.Sprintf("the zip has %s that %s not in UTF-8, and does not say in which code page: read as the format's own, 437; "+
			"make the archive with UTF-8 names", format.Plural(guessed, "name"), map[bool]string{true: "is", false: "are"}[guessed == 1]))
	}
	if windows > 0 {
		t.limits.Warn(fmt.Sprintf("the zip was made on Windows, with \"\\\" in %s where the format has \"/\": read as such", format.Plural(windows, "name")))
	}
	return slices.DeleteFunc(files, func(f zipFile) bool { return f.file == nil }), nil
}

// zipRoom refuses before anything is written what the archive itself says will not fit.
func zipRoom(t *tree, files []zipFile, remaining int64) error {
	var total uint64
	for _, f := range files {
		total += min(f.file.UncompressedSize64, 1<<62/uint64(len(files))) // cannot overflow
	}
	if total > uint64(t.limits.MaxBytes) {
		return t.tooLarge()
	}
	return CheckSpace(t.root.Name(), int64(total)+remaining, len(files))
}

func (c *cursor) zipFile(ctx context.Context, f zipFile) error {
	content, err := f.file.Open()
	if err != nil {
		return damaged(f.name, err)
	}
	defer content.Close()
	return c.file(ctx, f.name, zipMode(f.file), f.file.Modified, content)
}

// The systems an entry may say it was made on (APPNOTE 4.4.2) whose modes are Unix modes.
const (
	madeOnUnix  = 3
	madeOnMacOS = 19
)

func zipHasUnixMode(f *zip.File) bool {
	system := f.CreatorVersion >> 8
	return (system == madeOnUnix || system == madeOnMacOS) && f.ExternalAttrs>>16 != 0
}

// zipMode is the mode of an entry. `git archive` records none for ordinary files and directories, and
// archives made on Windows have none: those get what unzip would give them under the usual umask.
func zipMode(f *zip.File) fs.FileMode {
	if zipHasUnixMode(f) {
		mode := f.Mode()
		if mode.Perm() != 0 || mode.Type() != 0 && mode.Type() != fs.ModeDir {
			return mode
		}
	}
	if strings.HasSuffix(f.Name, "/") || f.Mode().IsDir() {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// judgeZip refuses what cannot be unpacked as it was meant.
func judgeZip(f *zip.File) error {
	switch {
	case f.Flags&1 != 0:
		return fmt.Errorf("entry %q is encrypted: make the archive without a password", f.Name)
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return fmt.Errorf("entry %q uses zip compression method %d%s: only stored and deflated entries can be unpacked", f.Name, f.Method, methodName(f.Method))
	}
	return nil
}

func methodName(method uint16) string {
	names := map[uint16]string{9: " (Deflate64)", 12: " (bzip2)", 14: " (LZMA)", 93: " (Zstandard)", 95: " (XZ)", 99: " (AES encryption)"}
	return names[method]
}

// zipLink is the target of a symbolic link, which a zip keeps as the entry's contents.
func zipLink(f *zip.File) (string, error) {
	content, err := f.Open()
	if err != nil {
		return "", damaged(f.Name, err)
	}
	defer content.Close()
	target, err := io.ReadAll(io.LimitReader(content, maxPath+1))
	if err != nil {
		return "", damaged(f.Name, err)
	}
	return string(target), nil
}

// special refuses an entry that is neither a file nor a directory nor a link.
func special(name string, mode fs.FileMode) error {
	what := "neither a file nor a directory nor a link"
	switch {
	case mode&fs.ModeDevice != 0:
		what = "a device"
	case mode&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	}
	return fmt.Errorf("entry %q is %s: a bundle holds files, directories and links only", name, what)
}

// damaged says what a failed read means. The text of the readers alone ("zip: checksum error") does
// not say of which file.
func damaged(name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("entry %q is damaged or cut off, make the archive again: %w", filepath.ToSlash(name), err)
}

// A directoryLimit bounds what is read of the directory at the end of a zip, all of which the
// standard library keeps in memory: its entry count can lie.
type directoryLimit struct {
	io.ReaderAt
	left int64
	off  bool
}

func (d *directoryLimit) ReadAt(p []byte, at int64) (int, error) {
	if d.off {
		return d.ReaderAt.ReadAt(p, at)
	}
	if d.left -= int64(len(p)); d.left < 0 {
		return 0, fmt.Errorf("its list of files is longer than %s", format.Bytes(maxNames))
	}
	return d.ReaderAt.ReadAt(p, at)
}

// inflaters keeps decompressors for the next entry: making one costs more than most small files.
var inflaters = sync.Pool{New: func() any {
	buffer := bufio.NewReaderSize(nil, zipReadBuffer)
	return &inflater{buffer: buffer, ReadCloser: flate.NewReader(buffer)}
}}

type inflater struct {
	io.ReadCloser
	buffer *bufio.Reader
}

func inflate(r io.Reader) io.ReadCloser {
	i := inflaters.Get().(*inflater)
	i.buffer.Reset(r)
	// Reset of a flate reader returns an error only by its interface's wish.
	_ = i.ReadCloser.(flate.Resetter).Reset(i.buffer, nil)
	return &pooled{i}
}

// pooled gives its inflater back when closed.
type pooled struct{ *inflater }

func (p *pooled) Read(b []byte) (int, error) {
	if p.inflater == nil {
		return 0, fs.ErrClosed
	}
	return p.inflater.Read(b)
}

func (p *pooled) Close() error {
	if p.inflater != nil {
		p.buffer.Reset(nil)
		inflaters.Put(p.inflater)
		p.inflater = nil
	}
	return nil
}
