package hooks

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxLine is how many bytes of a line are kept together; a longer line is cut into pieces of
	// that size. A journal entry of the systemd releases we run on may be far larger: this is what a
	// person can still read.
	MaxLine = 8 << 10

	// MaxLines and MaxOutput bound what one script may put in the journal, so that a script that
	// loops does not push everything else out of it.
	MaxLines  = 20_000
	MaxOutput = 4 << 20 // bytes

	// TailLines is how many last lines are kept whatever was dropped: what fits in CodeDeploy's
	// diagnostics (2 KiB) and on one screen of an error message.
	TailLines = 20
)

// output takes the lines of a script's two streams, counts them, and hands them on.
type output struct {
	line func(stream, text string)

	mu      sync.Mutex // one line at a time, whichever stream it comes from
	bytes   int
	lines   int
	dropped int
	tail    []string
}

func (o *output) add(stream string, raw []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := clean(raw)
	if len(o.tail) == TailLines {
		copy(o.tail, o.tail[1:])
		o.tail = o.tail[:TailLines-1]
	}
	o.tail = append(o.tail, text)
	if o.lines >= MaxLines || o.bytes+len(text) > MaxOutput {
		o.bytes = MaxOutput // once dropped, always dropped: a log with holes misleads
		o.dropped++
		return
	}
	o.lines++
	o.bytes += len(text)
	if o.line != nil {
		o.line(stream, text)
	}
}

// splitter cuts one stream into lines, and into pieces where a line is longer than MaxLine. The mark
// ends the stream: what stands before it on its line is the last, unfinished line.
type splitter struct {
	mark []byte
	emit func(raw []byte)
	rest []byte // of a line that has not ended
}

// write takes the next bytes of the stream and reports whether the mark was among them.
func (s *splitter) write(p []byte) (marked bool) {
	for len(p) > 0 {
		part := p
		i := bytes.IndexByte(p, '\n')
		if i >= 0 {
			part = p[:i]
		}
		p = p[len(part):]
		s.rest = append(s.rest, part...)
		// The mark is never cut: a line is cut only when more than a mark is left of it.
		for len(s.rest) >= MaxLine+len(s.mark) {
			n := wholeRunes(s.rest, MaxLine)
			s.emit(s.rest[:n])
			s.rest = append(s.rest[:0], s.rest[n:]...)
		}
		if i < 0 {
			return false
		}
		p = p[1:]
		last, marked := bytes.CutSuffix(s.rest, s.mark)
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

// wholeRunes is at most n, and less where n would cut a UTF-8 character in two.
func wholeRunes(b []byte, n int) int {
	for cut := n; cut > n-utf8.UTFMax; cut-- {
		if utf8.RuneStart(b[cut]) {
			return cut
		}
	}
	return n // no UTF-8 at all
}

// clean makes a line fit for a journal and a terminal: terminal control sequences (colours) are
// dropped, tabs kept, other control characters and bytes that are not UTF-8 written as \xNN, and the
// carriage return of a CRLF left out.
func clean(raw []byte) string {
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	var b strings.Builder
	b.Grow(len(raw))
	for len(raw) > 0 {
		if n := controlSequence(raw); n > 0 {
			raw = raw[n:]
			continue
		}
		r, n := utf8.DecodeRune(raw)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\t' {
			for _, c := range raw[:n] {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		} else {
			b.Write(raw[:n])
		}
		raw = raw[n:]
	}
	return b.String()
}

// controlSequence is the length of the terminal control sequence (ECMA-48 CSI or OSC) at the start
// of b, 0 when there is none.
func controlSequence(b []byte) int {
	if len(b) < 2 || b[0] != 0x1b {
		return 0
	}
	switch b[1] {
	case '[':
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x3f {
				return 0
			}
		}
	case ']':
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == 0x1b && i+1 < len(b) && b[i+1] == '\\' {
				return i + 2
			}
		}
	}
	return 0
}
