package systemd

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Unit is one command that runs to its end as a transient service unit of its own. Apart from what is
// said here, it runs as any service of the machine does; nothing of usher's own sandbox, environment or
// control group reaches it.
type Unit struct {
	// Name is the unit's, of UnitName. It is the lock that makes the command run once: as long as a unit
	// of that name is there, running or ended, Manager.Run waits for it instead of starting another.
	Name        string
	Description string // what systemctl calls it

	Argv []string // Argv[0] is an absolute path; nothing in it is expanded
	Env  []string // KEY=VALUE, all there is
	Dir  string   // working directory, absolute
	User string   // "" is root; with the user's own and supplementary groups

	// ReadOnly are directories that it sees read-only, but for those of Writable below them; what is not there is left
	// out. With any, it has a mount namespace of its own: what it mounts nobody else sees, and is gone when it ends.
	ReadOnly, Writable []string

	// Timeout is how long it may run; then all its processes get TERM. Grace is the time from there to
	// KILL, also when it is stopped. systemd keeps both, so they hold when usher is gone.
	Timeout, Grace time.Duration

	// Fields are put into the journal with every line that it writes. Names are the journal's: capitals,
	// digits, "_".
	Fields map[string]string
}

// maxUnitName is systemd's own limit for the name of a unit, in bytes.
const maxUnitName = 255

// UnitName is the name of a service unit for an ID: the prefix and the ID, with every byte that has a
// meaning to systemd or is not allowed written as \xNN, as systemd-escape does. Different IDs have
// different names.
func UnitName(prefix, id string) (string, error) {
	const suffix = ".service"
	var b strings.Builder
	b.WriteString(prefix)
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.:", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteString(suffix)
	switch {
	case id == "":
		return "", errors.New("cannot name a unit: it has no ID")
	case b.Len() > maxUnitName:
		return "", fmt.Errorf("cannot name a unit for %s: the name would have %d bytes, systemd takes %d", id, b.Len(), maxUnitName)
	}
	return b.String(), nil
}

// journald takes burstLines from a unit in burstTime, on a disk with much room up to some times as many, and drops
// the rest until that time is over: a script that never stops writing does not push everything else out of the
// journal. The time is journald's own default, and the lines come to about 20,000 on a disk of a usual size, which
// is more than a script writes for somebody to read. A limit for the whole script would take its last lines, where
// the reason of its failure is, and would be one for the daemon too that it leaves behind.
const (
	burstTime  = 30 * time.Second
	burstLines = 5000

	// burstLeast is the time in which journald cannot take so many lines: 10 µs for each.
	burstLeast = 50 * time.Millisecond
)

// unitUmask is what a login has.
const unitUmask = 0o022

// addedBySystemd are the variables that systemd gives to every service on its own account.
var addedBySystemd = []string{"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "MEMORY_PRESSURE_WATCH",
	"MEMORY_PRESSURE_WRITE", "LANG", "PATH", "HOME", "USER", "LOGNAME", "SHELL"}

// properties are the unit as StartTransientUnit takes it; inherited are the variables systemd would pass on.
func (u Unit) properties(inherited []string) ([]sd.Property, error) {
	if len(u.Argv) == 0 || !filepath.IsAbs(u.Argv[0]) {
		return nil, fmt.Errorf("cannot start %s: %q is not the absolute path of a program", u.Name, u.Argv)
	}
	type command struct {
		Path          string
		Argv          []string
		IgnoreFailure bool
	}
	var unset []string // what is not in Env must not come from anywhere else
	names := slices.Concat(inherited, addedBySystemd)
	slices.Sort(names)
	for _, name := range slices.Compact(names) { // a list with doubles is refused
		if !slices.ContainsFunc(u.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
			unset = append(unset, name)
		}
	}
	var fields [][]byte
	for _, name := range slices.Sorted(maps.Keys(u.Fields)) {
		fields = append(fields, []byte(name+"="+u.Fields[name]))
	}
	var list []sd.Property
	set := func(name string, value any) {
		list = append(list, sd.Property{Name: name, Value: dbus.MakeVariant(value)})
	}
	set("Description", u.Description)

	// The start job of a oneshot ends with the command. Without RemainAfterExit a unit that succeeded
	// would be gone before its result could be read, and with it the lock that its name is.
	set("Type", "oneshot")
	set("RemainAfterExit", true)
	// A $ is a $. ExecStartEx could say so once for all, but systemd writes that name into the unit's file, where it does not
	// know it again after a daemon-reload, such as a start script's.
	var argv []string
	for _, arg := range u.Argv {
		argv = append(argv, strings.ReplaceAll(arg, "$", "$$"))
	}
	set("ExecStart", []command{{u.Argv[0], argv, false}})
	set("WorkingDirectory", u.Dir)
	set("Environment", u.Env)
	set("UnsetEnvironment", unset)
	if u.User != "" {
		set("User", u.User)
	}
	set("UMask", uint32(unitUmask))
	if len(u.ReadOnly) > 0 {
		set("ReadOnlyPaths", ifThere(u.ReadOnly))
		set("ReadWritePaths", ifThere(u.Writable))
	}

	// Of a command that fails, is too slow or is stopped, everything ends. After success nothing is
	// killed: a unit with leftovers is not stopped (Manager.CleanUp), so KillMode does not come to bear.
	set("KillMode", "control-group")
	set("TimeoutStartUSec", uint64(u.Timeout.Microseconds()))
	set("TimeoutStopUSec", uint64(u.Grace.Microseconds()))

	// As for a shell at a terminal; systemd's default would turn `yes | head -1` into an error.
	set("IgnoreSIGPIPE", false)
	// A daemon that it leaves behind is the application, and is not to have a script's limits.
	set("TasksMax", ^uint64(0))
	set("OOMPolicy", "continue")

	set("StandardInput", "null")
	set("StandardOutput", "journal")
	set("StandardError", "journal")
	set("SyslogIdentifier", identifier)
	set("SyslogLevelPrefix", false) // a line that begins with <3> is a line

	set("LogRateLimitIntervalUSec", uint64(burstTime.Microseconds()))
	set("LogRateLimitBurst", uint32(burstLines))
	set("LogExtraFields", fields)
	return list, nil
}

// ifThere are paths that systemd passes over when they are missing.
func ifThere(paths []string) (list []string) {
	for _, p := range paths {
		list = append(list, "-"+p)
	}
	return list
}
