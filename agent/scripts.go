package main

import (
	"errors"
	"os/user"
	"path/filepath"
	"strconv"

	"usher/agent/appspec"
	"usher/agent/release"
	"usher/hooks"
)

// listScripts are the scripts of an event: those of a release, or of the base, then the role's.
func (d *deployment) listScripts(event string, of release.Release) (list []hooks.Script, err error) {
	dir, err := d.layout.ScriptsDir(of, 0)
	if err != nil {
		return nil, err
	}
	if spec, problems := appspec.Read(dir); dir == "" { // it has none
	} else if spec != nil {
		list = release.ScriptsIn(dir, spec, event)
	} else if len(problems) > 0 && of.ID != "" { // the base need not have one
		return nil, errors.New(problems[0].String())
	}
	for i, s := range list {
		if list[i].File, err = d.fileOf(s, of, dir); err != nil {
			return nil, err
		}
	}
	if problems := release.RoleHooksOfOthers(d.cfg.RoleHooks); len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	role, problems := hooks.RoleHooks(d.cfg.RoleHooks, event)
	if len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	return append(list, role...), nil
}

// fileOf is the file that a script is run from. One that runs as another user may lie where that user can write.
func (d *deployment) fileOf(s hooks.Script, of release.Release, dir string) (string, error) {
	if s.RunAs == "" || dir == of.Bundle {
		return s.File, nil
	}
	u, err := user.Lookup(s.RunAs)
	if err != nil {
		return s.File, nil // the run says it
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return s.File, nil
	}
	if dir, err = d.layout.ScriptsDir(of, uid); err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.FromSlash(s.Location)), nil
}
