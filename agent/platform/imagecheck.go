//go:build linux && !developer

package platform

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"usher/agent/appspec"
	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/safepath"
	"usher/hooks"
	"usher/systemd"
)

// What `usher bake` looks at, on the tree that is the process's root.

const (
	usherUnit   = "usher.service"
	usherBinary = "/usr/bin/usher" // as the unit starts it
)

// catalogSubject is how the catalog's entry of systemd.MessageStarted begins.
const catalogSubject = "usher runs on instance"

// checkImage finds out whether an image is complete. elsewhere says that the image is not this machine.
func checkImage(ctx context.Context, r *doctor.Report, cfg config.Config, elsewhere bool) {
	if info, err := os.Stat(usherBinary); err != nil || info.Mode()&0o111 == 0 {
		r.Problem("program", "install usher's package", "%s is not here, or not executable", usherBinary)
	}
	r.Systemd()
	r.Unit(usherUnit)
	r.Ordering(usherUnit)
	var active func(string) bool
	if !elsewhere && systemd.Booted() {
		active = func(unit string) bool { return systemd.Active(ctx, unit) }
	}
	r.NoOtherAgents(active)
	r.Catalog(catalogSubject)
	r.Clock()
	checkAgentIsOff(r, cfg)
	layout := cfg.Layout()
	checkBase(r, layout)
	checkOwners(r, layout, cfg)
	checkScripts(r, "role hooks", "", roleProblems(cfg))
	checkRevision(r, "base", layout, layout.BasePath(), cfg)
	checkReleases(r, layout, cfg)
}

// checkAgentIsOff: an agent that runs here takes the builder for an instance, and a server is no image. An agent
// keeps its record locked, which is seen from outside a tree too.
func checkAgentIsOff(r *doctor.Report, cfg config.Config) {
	file := filepath.Join(cfg.StateDir, record.FileName)
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		r.OK("agent", "none runs here")
	case errors.Is(err, unix.EWOULDBLOCK):
		r.Problem("agent", "systemctl stop usher, if this machine is an image's builder", "an agent runs here: this may be a server in service, whose record would be taken away")
	default:
		r.Problem("agent", "run usher bake as root", "cannot tell whether an agent runs here: %v", err)
	}
}

// checkBase: the link leads to the base, and something is there.
func checkBase(r *doctor.Report, layout release.Layout) {
	link, base := layout.LinkPath(), layout.BasePath()
	if entries, err := os.ReadDir(base); err != nil {
		r.Problem("base", "put the application's base version there", "the base cannot be read: %v", err)
	} else if len(entries) == 0 {
		r.Problem("base", "put the application's base version there", "%s is empty: an instance of a group without a revision would serve nothing", base)
	} else {
		r.OK("base", "%s is not empty", base)
	}
	if err := layout.CheckLink(); err != nil {
		r.Problem("link", "", "%v", err)
		return
	}
	switch live, _, err := layout.Live(); {
	case err != nil:
		r.Problem("link", "", "%v", err)
	case live == "":
		r.Problem("link", "ln -s "+base+" "+link, "%s is not there: nothing is reached by it before the first deployment", link)
	case live != base:
		r.Problem("link", "ln -sfn "+base+" "+link, "%s leads to %s, and in an image it must lead to the base", link, live)
	default:
		r.OK("link", "%s -> %s", link, live)
	}
}

// unitPaths is what the service needs for paths that are not the packaged unit's.
func unitPaths(layout release.Layout, cfg config.Config) systemd.Paths {
	return systemd.PathsOf(layout.Link, layout.Base, layout.Releases, cfg.StateDir)
}

