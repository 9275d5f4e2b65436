package release

import (
	"path/filepath"

	"usher/agent/appspec"
	"usher/agent/safepath"
	"usher/hooks"
)

// Check checks the revision unpacked in dir as far as it can be without running anything: the appspec,
// what it installs where, every script of every event, the role hooks. An instance does it before the
// first script, with hooks.Check; `usher check` does it on a developer's machine, with hooks.CheckSource:
// both see the same problems, but for interpreters and users that only the instance has. All are found in one go,
// by file and line; the plan is of use only when none is an error.
func Check(layout Layout, dir, roleHooks string, policy hooks.Policy, check Checker) (*Plan, []hooks.Problem) {
	return checkBy(layout, dir, dir, roleHooks, policy, check)
}

// checkBy checks the revision unpacked in dir by the appspec and the scripts in another directory.
func checkBy(layout Layout, by, dir, roleHooks string, policy hooks.Policy, check Checker) (*Plan, []hooks.Problem) {
	spec, problems := appspec.ReadPartly(by)
	if spec == nil {
		return nil, hooks.Of(hooks.KindAppspec, problems)
	}
	plan, more := layout.Plan(dir, spec)
	problems = append(hooks.Of(hooks.KindAppspec, problems), hooks.Of(hooks.KindFiles, more)...)
	var scripts []hooks.Script
	for _, event := range hooks.Events {
		scripts = append(scripts, ScriptsIn(by, spec, event)...)
		role, more := hooks.RoleHooks(roleHooks, event)
		problems = append(problems, hooks.Of(hooks.KindRoleHook, more)...)
		scripts = append(scripts, role...)
	}
	problems = append(problems, hooks.Of(hooks.KindRoleHook, hooks.CheckRoleDir(roleHooks))...)
	problems = append(problems, hooks.Of(hooks.KindRoleHook, RoleHooksOfOthers(roleHooks))...)
	problems = append(problems, check(scripts, policy)...)
	problems = append(problems, hooks.AtTheLink(scripts, layout.Link, layout.Processes)...)
	problems = append(problems, hooks.NotThereYet(scripts, outsideOf(layout.Link, spec), policy)...)
	problems = append(problems, hooks.StartWithoutStop(scripts)...)
	if len(spec.Hooks[hooks.ValidateService]) == 0 {
		problems = append(problems, hooks.Problem{File: spec.File, Warning: true, Kind: hooks.KindAppspec,
			Message: "no ValidateService script: nothing checks that the application works before the server goes into service"})
	}
	problems = append(problems, leavesOut(dir, layout.Link, spec)...)
	hooks.Sort(problems)
	return plan, problems
}

// outsideOf are the destinations that are not below the link.
func outsideOf(link string, spec *appspec.Spec) (destinations []string) {
	for _, f := range spec.Files {
		if !under(f.Destination, link) {
			destinations = append(destinations, f.Destination)
		}
	}
	return destinations
}

// Checker checks scripts: hooks.Check on the server that runs them, hooks.CheckSource anywhere else.
type Checker func([]hooks.Script, hooks.Policy) []hooks.Problem

// RoleHooksOfOthers are the role hooks that somebody else than root could change: root runs them.
func RoleHooksOfOthers(roleHooks string) (problems []hooks.Problem) {
	roleHooks, err := filepath.Abs(roleHooks)
	if err != nil {
		return nil
	}
	for _, event := range hooks.Events {
		role, _ := hooks.RoleHooks(roleHooks, event)
		for _, s := range role {
			if err := safepath.TrustedFile(s.File); err != nil {
				problems = append(problems, hooks.Problem{File: s.File, Message: "would run as root: " + err.Error()})
			}
		}
	}
	return problems
}

// ScriptsIn are the scripts that the revision unpacked in dir runs at an event.
func ScriptsIn(dir string, spec *appspec.Spec, event string) (scripts []hooks.Script) {
	for _, h := range spec.Hooks[event] {
		scripts = append(scripts, hooks.Script{
			Event: event, Location: h.Location, File: filepath.Join(dir, filepath.FromSlash(h.Location)),
			Timeout: h.Timeout, RunAs: h.RunAs, Sudo: h.Sudo,
		})
	}
	return scripts
}
