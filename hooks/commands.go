package hooks

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
)

// orTrue is what to write where a failure is no failure.
const orTrue = "`THIS || true`"

// often are the commands that have a status other than 0 in normal operation, whatever their arguments are: why, and
// what to write instead. THIS stands for the command.
var often = map[string][2]string{
	"pgrep":    {"has status 1 when no such process runs, as on a new server", orTrue},
	"pidof":    {"has status 1 when no such process runs, as on a new server", orTrue},
	"pkill":    {"has status 1 when no such process runs, as on a new server", orTrue},
	"killall":  {"has status 1 when no such process runs, as on a new server", orTrue},
	"kill":     {"fails when there is nothing to kill, as on a new server", orTrue},
	"fuser":    {"has status 1 when nobody uses it", orTrue},
	"lsof":     {"has status 1 when nobody uses it", orTrue},
	"grep":     {"has status 1 when no line matches", "`if THIS; then`, or " + orTrue},
	"egrep":    {"has status 1 when no line matches", "`if THIS; then`, or " + orTrue},
	"fgrep":    {"has status 1 when no line matches", "`if THIS; then`, or " + orTrue},
	"zgrep":    {"has status 1 when no line matches", "`if THIS; then`, or " + orTrue},
	"diff":     {"has status 1 when there is a difference", "`if ! THIS; then`, or " + orTrue},
	"cmp":      {"has status 1 when there is a difference", "`if ! THIS; then`, or " + orTrue},
	"id":       {"fails when there is no such user", "`if ! THIS; then`"},
	"getent":   {"has status 2 when there is no such entry", "`if ! THIS; then`"},
	"useradd":  {"has status 9 when the user is there, as in the second deployment", "`id USER >/dev/null 2>&1 || THIS`"},
	"adduser":  {"fails when the user is there, as in the second deployment", "`id USER >/dev/null 2>&1 || THIS`"},
	"groupadd": {"has status 9 when the group is there, as in the second deployment", "`getent group GROUP >/dev/null || THIS`"},
	"userdel":  {"fails when there is no such user", orTrue},
	"deluser":  {"fails when there is no such user", orTrue},
	"createdb": {"fails when it is there, as in the second deployment", orTrue},
	"which":    {"has status 1 when there is no such program", "`if ! THIS; then`, or " + orTrue},
	"expr":     {"has status 1 when its result is 0 or empty", "an assignment with $((...)), or " + orTrue},
	"umount":   {"fails when nothing is mounted there", orTrue},
	"unlink":   {"fails when it is not there", "`rm -f`"},
}

// ofVerb are the commands of which some verbs are so.
var ofVerb = map[string]struct {
	verbs []string
	why   string
}{
	"docker":        {[]string{"stop", "rm", "kill", "rmi", "inspect"}, "fails when there is nothing of that name, as on a new server"},
	"podman":        {[]string{"stop", "rm", "kill", "rmi", "inspect"}, "fails when there is nothing of that name, as on a new server"},
	"systemctl":     {[]string{"stop", "status", "is-active", "is-enabled", "is-failed", "disable", "kill", "reload", "reset-failed"}, "fails when the unit is not there, or does not run"},
	"supervisorctl": {[]string{"stop", "status"}, "fails when the program is not known, or does not run"},
	"pm2":           {[]string{"stop", "delete", "describe"}, "fails when the process is not known, as on a new server"},
	"forever":       {[]string{"stop", "stopall"}, "fails when nothing runs, as on a new server"},
	"initctl":       {[]string{"stop", "status"}, "fails when the job is not known, or does not run"},
	"screen":        {[]string{"quit"}, "fails when there is no such session"},
	"monit":         {[]string{"stop", "unmonitor"}, "fails when the service is not known"},
	"tmux":          {[]string{"kill-session", "has-session"}, "fails when there is no such session"},
	"dpkg":          {[]string{"-s", "-l", "--status"}, "has status 1 when it is not installed"},
	"rpm":           {[]string{"-q", "-qa", "--query"}, "has status 1 when it is not installed"},
	"pip":           {[]string{"show"}, "has status 1 when it is not installed"},
	"crontab":       {[]string{"-l", "-r"}, "has status 1 when the user has no crontab, as on a new server"},
	"yum":           {[]string{"check-update"}, "has status 100 when there are updates"},
	"dnf":           {[]string{"check-update"}, "has status 100 when there are updates"},
	"nginx":         {[]string{"-s"}, "fails when nginx does not run, as on a new server"},
	"iptables":      {[]string{"-D", "-C"}, "has status 1 when there is no such rule"},
}

// changes are the commands that fail when what they make is there already, or what they take away is not. A script
// that asks before (`if [ -e FILE ]`, `id USER ||`) knows that.
var changes = wordSet("kill systemctl service docker podman useradd adduser groupadd userdel deluser createdb semanage cat umount unlink rm rmdir mv mkdir ln")

// asks tells whether a command changes nothing, and says by its status how things are.
func asks(name string, args []string) bool {
	switch name {
	case "systemctl":
		return slices.ContainsFunc(args, func(a string) bool { return a == "status" || strings.HasPrefix(a, "is-") })
	case "service", "supervisorctl", "initctl":
		return slices.Contains(args, "status")
	case "kill":
		return slices.Contains(args, "-0")
	}
	return slices.Contains([]string{"pgrep", "pidof", "grep", "egrep", "fgrep", "zgrep", "diff", "cmp", "id", "getent", "which", "lsof", "fuser", "expr"}, name)
}

