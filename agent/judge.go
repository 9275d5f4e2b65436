package main

import (
	"path/filepath"

	"usher/agent/appspec"
	"usher/agent/release"
	"usher/hooks"
)

// judge checks the revision unpacked in dir as far as it can be without running anything: the appspec,
// what it installs where, every script of every event, the role hooks. An instance does it before the
// first script, with hooks.Check; `usher check` does it on a developer's machine, with hooks.CheckSource:
// both see the same problems, but for interpreters and users that only the instance has. All are found in one go,
// by file and line; the plan is of use only when none is an error.
func judge(layout release.Layout, dir, roleHooks string, policy hooks.Policy, check checker) (*release.Plan, []hooks.Problem) {
	spec, problems := appspec.ReadPartly(dir)
	if spec == nil {
		return nil, problems
	}
	plan, more := layout.Plan(dir, spec)
	problems = append(problems, more...)
	var scripts []hooks.Script
	for _, event := range hooks.Events {
		scripts = append(scripts, scriptsIn(dir, spec, event)...)
		role, more := hooks.RoleHooks(roleHooks, event)
		problems = append(problems, more...)
		scripts = append(scripts, role...)
	}
	problems = append(problems, hooks.CheckRoleDir(roleHooks)...)
	problems = append(problems, check(scripts, policy)...)
	if len(spec.Hooks[hooks.ValidateService]) == 0 {
		problems = append(problems, hooks.Problem{File: spec.File, Warning: true,
			Message: "no ValidateService script: nothing checks that the application works before the server goes into service"})
	}
	hooks.Sort(problems)
	return plan, problems
}

type checker func([]hooks.Script, hooks.Policy) []hooks.Problem

// scriptsIn are the scripts that the revision unpacked in dir runs at an event.
func scriptsIn(dir string, spec *appspec.Spec, event string) (scripts []hooks.Script) {
	for _, h := range spec.Hooks[event] {
		scripts = append(scripts, hooks.Script{
			Event: event, Location: h.Location, File: filepath.Join(dir, filepath.FromSlash(h.Location)),
			Timeout: h.Timeout, RunAs: h.RunAs, Sudo: h.Sudo,
		})
	}
	return scripts
}
