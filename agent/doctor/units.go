package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Where units are, what an administrator says first. What is in /run does not belong to an image.
var unitFolders = []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// otherAgents are the units that deploy revisions, or complete lifecycle actions, in usher's place. CodeDeploy's agent
// comes as a System V script as well.
var otherAgents = []string{"codedeploy-agent.service", "amazon-codedeploy-agent.service", "codedeploy-agent-v2.service", "lifecycled.service"}

// clocks are the units that keep a machine's time.
var clocks = []string{"chronyd.service", "chrony.service", "systemd-timesyncd.service", "ntpd.service", "ntp.service", "ntpsec.service"}

// UnitFile is the path of a unit, "" when there is none. A unit that is masked is a link to /dev/null.
func UnitFile(unit string) string {
	for _, folder := range unitFolders {
		if _, err := os.Lstat(filepath.Join(folder, unit)); err == nil {
			return filepath.Join(folder, unit)
		}
	}
	return ""
}

// Enabled reports whether a unit is wanted or required at boot, as its links say. No systemd has to run.
func Enabled(unit string) bool {
	for _, folder := range unitFolders {
		for _, kind := range []string{"wants", "requires"} {
			found, _ := filepath.Glob(filepath.Join(folder, "*."+kind, unit)) // the pattern is good
			if len(found) > 0 {
				return true
			}
		}
	}
	name, _ := strings.CutSuffix(unit, ".service")
	scripts, _ := filepath.Glob("/etc/rc[2-5].d/S[0-9][0-9]" + name)
	return len(scripts) > 0
}

// masked reports whether a unit cannot be started at all.
func masked(unit string) bool {
	target, err := os.Readlink(UnitFile(unit))
	return err == nil && target == os.DevNull
}

// Unit finds out whether usher's unit is there and will be started at the next boot.
func (r *Report) Unit(unit string) {
	switch file := UnitFile(unit); {
	case file == "":
		r.Problem("unit", "install usher's package", "%s is not here", unit)
	case masked(unit):
		r.Problem("unit", "systemctl unmask "+unit+" && systemctl enable "+unit, "%s is masked: it cannot start", unit)
	case !Enabled(unit):
		r.Problem("unit", "systemctl enable "+unit, "%s is not enabled: no boot starts it", unit)
	default:
		r.OK("unit", "%s is enabled", unit)
	}
}

// late are the units of cloud-init that come after multi-user.target.
var late = []string{"cloud-final.service", "cloud-init.target"}

// leastSystemd is the oldest systemd that the unit can be used with, as the packages and the unit say. [Report.Systemd] holds
// images that were not made with a package to it.
const leastSystemd = 249

// Where systemd keeps the library that all of its programs share, whose name ends in the version: libsystemd-shared-252.so, or
// libsystemd-shared-252.23-3.amzn2023.so. A tree that is not this machine can be asked too, and nothing is run.
var sharedLibraries = []string{"/usr/lib/systemd/", "/lib/systemd/", "/usr/lib64/systemd/", "/usr/lib/*-linux-gnu/systemd/", "/lib/*-linux-gnu/systemd/"}

// Systemd finds out whether systemd is new enough for the unit.
func (r *Report) Systemd() {
	const upgrade = "use a base image with a later one: Amazon Linux 2023, Ubuntu 22.04, Debian 12"
	version := 0
	for _, folder := range sharedLibraries {
		found, _ := filepath.Glob(folder + "libsystemd-shared-*.so") // the pattern is good
		for _, file := range found {
			name := strings.TrimPrefix(filepath.Base(file), "libsystemd-shared-")
			if end := strings.IndexFunc(name, func(c rune) bool { return c < '0' || c > '9' }); end > 0 {
				n, _ := strconv.Atoi(name[:end])
				version = max(version, n)
			}
		}
	}
	switch {
	case version == 0:
		r.Problem("systemd", upgrade, "there is no libsystemd-shared here, which systemd has had since 231: the unit needs %d", leastSystemd)
	case version < leastSystemd:
		r.Problem("systemd", upgrade, "systemd is %d, and the unit needs %d", version, leastSystemd)
	default:
		r.OK("systemd", "%d, and the unit needs %d", version, leastSystemd)
	}
}

// Ordering finds out whether the unit waits for something that waits for it: systemd then drops its start.
func (r *Report) Ordering(unit string) {
	links, _ := filepath.Glob("/etc/systemd/system/multi-user.target.*/" + unit)
	for file, units := range after(unit) {
		for _, u := range units {
			if len(links) > 0 && slices.Contains(late, u) {
				r.Problem("ordering", "use After=cloud-config.service, or enable it in "+late[1]+" instead of multi-user.target",
					"%s says After=%s, which comes after multi-user.target, which wants %s: systemd breaks the cycle by not starting usher", file, u, unit)
				return
			}
		}
	}
	r.OK("ordering", "%s waits for nothing that waits for it", unit)
}

// after is what the unit and its drop-ins name in After=, by file.
func after(unit string) map[string][]string {
	files := []string{UnitFile(unit)}
	for _, folder := range unitFolders {
		found, _ := filepath.Glob(filepath.Join(folder, unit+".d", "*.conf"))
		files = append(files, found...)
	}
	all := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // Unit tells of one that is not there
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			if value, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "After="); ok {
				all[file] = append(all[file], strings.Fields(value)...)
			}
		}
	}
	return all
}

// NoOtherAgents finds out whether another agent would deploy beside usher. active tells whether a unit runs now; nil where no
// systemd runs.
func (r *Report) NoOtherAgents(active func(unit string) bool) {
	found := false
	for _, unit := range otherAgents {
		stop := "systemctl disable --now " + unit
		switch {
		case masked(unit):
		case active != nil && active(unit):
			r.Problem("other agent", stop, "%s runs: both would deploy, or answer for, the same server", unit)
			found = true
		case Enabled(unit):
			r.Problem("other agent", stop+", or leave its package out", "%s is enabled: both would deploy, or answer for, the same server", unit)
			found = true
		}
	}
	if !found {
		r.OK("other agent", "none is enabled")
	}
}

// Clock finds out whether something keeps the time: AWS refuses requests of a clock that is wrong.
func (r *Report) Clock() {
	for _, unit := range clocks {
		if Enabled(unit) && !masked(unit) {
			r.OK("time", "%s is enabled", unit)
			return
		}
	}
	r.Warn("time", "install chrony, which finds Amazon's time service by itself on most images", "nothing that keeps the time is enabled: AWS refuses requests of a clock that is wrong by minutes")
}

// Where the journal's catalog is.
const (
	catalogFile     = "/usr/lib/systemd/catalog/usher.catalog"
	catalogDatabase = "/var/lib/systemd/catalog/database"
)

// Catalog finds out whether journalctl -x can explain usher's messages; subject is the beginning of one.
func (r *Report) Catalog(subject string) {
	const update = "journalctl --update-catalog"
	if _, err := os.Stat(catalogFile); errors.Is(err, fs.ErrNotExist) {
		r.Warn("catalog", "install usher's package", "%s is not here: journalctl -x explains nothing of usher's", catalogFile)
		return
	}
	switch database, err := os.ReadFile(catalogDatabase); {
	case err != nil, !bytes.Contains(database, []byte(subject)):
		r.Warn("catalog", update, "the journal's catalog has not taken usher's in: journalctl -x explains nothing of usher's")
	default:
		r.OK("catalog", "journalctl -x explains usher's messages")
	}
}
