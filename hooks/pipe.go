package hooks

import (
	"crypto/rand"
	"fmt"
	"os"
	"time"
)

// readSize is one read from a pipe; Linux pipes hold 64 KiB.
const readSize = 64 << 10

// pipe carries one stream of a script to its output. It is read for as long as any process holds its
// other end, so that a process left behind is never stopped by a full or a broken pipe; what comes
// after the script has ended is not kept.
type pipe struct {
	r, w   *os.File
	mark   []byte
	marked chan struct{} // closed when the mark was read, or nothing more can be
	done   chan struct{} // closed when the reading has ended
}

// newPipe makes a pipe and starts to read it. Its goroutine ends when every holder of w has closed
// it, or when r is closed.
func newPipe(stream string, out *output) (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe for its output: %w", err)
	}
	p := &pipe{r: r, w: w, mark: []byte("\x00usher end " + rand.Text()), marked: make(chan struct{}), done: make(chan struct{})}
	go p.read(stream, out)
	return p, nil
}

func (p *pipe) read(stream string, out *output) {
	defer close(p.done)
	defer p.r.Close()
	split := splitter{mark: p.mark, emit: func(raw []byte) { out.add(stream, raw) }}
	buffer := make([]byte, readSize)
	for marked := false; ; {
		n, err := p.r.Read(buffer)
		if !marked && split.write(buffer[:n]) {
			marked = true
			close(p.marked)
		}
		if err != nil {
			if !marked {
				close(p.marked)
			}
			return
		}
	}
}

// finish waits until everything written before now has been read. A mark behind it says when: with
// a process left behind that holds the pipe, its end will not come.
func (p *pipe) finish() {
	limit := time.NewTimer(drainTime)
	defer limit.Stop()
	go func() { // a pipe that is full takes the mark only when it has been read
		_, _ = p.w.Write(append(p.mark, '\n'))
	}()
	select {
	case <-p.marked:
	case <-limit.C:
		p.r.Close()
		<-p.done
	}
}