// checkUnitPaths: the volumes of the agent's paths are waited for, and its sandbox leaves them writable.
func checkUnitPaths(r *doctor.Report, layout release.Layout, cfg config.Config) {
	switch missing := unitPaths(layout, cfg).Missing(); {
	case !missing.Empty():
		var lacks []string
		if len(missing.Mounts) > 0 {
			lacks = append(lacks, "RequiresMountsFor="+strings.Join(missing.Mounts, " "))
		}
		if len(missing.Writable) > 0 {
			lacks = append(lacks, "ReadWritePaths="+strings.Join(missing.Writable, " "))
		}
		r.Problem("unit paths", "usher bake writes "+systemd.PathsDropIn+" when the image is made; here: write it, then systemctl daemon-reload",
			"agent.yml has paths of its own, and no drop-in of %s says %s", usherUnit, strings.Join(lacks, " and "))
	case !unitPaths(layout, cfg).Empty():
		r.OK("unit paths", "drop-ins of %s name the paths of agent.yml", usherUnit)
	}
}

// checkOwners: what root relies on is root's. A base that is not is no obstacle: none of its scripts is run then.
func checkOwners(r *doctor.Report, layout release.Layout, cfg config.Config) {
	found := layout.Owners(cfg.StateDir, cfg.RoleHooks)
	for _, about := range slices.Sorted(maps.Keys(found)) {
		err := found[about]
		do := ""
		if e := (*safepath.NotRootsError)(nil); errors.As(err, &e) {
			do = e.Do
		}
		if about == "base" {
			r.Warn(about, do, "none of its scripts would be run in a rollback: %v", err)
			continue
		}
		r.Problem(about, do, "%v", err)
	}
}

// roleProblems are what an instance would say of the role hooks, before it runs any.
func roleProblems(cfg config.Config) []hooks.Problem {
	problems := append(hooks.CheckRoleDir(cfg.RoleHooks), release.RoleHooksOfOthers(cfg.RoleHooks)...)
	var scripts []hooks.Script
	for _, event := range hooks.Events {
		role, more := hooks.RoleHooks(cfg.RoleHooks, event)
		problems, scripts = append(problems, more...), append(scripts, role...)
	}
	return append(problems, hooks.Check(scripts, cfg.Errexit)...)
}

// checkScripts adds problems with scripts; those of files below dir are called by their path.
func checkScripts(r *doctor.Report, about, dir string, problems []hooks.Problem) {
	for _, p := range problems {
		level := doctor.Problem
		if p.Warning {
			level = doctor.Warning
		}
		p.Warning = false // the line is marked as one
		if dir != "" && !filepath.IsAbs(p.File) {
			p.File = filepath.Join(dir, p.File)
		}
		*r = append(*r, doctor.Finding{Level: level, Subject: about, Text: p.String()})
	}
	if len(hooks.Errors(problems)) == 0 {
		r.OK(about, "fit to run")
	}
}

// checkRevision judges an unpacked revision as the instance will, interpreters and users included. A base need not be
// a revision.
func checkRevision(r *doctor.Report, about string, layout release.Layout, dir string, cfg config.Config) {
	for _, name := range []string{appspec.Name, appspec.AltName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			_, problems := release.Check(layout, dir, noRoleHooks, cfg.Errexit, hooks.Check)
			checkScripts(r, about, dir, problems)
			return
		}
	}
}

// noRoleHooks is a folder that is not there: role hooks are judged once, by themselves.
const noRoleHooks = "/nonexistent/usher"

// checkReleases: what is laid down is judged; what the builder deployed itself is no part of an image.
func checkReleases(r *doctor.Report, layout release.Layout, cfg config.Config) {
	all, err := layout.All()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.Problem("releases", "", "%v", err)
	}
	slices.SortFunc(all, func(a, b release.Release) int { return strings.Compare(a.ID, b.ID) })
	for _, x := range all {
		if x.Status != release.Unpacked {
			r.Problem("releases", "rm -rf "+layout.Dir(x.ID)+" "+layout.Dir(x.ID)+".json "+layout.Dir(x.ID)+".bundle",
				"release %s was deployed on this machine (%s): an instance cannot tell what its scripts did here", x.ID, x.Status)
			continue
		}
		checkRevision(r, "release "+x.ID, layout, x.Bundle, cfg)
	}
}
