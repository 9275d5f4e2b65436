package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"usher/agent/config"
	"usher/hooks"
)

// argumentHint is what is said of an argument that is not there.
var argumentHint = map[string]string{
	"PATH | REF": "name a revision: a directory, zip, tar or tgz, or a commit",
	"FILE":       "name the file that says what is to be done",
	"REQUEST":    "say what is to be run",
	"ENV":        "name an environment from usher.yml",

	"REASON": "say why, in quotes: whoever is refused reads it",
}

// flags are the command's, to be parsed.
func (c *Command) flags() *flag.FlagSet {
	flags := flag.NewFlagSet(c.name(), flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what it says itself names no command
	flags.Usage = func() {}
	if c.Flags != nil {
		c.Flags(flags)
	}
	return flags
}

// split parses flags that may stand before and behind the arguments, and returns these.
func split(flags *flag.FlagSet, args []string) (given []string, err error) {
	err = flags.Parse(args)
	for err == nil && flags.NArg() > 0 {
		given = append(given, flags.Arg(0))
		err = flags.Parse(flags.Args()[1:])
	}
	return given, err
}

// parse reads the command's flags and returns its arguments. The error is flag.ErrHelp, or says what is wrong with them.
func (c *Command) parse(args []string) ([]string, error) {
	flags := c.flags()
	given, err := split(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, flag.ErrHelp
	case err != nil:
		return nil, flagError(flags, err)
	case len(given) < len(c.Args) && !strings.HasPrefix(c.Args[len(given)], "["):
		missing := c.Args[len(given)]
		return nil, fmt.Errorf("missing %s: %s", missing, argumentHint[missing])
	case len(given) > len(c.Args) && len(c.Args) == 0:
		return nil, fmt.Errorf("too many arguments: expected none, got %s", strings.Join(given, " "))
	case len(given) > len(c.Args):
		return nil, fmt.Errorf("too many arguments: expected %s, got %s", strings.Join(c.Args, " "), strings.Join(given, " "))
	}
	return given, senseless(flags, c.Args, given)
}

// senseless refuses what is typed and has no text, such as "$GITHUB_SHA" where that is not set: it is not what was left out.
// No time is less than 0.
func senseless(flags *flag.FlagSet, names, given []string) (err error) {
	const empty = "%s is empty: is a variable not set?"
	if at := slices.Index(given, ""); at >= 0 {
		return fmt.Errorf(empty, strings.Trim(names[at], "[]"))
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			err = fmt.Errorf(empty, dashed(f.Name))
		} else if v, ok := f.Value.(flag.Getter); ok {
			if d, ok := v.Get().(time.Duration); ok && d < 0 {
				err = fmt.Errorf("%s is %s: it must not be less than 0", dashed(f.Name), d)
			}
		}
	})
	return err
}

// flagError is an error of the flag package as texts write flags, with the flag that was meant.
func flagError(flags *flag.FlagSet, err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		text := err.Error()
		flags.VisitAll(func(f *flag.Flag) {
			for _, end := range []string{":", ""} {
				text = strings.Replace(text, " -"+f.Name+end+" ", " "+dashed(f.Name)+end+" ", 1)
				if rest, ok := strings.CutSuffix(text, " -"+f.Name+end); ok {
					text = rest + " " + dashed(f.Name) + end
				}
			}
			if before, ok := strings.CutSuffix(text, dashed(f.Name)+": parse error"); ok {
				text = before + dashed(f.Name) + ": it must be " + values(f)
			}
		})
		return errors.New(text)
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := hooks.Closest(name, names); near != "" {
		return fmt.Errorf("there is no flag %s: did you mean %s?", dashed(name), dashed(near))
	}
	return fmt.Errorf("there is no flag %s", dashed(name))
}

// values are what a flag takes, which is none of text.
func values(f *flag.Flag) string {
	switch f.Value.(flag.Getter).Get().(type) { // the package's own types alone say so
	case time.Duration:
		return "a number with its unit, such as 90s, 30m or 2h"
	case bool:
		return "true or false"
	}
	return "a number"
}

// dashed is a flag as texts write it: --timeout, -n.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// printFlags lists the command's flags, each with its default.
func (c *Command) printFlags(w io.Writer) {
	c.flags().VisitAll(func(f *flag.Flag) {
		value, about := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  %s", dashed(f.Name))
		if value != "" {
			fmt.Fprintf(w, " %s", value)
		}
		fmt.Fprintf(w, "\n    \t%s", strings.ReplaceAll(about, "\n", "\n    \t"))
		switch f.DefValue {
		case "", "false", "0", "0s":
		default:
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// ConfigFlag declares the flag of the commands on a server that names the agent's configuration.
func ConfigFlag(flags *flag.FlagSet, file *string) {
	flags.StringVar(file, "config", config.DefaultFile, "configuration `FILE` of the agent")
}

// Names are a flag that may be given several times, or with commas between its values.
type Names []string

// String is the names with commas between them.
func (n *Names) String() string { return strings.Join(*n, ",") }

// Set takes one name, or several with commas between them.
func (n *Names) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return errors.New("a name is empty")
		}
		*n = append(*n, name)
	}
	return nil
}

// LazyRegexp is a regular expression that is compiled when it is asked for: one with a count takes up to 240 kB, which every
// usher would spend at its start, the agent on a server too.
func LazyRegexp(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
