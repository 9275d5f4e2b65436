//go:build linux && !developer

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseMemory gives back the memory that a launch or a deployment took: a server's memory is the application's.
//
// The heap is the smaller half. The other is the agent's own program, of which a launch runs nearly all, once, and the
// service little. The kernel is slow to take mapped code away. Of an application's files that nearly fitted beside it (60
// MB, 16 MB of code, 72 MB of memory) it dropped 27 to 56 MB, to be read from the disk again, before it took the
// code; and nothing where the code was let go first. So the kernel is told that none of it is in use. What is comes back
// from the page cache when it is touched. The agent works without all this: what fails here is no failure.
func releaseMemory() {
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, m := range cleanMappings(f) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED)
	}
}

// A mapping is a part of the process's memory.
type mapping struct{ from, to uintptr }

// cleanMappings are the private mappings of files in which there is nothing but what the file has. Read-only is not
// enough for that: a dynamic linker writes to pages that it then makes read-only, and a debugger into code. Such pages
// count as anonymous, and to drop one would lose what was written.
func cleanMappings(smaps io.Reader) (all []mapping) {
	var m mapping
	var readOnly, clean bool
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		switch name, figure, _ := strings.Cut(lines.Text(), ":"); name {
		case "Anonymous":
			clean = readOnly && strings.TrimSpace(figure) == "0 kB"
		case "Swap":
			if clean && strings.TrimSpace(figure) == "0 kB" {
				all = append(all, m)
			}
		default: // "00400000-00c06000 r-xp 00000000 fe:00 10019394   /usr/bin/usher", or a figure that does not matter here
			var next mapping
			var mode, offset, device string
			var file uint64
			if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s %s %s %d", &next.from, &next.to, &mode, &offset, &device, &file); n == 6 {
				m, readOnly, clean = next, file != 0 && (mode == "r-xp" || mode == "r--p"), false
			}
		}
	}
	return all
}
