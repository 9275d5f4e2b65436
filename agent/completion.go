package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"usher/agent/rollout"
	"usher/hooks"
)

const completionAbout = "usher completion bash|zsh|fish: print a script that completes usher's commands, flags, environments and git refs.\n" +
	"bash:  echo 'source <(usher completion bash)' >> ~/.bashrc\n" +
	"zsh:   echo 'source <(usher completion zsh)' >> ~/.zshrc\n" +
	"fish:  usher completion fish > ~/.config/fish/completions/usher.fish"

// init adds the command to the others here: it runs them for their help, and so cannot be in their table from the
// start.
func init() {
	commands = append(commands, subcommand{"completion", "bash|zsh|fish", "print a script that completes all this in a shell", runCompletion})
}

// shells are the scripts. Each asks usher itself what may stand where the cursor is: `usher completion -words`
// with the words up to there. When usher knows nothing, the shell offers files.
var shells = map[string]string{
	"bash": `_usher() {
	local IFS=$'\n'
	COMPREPLY=($(usher completion -words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _usher usher
`,
	"zsh": `#compdef usher
_usher() {
	local -a found
	found=("${(@f)$(usher completion -words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n ${found[1]} ]]; then compadd -a found; else _files; fi
}
if [[ ${funcstack[1]} == _usher ]]; then _usher "$@"; else (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }; compdef _usher usher; fi
`,
	"fish": `function __usher_words
	set -l words (commandline -opc) (commandline -ct)
	usher completion -words -- $words[2..-1] 2>/dev/null
end
complete -c usher -a '(__usher_words)'
`,
}

// runCompletion is `usher completion SHELL`.
func runCompletion(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "-words" { // the words behind it are not for our flags
		if args = args[1:]; len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
		for _, word := range complete(ctx, args) {
			fmt.Fprintln(stdout, word)
		}
		return exitDone
	}
	flags := flag.NewFlagSet("completion", flag.ContinueOnError)
	names := flags.Bool("environments", false, "print the names of the environments in usher.yml")
	if code, ok := parseArguments(flags, args, []string{"[SHELL]"}, completionAbout, stdout, stderr); !ok {
		return code
	}
	if *names {
		for _, name := range environmentNames() {
			fmt.Fprintln(stdout, name)
		}
		return exitDone
	}
	known := slices.Sorted(maps.Keys(shells))
	script, ok := shells[flags.Arg(0)]
	if !ok {
		wrong := fmt.Sprintf("there is no script for shell %q: the shells are %s", flags.Arg(0), strings.Join(known, ", "))
		if near := hooks.Closest(flags.Arg(0), known); near != "" {
			wrong = fmt.Sprintf("there is no script for shell %q: did you mean %s?", flags.Arg(0), near)
		}
		fmt.Fprintf(stderr, "usher completion: %s\n%s\n", wrong, completionAbout)
		return exitUsage
	}
	fmt.Fprint(stdout, script)
	return exitDone
}

// complete is what the last of these words, which may be empty, can be. Errors are silent: a person who types
// must not be interrupted.
func complete(ctx context.Context, words []string) (found []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	var all []string
	switch {
	case len(before) == 0:
		all = append(commandNames(), "help")
	case strings.HasPrefix(last, "-"):
		for _, f := range flagsOfCommand(ctx, before) {
			all = append(all, f.name)
		}
	default:
		all = argumentsOf(ctx, before)
	}
	for _, word := range all {
		if strings.HasPrefix(word, last) {
			found = append(found, word)
		}
	}
	return found
}

// argumentsOf is what can be the argument behind these words.
func argumentsOf(ctx context.Context, before []string) []string {
	flags := flagsOfCommand(ctx, before)
	var names []string // the arguments that stand there already
	for i := 1; i < len(before); i++ {
		at := slices.IndexFunc(flags, func(f commandFlag) bool { return f.name == before[i] })
		switch {
		case at >= 0 && flags[at].value:
			if i++; i == len(before) {
				return nil // the flag's value is what is typed
			}
		case at < 0 && !strings.HasPrefix(before[i], "-"):
			names = append(names, before[i])
		}
	}
	switch command := before[0]; {
	case command == "completion" && len(names) == 0:
		return slices.Sorted(maps.Keys(shells))
	case command == "deploy" && len(names) == 0:
		return append(environmentNames(), "status")
	case command == "deploy" && len(names) == 1 && names[0] == "status", slices.Contains([]string{"rollback", "attach", "doctor"}, command) && len(names) == 0:
		return environmentNames()
	case command == "deploy" && len(names) == 1:
		return refs(ctx)
	}
	return nil
}

// commandFlag is a flag, and whether a value follows it.
type commandFlag struct {
	name  string
	value bool
}

// flagsOfCommand are the flags of the command that words begin with, read from its own help.
func flagsOfCommand(ctx context.Context, words []string) (all []commandFlag) {
	var help bytes.Buffer
	args := []string{words[0], "-h"}
	if len(words) > 1 && words[0] == "deploy" && words[1] == "status" {
		args = []string{"deploy", "status", "-h"}
	}
	if run(ctx, args, &help, io.Discard) != exitDone {
		return nil
	}
	for line := range strings.Lines(help.String()) {
		if name, ok := strings.CutPrefix(line, "  -"); ok { // "  -timeout D", "  -yes", "  -v\tsay more"
			name, _, _ := strings.Cut(strings.TrimRight(name, "\n"), "\t")
			f := strings.Fields(name)
			all = append(all, commandFlag{"-" + f[0], len(f) > 1})
		}
	}
	return all
}

// environmentNames are the environments of the usher.yml that is nearest.
func environmentNames() (names []string) {
	all, _, err := environments()
	if err != nil {
		return nil
	}
	for _, e := range all {
		names = append(names, e.Name)
	}
	return names
}

// refs are the branches and tags here.
func refs(ctx context.Context) []string {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	repo, err := rollout.OpenRepository(ctx, dir)
	if err != nil {
		return nil
	}
	all, err := repo.Refs(ctx)
	if err != nil {
		return nil
	}
	return all
}
