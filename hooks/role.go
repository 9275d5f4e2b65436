package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// RoleHooks are the role hooks of one event: the files of DIR/EVENT in the order of their names, as
// `ls` in the C locale has them. The caller completes each Script with ID, Dir and Env. A missing
// folder is no hooks. What an editor or a package manager left beside them is skipped: dotfiles,
// *~, *.dpkg-*, *.ucf-*, *.rpmnew, *.rpmsave, *.rpmorig.
func RoleHooks(dir, event string) ([]Script, []Problem) {
	folder := filepath.Join(dir, event)
	entries, err := os.ReadDir(folder) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []Problem{{File: folder, Message: "cannot read the folder of role hooks: " + reason(err)}}
	}
	var scripts []Script
	var problems []Problem
	for _, e := range entries {
		if isBackupFile(e.Name()) {
			continue
		}
		file := filepath.Join(folder, e.Name())
		info, err := os.Stat(file) // a package may install a link
		switch {
		case err != nil:
			problems = append(problems, Problem{File: file, Message: "cannot read this role hook: " + reason(err)})
		case !info.Mode().IsRegular():
			problems = append(problems, Problem{File: file, Message: "is not a regular file; a role hook is a script"})
		case modesKept && info.Mode().Perm()&0o002 != 0:
			problems = append(problems, Problem{File: file, Message: "can be changed by every user and would run as the agent: chmod o-w"})
		default:
			scripts = append(scripts, Script{Event: event, Location: file, File: file, Role: true})
		}
	}
	return scripts, problems
}

// CheckRoleDir checks the names in the directory of role hooks: each is a folder named after an event
// that runs scripts, or nothing would ever run what is in it. A missing directory is fine.
func CheckRoleDir(dir string) []Problem {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []Problem{{File: dir, Message: "cannot read the directory of role hooks: " + reason(err)}}
	}
	var problems []Problem
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if isBackupFile(name) {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			problems = append(problems, Problem{File: path, Message: "cannot read this folder of role hooks: " + reason(err)})
		case !info.IsDir():
			problems = append(problems, Problem{File: path, Warning: true,
				Message: "nothing runs this file: role hooks are in a folder named after their event"})
		case slices.Contains(Events, name):
		case slices.Contains([]string{BlockTraffic, DownloadBundle, Install, AllowTraffic}, name):
			problems = append(problems, Problem{File: path, Message: "the event " + name + " runs no scripts"})
		default:
			problems = append(problems, Problem{File: path, Message: unknownEvent(name)})
		}
	}
	return problems
}

func unknownEvent(name string) string {
	if right := Closest(name, Events); right != "" {
		return fmt.Sprintf("is not named after a lifecycle event: did you mean %s?", right)
	}
	return "is not named after a lifecycle event; those that run scripts are " + strings.Join(Events, ", ")
}

// isBackupFile reports whether a name is what an editor or a package manager leaves beside a file.
func isBackupFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") {
		return true
	}
	if strings.Contains(name, ".dpkg-") || strings.Contains(name, ".ucf-") {
		return true
	}
	return slices.Contains([]string{".rpmnew", ".rpmsave", ".rpmorig"}, filepath.Ext(name))
}

// reason is an error of the os package without operation and path, which the message has already.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
