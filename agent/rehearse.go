package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/format"
	"usher/agent/instance"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/runner"
	"usher/hooks"
	"usher/systemd"
)

// rehearseCommand is `usher rehearse PATH`: the deployment of a launch, without AWS.
func rehearseCommand() cli.Command {
	var root, errexit string
	c := cli.Command{Name: "rehearse", Args: []string{"PATH"}, Group: cli.Developer, About: "deploy a local revision under a scratch root, hooks run for real",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&root, "root", "", "deploy below `DIR` (default: a new scratch directory; / does it for real)")
			f.StringVar(&errexit, "errexit", string(hooks.Enforce), "`MODE`: what is done about scripts without set -e: enforce, require, report or off")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		policy, err := hooks.ParsePolicy(errexit)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		if _, err := os.Stat(in.Arg(0)); err != nil {
			return in.Fail(cli.ExitUsage, fmt.Errorf("cannot open the revision: %w", err))
		}
		a, err := rehearsal(root, policy, in.Stdout)
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		defer a.rec.Close()
		a.runner = runner.AsProcesses(nil)
		defer a.runner.Close()
		path, err := filepath.Abs(in.Arg(0))
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		if err := a.rehearse(ctx, path); err != nil {
			switch {
			case ctx.Err() != nil:
				fmt.Fprintln(in.Stderr, "usher rehearse: interrupted")
			case !errors.As(err, new(said)):
				return in.Fail(cli.ExitFailed, err)
			}
			return cli.ExitFailed
		}
		live, _, _ := a.layout.Live()
		fmt.Fprintf(in.Stdout, "%s -> %s\n", a.layout.LinkPath(), live)
		return cli.ExitDone
	}
	return c
}

// rehearsal is an agent without AWS whose server is below root.
func rehearsal(root string, policy hooks.Policy, stdout io.Writer) (*agent, error) {
	var err error
	if root == "" {
		if root, err = os.MkdirTemp("", "usher-rehearsal-"); err != nil {
			return nil, fmt.Errorf("cannot make a scratch root: %w", err)
		}
		if err := os.Chmod(root, 0o755); err != nil { // as the root of a server is: scripts run as other users too
			return nil, fmt.Errorf("cannot open the scratch root to scripts of other users: %w", err)
		}
	}
	if root, err = filepath.Abs(root); err != nil {
		return nil, fmt.Errorf("cannot use the root: %w", err)
	}
	c := config.Default()
	c.Errexit = policy
	a := &agent{cfg: c, log: newLogger(stdout, 0), notify: new(systemd.Notifier), unprivileged: os.Geteuid() != 0, timings: new(record.Timings),
		layout: release.Layout{Link: c.Link, Base: c.Base, Releases: c.Releases, Root: root},
		me:     instance.Identity{InstanceID: "i-rehearsal", ImageID: "ami-rehearsal", Region: "rehearsal"}}
	a.cfg.RoleHooks, a.cfg.StateDir = filepath.Join(root, c.RoleHooks), filepath.Join(root, c.StateDir)
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		a.me.BootID = strings.TrimSpace(string(boot))
	}
	if root != "/" { // a server that is fresh from its image: the link points to the base
		if err := os.MkdirAll(a.layout.BasePath(), 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the base: %w", err)
		}
		if live, _, err := a.layout.Live(); err == nil && live == "" {
			if err := a.layout.Flip(a.layout.BasePath()); err != nil {
				return nil, err
			}
		}
	}
	if a.rec, err = record.Open(a.cfg.StateDir, record.Owner{Instance: a.me.InstanceID, Image: a.me.ImageID, Boot: a.me.BootID}); err != nil {
		return nil, err
	}
	a.rec.Timings = a.timings
	return a, nil
}

// rehearse deploys the revision at path. Each rehearsal is a deployment of its own, so a second one in the
// same root is what a running server goes through.
func (a *agent) rehearse(ctx context.Context, path string) error {
	stem, _, _ := strings.Cut(filepath.Base(path), ".")
	id := "rehearsal-" + time.Now().UTC().Format("20060102T150405.000Z")
	src := source{id: strings.ReplaceAll(stem, "..", "-") + "-" + id, name: path, fetch: func(ctx context.Context, dir string) (fetched, error) {
		stats, err := bundle.UnpackLocal(ctx, path, dir)
		return fetched{stats: stats, detail: fmt.Sprintf("%s, %s", format.Plural(stats.Files, "file"), format.Bytes(stats.Bytes))}, err
	}}
	d, err := a.begin(ctx, "", id, src, hooks.Environment{ApplicationName: stem, DeploymentID: id, DeploymentGroupName: "rehearsal",
		InstanceID: a.me.InstanceID, Region: a.me.Region})
	if err != nil {
		return err
	}
	err = d.deploy(ctx)
	a.prune()
	return err
}
