package rollout

import (
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestShortened(t *testing.T) {
	const accented, family = "e\u0301", "\U0001F468\u200D\U0001F469\u200D\U0001F467" // a letter in two code points; one emoji in 8 UTF-16 units
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"it fits", "0123456789", "0123456789"},
		{"it does not", "0123456789a", "012345678…"},
		{"a blank is not left at the end", "01234567 9a", "01234567…"},
		{"lines and tabs", "one\n\ttwo", "one two"},
		{"letters of two bytes", strings.Repeat("ä", 10), strings.Repeat("ä", 10)},
		{"an accent fits with its letter", "01234567" + accented, "01234567" + accented},
		{"or neither does", "01234567" + accented + "x", "01234567…"},
		{"an emoji of several", "0" + family + "1", "0" + family + "1"},
		{"is never cut", "01" + family + "1", "01…"},
		{"a flag neither", "0123456\U0001F1E9\U0001F1EA", "0123456…"},
		{"what is not UTF-8", "a\xffb", "a\uFFFDb"},
	} {
		if got := shortened(c.text, 10); got != c.want {
			t.Errorf("%s: %q is shortened to %q, and not to %q", c.name, c.text, got, c.want)
		}
	}
}

func TestShortenedAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, room := rapid.String().Draw(t, "text"), rapid.IntRange(1, 120).Draw(t, "room")
		got := shortened(text, room)
		if n := len(utf16.Encode([]rune(got))); n > room || !utf8.ValidString(got) {
			t.Fatalf("%q has %d units, %d fit", got, n, room)
		}
		if cut, ok := strings.CutSuffix(got, "…"); ok && !strings.HasPrefix(strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " "), cut) {
			t.Fatalf("%q is no beginning of %q", cut, text)
		}
	})
}
