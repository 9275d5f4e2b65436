package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"slices"
	"strings"

	"usher/agent/safepath"
)

// headSize is how much of a file is read to tell what starts it; the kernel itself looks at 256 bytes.
const headSize = 4096

// interpreter is what a script's first line says about how it is started.
type interpreter struct {
	binary bool // started by the kernel itself: no script

	kernel   []string // what the kernel puts before the file: interpreter and at most one argument
	command  []string // the same up to and including the interpreter proper: env, VAR=…, bash
	options  []string // what stands after it
	name     string   // the interpreter proper: a path, or a name that env looks up in PATH
	relative bool     // the first line has a path that is not absolute; it is taken from /
	opaque   bool     // an `env` line that only env understands; command and options are not known

	login bool // there is no first line: it is the user's login shell

	shell string // its language: "sh", "bash" or "ksh"; "" for anything else
}

// shells are the interpreters that know -e, and the language each of them speaks. zsh is left to its
// exit status: its -e has rules of its own.
var shells = map[string]string{
	"sh": "sh", "dash": "sh", "ash": "sh", "posh": "sh", "yash": "sh",
	"bash": "bash", "rbash": "bash",
	"ksh": "ksh", "ksh93": "ksh", "mksh": "ksh", "lksh": "ksh", "oksh": "ksh", "pdksh": "ksh",
}

// Argv is how s is started under policy p: through the interpreter its first line names, so that a
// missing executable bit does not matter, and with -e when p is Enforce and the interpreter is a
// shell. A script without a first line `#!` is run by /bin/sh, as every shell would, with a runas by that user's login shell; anything that is
// no script is started itself. The error is about reading the file, and wraps the cause.
func Argv(s Script, p Policy) ([]string, error) {
	head, err := readHead(s.File)
	if err != nil {
		return nil, err
	}
	in := interpretFor(s, head, true)
	switch {
	case in.binary || in.kernel == nil:
		return []string{s.File}, nil
	case in.shell == "" || in.opaque || p != Enforce:
		return append(slices.Clone(in.kernel), s.File), nil
	}
	argv := append(slices.Clone(in.command), withErrexit(in.options)...)
	return append(argv, s.File), nil
}

func readHead(file string) ([]byte, error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read the script: %s is not a regular file", file)
	}
	f, err := safepath.OpenFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the script: %w", err)
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("cannot read the script: %w", err)
	}
	return head[:n], nil
}

// interpretFor is interpret of the beginning of a script's file. A script without a first line `#!` that has a runas is
// run by that user's login shell, as `su USER -c SCRIPT` does it. Where the user is not known, which is so on any
// machine but the server (here), that is bash: what root and most users have.
func interpretFor(s Script, head []byte, here bool) interpreter {
	in := interpret(head)
	if in.binary || in.kernel == nil || s.RunAs == "" || bytes.HasPrefix(head, []byte("#!")) {
		return in
	}
	shell := "/bin/bash"
	if here {
		if _, err := user.Lookup(s.RunAs); err == nil {
			shell = loginShell(s.RunAs)
		}
	}
	if shells[path.Base(shell)] == "" {
		shell = "/bin/sh" // what any other shell, nologin too, leaves such a file to
	}
	command := []string{shell}
	return interpreter{login: true, kernel: command, command: command, name: shell, shell: shells[path.Base(shell)]}
}

// interpret reads the first line of a file as Linux does: the interpreter, then the rest of the line,
// trimmed, as one argument.
func interpret(head []byte) interpreter {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if bytes.HasPrefix(head, []byte("\x7fELF")) || bytes.IndexByte(line, 0) >= 0 {
		return interpreter{binary: true}
	}
	shebang, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		sh := []string{"/bin/sh"}
		return interpreter{kernel: sh, command: sh, name: sh[0], shell: "sh"}
	}
	shebang = strings.Trim(shebang, " \t")
	file, argument := shebang, ""
	if i := strings.IndexAny(shebang, " \t"); i >= 0 {
		file, argument = shebang[:i], strings.Trim(shebang[i:], " \t")
	}
	if file == "" {
		return interpreter{}
	}
	// The kernel takes such a path from the working directory. That of CodeDeploy's agent is /.
	relative := strings.Contains(file, "/") && file[0] != '/'
	if relative {
		file = path.Join("/", file)
	}
	in := interpreter{relative: relative, kernel: []string{file}, command: []string{file}, name: file}
	if argument != "" {
		in.kernel = []string{file, argument}
		in.options = []string{argument}
	}
	switch path.Base(file) {
	case "env":
		in.throughEnv(argument)
	case "busybox":
		in.command, in.options = in.kernel, nil
		in.shell = shells[argument]
		return in
	}
	in.shell = shells[path.Base(in.name)]
	return in
}

