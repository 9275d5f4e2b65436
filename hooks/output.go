package hooks

import (
	"bytes"
	"fmt"
	"strings"
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

// output takes the lines of a script, counts them, and hands them on. It serves one goroutine.
type output struct {
	line    func(stream, text string)
	bytes   int
	lines   int
	dropped int
	last    [TailLines][]byte // a ring of the last lines, as they were written
}

func (o *output) add(stream string, raw []byte) {
	slot := &o.last[(o.lines+o.dropped)%TailLines]
	*slot = append((*slot)[:0], raw...)
	if o.dropped > 0 || o.lines == MaxLines { // once dropped, always dropped: a log with holes misleads
		o.dropped++
		return
	}
	text := Clean(raw)
	if o.bytes+len(text) > MaxOutput {
		o.dropped++
		return
	}
	o.lines++
	o.bytes += len(text)
	if o.line != nil {
		o.line(stream, text)
	}
}

// tail is the last lines, the oldest first.
func (o *output) tail() []string {
	var lines []string
	end := o.lines + o.dropped
	for i := max(0, end-TailLines); i < end; i++ {
		lines = append(lines, Clean(o.last[i%TailLines]))
	}
	return lines
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

// Clean makes a line fit for a journal and a terminal: terminal control sequences (colours) are
// dropped, tabs kept, other control characters and bytes that are not UTF-8 written as \xNN, and the
// carriage return of a CRLF left out.
func Clean(raw []byte) string {
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
