package hooks

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// unknown stands for a word, or a part of one, that is not known before the script runs.
const unknown = "\x00"

// arguments are the words of a simple command, without what only runs it (sudo and the like).
func arguments(c *syntax.CallExpr) (args []string) {
	for _, w := range c.Args {
		args = append(args, wordText(w))
	}
	return withoutCarriers(args)
}

// withoutCarriers leaves out what only runs the command behind it.
func withoutCarriers(args []string) []string {
	for len(args) > 0 {
		options, carrier := carriers[args[0]]
		if !carrier {
			return args
		}
		name := args[0]
		if name == "command" && len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return args
		}
		args = args[1:]
		for len(args) > 0 && (strings.HasPrefix(args[0], "-") || name == "env" && strings.Contains(args[0], "=")) {
			takesValue := slices.Contains(strings.Fields(options), args[0])
			args = args[1:]
			if takesValue && len(args) > 0 {
				args = args[1:]
			}
		}
		if name == "timeout" && len(args) > 0 {
			args = args[1:] // the duration
		}
	}
	return nil
}

// carriers run another command and have its status; the options are those that take a value.
var carriers = map[string]string{
	"sudo": "-u -g -h -p -C -D -R -T", "command": "", "builtin": "", "exec": "-a", "nohup": "", "nice": "-n", "ionice": "-c -n",
	"env": "-u -C", "time": "", "timeout": "-s -k", "stdbuf": "-i -o -e", "setsid": "", "chroot": "",
}

// wordText is a word's text with unknown in place of what is expanded.
func wordText(w *syntax.Word) string {
	var text strings.Builder
	var parts func([]syntax.WordPart)
	parts = func(list []syntax.WordPart) {
		for _, part := range list {
			switch p := part.(type) {
			case *syntax.Lit:
				text.WriteString(p.Value)
			case *syntax.SglQuoted:
				text.WriteString(p.Value)
			case *syntax.DblQuoted:
				parts(p.Parts)
			default:
				text.WriteString(unknown)
			}
		}
	}
	parts(w.Parts)
	return text.String()
}
