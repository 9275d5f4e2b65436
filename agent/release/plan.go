package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"usher/agent/appspec"
	"usher/hooks"
)

// Layout is where things are. All paths are absolute and as the appspec and the operator know them.
type Layout struct {
	Link     string // /opt/app
	Base     string // /opt/app-base
	Releases string // /opt/app-releases
	Root     string // "" or "/" for the real server; else every path above and every destination is below it (rehearsal)

	Processes bool // scripts are processes of usher's, not units of systemd: what is live is not kept from them (see Kept)

	// NotInstalled says of a directory in the revision that it is no part of it; nil of none.
	NotInstalled func(name string) bool `json:"-"`
}

// Plan is what Install will do for one unpacked revision: worked out, and found possible, before anything
// is touched. `usher check` makes the same plan.
type Plan struct {
	Separate     bool          // parts of the revision go into the release; else the whole revision is the release
	Destinations []Destination // of the appspec's entries, in their order

	inside  []mapping
	outside []mapping
	rules   map[string]appspec.Permission // by destination
	exists  string                        // file_exists_behavior of the appspec
}

// Destination is where an entry of files installs, and how many of its files are switched there in one rename. The others
// are replaced in place, one by one.
type Destination struct {
	Path     string `json:"path"`
	Line     int    `json:"line"` // of the entry in the appspec
	Files    int    `json:"files"`
	Switched int    `json:"switched"`
}

// mapping is one file, directory or symbolic link to install.
type mapping struct {
	source string // in the revision, relative; "" for a directory that only has to be there
	dest   string // as the appspec names it, absolute
	mode   fs.FileMode
}

// Separate says whether the release is a copy beside the unpacked revision, rather than the revision as it is:
// when the appspec picks parts of it (the one entry `source: /`, and no files under the link, do not), and
// when it gives anything to another user. Root runs the revision's scripts; who may change them is root.
func (l Layout) Separate(spec *appspec.Spec) bool {
	entries, whole := 0, false
	for _, f := range spec.Files {
		if under(f.Destination, l.Link) {
			entries++
			whole = f.Source == "." && f.Destination == l.Link
		}
	}
	for _, p := range spec.Permissions {
		if p.Owner != "" || p.Group != "" || p.ACLs != nil || p.Mode != nil && p.Mode.Perm()&0o022 != 0 {
			return true
		}
	}
	return entries > 0 && !(entries == 1 && whole)
}

// Plan works out what installing the revision unpacked in dir means. Problems are of the appspec against
// what the revision holds; the plan is of use only when none is fatal.
func (l Layout) Plan(dir string, spec *appspec.Spec) (*Plan, []hooks.Problem) {
	p := &Plan{Separate: l.Separate(spec), rules: map[string]appspec.Permission{}, exists: spec.FileExistsBehavior}
	var problems []hooks.Problem
	say := func(line, col int, warning bool, format string, args ...any) {
		problems = append(problems, hooks.Problem{File: spec.File, Line: line, Col: col, Warning: warning, Message: fmt.Sprintf(format, args...)})
	}
	taken := map[string]mapping{}
	for _, f := range spec.Files {
		for what, kept := range map[string]string{"base": l.Base, "folder of releases": l.Releases} {
			if under(f.Destination, kept) && !under(f.Destination, l.Link) {
				say(f.Line, f.Col, false, "destination %s is in the %s, which a deployment never writes to: use %s", f.Destination, what, l.Link)
			}
		}
		pieces, err := l.expand(dir, f)
		if err != nil {
			say(f.Line, f.Col, false, "%v", err)
			continue
		}
		if ext := path.Ext(f.Source); len(pieces) == 2 && pieces[0].source == "" && ext != "" && path.Ext(f.Destination) == ext { // of a file
			say(f.Line, f.Col, true, "destination %s is a directory, as with CodeDeploy's agent: the file comes to %s, and keeps its name; write %s",
				f.Destination, pieces[1].dest, path.Dir(f.Destination))
		}
		said, to := false, Destination{Path: f.Destination, Line: f.Line}
		for _, x := range pieces {
			if !x.mode.IsDir() {
				to.Files++
				if under(x.dest, l.Link) {
					to.Switched++
				}
			}
			if before, ok := taken[x.dest]; ok {
				if !before.mode.IsDir() || !x.mode.IsDir() {
					say(f.Line, f.Col, false, "%s is installed twice: from %s and from %s", x.dest, before.source, x.source)
				}
				continue
			}
			taken[x.dest] = x
			if l.neverWritten(x.dest) && !l.neverWritten(f.Destination) && !said { // as with destination /
				said = true
				say(f.Line, f.Col, false, "%s would be installed as %s, where a deployment never writes: use %s", x.source, x.dest, l.Link)
			}
			switch {
			case !under(x.dest, l.Link):
				p.outside = append(p.outside, x)
			default:
				p.Separate = p.Separate || !under(f.Destination, l.Link) // the source has the link's path in it
				p.inside = append(p.inside, x)
			}
		}
		p.Destinations = append(p.Destinations, to)
	}
	if !p.Separate {
		p.inside = nil // the revision is the release
	}
	if len(p.inside) == 0 && (p.Separate || len(spec.Permissions) > 0) { // the whole revision
		whole, err := l.expand(dir, appspec.File{Source: ".", Destination: l.Link})
		if err != nil {
			say(0, 0, false, "%v", err)
		}
		p.inside = whole
	}
	problems = append(problems, p.match(spec)...)
	return p, problems
}

