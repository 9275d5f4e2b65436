package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"usher/agent/format"
	"usher/agent/groups"
)

// What is sane for a launch hook.
const (
	// leastHeartbeat: the agent sends one every third of it, and an answer of AWS may take 8 s.
	leastHeartbeat = time.Minute
	// mostHeartbeat is how long a launch may hang that nobody is heard of: a machine that died, an agent that is
	// not there. Auto Scaling's own default, an hour, keeps a group short of a server for that long.
	mostHeartbeat = 15 * time.Minute
	// slowest is what a download and its unpacking are reckoned with, in bytes a second: a small instance in bad times.
	slowest = 5 << 20
	// forScripts is what a launch needs besides, if its scripts are no slower than most.
	forScripts = 10 * time.Minute
)

// Hooks finds out whether a group's launch hook is one that usher can and will complete. name is lifecycle_hook of the
// configuration, "" for none; size is that of the bundle, 0 when it is not known.
func (r *Report) Hooks(group string, hooks []groups.Hook, name string, size int64) {
	var managed, open []groups.Hook
	for _, h := range hooks {
		switch {
		case h.Transition != groups.Launching:
		case h.Managed():
			managed = append(managed, h)
		default:
			open = append(open, h)
		}
	}
	ours := slices.IndexFunc(open, func(h groups.Hook) bool { return h.Name == name || name == "" && len(open) == 1 })
	switch {
	case ours >= 0:
		r.hook(group, open[ours], size)
	case name != "":
		r.Problem("hook", "correct lifecycle_hook in agent.yml, or `usher attach --hook "+name+" ENV`",
			"group %s has no launch hook named %s (it has: %s): no agent completes another", group, name, listOf(open))
	case len(open) == 0:
		r.Problem("hook", "`usher attach ENV`, or initial_lifecycle_hook in Terraform", "group %s has no launch hook: Auto Scaling does not wait for usher", group)
	default:
		r.Problem("hook", "set lifecycle_hook in agent.yml to the one usher completes", "group %s has %d launch hooks (%s): the agent refuses to choose", group, len(open), listOf(open))
	}
	if ours >= 0 && len(open) > 1 {
		r.Warn("hook", "see that somebody completes the others", "group %s has %d launch hooks (%s): a launch waits for all of them", group, len(open), listOf(open))
	}
	for _, h := range managed { // usher answers its deployments, but never completes it
		r.Warn("hook", "select the servers by the tags "+groups.TagApplication+" and "+groups.TagGroup+", and take the group out of the deployment group in CodeDeploy",
			"group %s has CodeDeploy's own launch hook %s: a launch then waits for a deployment of CodeDeploy's as well", group, h.Name)
	}
}

// hook judges the settings of the one that usher completes.
func (r *Report) hook(group string, h groups.Hook, size int64) {
	fine := true
	wrong := func(level Level, do, format string, args ...any) {
		fine = false
		*r = append(*r, Finding{level, "hook", "hook " + h.Name + " of group " + group + " " + fmt.Sprintf(format, args...), do})
	}
	const put = "`usher attach ENV`"
	if h.DefaultResult != "ABANDON" {
		wrong(Problem, put, "has the default result %s: an instance whose agent dies enters service as it is", h.DefaultResult)
	}
	if h.Heartbeat < leastHeartbeat {
		wrong(Warning, put, "has a heartbeat timeout of %s: two heartbeats that are lost end the launch", h.Heartbeat)
	}
	if h.Heartbeat > mostHeartbeat {
		wrong(Warning, put, "has a heartbeat timeout of %s: a launch that hangs is noticed only then", h.Heartbeat)
	}
	if need := launchTime(size); h.Global > 0 && h.Global < need {
		wrong(Problem, "a longer heartbeat timeout (the global one is a hundred of it)", "ends every launch after %s, and one of a bundle of %s may need %s", h.Global, format.Bytes(size), need)
	}
	if fine {
		r.OK("hook", "hook %s of group %s: ABANDON, heartbeat timeout %s", h.Name, group, h.Heartbeat)
	}
}

// launchTime is what a launch of a bundle of that size may need.
func launchTime(size int64) time.Duration {
	return forScripts + 2*time.Duration(size/slowest)*time.Second // downloaded, then unpacked
}

func listOf(hooks []groups.Hook) string {
	var names []string
	for _, h := range hooks {
		names = append(names, h.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
