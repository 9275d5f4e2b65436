package format

import (
	"testing"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"plain text, with ä, 日本 and 👩‍💻\tand\nlines", "plain text, with ä, 日本 and 👩‍💻\tand\nlines"},
		{"\x1b]0;title\x07\x1b[31mred\x1b[0m", `\x1b]0;title\x07\x1b[31mred\x1b[0m`},
		{"over\rwritten\b\x7f", `over\x0dwritten\x08\u007f`},
		{"csi \u009b2J", `csi \u009b2J`},
		{"user\u202egnp.exe\u2066x\u2069", `user\u202egnp.exe\u2066x\u2069`},
		{"a\u200bb\ufeff\u2028c", `a\u200bb\ufeff\u2028c`},
		{"not \xff\xfe text \ufffd", "not \\xff\\xfe text \ufffd"},
	} {
		if got := Printable(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// Whatever comes in, no control goes out, and what is printable already stays as it is.
func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J")
	f.Add("a\u202eb\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := Printable(text)
		for _, r := range got {
			if unicode.IsControl(r) && r != '\t' && r != '\n' || unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%q: %q has %q", text, got, r)
			}
		}
		if again := Printable(got); again != got {
			t.Errorf("%q: %q, then %q", text, got, again)
		}
	})
}
