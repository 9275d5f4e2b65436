package format

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Printable is text of somebody else - a commit's subject, a script's output, a description, a tag, a file's name, a
// server's error - as it may be shown on a terminal: what would move the cursor, colour, ring, hide or turn the order of
// what stands there is written out, as \x1b or \u202e; JSON, where nothing below \x7f stands unescaped, means the same after it. Tabs and ends of lines stay; a caller that has one line folds them.
func Printable(text string) string {
	if !strings.ContainsFunc(text, unprintable) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case unprintable(r) && r < 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unprintable are the controls (C0, DEL, C1), what turns the direction of writing (Unicode's bidirectional controls, by
// which a text reads otherwise than it is), separators that a terminal may take for an end of line, and what has no width.
// The joiners U+200C and U+200D stay: names and emoji are written with them.
func unprintable(r rune) bool {
	switch {
	case r == '\t', r == '\n':
		return false
	case r < ' ', r >= 0x7f && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200b, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff:
		return true
	}
	return false
}