// risk tells why a command fails in normal operation, and what to write instead; "" when it does not.
func (r *risks) risk(args []string) (why, write string) {
	name := path.Base(args[0])
	rest := args[1:]
	if r.validates && asks(name, rest) {
		return "", ""
	}
	options := strings.Join(slices.DeleteFunc(slices.Clone(rest), func(a string) bool { return !strings.HasPrefix(a, "-") }), " ")
	operands := slices.DeleteFunc(slices.Clone(rest), func(a string) bool { return strings.HasPrefix(a, "-") })
	if known, ok := often[name]; ok {
		if name == "id" && (len(operands) == 0 || slices.Equal(operands, []string{"root"})) { // of oneself, or of who is everywhere
			return "", ""
		}
		return known[0], known[1]
	}
	if why, write := byWords(name, rest, operands); why != "" {
		return why, write
	}
	if known, ok := ofVerb[name]; ok {
		verb, forced := "", strings.Contains(options, "f") && (name == "docker" || name == "podman")
		if i := slices.IndexFunc(rest, func(a string) bool { return slices.Contains(known.verbs, a) }); i >= 0 {
			verb = rest[i]
		}
		if verb == "" || forced && verb == "rm" {
			return "", ""
		}
		return known.why, orTrue
	}
	last := ""
	if len(operands) > 0 {
		last = operands[len(operands)-1]
	}
	switch {
	case name == "service" && (last == "stop" || last == "status"), strings.HasPrefix(args[0], "/etc/init.d/") && (last == "stop" || last == "status"),
		name == "invoke-rc.d" && last == "stop":
		return "fails when the service is not there, or does not run", orTrue
	case name == "xargs" && slices.Contains(operands, "kill") && !slices.Contains(rest, "-r") && !slices.Contains(rest, "--no-run-if-empty"):
		return "fails when there is nothing to kill, as on a new server", "`xargs -r` and " + orTrue
	case name == "command" || name == "type" || name == "hash": // `command` without -v is not among the arguments
		return "has status 1 when there is no such program", "`if ! THIS; then`, or " + orTrue
	case name == "read" && hasEmptyDelimiter(rest):
		return "has status 1 at the end of its input, which it always reaches", orTrue
	case name == "read" && r.fed == 0:
		return "has status 1, because a hook has no input", "an assignment"
	case name == "rm" && !strings.Contains(options, "f") && !strings.Contains(options, "--force") && r.mayBeMissing(operands):
		return "fails when it is not there, as in the first deployment", "`rm -f`"
	case name == "rmdir" && r.mayBeMissing(operands):
		return "fails when it is not there, or not empty", orTrue
	case name == "mv" && len(operands) > 1 && r.mayBeMissing(operands[:len(operands)-1]):
		return "fails when it is not there, as in the first deployment", "`if [ -e FILE ]; then THIS; fi`"
	case name == "mkdir" && !strings.Contains(options, "p") && len(operands) > 0:
		return "fails when it is there, as in the second deployment", "`mkdir -p`"
	case name == "ln" && strings.Contains(options, "s") && !strings.Contains(options, "f") && len(operands) > 1:
		return "fails when it is there, as in the second deployment", "`ln -sfn`"
	}
	return "", ""
}

// byWords are commands that do so for some of their words.
func byWords(name string, rest, operands []string) (why, write string) {
	has := func(words ...string) bool {
		return slices.ContainsFunc(rest, func(a string) bool { return slices.Contains(words, a) })
	}
	switch {
	case name == "pm2" && has("restart", "reload") && !slices.ContainsFunc(operands, func(a string) bool { return pm2File.MatchString(a) }):
		return "fails when the process is not known, as on a new server", "`THIS || pm2 start ...`"
	case (name == "docker" || name == "podman") && len(operands) > 1 && operands[0] == "network" && operands[1] == "create",
		name == "semanage" && has("-a", "--add"):
		return "fails when it is there, as in the second deployment", orTrue
	case name == "shutdown.sh", name == "catalina.sh" && has("stop"):
		return "fails when Tomcat does not run, as on a new server", orTrue
	case name == "ps" && has("-p", "--pid"):
		return "has status 1 when no such process runs, as on a new server", "`if THIS; then`"
	case (name == "yum" || name == "dnf") && len(operands) > 2 && operands[0] == "list" && operands[1] == "installed":
		return "has status 1 when it is not installed", orTrue
	case name == "start-stop-daemon" && has("--stop", "-K") && !has("--oknodo", "-o"):
		return "has status 1 when nothing runs, as on a new server", "`--oknodo`"
	case name == "cat" && slices.ContainsFunc(operands, func(a string) bool { return strings.HasSuffix(a, ".pid") }):
		return "fails when it is not there, as on a new server", "`if [ -e FILE ]; then THIS; fi`"
	}
	return "", ""
}

// pm2File are the operands of pm2 from which it starts what it does not know.
var pm2File = regexp.MustCompile(`\.(js|cjs|mjs|json|ya?ml)$`)

func hasEmptyDelimiter(args []string) bool {
	i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") && strings.HasSuffix(a, "d") })
	return i >= 0 && i+1 < len(args) && args[i+1] == ""
}

// mayBeMissing tells whether one of the paths may not be there when the script gets to it: it is not in the revision,
// and nothing above in the script has named it.
func (r *risks) mayBeMissing(paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		if !path.IsAbs(p) && !strings.Contains(p, unknown) && r.exists != nil && r.exists(p) {
			return false
		}
		pieces := slices.DeleteFunc(strings.Split(strings.Trim(p, "/*"), unknown), func(piece string) bool { return strings.Trim(piece, "/*") == "" })
		return len(pieces) == 0 || slices.ContainsFunc(pieces, func(piece string) bool { return bytes.Count(r.text, []byte(piece)) < 2 })
	})
}
