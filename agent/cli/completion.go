package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"usher/hooks"
)

// shells are the scripts. Each asks usher itself what may stand where the cursor is: `usher completion --words`
// with the words up to there. A ref may have what a shell would act on: it is quoted. When usher knows nothing, the shell offers files.
var shells = map[string]string{
	"bash": `_usher() {
	local found
	COMPREPLY=()
	while IFS= read -r found; do
		COMPREPLY+=("$(printf %q "$found")")
	done < <(usher completion --words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _usher usher
`,
	"zsh": `#compdef usher
_usher() {
	local -a found
	found=("${(@f)$(usher completion --words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n ${found[1]} ]]; then compadd -a found; else _files; fi
}
if [[ ${funcstack[1]} == _usher ]]; then _usher "$@"; else (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }; compdef _usher usher; fi
`,
	"fish": `function __usher_words
	set -l words (commandline -opc) (commandline -ct)
	usher completion --words -- $words[2..-1] 2>/dev/null
end
complete -c usher -a '(__usher_words)'
`,
}

// WithCompletion is the program with its command `usher completion SHELL`. environments are the names in the developer's
// usher.yml, for scripts that complete other things than usher.
func (p Program) WithCompletion(environments func() []string) Program {
	all := &Program{}
	var names bool
	completion := Command{
		Name: "completion", Args: []string{"[SHELL]"}, Group: Usher, About: "print a script that completes usher's commands, flags, environments and git refs",
		More: "bash:  echo 'source <(usher completion bash)' >> ~/.bashrc\n" +
			"zsh:   echo 'source <(usher completion zsh)' >> ~/.zshrc\n" +
			"fish:  usher completion fish > ~/.config/fish/completions/usher.fish",
		Flags: func(f *flag.FlagSet) {
			names = false
			f.BoolVar(&names, "environments", false, "print the names of the environments in usher.yml")
		},
		Complete: func(_ context.Context, args []string) []string {
			if len(args) > 0 {
				return nil
			}
			return slices.Sorted(maps.Keys(shells))
		},
		Run: func(_ context.Context, in Call) int {
			if names {
				for _, name := range environments() {
					fmt.Fprintln(in.Stdout, name)
				}
				return ExitDone
			}
			script, ok := shells[in.Arg(0)]
			if !ok {
				return in.Misused(unknownShell(in.Arg(0)))
			}
			fmt.Fprint(in.Stdout, script)
			return ExitDone
		},
		Instead: func(args []string) *Command { // the words behind -- are not for our flags
			if len(args) == 0 || strings.TrimLeft(args[0], "-") != "words" || args[0] == "words" {
				return nil
			}
			if args = args[1:]; len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			words := slices.Clone(args)
			return &Command{Name: "completion", raw: true, Run: func(ctx context.Context, in Call) int {
				for _, word := range all.complete(ctx, words) {
					fmt.Fprintln(in.Stdout, word)
				}
				return ExitDone
			}}
		},
	}
	p.Commands = append(slices.Clone(p.Commands), completion)
	*all = p
	return p
}

func unknownShell(name string) error {
	known := slices.Sorted(maps.Keys(shells))
	if near := hooks.Closest(name, known); near != "" {
		return fmt.Errorf("there is no script for shell %q: did you mean %s?", name, near)
	}
	if name == "" {
		return errors.New("missing SHELL: the shells are " + strings.Join(known, ", "))
	}
	return fmt.Errorf("there is no script for shell %q: the shells are %s", name, strings.Join(known, ", "))
}

// complete is what the last of these words, which may be empty, can be. Errors are silent: a person who types
// must not be interrupted.
func (p Program) complete(ctx context.Context, words []string) (found []string) {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	var all []string
	if len(before) == 0 {
		all = append(p.names(), "help")
	} else if before[0] == "help" {
		all = p.names()
	} else if c := p.find(before[0]); c != nil {
		all = c.complete(ctx, before[1:], last)
	}
	if listed := strings.LastIndexByte(last, ',') + 1; listed > 0 && !slices.ContainsFunc(all, func(word string) bool { return strings.HasPrefix(word, last) }) {
		for i, word := range all { // of a list, such as staging,production
			all[i] = last[:listed] + word
		}
	}
	for _, word := range all {
		if strings.HasPrefix(word, last) || strings.HasPrefix(word, "-"+last) && strings.HasPrefix(last, "-") {
			found = append(found, word)
		}
	}
	return found
}

// complete is what can stand behind these words of the command line: its flags where last begins one.
func (c *Command) complete(ctx context.Context, before []string, last string) (all []string) {
	if own := c.own(before); own != nil {
		at := slices.Index(before, own.Name)
		return own.complete(ctx, slices.Concat(before[:at], before[at+1:]), last)
	}
	flags := c.flags()
	if strings.HasPrefix(last, "-") {
		flags.VisitAll(func(f *flag.Flag) { all = append(all, dashed(f.Name)) })
		return all
	}
	args := []string{} // that stand there already
	for i := 0; i < len(before); i++ {
		f := flags.Lookup(strings.TrimLeft(before[i], "-"))
		switch {
		case f != nil && before[i] != f.Name:
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
				continue
			}
			if i++; i == len(before) {
				return nil // the flag's value is what is typed
			}
		case !strings.HasPrefix(before[i], "-"):
			args = append(args, before[i])
		}
	}
	if c.Complete == nil {
		return nil
	}
	all = c.Complete(ctx, args)
	if len(args) == 0 {
		for _, own := range c.Commands {
			all = append(all, own.Name)
		}
	}
	return all
}
