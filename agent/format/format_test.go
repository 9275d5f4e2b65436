package format

import (
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	for got, want := range map[string]string{
		Duration(999 * time.Microsecond):          "0ms",
		Duration(1500 * time.Microsecond):         "2ms",
		Duration(1840 * time.Millisecond):         "1.8s",
		Duration(252*time.Second + 1):             "4m12s",
		Seconds(0.0804):                           "80ms",
		Summary("Install", time.Second, ""):       "Install in 1.0s",
		Summary("Install", time.Second, "1 file"): "Install in 1.0s (1 file)",
		Bytes(999):           "999 B",
		Bytes(14_230):        "14.2 kB",
		Bytes(64_000_000):    "64.0 MB",
		Bytes(8_000_000_000): "8.0 GB",
		Plural(1, "file"):    "1 file",
		Plural(0, "file"):    "0 files",
		Plural(2, "address"): "2 addresses",
		Plural(2, "launch"):  "2 launches",
		Limited([]string{"a", "b", "c", "d", "e"}):           "a, b, c, d, e",
		Limited([]string{"a", "b", "c", "d", "e", "f", "g"}): "a, b, c, d, e and 2 more",
		AtMost(1, []string{"a", "b"}):                        "a and 1 more",
		JoinNonEmpty("; ", "", "a", "", "b"):                 "a; b",
		Ago(time.Now().Add(-time.Second)):                    "just now",
		Ago(time.Now().Add(-90 * time.Minute)):               "1 hour ago",
		Ago(time.Now().Add(-72*time.Hour - time.Second)):     "3 days ago",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
