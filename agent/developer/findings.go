package developer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"usher/agent/appspec"
	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/release"
	"usher/hooks"
)

// findings is what `usher check` found out about a revision, and how it says it.
type findings struct {
	Path     string          `json:"path"`
	OK       bool            `json:"ok"` // what the exit code says
	Files    int             `json:"files"`
	Bytes    int64           `json:"bytes"` // unpacked
	Errors   int             `json:"errors"`
	Warnings int             `json:"warnings"`
	Problems []hooks.Problem `json:"problems"` // by file and line
	Needs    hooks.Needs     `json:"needs"`    // of the server

	read   bool // it could be unpacked
	strict bool // warnings count as errors
	json   bool
}

// show prints the findings, and returns the exit code.
func (f findings) show(w io.Writer) int {
	f.Errors = len(hooks.Errors(f.Problems))
	f.Warnings = len(f.Problems) - f.Errors
	f.OK = f.Errors == 0 && (f.Warnings == 0 || !f.strict)
	code := cli.ExitDone
	if !f.OK {
		code = cli.ExitFailed
	}
	if f.json {
		if f.Problems == nil {
			f.Problems = []hooks.Problem{}
		}
		if err := writeJSON(w, f); err != nil {
			return cli.ExitFailed
		}
		return code
	}
	for _, p := range f.Problems {
		fmt.Fprintln(w, format.Printable(p.String()))
	}
	for _, n := range needed(f.Needs) {
		fmt.Fprintf(w, "%s: needs of the server: %s: %s\n", f.Path, n.what, strings.Join(n.names, ", "))
	}
	switch {
	case !f.read: // that is all there is to say
	case f.OK:
		fmt.Fprintf(w, "%s: ok: %s, %s unpacked; %s\n", f.Path, format.Plural(f.Files, "file"), format.Bytes(f.Bytes), format.Plural(f.Warnings, "warning"))
	default:
		fmt.Fprintf(w, "%s: %s, %s\n", f.Path, format.Plural(f.Errors, "problem"), format.Plural(f.Warnings, "warning"))
	}
	return code
}

// needsOf is what the revision unpacked in dir needs of the server.
func needsOf(dir string) hooks.Needs {
	spec, _ := appspec.ReadPartly(dir)
	if spec == nil {
		return hooks.Needs{}
	}
	needs := hooks.NeedsOf(scriptsOf(dir, spec, ""))
	for _, p := range spec.Permissions {
		if _, err := strconv.Atoi(p.Owner); p.Owner != "" && err != nil {
			needs.Users = append(needs.Users, p.Owner)
		}
	}
	slices.Sort(needs.Users)
	needs.Users = slices.Compact(needs.Users)
	return needs
}

// scriptsOf are all scripts that a deployment would run, of the revision and of the role.
func scriptsOf(dir string, spec *appspec.Spec, roles string) (scripts []hooks.Script) {
	for _, event := range hooks.Events {
		scripts = append(scripts, release.ScriptsIn(dir, spec, event)...)
		role, _ := hooks.RoleHooks(roles, event)
		scripts = append(scripts, role...)
	}
	return scripts
}

// Touches are the commands with which the scripts of the revision at path, and the role hooks, would change the machine they run on.
func Touches(ctx context.Context, path, roles string) ([]hooks.Touch, error) {
	dir, _, done, err := open(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	spec, problems := appspec.ReadPartly(dir)
	if spec == nil {
		return nil, errors.New(problems[0].String())
	}
	return hooks.Touches(scriptsOf(dir, spec, roles)), nil
}