// throughEnv reads the argument of `#!/usr/bin/env`: the name of the interpreter, or -S and words.
func (in *interpreter) throughEnv(argument string) {
	in.name, in.options = argument, nil
	in.command = in.kernel
	flags, rest, split := splitString(argument)
	if !split {
		in.opaque = strings.HasPrefix(argument, "-")
		return
	}
	words, ok := envWords(rest)
	if flags != "" {
		words = append([]string{"-" + flags}, words...)
	}
	i := skipEnvOptions(words)
	if !ok || i < 0 || i >= len(words) {
		in.name, in.opaque = "", true
		return
	}
	in.command = append([]string{in.kernel[0]}, words[:i+1]...)
	in.name, in.options = words[i], words[i+1:]
}

// splitString recognises env's -S, alone or with other flags before it, and its long form.
func splitString(argument string) (flags, rest string, ok bool) {
	if rest, ok := strings.CutPrefix(argument, "--split-string="); ok {
		return "", rest, true
	}
	cluster, isFlag := strings.CutPrefix(argument, "-")
	i := strings.IndexByte(cluster, 'S')
	if !isFlag || i < 0 || strings.Trim(cluster[:i], "iv0") != "" {
		return "", "", false
	}
	return cluster[:i], cluster[i+1:], true
}

// envWords splits as env -S does. Its escapes and ${VARIABLES} are left to env itself: not ok.
func envWords(s string) (words []string, ok bool) {
	var word strings.Builder
	inWord, quote := false, rune(0)
	for _, c := range s {
		switch {
		case c == '\\' || c == '$':
			return nil, false
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		case c == '#' && !inWord:
			return words, true
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, quote == 0
}

// skipEnvOptions is the index of the command in env's words, or -1 when an option is not known.
func skipEnvOptions(words []string) int {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-u" || w == "-C":
			i++ // its value
		case w == "-" || w == "--" || w == "--ignore-environment" || w == "--debug":
		case strings.HasPrefix(w, "--unset=") || strings.HasPrefix(w, "--chdir="):
		case strings.HasPrefix(w, "-u") || strings.HasPrefix(w, "-C"):
		case strings.HasPrefix(w, "-") && strings.Trim(w[1:], "iv") == "":
		case strings.HasPrefix(w, "-"):
			return -1
		case !strings.Contains(w, "="):
			return i
		}
	}
	return -1
}

// withErrexit adds -e to the options of a shell, where it counts: after long options, which bash
// takes only first, and after any +e.
func withErrexit(options []string) []string {
	at := 0
	for i := 0; i < len(options) && isOption(options[i]); i++ {
		w := options[i]
		i += values(w)
		if strings.HasPrefix(w, "--") || w[0] == '+' {
			at = min(i+1, len(options))
		}
	}
	return slices.Insert(slices.Clone(options), at, "-e")
}

// lacksValue is the option of a shell whose value a first line leaves out, or "".
func lacksValue(options []string) string {
	for i := 0; i < len(options) && isOption(options[i]); i++ {
		w := options[i]
		if i += values(w); i >= len(options) {
			return w
		}
	}
	return ""
}

// isOption reports whether a word is an option of a shell; the first that is none ends them.
func isOption(w string) bool {
	return len(w) > 1 && w != "--" && (w[0] == '-' || w[0] == '+')
}

// values is how many of the words after this option of a shell belong to it.
func values(w string) int {
	switch {
	case w == "--rcfile" || w == "--init-file":
		return 1
	case strings.HasPrefix(w, "--"):
		return 0
	}
	return strings.Count(w, "o") + strings.Count(w, "O")
}
