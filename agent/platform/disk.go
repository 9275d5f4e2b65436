//go:build linux && !developer

package platform

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"usher/agent/config"
	"usher/agent/doctor"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/safepath"
	"usher/systemd"
)

// What `usher doctor` finds out on a server's disk, and from its systemd.

// serviceEnvironment is the file whose variables systemd gives the service.
const serviceEnvironment = "/etc/default/usher"

// loadServiceEnvironment gives this process the variables of the service that it has not got: what is seen without its proxy is
// not what the agent sees. The file is systemd's: KEY=VALUE, perhaps in quotes.
func loadServiceEnvironment(r *doctor.Report) {
	text, err := os.ReadFile(serviceEnvironment)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // it is optional
			r.Warn("environment", "sudo usher doctor", "the agent's environment cannot be read: %v", err)
		}
		return
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if _, set := os.LookupEnv(key); !ok || set || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if err := os.Setenv(key, value); err != nil {
			r.Warn("environment", "correct "+serviceEnvironment, "%q is no variable: %v", key, err)
		}
	}
}

// examineDisk is what needs no AWS.
func examineDisk(ctx context.Context, r *doctor.Report, cfg config.Config) {
	r.Systemd()
	r.Unit(usherUnit)
	r.Ordering(usherUnit)
	var active func(string) bool
	if systemd.Booted() {
		active = func(unit string) bool { return systemd.Active(ctx, unit) }
		examineService(ctx, r)
	}
	r.NoOtherAgents(active)
	r.Catalog(catalogSubject)
	r.Clock()
	layout := cfg.Layout()
	examineLink(r, layout)
	checkUnitPaths(r, layout, cfg)
	checkOwners(r, layout, cfg)
	checkScripts(r, "role hooks", "", roleProblems(cfg))
	examineRecord(r, cfg)
}

// examineService: systemd runs the agent.
func examineService(ctx context.Context, r *doctor.Report) {
	s, err := systemd.StateOf(ctx, usherUnit)
	switch {
	case err != nil && os.Geteuid() != 0:
		r.Warn("service", "sudo usher doctor", "only root may ask systemd whether %s runs", usherUnit)
	case err != nil:
		r.Warn("service", "", "%v", err)
	case s.Active == "active":
		r.OK("service", "%s runs", usherUnit)
	default:
		r.Problem("service", "systemctl start usher; journalctl -u usher says why it stopped", "%s does not run (%s, %s)", usherUnit, s.Active, s.Sub)
	}
}

// examineLink: the application is reached by a link, which leads somewhere.
func examineLink(r *doctor.Report, layout release.Layout) {
	if err := layout.CheckLink(); err != nil {
		r.Problem("link", "", "%v", err)
		return
	}
	live, id, err := layout.Live()
	link, base := layout.LinkPath(), layout.BasePath()
	if err != nil {
		r.Problem("link", "", "%v", err)
		return
	}
	if live == "" {
		r.Problem("link", "ln -sfn "+base+" "+link, "%s does not exist", link)
		return
	}
	if _, err := os.Stat(live); err != nil {
		r.Problem("link", "ln -sfn "+base+" "+link, "%s leads nowhere (%q)", link, live)
		return
	}
	if known, ok := layout.Load(id); ok && known.Status != release.Good {
		r.Warn("link", "`usher history` tells how it came to be live", "%s -> %s, which is %s", link, live, known.Status)
		return
	}
	r.OK("link", "%s -> %s", link, live)
}

// examineRecord: it can be read, and the last deployment went well.
func examineRecord(r *doctor.Report, cfg config.Config) {
	h, err := record.ReadAll(cfg.StateDir)
	switch {
	case errors.Is(err, record.ErrNone):
		r.OK("record", "nothing was deployed here yet")
		return
	case errors.Is(err, fs.ErrPermission):
		r.Warn("record", "sudo usher doctor", "only root may read the record")
		return
	case err != nil:
		r.Problem("record", "", "%v", err)
		return
	case h.Damaged != nil:
		r.Warn("record", "the deployments from there on are not known; the next one is", "%v", h.Damaged)
	}
	last := h.State.Last
	switch {
	case last == nil:
		r.OK("record", "nothing was deployed here yet")
	case last.End == record.Succeeded:
		r.OK("record", "the last deployment (%s) succeeded %s", last.ID, format.Ago(last.Ended))
	case last.End == "":
		r.OK("record", "deployment %s is under way", last.ID)
	case last.Err() != nil:
		r.Problem("record", "`usher history` and journalctl -u usher have more; deploy a revision that works", "the last deployment (%s) failed %s: %s", last.ID, format.Ago(last.Ended), format.FirstLine(last.Err()))
	default:
		r.OK("record", "the last deployment (%s) ended %s", last.ID, format.Ago(last.Ended))
	}
}

// unpacked is how much larger than its bundle a release is reckoned to be, when there is none to look at.
const unpacked = 3

// examineSpace: there is room for the releases that are kept, and one more while it is deployed.
func (a *examination) examineSpace(r *doctor.Report, bundle int64) {
	folder := a.cfg.Releases
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		folder = filepath.Dir(folder) // it is made by the first deployment
	}
	left, err := doctor.SpaceOf(folder)
	if err != nil {
		r.Problem("disk", "", "%v", err)
		return
	}
	all, err := a.cfg.Layout().All()
	if err != nil {
		r.Problem("disk", "", "%v", err)
		return
	}
	use := doctor.Use{Bundle: uint64(bundle), More: uint64(max(a.cfg.KeepReleases+1-len(all), 1))}
	for _, x := range all {
		if size, files, err := treeSize(x.Dir); err == nil {
			use.Bytes, use.Files = max(use.Bytes, size), max(use.Files, files)
		}
	}
	if len(all) == 0 {
		use.Bytes = unpacked * use.Bundle
	}
	r.Disk(folder, left, use)
}

// treeSize is what a tree holds, which programs may be at work in. What is mounted there takes no room beside it.
func treeSize(dir string) (size, files uint64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path != dir && safepath.IsMount(path) {
			return fs.SkipDir
		}
		var info fs.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		if path != dir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files++
		if info.Mode().IsRegular() {
			size += uint64(info.Size())
		}
		return nil
	})
	return size, files, err
}
