package hostcommand

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// reported is a payload as the service reads it.
type reported struct {
	Code    int    `json:"error_code"`
	Script  string `json:"script_name"`
	Message string `json:"message"`
	Log     string `json:"log"`
}

// report is what a result is sent as, after the service's own limits were checked.
func report(t *testing.T, r Result) (sent reported) {
	t.Helper()
	d := r.payload()
	if err := json.Unmarshal([]byte(d.Payload), &sent); err != nil || d.Format != "JSON" {
		t.Fatalf("%v in %s %q", err, d.Format, d.Payload)
	}
	if len(d.Payload) > 8192 { // bytes: there are never more characters
		t.Errorf("the payload has %d bytes", len(d.Payload))
	}
	if n := utf8.RuneCountInString(sent.Log); n >= 2048 {
		t.Errorf("the log has %d characters", n)
	}
	return sent
}

func TestResult(t *testing.T) {
	t.Parallel()
	numbered := func(from, to int) (lines []string) {
		for n := from; n <= to; n++ {
			lines = append(lines, fmt.Sprintf("line %05d", n)) // 10 characters
		}
		return lines
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name string
		in   Result
		want reported
	}{
		{"a success", Result{}, reported{0, "", "Succeeded", ""}},
		{"a success with words", Result{Message: "nothing to do", Log: []string{"a"}}, reported{0, "", "nothing to do", "a"}},
		{"a failure", Result{ScriptFailed, "scripts/a.sh", "it failed with exit code 1", []string{"[stdout]one", "[stderr]two"}},
			reported{4, "scripts/a.sh", "it failed with exit code 1", "[stdout]one\n[stderr]two"}},
		{"a failure without words", Result{Code: UnknownError}, reported{5, "", "", ""}},
		{"nothing is escaped that need not be", Result{Code: ScriptFailed, Message: "<a> & b"}, reported{4, "", "<a> & b", ""}},
		{"the newest lines", Result{Code: ScriptFailed, Log: numbered(1, 5000)}, reported{4, "", "", strings.Join(numbered(4815, 5000), "\n")}}, // 186*10+185
		{"just as long as it may be", Result{Code: ScriptFailed, Log: []string{"lost", x(2047)}}, reported{4, "", "", x(2047)}},
		{"longer than it may be", Result{Code: ScriptFailed, Log: []string{"lost", x(2000) + "the end"[1:] + x(42)}}, reported{4, "", "", "…" + x(1998) + "he end" + x(42)}},
		{"two lines that just fit", Result{Code: ScriptFailed, Log: []string{"lost", x(2000), x(46)}}, reported{4, "", "", x(2000) + "\n" + x(46)}},
		{"two lines that do not", Result{Code: ScriptFailed, Log: []string{x(2000), x(47)}}, reported{4, "", "", x(47)}},
		{"empty lines", Result{Code: ScriptFailed, Log: []string{"a", "", "b", ""}}, reported{4, "", "", "a\n\nb\n"}},
		{"characters count, not bytes", Result{Code: ScriptFailed, Log: []string{"lost", strings.Repeat("я", 2047)}}, reported{4, "", "", strings.Repeat("я", 2047)}},
		{"not UTF-8", Result{ScriptFailed, "a\xffb", "\xc3", []string{"\xff\xfe line", "caf\xe9"}}, reported{4, "a\uFFFDb", "\uFFFD", "\uFFFD line\ncaf\uFFFD"}},
		{"escapes", Result{ScriptFailed, "a\"b", "c\\d", []string{"\ttab\x1b[31mred\x00", "\u2028"}}, reported{4, `a"b`, `c\d`, "\ttab\x1b[31mred\x00\n\u2028"}},
		{"a long script", Result{Code: ScriptMissing, Script: x(600)}, reported{1, x(509) + "…", "", ""}},
		{"a long message", Result{Code: ScriptTimedOut, Message: x(3000)}, reported{3, "", x(2045) + "…", ""}},
		{"a message just as long as it may be", Result{Code: ScriptTimedOut, Message: x(2048)}, reported{3, "", x(2048), ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := report(t, c.in); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// The codes are CodeDeploy's numbers.
func TestCodes(t *testing.T) {
	got := []Code{Success, ScriptMissing, ScriptNotExecutable, ScriptTimedOut, ScriptFailed, UnknownError, OutputsLeftOpen, FailedAfterRestart}
	if !slices.Equal(got, []Code{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Error(got)
	}
}

// The worst that can be in all parts at once still fits, and leaves room for a log.
func TestTheWorstResults(t *testing.T) {
	t.Parallel()
	for _, worst := range []string{"\x00", "\x1b", "\"", "\\", "\n", "\u2028", "€", "😀", "\xff", "\xffa", "\xed\xa0\x80", "<", "\x7f", "…"} {
		long := strings.Repeat(worst, 10_000)
		for _, log := range [][]string{{long}, slices.Repeat([]string{worst}, 10_000), {"first", strings.Repeat(worst, 800)}} {
			sent := report(t, Result{FailedAfterRestart, long, long, log})
			whole := strings.ToValidUTF8(strings.Join(log, "\n"), "\uFFFD") // a run of what is not UTF-8 is one character
			end := strings.TrimPrefix(sent.Log, cut)
			if n := utf8.RuneCountInString(end); n < min(900, utf8.RuneCountInString(whole)) || !strings.HasSuffix(whole, end) || sent.Script == "" || sent.Message == "" {
				t.Errorf("%q: %d characters of a log of %d are sent", worst, n, utf8.RuneCountInString(whole))
			}
		}
	}
}

// Any result is sent within the limits, and its log is the end of the whole log: lines that are whole, or
// the end of the last.
func FuzzResult(f *testing.F) {
	f.Add(4, "a.sh", "failed", "one\ntwo\n")
	f.Add(0, "", "", "")
	f.Add(7, "\xff", strings.Repeat("\x01", 3000), strings.Repeat("\xff\n", 3000))
	f.Add(4, strings.Repeat("\"", 600), "€", strings.Repeat("x", 2046)+"\n"+strings.Repeat("\u2028", 2046))
	f.Fuzz(func(t *testing.T, code int, script, message, log string) {
		lines := strings.Split(log, "\n")
		sent := report(t, Result{Code(code), script, message, lines})
		whole := strings.ToValidUTF8(log, "\uFFFD")
		end, short := strings.CutPrefix(sent.Log, cut)
		switch last := strings.ToValidUTF8(lines[len(lines)-1], "\uFFFD"); {
		case strings.HasSuffix("\n"+whole, "\n"+sent.Log): // whole lines
		case short && strings.HasSuffix(last, end) && len(end) > 0:
		default:
			t.Errorf("sent %d characters of %d: %.40q", len(sent.Log), len(log), sent.Log)
		}
	})
}
