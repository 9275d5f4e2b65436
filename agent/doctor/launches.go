package doctor

import (
	"strings"
	"time"

	"usher/agent/format"
)

// FailedLaunch is a launch that a group gave up, as Auto Scaling tells it.
type FailedLaunch struct {
	Time    time.Time
	Server  string // "" when there was not even an instance
	Message string
}

// loop is how many launches in a row fail until nobody calls it chance: Auto Scaling goes on trying.
const loop = 3

// Launches finds out whether a group's launches fail one after the other: failed are the newest of them, up to the last one
// that came to a good end, the newest first; some tells whether any has ended lately.
func (r *Report) Launches(group, environment string, failed []FailedLaunch, some bool) {
	switch {
	case !some:
		r.OK("launches", "no launch of %s has ended in the last 24 hours", group)
		return
	case len(failed) == 0:
		r.OK("launches", "the last launch of %s came to a good end", group)
		return
	}
	last, level, what := failed[0], Warning, "the last launch of "+group+" failed"
	if len(failed) > 1 {
		what = "the last " + format.Plural(len(failed), "launch") + " of " + group + " failed"
	}
	if len(failed) >= loop {
		level, what = Problem, what+", and Auto Scaling goes on trying"
	}
	what += ": the newest at " + format.Local(last.Time)
	if last.Server != "" {
		what += ", " + last.Server
	}
	*r = append(*r, Finding{level, "launches", what + ": " + strings.Join(strings.Fields(last.Message), " "), forLaunch(last, environment)})
}

// forLaunch is what to do about a launch that failed, by Auto Scaling's words for it.
func forLaunch(f FailedLaunch, environment string) string {
	console := "usher's reason is on its console: `usher servers " + environment + "` has the command that shows it"
	switch {
	case f.Server == "":
		return "there was not even an instance: correct what Auto Scaling names: the launch template, a quota, the capacity of the Availability Zones"
	case strings.Contains(f.Message, "ABANDON Result"):
		return "usher gave it up: " + console + ". Where the revision is bad, see \"When every launch fails\" in systemd/README.md"
	case strings.Contains(f.Message, "Heartbeat Timeout"):
		return "nobody answered the launch hook in time: usher is not in the image, does not start, or cannot reach AWS: " + console
	}
	return "`usher servers " + environment + "` has the command that shows its console"
}
