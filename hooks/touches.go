package hooks

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// What scripts do to the machine they run on, for those who run them somewhere else than on a server.

// Touch is a command with which a script changes the machine: its services, packages, users, processes, or its files.
type Touch struct {
	File    string // in the revision
	Line    int
	Command string
}

// String is the touch as a line: file, line, command.
func (t Touch) String() string { return fmt.Sprintf("%s:%d: %s", t.File, t.Line, t.Command) }

// Touches finds them in shell scripts, and in the files of the revision that these run or read, as far as their text tells: what a
// script works out, and what a program does, is not known. A file of the machine is one with an absolute path, or in a home,
// but for /tmp, /var/tmp, /dev and /proc.
func Touches(scripts []Script) []Touch {
	t := touches{files: map[string]bool{}}
	for _, s := range scripts {
		t.script(s)
	}
	return t.found
}

type touches struct {
	files map[string]bool // that were read
	found []Touch
}

func (t *touches) script(s Script) {
	if t.files[s.File] || len(t.files) > maxSourced*len(Events) {
		return
	}
	t.files[s.File] = true
	known := liveLines{values: map[string]string{}}
	say := func(n syntax.Node, command string) {
		if r := []rune(command); len(r) > maxTouch {
			command = string(r[:maxTouch]) + "..."
		}
		touch := Touch{s.Location, int(n.Pos().Line()), command}
		if !slices.Contains(t.found, touch) {
			t.found = append(t.found, touch)
		}
	}
	for _, stmt := range statements(s) {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.Assign:
				if n.Name != nil && n.Value != nil {
					known.values[n.Name.Value] = known.expand(n.Value)
				}
			case *syntax.Redirect:
				if file := redirected(n, known); ofTheMachine(file) {
					say(n, n.Op.String()+" "+asText([]string{file}))
				}
			case *syntax.CallExpr:
				var args []string
				for _, w := range n.Args {
					args = append(args, known.expand(w))
				}
				if args = withoutCarriers(args); len(args) == 0 {
					return true
				}
				for _, a := range args[:min(len(args), 3)] { // what it reads, runs, or has a shell run
					if in := inRevision(s, a); in != "" {
						of := s
						of.Location, of.File = in, filepath.Join(revisionRoot(s), in)
						t.script(of)
					}
				}
				if changesMachine(args) {
					say(n, asText(args))
				}
			}
			return true
		})
	}
}

// maxTouch is how much of a command is shown, in characters.
const maxTouch = 100

// redirected is the file that a redirection writes; "" of another one.
func redirected(r *syntax.Redirect, known liveLines) string {
	switch r.Op.String() {
	case ">", ">>", "&>", "&>>", ">|":
		if r.Word != nil {
			return known.expand(r.Word)
		}
	}
	return ""
}

// ofTheMachine says whether a word is a file of the machine that a script should not change unasked.
func ofTheMachine(word string) bool {
	if strings.HasPrefix(word, "~") {
		return true
	}
	if !path.IsAbs(word) {
		return false
	}
	word = path.Clean(word)
	return !slices.ContainsFunc([]string{"/tmp", "/var/tmp", "/dev", "/proc"}, func(dir string) bool {
		return word == dir || strings.HasPrefix(word, dir+"/")
	})
}

