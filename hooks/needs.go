package hooks

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Needs is what the scripts of a revision need of the server, as far as their text tells. All lists are sorted.
type Needs struct {
	Users        []string `json:"users,omitempty"`        // of runas, but for root
	Interpreters []string `json:"interpreters,omitempty"` // of first lines: a path, or a name that env looks up
	Commands     []string `json:"commands,omitempty"`     // of shell scripts, but for those that every server has
	Variables    []string `json:"variables,omitempty"`    // that shell scripts read, and neither they nor usher set
}

// NeedsOf reads the scripts, and the files of the revision that they read or run.
func NeedsOf(scripts []Script) Needs {
	n := needs{users: map[string]bool{}, interpreters: map[string]bool{}, commands: map[string]bool{}, read: map[string]bool{},
		set: map[string]bool{}, functions: map[string]bool{}, files: map[string]bool{}, open: map[string]bool{},
		reads: map[string]map[string]bool{}}
	for _, s := range scripts {
		if s.RunAs != "" && s.RunAs != "root" {
			n.users[s.RunAs] = true
		}
		n.script(s)
	}
	for file, names := range n.reads {
		if !n.open[file] {
			maps.Copy(n.read, names)
		}
	}
	for name := range n.functions {
		delete(n.commands, name)
	}
	for name := range n.set {
		delete(n.read, name)
	}
	for _, kv := range (Environment{"x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x"}).Environ("x") {
		name, _, _ := strings.Cut(kv, "=")
		delete(n.read, name)
	}
	for _, name := range []string{Tag, "HOME", "USER", "LOGNAME", "SHELL"} {
		delete(n.read, name)
	}
	sorted := func(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
	return Needs{Users: sorted(n.users), Interpreters: sorted(n.interpreters), Commands: sorted(n.commands), Variables: sorted(n.read)}
}

type needs struct {
	users, interpreters, commands, read, set, functions map[string]bool
	files                                               map[string]bool            // that were read
	open                                                map[string]bool            // of these, those that read a file of the server, which may set anything
	reads                                               map[string]map[string]bool // variables, by file
}

func (n *needs) script(s Script) {
	if n.files[s.File] || len(n.files) > maxSourced*len(Events) {
		return
	}
	n.files[s.File] = true
	text, info, _, err := readScript(s.File)
	if err != nil || !info.Mode().IsRegular() || len(text) == 0 {
		return
	}
	in := interpretFor(s, text[:min(len(text), headSize)], false)
	if in.binary || in.name == "" || badFirstLine(text, in) != "" {
		return
	}
	if base := path.Base(in.name); base != "sh" && base != "bash" {
		n.interpreters[in.name] = true
	}
	for _, stmt := range statements(s) {
		syntax.Walk(stmt, func(node syntax.Node) bool {
			n.node(node, s)
			return true
		})
	}
}

func (n *needs) node(node syntax.Node, s Script) {
	switch node := node.(type) {
	case *syntax.Assign:
		if node.Name != nil {
			n.set[node.Name.Value] = true
		}
	case *syntax.WordIter:
		n.set[node.Name.Value] = true
	case *syntax.FuncDecl:
		if node.Name != nil {
			n.functions[node.Name.Value] = true
		}
	case *syntax.ParamExp:
		// ${X:-default} and the like need nothing; small letters are a script's own, read from a file it sources.
		if node.Exp == nil && node.Param != nil && isEnvironmental(node.Param.Value) {
			if n.reads[s.File] == nil {
				n.reads[s.File] = map[string]bool{}
			}
			n.reads[s.File][node.Param.Value] = true
		}
	case *syntax.CallExpr:
		n.call(node, s)
	}
}

// isEnvironmental tells whether a name is one that comes from the environment: in capitals, and not a shell's own.
func isEnvironmental(name string) bool {
	return len(name) > 1 && name[0] >= 'A' && name[0] <= 'Z' && strings.ToUpper(name) == name && !ofShells[name] && !strings.HasPrefix(name, "BASH")
}

var ofShells = wordSet(`COLUMNS COMP_WORDS DIRSTACK EPOCHREALTIME EPOCHSECONDS ERRNO EUID FUNCNAME GROUPS HISTFILE HOSTNAME HOSTTYPE IFS LINENO LINES
	MACHTYPE OLDPWD OPTARG OPTIND OSTYPE PIPESTATUS POSIXLY_CORRECT PPID PS1 PS2 PS3 PS4 PWD RANDOM REPLY SECONDS SHELLOPTS SHLVL SRANDOM UID`)

func (n *needs) call(c *syntax.CallExpr, s Script) {
	args := arguments(c)
	for _, w := range c.Args { // sudo -u, which arguments leaves out
		if text := wordText(w); text == "sudo" && !everywhere["sudo"] {
			n.commands["sudo"] = true
		}
	}
	if len(args) == 0 {
		return
	}
	name := args[0]
	switch {
	case name == "read" || name == "export" || name == "readonly" || name == "mapfile" || name == "getopts":
		for _, a := range args[1:] {
			variable, _, _ := strings.Cut(a, "=")
			n.set[variable] = true
		}
		return
	case name == "." || name == "source":
		if len(args) > 1 && !n.file(args[1], s) {
			n.open[s.File] = true
		}
		return
	case shells[path.Base(name)] != "":
		if i := slices.IndexFunc(args[1:], func(a string) bool { return !isOption(a) }); i >= 0 {
			n.file(args[1:][i], s)
		}
	case strings.Contains(name, "/"):
		if n.file(name, s) || strings.Contains(name, unknown) || !path.IsAbs(name) {
			return
		}
	}
	if base := path.Base(name); !everywhere[base] && !strings.Contains(name, unknown) && isCommandName(base) {
		n.commands[name] = true
	}
}

// file reads a file of the revision that a script names, and tells whether it is one.
func (n *needs) file(word string, s Script) bool {
	in := inRevision(s, word)
	if in == "" {
		return false
	}
	of := s
	of.Location, of.File = in, filepath.Join(revisionRoot(s), in)
	n.script(of)
	return true
}

func isCommandName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") == ""
}

