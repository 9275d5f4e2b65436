//go:build linux && !developer

package hooks

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// readSize is one read from a pipe: as much as a pipe holds.
const readSize = 64 << 10

// capture carries what a script writes to its output. The pipes are read for as long as any process
// holds their other ends, so that a process left behind is never stopped by a full or a broken pipe;
// what comes after the script has ended is not kept.
type capture struct {
	r, w  [2]*os.File // stdout, stderr
	mark  []byte      // what finish writes behind everything else
	wake  *os.File    // an eventfd that ends the reading for the script
	ended chan struct{}
	done  chan struct{} // closed when nobody holds the other ends any more, or the pipes were closed
}

// newCapture makes the pipes and starts to read them. Its goroutines end when every holder of the
// other ends has closed them, or by close.
func newCapture(out *output) (*capture, error) {
	c := &capture{mark: []byte("\x00usher end " + rand.Text()), ended: make(chan struct{}), done: make(chan struct{})}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot capture its output: %w", err)
	}
	c.wake = os.NewFile(uintptr(wake), "eventfd")
	fds := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}
	for i := range c.r {
		if c.r[i], c.w[i], err = os.Pipe(); err == nil {
			err = control(c.r[i], func(fd int) { fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) })
		}
		if err != nil {
			c.closeAll()
			return nil, fmt.Errorf("cannot capture its output: %w", err)
		}
	}
	go c.run(fds, out)
	return c, nil
}

// control calls f with a file's descriptor. File.Fd would switch it to blocking.
func control(file *os.File, f func(fd int)) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

func (c *capture) closeAll() {
	for _, f := range append(append([]*os.File{c.wake}, c.r[:]...), c.w[:]...) {
		if f != nil {
			f.Close()
		}
	}
}

func (c *capture) run(fds []unix.PollFd, out *output) {
	defer close(c.done)
	c.read(fds, out)
	close(c.ended)
	var drains sync.WaitGroup
	for _, r := range c.r {
		drains.Go(func() { _, _ = io.Copy(io.Discard, r) }) // its end is what we wait for, however it comes
	}
	drains.Wait()
	c.closeAll()
}

// read takes both streams until the mark was in both. One loop reads them, and stdout first, so that
// the lines of the two come in the order they were written as nearly as two pipes allow, and the
// message a script ends with is its last line.
func (c *capture) read(fds []unix.PollFd, out *output) {
	var splits [2]lineSplitter
	for i, stream := range [...]string{"stdout", "stderr"} {
		splits[i] = lineSplitter{mark: c.mark, emit: func(raw []byte) { out.add(stream, raw) }}
	}
	buffer := make([]byte, readSize)
	for open := 2; open > 0; {
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		for i := range fds {
			if fds[i].Revents == 0 {
				continue
			}
			if i == 0 { // woken: what is not here by now is lost
				return
			}
			n, err := unix.Read(int(fds[i].Fd), buffer)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
				continue
			}
			if n <= 0 || splits[i-1].write(buffer[:n]) {
				fds[i].Fd = -1 // no more from this one
				open--
			}
		}
	}
}

// finish waits until everything written before now has been read. A mark behind it says when: with
// a process left behind that holds the pipe, its end will not come.
func (c *capture) finish() {
	limit := time.NewTimer(drainTime)
	defer limit.Stop()
	for _, w := range c.w {
		go w.Write(slices.Concat(c.mark, []byte("\n"))) // a full pipe takes it only when it has been read
	}
	select {
	case <-c.ended:
	case <-limit.C:
		c.interrupt()
	}
}

// interrupt ends the reading for the script.
func (c *capture) interrupt() {
	_, _ = c.wake.Write([]byte{7: 1}) // 8 bytes that are not 0
	<-c.ended
}

// release gives up our own ends of the pipes. The capture is done when no process holds another.
func (c *capture) release() {
	for _, w := range c.w {
		w.Close()
	}
}

// isDone reports whether nobody holds the pipes any more.
func (c *capture) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// close stops reading for good.
func (c *capture) close() {
	c.interrupt()
	for _, r := range c.r {
		r.Close()
	}
	<-c.done
}

// lineSplitter cuts one stream into lines, and into pieces where a line is longer than MaxLine. The mark
// ends the stream: what stands before it on its line is the last, unfinished line.
type lineSplitter struct {
	mark []byte
	emit func(raw []byte)
	rest []byte // of a line that has not ended
}

// write takes the next bytes of the stream and reports whether the mark was among them.
func (s *lineSplitter) write(p []byte) (marked bool) {
	for len(p) > 0 {
		part, after, ended := bytes.Cut(p, []byte("\n"))
		p = after
		s.rest = append(s.rest, part...)
		if !ended {
			// The mark may have begun, so as much as a mark is kept.
			left := s.pieces(s.rest, MaxLine+len(s.mark))
			s.rest = append(s.rest[:0], left...)
			return false
		}
		last, marked := bytes.CutSuffix(s.rest, s.mark)
		last = s.pieces(last, MaxLine)
		if !marked || len(last) > 0 {
			s.emit(last)
		}
		s.rest = s.rest[:0]
		if marked {
			return true
		}
	}
	return false
}

// pieces emits the beginning of a line in pieces, until no more than limit is left.
func (s *lineSplitter) pieces(line []byte, limit int) (left []byte) {
	for len(line) > limit {
		n := wholeRunes(line, MaxLine)
		s.emit(line[:n])
		line = line[n:]
	}
	return line
}
