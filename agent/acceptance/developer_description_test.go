package acceptance

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A subject of any length, in any script, can be deployed and rolled back to: CodeDeploy takes 100 characters, which are
// the whole of the description with what usher adds to it.
func TestLongSubjects(t *testing.T) {
	h := newShop(t, 1, production())
	deploy := func(line string) {
		t.Helper()
		h.ended(h.usher(line), 0)
		calls := h.cloud.CallsOf("CreateDeployment")
		text := calls[len(calls)-1].Params["description"]
		if n := utf8.RuneCountInString(text); n > 100 || !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
			t.Errorf("%s: the description has %d characters: %q", line, n, text)
		}
		if !strings.Contains(text, "(usher ") || !strings.HasSuffix(text, ")") {
			t.Errorf("%s: the description has lost its mark: %q", line, text)
		}
	}
	family := "\U0001F468\u200D\U0001F469\u200D\U0001F467" // one character to a reader, five to a computer
	for n, subject := range []string{strings.Repeat("a", 61), strings.Repeat("b", 300), strings.Repeat("ä", 73), strings.Repeat("e\u0301", 60), strings.Repeat(family, 20)} {
		h.commit(subject, edition(itoa(n+2)))
		deploy("deploy production")
	}
	for _, c := range h.commits[1:5] {
		deploy("rollback production " + c)
	}
	deploy("deploy -m " + strings.Repeat("long", 60) + " production")
}
