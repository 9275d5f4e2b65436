//go:build linux && !developer

package hooks

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// However a stream is cut into reads, its lines are the same, none is longer than MaxLine, nothing of
// it is lost, and the mark is seen.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), uint16(3))
	f.Add([]byte("\n\n"), uint16(1))
	f.Add([]byte(strings.Repeat("é", MaxLine)), uint16(5000))
	f.Add([]byte("x"+strings.Repeat("\xff", 3*MaxLine)+"\n"), uint16(MaxLine+1))
	f.Add([]byte(strings.Repeat("a", MaxLine+20)), uint16(MaxLine+10))
	f.Add([]byte("mar"), uint16(2))
	mark := []byte("\x00mark of 20 bytes..")
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		stream = bytes.ReplaceAll(stream, mark, nil)
		split := func(size int) (got []string, marked bool) {
			s := lineSplitter{mark: mark, emit: func(raw []byte) { got = append(got, string(raw)) }}
			for chunk := range slices.Chunk(slices.Concat(stream, mark, []byte("\n")), size) {
				if marked {
					t.Fatal("bytes after the mark")
				}
				marked = s.write(chunk)
			}
			return got, marked
		}
		got, marked := split(int(size) + 1)
		whole, _ := split(len(stream) + len(mark) + 1)
		if !marked || !slices.Equal(got, whole) {
			t.Fatalf("marked %v; cut %d bytes at a time: %q, whole: %q", marked, size+1, got, whole)
		}
		for _, line := range got {
			if len(line) > MaxLine || strings.Contains(line, "\n") {
				t.Fatalf("a line of %d bytes", len(line))
			}
			if utf8.Valid(stream) && !utf8.ValidString(line) {
				t.Fatal("a character was cut in two")
			}
		}
		if want := strings.ReplaceAll(string(stream), "\n", ""); strings.Join(got, "") != want {
			t.Fatal("not everything was given")
		}
	})
}

// What comes out is always fit for a journal and a terminal, and plain text is left as it is.
func FuzzClean(f *testing.F) {
	f.Add([]byte("plain é\ttext"))
	f.Add([]byte("\x1b[1;31mred\x1b[0m\x1b]0;title\x1b\\ \x1b"))
	f.Add([]byte("\xff\x00\xc2\x85\r"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := Clean(raw)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }) {
			t.Fatalf("%q becomes %q", raw, got)
		}
		if Clean([]byte(got)) != got {
			t.Fatalf("%q becomes %q, and that something else again", raw, got)
		}
	})
}
