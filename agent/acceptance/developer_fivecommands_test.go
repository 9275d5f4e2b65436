package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The walk-through of hooks/README.md, typed: each of its commands does what is shown, and the last one deploys.
func TestFiveCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.CopyFS(filepath.Join(dir, "shop"), os.DirFS(filepath.Join(house, "agent/acceptance/testdata/codedeploy"))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binaries.usher, filepath.Join(bin, "usher")); err != nil {
		t.Fatal(err)
	}
	var shown string
	for _, d := range documents(t) {
		if d.name != "hooks/README.md" {
			continue
		}
		_, rest, _ := strings.Cut(strings.Join(d.lines, "\n"), "TestFiveCommands -->\n```\n")
		shown, _, _ = strings.Cut(rest, "\n```\n")
	}
	commands := strings.Split("\n"+shown, "\n$ ")[1:]
	if len(commands) != 5 {
		t.Fatalf("the document has %d commands", len(commands))
	}
	for n, text := range commands {
		typed, output, _ := strings.Cut(text, "\n")
		cmd := exec.CommandContext(t.Context(), "bash", "-c", typed)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + dir}
		got, err := cmd.CombinedOutput()
		if refuses := n == 0; (err != nil) != refuses {
			t.Fatalf("%s: %v\n%s", typed, err, got)
		}
		left := strings.Split(clock.ReplaceAllString(string(got), ""), "\n")
		for _, want := range strings.Split(output, "\n") {
			if want == "" || want == "..." {
				continue
			}
			prefix, cut := strings.CutSuffix(want, "...")
			for len(left) > 0 && left[0] != want && !(cut && strings.HasPrefix(left[0], prefix)) {
				left = left[1:]
			}
			if len(left) == 0 {
				t.Fatalf("%s does not say, in this order:\n%s\nbut\n%s", typed, want, got)
			}
			left = left[1:]
		}
	}
}
