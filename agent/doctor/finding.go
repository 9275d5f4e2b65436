package doctor

import (
	"fmt"
	"io"
	"strings"

	"usher/agent/format"
)

// Level is how bad a finding is.
type Level string

// The levels. A problem keeps a launch or a deployment from going well; a warning may.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is one thing that was looked at.
type Finding struct {
	Level   Level  `json:"level"`
	Subject string `json:"about"` // one word or two: "unit", "hook"
	Text    string `json:"text"`  // what was seen, one line
	Do      string `json:"do,omitempty"`
}

// String is the finding as a line, without its level.
func (f Finding) String() string {
	text := f.Subject + ": " + f.Text
	if f.Do != "" {
		text += ": " + f.Do
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// Report is what was found, in the order it was looked for.
type Report []Finding

// OK adds that something is as it should be.
func (r *Report) OK(about, format string, args ...any) {
	*r = append(*r, Finding{OK, about, fmt.Sprintf(format, args...), ""})
}

// Warn adds a warning, with what to do.
func (r *Report) Warn(about, do, format string, args ...any) {
	*r = append(*r, Finding{Warning, about, fmt.Sprintf(format, args...), do})
}

// Problem adds a problem, with what to do.
func (r *Report) Problem(about, do, format string, args ...any) {
	*r = append(*r, Finding{Problem, about, fmt.Sprintf(format, args...), do})
}

// Count is how many findings of a level there are.
func (r Report) Count(level Level) (n int) {
	for _, f := range r {
		if f.Level == level {
			n++
		}
	}
	return n
}

// Print writes a line for each finding.
func (r Report) Print(w io.Writer) {
	for _, f := range r {
		about, rest, _ := strings.Cut(f.String(), ": ")
		fmt.Fprintf(w, "%-8s %-12s %s\n", f.Level, about, format.Printable(rest))
	}
}
