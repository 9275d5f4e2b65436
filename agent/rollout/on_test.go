package rollout

import (
	"strings"
	"testing"
)

// A command that reads nothing of a large event has not failed, and of all that one prints the end is kept.
func TestRunOn(t *testing.T) {
	r := &Repository{Dir: t.TempDir()}
	large := Event{Type: OnInput, Message: strings.Repeat("x", 1<<20)}
	if out, err := r.RunOn(t.Context(), "echo posted", large); out != "posted\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := r.RunOn(t.Context(), "cat; echo the end", large); len(out) != onOutput || !strings.HasSuffix(out, "x\"}\nthe end\n") || err != nil {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}
