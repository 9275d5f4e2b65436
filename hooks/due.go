package hooks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
)

// missing is what a script needs to be started and is not on this machine: its user, its interpreter. With an event of
// scripts that may bring a name it is a warning, and CheckDue looks again.
func missing(s Script, broughtBy func(name string) (event string)) (found []Problem) {
	say := func(line int, name, message, advice, later string) {
		event := broughtBy(name)
		if event != "" {
			advice = event + later
		}
		found = append(found, Problem{Line: line, Col: min(line, 1), Warning: event != "", Message: message + ": " + advice})
	}
	if s.RunAs != "" {
		if !HasUser(s.RunAs) {
			say(0, s.RunAs, fmt.Sprintf("runs as user %s, who is not on this machine", s.RunAs), "create the user in the AMI",
				" must have created the user by then, which is checked again")
		}
	}
	text, info, _, err := readScript(s.File)
	if err != nil || !info.Mode().IsRegular() || len(text) == 0 {
		return found
	}
	in := interpretFor(s, text[:min(len(text), headSize)], true)
	if in.binary || in.kernel == nil || badFirstLine(text, in) != "" {
		return found
	}
	m, name := missingProgram(in.kernel[0], lookupPath(s.Env)), in.kernel[0]
	if m == "" && !in.opaque && in.name != in.kernel[0] {
		m, name = missingProgram(in.name, lookupPath(s.Env)), in.name
	}
	if m != "" {
		say(1, name, m, "install it in the AMI", " must have installed it by then, which is checked again")
	}
	return found
}

// bringing tells for the script at i the event in which a script that runs before it may bring a user or an interpreter:
// BeforeInstall is for such things, and of any other event it is one that has the name in its text.
func bringing(scripts []Script, i int) func(name string) (event string) {
	s := scripts[i]
	return func(name string) string {
		named := ""
		for j, o := range scripts {
			before := j < i && o.Event != ApplicationStop || s.Event == ApplicationStop && o.Event != ApplicationStop // of the next deployment
			switch {
			case o.Event == BeforeInstall && (j < i || s.Event != BeforeInstall):
				return BeforeInstall
			case named == "" && before && mentions(o, path.Base(name)):
				named = o.Event
			}
		}
		return named
	}
}

func mentions(s Script, name string) bool {
	text, _, _, err := readScript(s.File)
	return err == nil && bytes.Contains(text, []byte(name))
}

// HasUser says whether there is such a user on this machine.
func HasUser(name string) bool {
	_, err := user.Lookup(name)
	return err == nil
}

// CheckDue looks, right before scripts of one event are run, whether the users and interpreters are there that Check has left
// to others. The error names all that are not, but for what a script among these may bring.
func CheckDue(scripts []Script) error {
	var lines []string
	for i, s := range scripts {
		for _, p := range Errors(missing(s, bringing(scripts, i))) {
			p.File = s.Location
			lines = append(lines, p.String())
		}
	}
	if len(lines) > 0 {
		return errors.New(strings.Join(lines, "; "))
	}
	return nil
}

// missingProgram says that an interpreter is not here, or nothing.
func missingProgram(name, searchPath string) string {
	if findProgram(name, searchPath) != "" {
		return ""
	}
	if strings.Contains(name, "/") {
		return fmt.Sprintf("its interpreter %s is not a program on this machine", name)
	}
	return fmt.Sprintf("its interpreter %s is not in PATH (%s)", name, searchPath)
}

func findProgram(name, searchPath string) string {
	folders := filepath.SplitList(searchPath)
	if strings.Contains(name, "/") {
		folders = []string{""}
	}
	for _, folder := range folders {
		file := filepath.Join(folder, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func lookupPath(environ []string) string {
	if p, ok := lookup(environ, "PATH"); ok {
		return p
	}
	return DefaultPath
}

// loginShell is a user's shell from /etc/passwd, which os/user does not tell; /bin/sh when it says
// none.
func loginShell(name string) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return "/bin/sh"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && fields[0] == name && fields[6] != "" {
			return fields[6]
		}
	}
	return "/bin/sh"
}
