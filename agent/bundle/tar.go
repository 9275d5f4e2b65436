package bundle

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"usher/agent/format"
)

const (
	// smallFile is the largest file that is handed to a worker as a whole, in bytes; larger ones are
	// written as they are read. Most files of an application are smaller.
	smallFile = 128 << 10

	// batchSize and batchFiles bound how many small files are handed over together, and batches is how many of those
	// there are: enough to keep the workers busy while a large file is being read. Neighbours go to one worker:
	// two that write into one directory wait for each other.
	batchSize, batchFiles, batches = 256 << 10, 64, 2 * workers

	// archiveBuffer is how much of an archive is read at once, in bytes.
	archiveBuffer = 128 << 10

	// What GNU tar alone writes: the label of a volume (-V), a directory of an incremental archive (-g), whose content is
	// the names that were in it, and the rest of a file from the volume before (-M).
	gnuLabel, gnuDumpDir, gnuVolume = 'V', 'D', 'M'

	// maxPadding is how much may follow the end of a tar inside its gzip, in bytes. tar fills its
	// last record, 10 KiB as a rule; more is not padding.
	maxPadding = 4_000_000
)

// unpackTar reads the entries in their order. While it reads, a goroutine decompresses ahead and two
// write the small files, which is where the time goes.
func unpackTar(ctx context.Context, t *tree, archive input, compressed bool) error {
	t.remaining = archive.remaining
	if err := t.room(archive.size); err != nil { // it holds that much at least
		return err
	}
	raw := bufio.NewReaderSize(io.NewSectionReader(archive, 0, archive.size), archiveBuffer)
	var stream io.Reader = raw
	if compressed {
		z, err := newMembers(raw)
		if err != nil {
			return fmt.Errorf("it is damaged, cut off or not a gzip file: %w", err)
		}
		ahead := readAhead(&streamLimit{Reader: z, left: streamMax(t.limits)})
		defer ahead.close()
		stream = ahead
	}
	end := &trailingZeros{Reader: stream}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := startWriters(ctx, cancel, t)
	t.unwrite = func(name string) error { return w.remove(ctx, name) }
	err := readTar(ctx, t, tar.NewReader(end), w)
	w.wait()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !end.zeros() {
		return errors.New("it is cut off: the end-of-archive mark is missing")
	}
	if compressed { // gzip's own checksum comes after the last byte
		return drain(stream)
	}
	return nil
}

func readTar(ctx context.Context, t *tree, r *tar.Reader, w *writers) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is damaged, cut off or not a tar archive: %w", err)
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader: // comments, such as the commit `git archive` writes
			t.entries++
			err = t.withinLimits()
		case gnuLabel:
			t.entries++
			err = t.withinLimits()
		case gnuVolume:
			err = fmt.Errorf("entry %q goes on from another volume: make the archive in one piece", h.Name)
		case tar.TypeDir, gnuDumpDir:
			err = t.dir(h.Name, dirEntry{mode: h.FileInfo().Mode(), mtime: h.ModTime})
		case tar.TypeSymlink:
			err = t.symlink(h.Name, h.Linkname)
		case tar.TypeLink:
			err = t.hardLink(h.Name, h.Linkname)
		case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
			if h.Size == 0 && strings.HasSuffix(h.Name, "/") { // a directory, by a header from before they had a type
				err = t.dir(h.Name, dirEntry{mode: h.FileInfo().Mode(), mtime: h.ModTime})
			} else {
				err = w.file(ctx, h, r)
			}
		case tar.TypeChar, tar.TypeBlock:
			err = special(h.Name, fs.ModeDevice)
		case tar.TypeFifo:
			err = special(h.Name, fs.ModeNamedPipe)
		default:
			err = fmt.Errorf("entry %q is of type %q, which usher does not know", h.Name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

// writers are the goroutines that write small files, and the cursor for the large ones.
type writers struct {
	tree    *tree
	large   *cursor
	batch   *batch // being filled
	full    chan *batch
	free    chan *batch
	group   sync.WaitGroup
	pending sync.WaitGroup // batches not yet written
}

// A batch is small files with their contents.
type batch struct {
	files []small
	data  []byte // of all of them
}

type small struct {
	name  string
	mode  fs.FileMode
	mtime time.Time
	size  int
}

func startWriters(ctx context.Context, cancel context.CancelCauseFunc, t *tree) *writers {
	w := &writers{tree: t, large: t.cursor(), batch: new(batch), full: make(chan *batch, batches), free: make(chan *batch, batches)}
	for range batches - 1 {
		w.free <- new(batch)
	}
	for range workers {
		w.group.Go(func() {
			c := t.cursor()
			defer c.close()
			for b := range w.full {
				data := b.data
				for _, f := range b.files {
					if ctx.Err() != nil {
						break
					}
					if err := c.data(f.name, f.mode, f.mtime, data[:f.size]); err != nil {
						cancel(err)
					}
					data = data[f.size:]
				}
				b.files, b.data = b.files[:0], b.data[:0]
				w.free <- b
				w.pending.Done()
			}
		})
	}
	return w
}

// file writes one file, or has it written.
func (w *writers) file(ctx context.Context, h *tar.Header, content io.Reader) error {
	name, err := w.tree.reserve(h.Name, isFile)
	if err != nil {
		return err
	}
	if h.Size > w.tree.limits.MaxBytes {
		return fmt.Errorf("entry %q: %w", name, w.tree.tooLarge())
	}
	mode := h.FileInfo().Mode()
	if h.Size > smallFile {
		return w.large.file(ctx, name, mode, h.ModTime, content)
	}
	size := int(h.Size)
	if len(w.batch.files) == batchFiles || len(w.batch.data)+size > batchSize {
		w.next()
	}
	b := w.batch
	if b.data == nil {
		b.data = make([]byte, 0, batchSize)
	}
	at := len(b.data)
	b.data = b.data[:at+size]
	if _, err := io.ReadFull(content, b.data[at:]); err != nil {
		b.data = b.data[:at]
		return damaged(name, err)
	}
	b.files = append(b.files, small{name, mode, h.ModTime, size})
	return nil
}

// remove removes a file that was handed over, once it is written.
func (w *writers) remove(ctx context.Context, name string) error {
	w.next()
	w.pending.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.tree.removeFile(name)
}

// next hands the batch over that was filled and takes another.
func (w *writers) next() {
	w.pending.Add(1)
	w.full <- w.batch
	w.batch = <-w.free
}

func (w *writers) wait() {
	w.next()
	close(w.full)
	w.group.Wait()
	w.large.close()
}

// drain reads what follows the end of a tar.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding+1))
	if err != nil {
		return fmt.Errorf("it is damaged or cut off after its last entry, make the archive again: %w", err)
	}
	if n > maxPadding {
		return fmt.Errorf("more than %s follow the end of the tar archive", format.Bytes(maxPadding))
	}
	return nil
}