// neverWritten says whether a path lies in the base or among the releases, which belong to usher.
func (l Layout) neverWritten(dest string) bool {
	return (under(dest, l.Base) || under(dest, l.Releases)) && !under(dest, l.Link)
}

// match finds the permissions that apply to each installed path.
func (p *Plan) match(spec *appspec.Spec) (problems []hooks.Problem) {
	for _, rule := range spec.Permissions {
		say := func(warning bool, format string, args ...any) {
			problems = append(problems, hooks.Problem{File: spec.File, Line: rule.Line, Col: rule.Col, Warning: warning, Message: fmt.Sprintf(format, args...)})
		}
		matched := false
		for _, list := range [][]mapping{p.inside, p.outside} {
			for _, x := range list {
				if x.mode&fs.ModeSymlink != 0 || !rule.Matches(x.dest, x.mode.IsDir()) {
					continue
				}
				matched = true
				if other, ok := p.rules[x.dest]; ok {
					say(false, "two permissions entries apply to %s (the other is on line %d): use pattern, except or type so that one does", x.dest, other.Line)
					break
				}
				if !x.mode.IsDir() {
					if err := rule.CheckFile(x.dest); err != nil {
						say(false, "%v", err)
						break
					}
				}
				p.rules[x.dest] = rule
			}
		}
		if !matched {
			say(true, "this permissions entry applies to nothing that is installed (object %s, pattern %s)", rule.Object, rule.Pattern)
		}
	}
	return problems
}

// expand lists what one files entry installs: a directory's contents into the destination, a file into
// the destination under its own name. Parents come before what is in them.
func (l Layout) expand(dir string, f appspec.File) ([]mapping, error) {
	source := filepath.Join(dir, filepath.FromSlash(f.Source))
	info, err := os.Lstat(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("source %s is not in the revision", f.Source)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look at source %s: %w", f.Source, err)
	}
	if !info.IsDir() {
		return []mapping{
			{dest: f.Destination, mode: fs.ModeDir | 0o755},
			{source: rel(dir, source), dest: path.Join(f.Destination, path.Base(f.Source)), mode: info.Mode()},
		}, nil
	}
	var pieces []mapping
	err = filepath.WalkDir(source, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && l.NotInstalled != nil && l.NotInstalled(at) {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		pieces = append(pieces, mapping{source: rel(dir, at), dest: path.Join(f.Destination, filepath.ToSlash(rel(source, at))), mode: info.Mode()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read source %s: %w", f.Source, err)
	}
	return pieces, nil
}

// under says whether p is parent or below it; both are cleaned and absolute.
func under(p, parent string) bool {
	return p == parent || strings.HasPrefix(p, strings.TrimSuffix(parent, "/")+"/")
}

func rel(dir, at string) string {
	if r, err := filepath.Rel(dir, at); err == nil {
		return r
	}
	return at
}
