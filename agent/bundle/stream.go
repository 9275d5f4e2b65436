package bundle

import (
	"fmt"
	"io"
	"sync"
)

const (
	// aheadBuffer and aheadBuffers say how far decompression runs ahead of writing: 4 times 256 KiB,
	// enough to keep both cores busy, little enough for the smallest instance.
	aheadBuffer  = 256 << 10
	aheadBuffers = 4

	// headerRoom is how much of a decompressed stream may be headers, for each file, in bytes: a
	// header and padding take 1 KiB, long names and PAX records a few more.
	headerRoom = 16 << 10
)

const (
	// window is how much of an archive is read at once where its entries are small, in bytes, and windowsKept how many
	// of those are kept: one for each worker, and one that they move on to.
	window, windowsKept = 256 << 10, workers + 1
)

// readCache are the last parts of a file that were read. An entry of a zip is read in three pieces, header, content and
// trailer, most of them smaller than what one system call costs.
type readCache struct {
	io.ReaderAt
	mu   sync.Mutex
	kept [windowsKept]struct {
		from, used int64
		data       []byte
	}
	clock int64
}

func (w *readCache) ReadAt(p []byte, at int64) (n int, err error) {
	if len(p) >= window {
		return w.ReaderAt.ReadAt(p, at)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	oldest := 0
	for i := range w.kept {
		k := &w.kept[i]
		if k.from <= at && at+int64(len(p)) <= k.from+int64(len(k.data)) {
			k.used = w.clock
			return copy(p, k.data[at-k.from:]), nil
		}
		if k.used < w.kept[oldest].used {
			oldest = i
		}
	}
	k := &w.kept[oldest]
	data := k.data
	k.data, k.used = nil, w.clock
	if data == nil {
		data = make([]byte, 0, window)
	}
	w.mu.Unlock() // what is read may still be on its way, and others have theirs
	n, err = w.ReaderAt.ReadAt(data[:window], at)
	w.mu.Lock()
	k.from, k.data = at, data[:n]
	if n = copy(p, data[:n]); n == len(p) || err == nil {
		return n, nil // the end of the file is for who asks for what lies beyond
	}
	return n, err
}

// streamMax is the longest a tar within the limits can be, decompressed, in bytes.
func streamMax(l Limits) int64 {
	return l.MaxBytes + int64(l.MaxFiles)*headerRoom + maxPadding
}

// A streamLimit ends a stream that only exists to be decompressed: headers without entries would
// otherwise never be counted.
type streamLimit struct {
	io.Reader
	left int64
}

func (s *streamLimit) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if s.left -= int64(n); s.left < 0 {
		return 0, fmt.Errorf("it decompresses to more than its files can hold within max_files and max_bytes")
	}
	return n, err
}

// A tail remembers whether the last block of a tar that was read is all zeros, as the two blocks at
// the end are. Without them the tar reader cannot tell an archive cut off between two entries.
type trailingZeros struct {
	io.Reader
	trailing int // zero bytes at the end of what was read so far, no more counted than needed
}

func (t *trailingZeros) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	zeros := 0
	for zeros < min(n, headSize) && p[n-1-zeros] == 0 {
		zeros++
	}
	if zeros == n {
		t.trailing += n
	} else {
		t.trailing = zeros
	}
	return n, err
}

func (t *trailingZeros) zeros() bool { return t.trailing >= headSize }

// An ahead is a reader whose source is read by a goroutine of its own, some buffers ahead.
type readAheadReader struct {
	full, empty chan []byte
	stop        chan struct{}
	done        sync.WaitGroup
	current     []byte // what Read has not given out yet
	buffer      []byte // the buffer current lies in
	err         error  // what ended the source; written before full is closed
}

func readAhead(r io.Reader) *readAheadReader {
	a := &readAheadReader{full: make(chan []byte, aheadBuffers), empty: make(chan []byte, aheadBuffers), stop: make(chan struct{})}
	for range aheadBuffers {
		a.empty <- nil // most bundles need one buffer only: they are made when used
	}
	a.done.Go(func() {
		defer close(a.full)
		for {
			select {
			case <-a.stop:
				return
			case b := <-a.empty:
				if b == nil {
					b = make([]byte, aheadBuffer)
				}
				n, err := fill(r, b)
				a.full <- b[:n] // never blocks: there are as many places as buffers
				if err != nil {
					a.err = err
					return
				}
			}
		}
	})
	return a
}

// fill is io.ReadFull without its ErrUnexpectedEOF at the end of the source, which here must stay
// different from a source that is cut off.
func fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

func (a *readAheadReader) Read(p []byte) (int, error) {
	for len(a.current) == 0 {
		if a.buffer != nil {
			a.empty <- a.buffer[:cap(a.buffer)]
			a.buffer = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.buffer, a.current = b, b
	}
	n := copy(p, a.current)
	a.current = a.current[n:]
	return n, nil
}

// close ends the goroutine and waits for it. It does not close the source.
func (a *readAheadReader) close() {
	close(a.stop)
	a.done.Wait()
}
