package main

import (
	"encoding/json"
	"fmt"
	"io"

	"usher/agent/format"
	"usher/hooks"
)

// findings is what `usher check` found out about a revision, and how it says it.
type findings struct {
	Path     string          `json:"path"`
	OK       bool            `json:"ok"` // what the exit code says
	Files    int             `json:"files"`
	Bytes    int64           `json:"bytes"` // unpacked
	Errors   int             `json:"errors"`
	Warnings int             `json:"warnings"`
	Problems []hooks.Problem `json:"problems"` // by file and line

	read   bool // it could be unpacked
	strict bool // warnings count as errors
	json   bool
}

// show prints the findings, and returns the exit code.
func (f findings) show(w io.Writer) int {
	f.Errors = len(hooks.Errors(f.Problems))
	f.Warnings = len(f.Problems) - f.Errors
	f.OK = f.Errors == 0 && (f.Warnings == 0 || !f.strict)
	code := exitDone
	if !f.OK {
		code = exitFailed
	}
	if f.json {
		if f.Problems == nil {
			f.Problems = []hooks.Problem{}
		}
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(f); err != nil {
			return exitFailed
		}
		return code
	}
	for _, p := range f.Problems {
		fmt.Fprintln(w, p)
	}
	switch {
	case !f.read: // that is all there is to say
	case f.OK:
		fmt.Fprintf(w, "%s: ok: %s, %s unpacked; %s\n", f.Path, format.Plural(f.Files, "file"), format.Bytes(f.Bytes), format.Plural(f.Warnings, "warning"))
	default:
		fmt.Fprintf(w, "%s: %s, %s\n", f.Path, format.Plural(f.Errors, "problem"), format.Plural(f.Warnings, "warning"))
	}
	return code
}
