package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
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

// What is typed and empty is not what was left out: usher deploy production "$SHA" must not be usher deploy production.
func TestSenselessArguments(t *testing.T) {
	run := 0
	p := Program{Commands: []Command{{Name: "deploy", Args: []string{"ENV", "[REF]"}, Flags: func(f *flag.FlagSet) {
		f.String("bundle", "", "")
		f.Duration("wait", 0, "")
		f.Int("limit", 20, "")
		f.Bool("yes", false, "")
	}, Run: func(context.Context, Call) int { run++; return ExitDone }}}}
	for want, args := range map[string][]string{
		"usher deploy: REF is empty: is a variable not set?\n":                                                              {"production", ""},
		"usher deploy: ENV is empty: is a variable not set?\n":                                                              {"", "main"},
		"usher deploy: --bundle is empty: is a variable not set?\n":                                                         {"--bundle=", "production"},
		"usher deploy: invalid value \"x\" for flag --limit: it must be a number\n":                                         {"--limit", "x", "production"},
		"usher deploy: --wait is -1s: it must not be less than 0\n":                                                         {"--wait", "-1s", "production"},
		`usher deploy: invalid value "5" for flag --wait: it must be a number with its unit, such as 90s, 30m or 2h` + "\n": {"--wait", "5", "production"},
	} {
		var errs strings.Builder
		if code := p.Run(t.Context(), append([]string{"deploy"}, args...), &errs, &errs); code != ExitUsage || !strings.HasPrefix(errs.String(), want) {
			t.Errorf("%q: exit code %d, %s", args, code, errs.String())
		}
	}
	if run != 0 {
		t.Errorf("it ran %d times", run)
	}
	if code := p.Run(t.Context(), []string{"deploy", "--yes=false", "--wait=0s", "production", "main"}, io.Discard, io.Discard); code != ExitDone || run != 1 {
		t.Errorf("exit code %d", code)
	}
}
