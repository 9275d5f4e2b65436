package standin

import (
	"strings"
	"testing"
)

// A description is counted in characters, not in bytes.
func TestDescriptionLength(t *testing.T) {
	for text, want := range map[string]bool{"a": true, "ä": true, "語": true} {
		if got := checkDescription(strings.Repeat(text, maxDescription)) == nil; got != want {
			t.Errorf("%d times %q is taken: %v", maxDescription, text, got)
		}
		if checkDescription(strings.Repeat(text, maxDescription+1)) == nil {
			t.Errorf("%d times %q is taken", maxDescription+1, text)
		}
	}
}
