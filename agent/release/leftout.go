package release

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/appspec"
	"usher/agent/format"
	"usher/hooks"
)

// interpreted are the files at the top of an application that is run as it lies in its repository.
var interpreted = []string{"package.json", "Gemfile", "requirements.txt", "pyproject.toml", "manage.py", "composer.json"}

// builtNames are what the results of builds are called: who installs one installs the application.
var builtNames = []string{"dist", "build", "public", "out", "output", "target", "bin", "_site", ".next", "release"}

// leavesOut warns of an appspec that installs nothing of the application, as one that was copied from elsewhere does: a release has
// only what `files` names. It is silent where files may well be meant to stay outside.
func leavesOut(dir, link string, spec *appspec.Spec) []hooks.Problem {
	if len(spec.Files) == 0 {
		return nil
	}
	scripts := []string{appspec.Name}
	for _, event := range hooks.Events {
		for _, h := range spec.Hooks[event] {
			scripts = append(scripts, top(h.Location))
		}
	}
	var installed []string
	for _, f := range spec.Files {
		if f.Source == "." || slices.Contains(builtNames, top(f.Source)) {
			return nil
		}
		installed = append(installed, top(f.Source))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the plan says it
	}
	var outside []string // what is neither a hook's nor words for people
	for _, e := range entries {
		if name := e.Name(); !slices.Contains(scripts, name) && name[0] != '.' && path.Ext(name) != ".md" && !strings.HasPrefix(name, "LICENSE") {
			outside = append(outside, name)
		}
	}
	missing := slices.DeleteFunc(slices.Clone(outside), func(name string) bool { return slices.Contains(installed, name) })
	manifest := slices.IndexFunc(interpreted, func(name string) bool { return slices.Contains(missing, name) })
	nothing := len(missing) > 0 && len(missing) == len(outside)
	if !nothing && (manifest < 0 || isApplication(dir, installed) || 2*files(dir, installed) > files(dir, outside)) {
		return nil
	}
	what := format.Limited(missing)
	if manifest >= 0 {
		what = interpreted[manifest] + " and all that belongs to it"
	}
	at := spec.Files[0]
	return []hooks.Problem{{File: spec.File, Line: at.Line, Col: at.Col, Warning: true, Kind: hooks.KindFiles,
		Message: fmt.Sprintf("files leaves the application out: %s will not be in the release, which has only what files names: `source: /` with `destination: %s` is all of the revision", what, link)}}
}

// isApplication tells whether one of these directories looks like an application of its own.
func isApplication(dir string, installed []string) bool {
	return slices.ContainsFunc(installed, func(name string) bool {
		return slices.ContainsFunc(append([]string{"index.html"}, interpreted...), func(file string) bool {
			_, err := os.Stat(filepath.Join(dir, name, file))
			return err == nil
		})
	})
}

// top is the first name of a path of the revision.
func top(name string) string {
	first, _, _ := strings.Cut(path.Clean(strings.TrimPrefix(filepath.ToSlash(name), "/")), "/")
	return first
}

// files counts those in entries of a directory, without what a package manager has brought.
func files(dir string, names []string) (n int) {
	for _, name := range names {
		_ = filepath.WalkDir(filepath.Join(dir, name), func(_ string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil // what cannot be read is not counted
			case e.IsDir() && (e.Name() == "node_modules" || e.Name() == "vendor"):
				return fs.SkipDir
			case !e.IsDir():
				n++
			}
			return nil
		})
	}
	return n
}
