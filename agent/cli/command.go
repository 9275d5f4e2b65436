// Package cli is what usher's commands have in common: one declaration for each, from which its usage, the parsing of its
// arguments, its help, its line in `usher help` and its completion in a shell come; exit codes; the version.
//
// Flags may stand before and behind the arguments, as -flag or --flag; texts write --flag. Help that was asked for goes to
// standard output; what is typed wrong is one line on standard error, followed by the usage, with exit code 2.
//
// What commands print goes through [format.Filter]: no text of somebody else moves a cursor or hides what stands there.
package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"usher/agent/format"
	"usher/hooks"
)

// Command is one of usher's commands.
type Command struct {
	Name  string   // as it is typed: "deploy"; of a command of another: "status"
	Args  []string // its arguments: "ENV"; one that may be left out is "[REF]"
	About string   // what it does, on one line of help, without a full stop
	More  string   // what else its own help says, lines without a newline at the end
	Group Group    // where `usher help` lists it; a command without a group is listed nowhere

	Flags    func(*flag.FlagSet) // declares its flags, nil for none
	Run      func(context.Context, Call) int
	Complete func(ctx context.Context, args []string) []string // what can stand behind these arguments; nil for nothing but files

	Commands []Command                    // its own commands; one is chosen by the first argument
	Instead  func(args []string) *Command // another declaration that takes its place for these arguments; nil for itself

	parent string // the command that it is one of
	raw    bool   // it has taken its arguments itself
}

// Group is whom a command is for.
type Group string

// The groups, in the order of `usher help`.
const (
	Agent     Group = "The agent"
	Server    Group = "On a server"
	Developer Group = "For developers"
	Platform  Group = "For the platform engineer"
	Usher     Group = "About usher"
)

// Call is one use of a command.
type Call struct {
	Args           []string // the arguments, without the flags
	Stdout, Stderr io.Writer

	command *Command
}

// Arg is the argument at an index, "" when it was left out.
func (c Call) Arg(i int) string {
	if i < len(c.Args) {
		return c.Args[i]
	}
	return ""
}

// Fail prints an error on standard error, with the command's name before it, and returns the exit code.
func (c Call) Fail(code int, err error) int {
	fmt.Fprintf(c.Stderr, "usher %s: %s\n", c.command.name(), format.Printable(err.Error()))
	return code
}

// Misused is Fail for what is typed wrong: the usage follows.
func (c Call) Misused(err error) int {
	c.Fail(ExitUsage, err)
	fmt.Fprintln(c.Stderr, c.command.usage())
	return ExitUsage
}

// Program is all commands.
type Program struct {
	About    string // what usher is, a line
	Footer   string // the last lines of `usher help`
	Commands []Command
	Servers  []string // the commands that usher has on a server, and not here
}

// Run carries out a command line, which is without the program's name, and returns the exit code.
// What the commands print is filtered: they show what others wrote.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out, errs := format.Filter(stdout), format.Filter(stderr)
	defer out.Close()
	defer errs.Close()
	return p.run(ctx, args, out, errs)
}

func (p Program) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		p.help(stderr)
		return ExitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		if len(args) == 1 {
			p.help(stdout)
			return ExitDone
		}
		return p.run(ctx, append(slices.Clone(args[1:]), "--help"), stdout, stderr)
	case "-version", "--version":
		args = append([]string{"version"}, args[1:]...)
	}
	if c := p.find(args[0]); c != nil {
		return c.run(ctx, args[1:], stdout, stderr)
	}
	if slices.Contains(p.Servers, args[0]) {
		fmt.Fprintf(stderr, "usher: %s runs on a server (Linux), and this is usher for developers: usher help lists its commands\n", args[0])
		return ExitUsage
	}
	fmt.Fprintf(stderr, "usher: there is no command %q", args[0])
	if near := hooks.Closest(args[0], p.names()); near != "" {
		fmt.Fprintf(stderr, ": did you mean %s?", near)
	}
	fmt.Fprintln(stderr, "\nusher help lists the commands")
	return ExitUsage
}

func (p Program) find(name string) *Command {
	for _, c := range p.Commands {
		if c.Name == name {
			return &c
		}
	}
	return nil
}

// names are the commands that are listed.
func (p Program) names() (names []string) {
	for _, c := range p.Commands {
		if c.Group != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

// help lists the commands, group by group.
func (p Program) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n", p.About)
	for _, group := range []Group{Agent, Server, Developer, Platform, Usher} {
		of := slices.DeleteFunc(slices.Clone(p.Commands), func(c Command) bool { return c.Group != group })
		if len(of) > 0 {
			fmt.Fprintf(w, "\n%s:\n", group)
		}
		for _, c := range of {
			c.list(w)
			for _, own := range c.Commands {
				own.parent = c.Name
				own.list(w)
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", p.Footer)
}

// list is the line of a command in the list of all.
func (c *Command) list(w io.Writer) {
	fmt.Fprintf(w, "  usher %-28s %s\n", strings.Join(append([]string{c.name()}, c.Args...), " "), c.About)
}

// run parses the command's arguments and carries it out.
func (c *Command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if c.Instead != nil {
		if other := c.Instead(args); other != nil {
			return other.run(ctx, args, stdout, stderr)
		}
	}
	if own := c.own(args); own != nil {
		at := slices.Index(args, own.Name)
		return own.run(ctx, slices.Concat(args[:at], args[at+1:]), stdout, stderr)
	}
	call := Call{Stdout: stdout, Stderr: stderr, command: c}
	if c.raw {
		return c.Run(ctx, call)
	}
	var err error
	switch call.Args, err = c.parse(args); {
	case err == flag.ErrHelp:
		fmt.Fprintln(stdout, c.usage())
		c.printFlags(stdout)
		return ExitDone
	case err != nil:
		return call.Misused(err)
	}
	return c.Run(ctx, call)
}

// own is which of its own commands is meant: flags may come before its name.
func (c *Command) own(args []string) *Command {
	if len(c.Commands) == 0 {
		return nil
	}
	for i := range c.Commands {
		own := c.Commands[i]
		own.parent = c.Name
		if len(args) > 0 && args[0] == own.Name {
			return &own
		}
		if given, _ := split(c.flags(), args); len(given) > 0 && given[0] == own.Name {
			return &own
		}
	}
	return nil
}

// name is all of it: "deploy status".
func (c *Command) name() string { return strings.TrimSpace(c.parent + " " + c.Name) }

// usage is the first lines of its help, and what follows an error of usage.
func (c *Command) usage() string {
	text := "usher " + c.name()
	n := 0
	c.flags().VisitAll(func(*flag.Flag) { n++ })
	if n > 0 {
		text += " [FLAGS]"
	}
	for _, arg := range c.Args {
		text += " " + arg
	}
	text += ": " + c.About + "."
	if c.More != "" {
		text += "\n" + c.More
	}
	return text
}

// VersionCommand is `usher version`.
func VersionCommand() Command {
	return Command{Name: "version", Group: Usher, About: "print usher's version; also usher --version", Run: func(_ context.Context, in Call) int {
		fmt.Fprintf(in.Stdout, "usher %s %s/%s %s\n", Version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
		return ExitDone
	}}
}
