package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"usher/hooks"
)

// missing is what is said of an argument that is not there.
var missing = map[string]string{
	"PATH": "which revision? Its PATH is missing",
	"FILE": "what is to be placed? Its FILE is missing",
	"ENV":  "where to? ENV, an environment of usher.yml, is missing",
}

// parse reads a command's flags, which may stand before and behind its arguments, and wants a number of
// these, 0 or 1. ok is false when the command has nothing more to do, and code says how it ended.
func parse(flags *flag.FlagSet, args []string, want int, about string, stdout, stderr io.Writer) (code int, ok bool) {
	return parseArguments(flags, args, []string{"PATH"}[:want], about, stdout, stderr)
}

// parseArguments is parse for a command whose arguments have these names; one that may be left out is [IN
// BRACKETS].
func parseArguments(flags *flag.FlagSet, args, wanted []string, about string, stdout, stderr io.Writer) (code int, ok bool) {
	flags.SetOutput(io.Discard) // what it says itself names no command
	var names []string
	err := flags.Parse(args)
	for err == nil && flags.NArg() > 0 {
		names = append(names, flags.Arg(0))
		err = flags.Parse(flags.Args()[1:])
	}
	wrong := ""
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, about)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return exitDone, false
	case err != nil:
		wrong = unknownFlag(flags, err)
	case len(wanted) == 0 && len(names) > 0:
		wrong = fmt.Sprintf("it takes no arguments, and got %q", names)
	case len(names) < len(wanted) && !strings.HasPrefix(wanted[len(names)], "["):
		wrong = missing[wanted[len(names)]]
	case len(names) > len(wanted) && len(wanted) == 1:
		wrong = fmt.Sprintf("one %s at a time, and got %q", strings.Trim(wanted[0], "[]"), names)
	case len(names) > len(wanted):
		wrong = fmt.Sprintf("it takes %s, and got %q", strings.Join(wanted, " "), names)
	default:
		return exitDone, flags.Parse(append([]string{"--"}, names...)) == nil
	}
	fmt.Fprintf(stderr, "usher %s: %s\n%s\n", flags.Name(), wrong, about)
	return exitUsage, false
}

// unknownFlag is an error of flags.Parse with the flag that was meant.
func unknownFlag(flags *flag.FlagSet, err error) string {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err.Error()
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := hooks.Closest(name, names); near != "" {
		return fmt.Sprintf("there is no flag -%s: did you mean -%s?", name, near)
	}
	return "there is no flag -" + name
}

// form is a regular expression that names are judged by. It is compiled when it is asked for: one with a count takes
// up to 240 kB, which every usher would spend at its start, the agent on a server too.
func form(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
