// Package format writes durations, sizes, counts, times and lists for people: log lines, errors, status, plans. There is one
// of each, so that the same time or size reads the same wherever usher prints it. Sizes are SI units, as S3 and disks count.
package format

import (
	"fmt"
	"strings"
	"time"
)

// Duration rounds a duration to what matters: 3ms, 1.8s, 4m12s. Less than a millisecond is 0ms.
func Duration(d time.Duration) string {
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

// Summary is a step that ended: "Install in 1.8s (detail)".
func Summary(what string, elapsed time.Duration, detail string) string {
	if detail == "" {
		return fmt.Sprintf("%s in %s", what, Duration(elapsed))
	}
	return fmt.Sprintf("%s in %s (%s)", what, Duration(elapsed), detail)
}

// Seconds is Duration for a number of seconds, as events and the record have them.
func Seconds(s float64) string { return Duration(time.Duration(s * float64(time.Second))) }

// Bytes is a size: 512 B, 14.2 kB, 64.0 MB, 8.0 GB.
func Bytes(n int64) string {
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

// Plural is a count with its noun: 1 file, 2 files, 3 addresses, 4 launches.
func Plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "s"), strings.HasSuffix(what, "ch"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Limited names at most a few things, and counts the others: "a, b, c, d, e and 2 more".
func Limited(names []string) string { return AtMost(5, names) }

// AtMost is Limited with its own limit.
func AtMost(most int, names []string) string {
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// FirstLine is the first line of an error, for a line that is about more than the error.
func FirstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// Local is a time as a person at this machine reads it: its date and time of day, in the local zone.
func Local(t time.Time) string { return t.Local().Format(time.DateTime) }

// JoinNonEmpty joins those parts that are not empty.
func JoinNonEmpty(between string, parts ...string) string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, between)
}

// Ago is a time as people say it: just now, 5 minutes ago, 3 days ago.
func Ago(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return Plural(int(d.Minutes()), "minute") + " ago"
	case d < 48*time.Hour:
		return Plural(int(d.Hours()), "hour") + " ago"
	default:
		return Plural(int(d.Hours()/24), "day") + " ago"
	}
}