// ofMachines are the commands that change a machine, with the words that make one of them only look.
var ofMachines = map[string]string{
	"systemctl": "show cat list-units list-unit-files list-timers list-dependencies get-default", "service": "--status-all", "initctl": "list", "invoke-rc.d": "",
	"supervisorctl": "tail", "monit": "status summary report", "pm2": "list ls status describe show logs jlist prettylist --version", "forever": "list logs",
	"docker": "ps images inspect logs info version top port stats --version", "podman": "ps images inspect logs info version top port stats --version",
	"docker-compose": "ps images logs config version --version",
	"apt":            "list show search policy", "apt-get": "download", "aptitude": "search show", "yum": "list info search check-update", "dnf": "list info search check-update",
	"apk": "info search", "zypper": "search info", "snap": "list info", "dpkg": "-s -l -L -S --status --list --print-architecture --compare-versions",
	"rpm": "-q -qa -qi --query", "pip": "show list freeze check --version", "pip3": "show list freeze check --version", "gem": "list --version",
	"useradd": "", "adduser": "", "userdel": "", "usermod": "", "groupadd": "", "groupdel": "", "groupmod": "", "gpasswd": "", "passwd": "", "chpasswd": "",
	"kill": "-0 -l", "pkill": "-0", "killall": "-0", "fuser": "",
	"crontab": "-l", "mount": "-l", "umount": "", "swapon": "-s --show", "swapoff": "", "mkswap": "", "sysctl": "-a", "iptables": "-L -S -C", "ip6tables": "-L -S -C", "nft": "list", "ufw": "status",
	"firewall-cmd": "--list-all --state", "modprobe": "-n", "ldconfig": "-p", "hostnamectl": "status", "timedatectl": "status show", "update-alternatives": "--display --list",
	"update-rc.d": "", "chkconfig": "--list", "a2ensite": "", "a2dissite": "", "a2enmod": "", "a2dismod": "", "nginx": "-t -T -v -V", "apachectl": "configtest -t -v",
	"apache2ctl": "configtest -t -v", "certbot": "certificates", "reboot": "", "shutdown": "", "halt": "", "poweroff": "", "semanage": "-l", "restorecon": "-n", "setsebool": "", "setenforce": "",
}

// changesMachine says whether a command does.
func changesMachine(args []string) bool {
	name, rest := args[0], args[1:]
	if strings.HasPrefix(name, "/etc/init.d/") {
		return !slices.Contains(rest, "status")
	}
	if strings.Contains(name, unknown) || strings.Contains(name, "/") && !path.IsAbs(name) {
		return false // the revision's own, as ./venv/bin/pip
	}
	name = path.Base(name)
	if looks, is := ofMachines[name]; is {
		looking := slices.ContainsFunc(strings.Fields(looks), func(w string) bool { return slices.Contains(rest, w) })
		alone := len(rest) == 0 && slices.Contains([]string{"mount", "passwd"}, name)
		if name == "fuser" {
			return slices.ContainsFunc(rest, func(a string) bool { return isOption(a) && strings.Contains(a, "k") })
		}
		return !looking && !alone && !asks(name, rest)
	}
	return slices.ContainsFunc(written(name, rest), ofTheMachine)
}

// written are the words among a command's arguments that it writes, or takes away.
func written(name string, args []string) (files []string) {
	operands := slices.DeleteFunc(slices.Clone(args), isOption)
	behind := func(options ...string) {
		for i, a := range args {
			if slices.Contains(options, a) && i+1 < len(args) {
				files = append(files, args[i+1])
			}
		}
	}
	switch name {
	case "rm", "rmdir", "unlink", "shred", "mkdir", "touch", "chmod", "chown", "chgrp", "truncate", "tee", "setfacl", "chattr", "mv":
		return operands
	case "cp", "ln", "install", "rsync":
		if behind("-t"); len(files) > 0 {
			return files
		}
		return operands[max(0, len(operands)-1):]
	case "git":
		if slices.Contains(operands, "clone") {
			return operands[len(operands)-1:]
		}
		behind("-C")
	case "sed", "perl":
		if slices.ContainsFunc(args, func(a string) bool { return isOption(a) && strings.Contains(a, "i") }) {
			return operands
		}
	case "find":
		if slices.Contains(args, "-delete") || slices.Contains(args, "-exec") {
			return operands
		}
	case "tar":
		behind("-C", "--directory")
	case "unzip":
		behind("-d")
	case "curl", "wget":
		behind("-o", "-O", "-P", "--output")
	case "dd":
		for _, a := range args {
			if file, ok := strings.CutPrefix(a, "of="); ok {
				files = append(files, file)
			}
		}
	}
	return files
}
