package hooks

import (
	"fmt"
	"time"
)

// DefaultTimeout is how long a script may run when the appspec does not say: CodeDeploy's own hour.
const DefaultTimeout = 3600 * time.Second

// Policy says what is done about a shell script that does not switch errexit (`set -e`) on itself.
type Policy string

// The values of the agent's setting `errexit`.
const (
	Enforce Policy = "enforce" // run every shell script with -e, and warn; the default
	Require Policy = "require" // refuse the revision
	Report  Policy = "report"  // run it without -e, and tell at which commands enforce would have ended it
	Off     Policy = "off"     // what CodeDeploy does: the status of the last command counts
)

// ParsePolicy reads the setting `errexit`; empty is Enforce.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case "":
		return Enforce, nil
	case Enforce, Require, Report, Off:
		return p, nil
	}
	return "", fmt.Errorf("cannot use errexit %q: it is one of enforce, require, report, off", s)
}

// Tag is the environment variable that carries a script's ID. Every process a script starts inherits
// it, in whatever session and group it puts itself, so /proc tells which processes are a script's
// even after the agent that started it was killed. A process that cleans its environment is known by
// its process group only.
const Tag = "USHER_SCRIPT"

// Script is one script of one lifecycle event: a hook of the revision or a role hook.
type Script struct {
	// ID is unique on this machine and the same after a restart of the agent, for example
	// "d-ABC-1-AfterInstall-0". No two scripts with one ID ever run at once.
	ID string

	Event    string // the lifecycle event
	Location string // as messages call it: as in the appspec, or a role hook's absolute path
	File     string // the script's absolute path
	Role     bool   // a role hook, baked into the AMI

	Dir string // working directory, absolute
	// Directories it is to see read-only, but for those of Writable below them. Only a runner of units can do that; one
	// that mounts something for the machine (see Mounts) does not get it.
	ReadOnly, Writable []string
	// Link is a link that leads to the directory Shown for this script, whatever it leads to for everybody else; "" for none.
	// Only a runner of units can do that, and not for one that wants it otherwise (see SeesLive).
	Link, Shown string

	Timeout time.Duration // 0: DefaultTimeout
	RunAs   string        // user; "" is the agent's own
	Sudo    bool          // `sudo: true`: nothing to do for an agent that is root, refused otherwise
	Env     []string      // KEY=VALUE; apart from HOME, USER, LOGNAME, SHELL and USHER_SCRIPT, all there is
}

// String names the script in a message: "AfterInstall script scripts/migrate.sh".
func (s Script) String() string {
	kind := "script"
	if s.Role {
		kind = "role hook"
	}
	return s.Event + " " + kind + " " + s.Location
}

func (s Script) timeout() time.Duration {
	if s.Timeout <= 0 {
		return DefaultTimeout
	}
	return s.Timeout
}
