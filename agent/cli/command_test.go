package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Whatever a command prints, on either side and in pieces: nothing of it reaches a terminal as more than text.
func TestNothingThatACommandPrintsIsObeyed(t *testing.T) {
	const hostile = "\x1b[31m\r\a\u009b2J\u202eétê\xff"
	p := Program{Commands: []Command{{Name: "show", Args: []string{"[TEXT]"}, Run: func(_ context.Context, in Call) int {
		for i := range len(hostile) {
			fmt.Fprint(in.Stdout, hostile[i:i+1])
		}
		fmt.Fprint(in.Stdout, "\xe2\x80") // a character that does not end
		_ = json.NewEncoder(in.Stderr).Encode("\x1b\x7f\u009b\u202e")
		return ExitDone
	}}}}
	var out, errs strings.Builder
	p.Run(t.Context(), []string{"show"}, &out, &errs)
	if want := `\x1b[31m\x0d\x07\u009b2J\u202eétê\xff\xe2\x80`; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	var back string
	if err := json.Unmarshal([]byte(errs.String()), &back); err != nil || back != "\x1b\x7f\u009b\u202e" || strings.ContainsAny(errs.String(), "\x7f\u009b\u202e") {
		t.Errorf("JSON: %q, %v", errs.String(), err)
	}
	for _, args := range [][]string{{hostile}, {"show", "--" + hostile}, {"show", "a", hostile}, {"help", hostile}} {
		out.Reset()
		errs.Reset()
		if p.Run(t.Context(), args, &out, &errs); errs.Len() == 0 || strings.ContainsAny(out.String()+errs.String(), "\x1b\r\a\u009b\u202e") {
			t.Errorf("%q: %q and %q", args, out.String(), errs.String())
		}
	}
}