// everywhere are the commands that every server has: the shells' own, and those of packages that a distribution marks
// as essential (coreutils, findutils, grep, sed, gawk, tar, gzip, util-linux, procps, systemd, shadow).
var everywhere = wordSet(`. : [ [[ alias bg bind break builtin caller case cd command compgen continue declare dirs disown echo enable eval exec exit export
	false fc fg function getopts hash help jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return set shift shopt source
	suspend test time times trap true type typeset ulimit umask unalias unset wait
	arch awk b2sum base32 base64 basename bash cat chcon chgrp chmod chown chroot cksum comm cp csplit cut dash date dd df dir dirname du egrep env expand
	expr factor fgrep find fmt fold gawk grep groups gunzip gzip head hostid hostname id install join link ln logname ls md5sum mkdir mkfifo mknod mktemp mv
	nice nl nohup nproc numfmt od paste pathchk pr printenv ptx readlink realpath rm rmdir runcon sed seq sh sha1sum sha224sum sha256sum sha384sum sha512sum
	shred shuf sleep sort split stat stdbuf stty su sudo sum sync tac tail tar tee timeout touch tr truncate tsort tty uname unexpand uniq unlink users vdir
	wc who whoami xargs yes zcat
	blkid dmesg fallocate flock getopt ionice kill logger losetup lsblk mount mountpoint renice runuser setsid swapoff swapon umount mkswap taskset
	free pgrep pidof pkill pmap ps pwdx skill slabtop sysctl tload top uptime vmstat w watch
	journalctl loginctl systemctl systemd-run systemd-tmpfiles timedatectl hostnamectl
	adduser chpasswd getent gpasswd groupadd groupdel groupmod passwd useradd userdel usermod which`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}
