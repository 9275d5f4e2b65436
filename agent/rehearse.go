//go:build linux && !developer

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/developer"
	"usher/agent/format"
	"usher/agent/instance"
	"usher/agent/record"
	"usher/agent/runner"
	"usher/agent/safepath"
	"usher/hooks"
	"usher/systemd"
)

// rehearseCommand is `usher rehearse PATH | REF`: the deployment of a launch, without AWS.
func rehearseCommand() cli.Command {
	var root, errexit, roles string
	var keep bool
	c := cli.Command{Name: "rehearse", Args: []string{"PATH | REF"}, Group: cli.Developer, About: "deploy a local revision under a scratch root, hooks run for real",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&root, "root", "", "deploy below `DIR`, which stays (default: a new scratch directory; / does it for real)")
			f.BoolVar(&keep, "keep", false, "keep the scratch directory, to look at it")
			f.StringVar(&roles, "role-hooks", "", "run also the role hooks in `DIR` (on a server: /etc/usher/hooks.d)")
			f.StringVar(&errexit, "errexit", string(hooks.Enforce), "`MODE`: what is done about scripts without set -e: enforce, require, report or off")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		policy, err := hooks.ParsePolicy(errexit)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		path, notes, done, err := developer.Named(ctx, in.Arg(0))
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		defer done()
		for _, note := range notes {
			fmt.Fprintln(in.Stderr, format.Printable("usher rehearse: "+note))
		}
		server, err := rehearsal(root, policy)
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		if root == "" && !keep {
			defer func() {
				if err := safepath.RemoveAll(server.Layout.Root); err != nil {
					fmt.Fprintf(in.Stderr, "usher rehearse: cannot remove the scratch directory %s: %v\n", server.Layout.Root, err)
				}
			}()
		}
		if roles != "" {
			if server.RoleHooks, err = filepath.Abs(roles); err != nil {
				return in.Fail(cli.ExitUsage, err)
			}
			if _, err := os.Stat(server.RoleHooks); err != nil {
				return in.Fail(cli.ExitUsage, fmt.Errorf("cannot open the role hooks: %w", err))
			}
		}
		state, id := filepath.Join(server.Layout.Root, config.Default().StateDir), server.Identity
		rec, err := record.Open(state, record.Owner{Instance: id.InstanceID, Image: id.ImageID, Boot: id.BootID})
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		defer rec.Close()
		rec.Timings = new(record.Timings)
		processes := runner.AsProcesses(nil)
		defer processes.Close()
		if path, err = filepath.Abs(path); err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		on := &deployment.Deployer{Server: server, Record: rec, Runner: processes, Log: newLogger(in.Stdout, 0), Notify: new(systemd.Notifier)}
		if err := rehearse(ctx, on, path); err != nil {
			switch {
			case ctx.Err() != nil:
				fmt.Fprintln(in.Stderr, "usher rehearse: interrupted")
			case !deployment.IsLogged(err):
				return in.Fail(cli.ExitFailed, err)
			}
			return cli.ExitFailed
		}
		if root == "" && !keep {
			fmt.Fprintln(in.Stdout, "the scratch directory is removed again: --keep keeps it")
			return cli.ExitDone
		}
		live, _, _ := server.Layout.Live()
		fmt.Fprintf(in.Stdout, "%s -> %s\n", server.Layout.LinkPath(), live)
		return cli.ExitDone
	}
	return c
}

// rehearsal is a server below root, fresh from its image unless it is there.
func rehearsal(root string, policy hooks.Policy) (deployment.Server, error) {
	var none deployment.Server
	var err error
	if root == "" {
		if root, err = os.MkdirTemp("", "usher-rehearsal-"); err != nil {
			return none, fmt.Errorf("cannot make a scratch root: %w", err)
		}
		if err := os.Chmod(root, 0o755); err != nil { // as the root of a server is: scripts run as other users too
			return none, fmt.Errorf("cannot open the scratch root to scripts of other users: %w", err)
		}
	}
	if root, err = filepath.Abs(root); err != nil {
		return none, fmt.Errorf("cannot use the root: %w", err)
	}
	c := config.Default()
	layout := c.Layout()
	layout.Root, layout.Processes = root, true
	me := instance.Identity{InstanceID: "i-rehearsal", ImageID: "ami-rehearsal", Region: "rehearsal"}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		me.BootID = strings.TrimSpace(string(boot))
	}
	if root != "/" { // a server that is fresh from its image: the link points to the base
		if err := os.MkdirAll(layout.BasePath(), 0o755); err != nil {
			return none, fmt.Errorf("cannot make the base: %w", err)
		}
		if live, _, err := layout.Live(); err == nil && live == "" {
			if err := layout.Flip(layout.BasePath()); err != nil {
				return none, err
			}
		}
	}
	return deployment.Server{Identity: me, Group: "rehearsal", Layout: layout, RoleHooks: filepath.Join(root, c.RoleHooks), Errexit: policy,
		KeepReleases: c.KeepReleases, Unprivileged: os.Geteuid() != 0}, nil
}

// rehearse deploys the revision at path. Each rehearsal is a deployment of its own, so a second one in the
// same root is what a running server goes through.
func rehearse(ctx context.Context, on *deployment.Deployer, path string) error {
	stem, _, _ := strings.Cut(filepath.Base(path), ".")
	id := "rehearsal-" + time.Now().UTC().Format("20060102T150405.000Z")
	on.Application = stem
	d, err := on.Begin(ctx, deployment.Request{ID: id, Source: local{strings.ReplaceAll(stem, "..", "-") + "-" + id, path}})
	if err != nil {
		return err
	}
	err = d.Deploy(ctx)
	on.Prune()
	return err
}

// local is a revision that lies on this machine, as a folder or as an archive.
type local struct{ id, path string }

func (l local) ID() string                     { return l.id }
func (l local) String() string                 { return l.path }
func (l local) Pinned() bool                   { return false }
func (l local) Environment() hooks.Environment { return hooks.Environment{} }

func (l local) Fetch(ctx context.Context, dir string) (deployment.Fetched, error) {
	stats, err := bundle.UnpackLocal(ctx, l.path, dir, nil)
	return deployment.Fetched{Files: stats.Files, Detail: fmt.Sprintf("%s, %s", format.Plural(stats.Files, "file"), format.Bytes(stats.Bytes))}, err
}
