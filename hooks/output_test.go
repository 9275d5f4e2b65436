//go:build linux && !developer

package hooks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"usher/hooks"
)

// A script that writes far too much: what is handed on is bounded, the end is known all the same, and
// memory does not grow with it.
func TestOutputBounds(t *testing.T) {
	long := strings.Repeat("x", hooks.MaxLine)
	tests := []struct {
		name, script   string
		lines, dropped int
		bytes          int // at most
		last           string
	}{
		{"50 MB of lines", "yes 0123456789012345678901234567890123456789012345678 | head -c 50000000; echo end >&2",
			hooks.MaxLines, 1_000_001 - hooks.MaxLines, hooks.MaxOutput, "end"},
		{"50 MB of one line", "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end",
			hooks.MaxOutput / hooks.MaxLine, 50_000_000/hooks.MaxLine + 2 - hooks.MaxOutput/hooks.MaxLine, hooks.MaxOutput, "end"},
		{"a line of just the length", "head -c 8192 /dev/zero | tr '\\0' x; echo", 1, 0, hooks.MaxLine, long},
		{"a line one longer", "head -c 8193 /dev/zero | tr '\\0' x; echo", 2, 0, hooks.MaxLine + 1, "x"},
		{"a long line without an end", "head -c 8193 /dev/zero | tr '\\0' x", 2, 0, hooks.MaxLine + 1, "x"},
		{"a long line of two-byte characters", "printf x; for i in $(seq 5000); do printf é; done", 2, 0, 10_001, strings.Repeat("é", 905)},
		{"a long line of zeros", "head -c 8193 /dev/zero", 2, 0, 4 * (hooks.MaxLine + 1), `\x00`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := script(t, "#!/bin/bash\n"+test.script)
			lines, bytes := 0, 0
			r, err := hooks.Run(t.Context(), groups(t), s, hooks.Off, func(_, text string) {
				lines++
				bytes += len(text)
				if len(text) > 4*hooks.MaxLine { // each byte may be written \xNN
					t.Errorf("a line of %d bytes", len(text))
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if lines != test.lines || r.Lines != lines || r.Dropped != test.dropped || bytes > test.bytes {
				t.Errorf("%d lines of %d bytes; %d counted, %d dropped", lines, bytes, r.Lines, r.Dropped)
			}
			if last := r.Tail[len(r.Tail)-1]; last != test.last {
				t.Errorf("the last line has %d bytes: %.40q", len(last), last)
			}
		})
	}
}

// Both streams tell one story: the last line is what the script said last.
func TestOutputOrder(t *testing.T) {
	s := script(t, "#!/bin/sh\nfor i in 1 2 3 4 5; do echo out $i; done\necho cannot go on >&2\nexit 1")
	for range 20 {
		r, _ := hooks.Run(t.Context(), groups(t), s, hooks.Off, nil)
		if diff := differ(r.Tail, []string{"out 1", "out 2", "out 3", "out 4", "out 5", "cannot go on"}); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Lines come while the script runs, not when it has ended.
func TestOutputLive(t *testing.T) {
	dir := t.TempDir()
	s := script(t, fmt.Sprintf("#!/bin/sh\necho ready\nuntil [ -e %s/go ]; do sleep 0.01; done\necho gone", dir))
	var got []string
	_, err := hooks.Run(t.Context(), groups(t), s, hooks.Enforce, func(_, text string) {
		got = append(got, text)
		write(t, filepath.Join(dir, "go"), "", 0o644) // the script waits for it
	})
	if diff := differ(got, []string{"ready", "gone"}); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// A process left behind that takes the script's output away does not hang the deployment, and after
// Close neither goroutines nor descriptors are left.
func TestCloseEndsAll(t *testing.T) {
	files := func() int { e, _ := os.ReadDir("/proc/self/fd"); return len(e) }
	g := &hooks.ProcessGroups{KillGrace: testGrace}
	warm := script(t, "#!/bin/sh\n:") // the runtime opens some of its own
	if _, err := hooks.Run(t.Context(), g, warm, hooks.Off, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first run is over", func() bool { g.Close(); return runtime.NumGoroutine() <= 3 })
	goroutines, open := runtime.NumGoroutine(), files()

	g = &hooks.ProcessGroups{KillGrace: testGrace}
	for range 5 {
		s := script(t, "#!/bin/sh\nsleep 600 &\necho $!")
		r, err := hooks.Run(t.Context(), g, s, hooks.Off, nil)
		if err != nil || len(r.BackgroundProcesses) != 1 {
			t.Fatal(r, err)
		}
		t.Cleanup(func() { syscall.Kill(int(number(t, r.Tail[0])), syscall.SIGKILL) })
	}
	if files() < open+10 {
		t.Error("nothing is held open for the processes left behind")
	}
	g.Close()
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "all files are closed", func() bool { return files() <= open })
}
