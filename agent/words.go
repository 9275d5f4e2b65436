package main

import (
	"fmt"
	"strings"
	"time"
)

// How durations, sizes and counts are written for a person.

// took rounds a duration to what matters: 3ms, 1.8s, 4m12s.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "0ms"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// sentence is "What in 1.8s (detail)".
func sentence(what string, elapsed time.Duration, detail string) string {
	if detail == "" {
		return fmt.Sprintf("%s in %s", what, took(elapsed))
	}
	return fmt.Sprintf("%s in %s (%s)", what, took(elapsed), detail)
}

// size is in SI units, as disks and S3 are sold.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// list names at most a few things.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// firstLine is the first line of an error, for a line that is about something else.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
