//go:build linux && !developer

package main

import (
	"fmt"
	"strings"
	"testing"
)

// What may be dropped is what a file has, and nothing else.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	const smaps = "00400000-00c06000 r-xp 00000000 fe:00 4711                     /usr/bin/usher (deleted)\nRss: 7524 kB\nAnonymous:             0 kB\nSwap:                  0 kB\n" +
		"00c06000-013b5000 r--p 00806000 fe:00 4711                     /usr/bin/usher: the agent\nAnonymous:             0 kB\nAnonHugePages:         0 kB\nSwap:                  0 kB\nSwapPss:               0 kB\n" +
		"013b5000-01474000 rw-p 00fb5000 fe:00 4711                     /usr/bin/usher\nAnonymous:             0 kB\nSwap:                  0 kB\n" + // data
		"01474000-034b9000 rw-p 00000000 00:00 0 \nAnonymous:           116 kB\nSwap:                  0 kB\n" +
		"7f0000000000-7f0000001000 r--p 00000000 00:00 0 \nAnonymous:             0 kB\nSwap:                  0 kB\n" + // a guard page, as it were
		"7f6b82fc0000-7f6b83300000 r--p 001d0000 fe:00 42               /lib/libc.so.6\nAnonymous:             8 kB\nSwap:                  0 kB\n" + // relocated
		"7f6b83300000-7f6b83400000 r--p 001d0000 fe:00 43               /lib/libm.so.6\nAnonymous:             0 kB\nSwap:                  4 kB\n" + // relocated, then swapped out
		"7f6b83400000-7f6b83500000 r-xp 00000000 fe:00 42               /lib/libc.so.6\nAnonymous:             4 kB\nSwap:                  0 kB\n" + // a breakpoint
		"7f6b83500000-7f6b83600000 r--s 00000000 fe:00 44               /var/cache/shared\nAnonymous:             0 kB\nSwap:                  0 kB\n" +
		"7f6bc9de1000-7f6bc9de3000 r-xp 00000000 00:00 0                [vdso]\nAnonymous:             0 kB\nSwap:                  0 kB\n" +
		"7f6bc9e00000-7f6bc9e01000 r-xp 00000000 fe:00 45               /lib/last.so\nAnonymous:             0 kB\n" // cut off
	got := fmt.Sprintf("%x", cleanMappings(strings.NewReader(smaps)))
	if want := "[{400000 c06000} {c06000 13b5000}]"; got != want {
		t.Errorf("may be dropped:\n got: %s\nwant: %s", got, want)
	}
}
