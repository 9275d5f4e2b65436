//go:build killpoints && linux && !developer

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"usher/agent/record"
)

// A binary built with -tags killpoints, and no other, ends itself with SIGKILL at the line of the record
// that USHER_KILL_AT numbers: "7-" before line 7 of this process is written, "7+" after it is on disk. It
// is how the tests cut a launch off at every step without luck.
func init() {
	at := os.Getenv("USHER_KILL_AT")
	if at == "" {
		return
	}
	n, err := strconv.Atoi(strings.TrimRight(at, "+-"))
	if err != nil {
		panic("USHER_KILL_AT: " + err.Error())
	}
	lines := 0
	record.CrashHook = func(e record.Entry, written bool) {
		if !written {
			lines++
		}
		if lines == n && written == strings.HasSuffix(at, "+") {
			fmt.Fprintf(os.Stderr, "killed at line %s: %s %s\n", at, e.What, e.Step)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}
