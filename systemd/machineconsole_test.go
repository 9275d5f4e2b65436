package systemd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLastWords(t *testing.T) {
	console := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(console, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeConsole(console, []string{"ABANDON: it failed", "  | \x1b[31mred\x07\tgrün"}); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(console)
	if want := "usher: ABANDON: it failed\nusher:   | ?[31mred?\tgrün\n"; string(got) != want {
		t.Errorf("on the console:\n got: %q\nwant: %q", got, want)
	}
}

// A console that nobody reads from is given up: the verdict is more urgent.
func TestLastWordsOnAStoppedConsole(t *testing.T) {
	t.Parallel()
	console := filepath.Join(t.TempDir(), "console")
	if err := unix.Mkfifo(console, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(console, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := writeConsole(console, []string{strings.Repeat("x", 1<<20)}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a console that takes nothing: %v", err)
	}
}
