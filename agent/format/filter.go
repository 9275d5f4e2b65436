package format

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Filtered is what people or their programs read: all that is written goes through [Printable] on its way. Every command's
// standard output and standard error is one (package cli), so that no command has to remember.
type Filtered struct {
	mu   sync.Mutex
	to   io.Writer
	rest []byte // the beginning of a character whose end was not written yet
}

// Filter is w behind a filter; what has one gets no second.
func Filter(w io.Writer) *Filtered {
	if f, ok := w.(*Filtered); ok {
		return f
	}
	return &Filtered{to: w}
}

// Unfiltered is what lies behind a filter, for what draws on a terminal itself and makes every text printable before.
func Unfiltered(w io.Writer) io.Writer {
	if f, ok := w.(*Filtered); ok {
		return f.to
	}
	return w
}

func (f *Filtered) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := append(f.rest, text...)
	end := len(all)
	for n := 1; n < utf8.UTFMax && n <= len(all); n++ {
		if utf8.RuneStart(all[len(all)-n]) {
			if !utf8.FullRune(all[len(all)-n:]) {
				end = len(all) - n
			}
			break
		}
	}
	f.rest = append([]byte(nil), all[end:]...)
	if _, err := io.WriteString(f.to, Printable(string(all[:end]))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Close writes what was left of a character that never ended. What lies behind stays open.
func (f *Filtered) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := Printable(string(f.rest))
	f.rest = nil
	_, err := io.WriteString(f.to, rest)
	return err
}
