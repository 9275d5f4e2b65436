//go:build linux && !developer

package rehearsal

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/developer"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/runner"
	"usher/agent/safepath"
	"usher/hooks"
	"usher/systemd"
)

// Command is `usher rehearse PATH | REF`. newLogger makes the log that a person reads.
func Command(newLogger func(io.Writer) *zap.Logger) cli.Command {
	var root, errexit, roles, link string
	var keep, yes bool
	c := cli.Command{Name: "rehearse", Args: []string{"PATH | REF"}, Group: cli.Developer, About: "deploy a local revision under a scratch root, hooks run for real",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&root, "root", "", "deploy below `DIR`, which stays (default: a new scratch directory; / does it for real)")
			f.BoolVar(&keep, "keep", false, "keep the scratch directory, and the processes that scripts leave, to look at it")
			developer.LinkFlag(f, &link)
			f.StringVar(&roles, "role-hooks", "", "run also the role hooks in `DIR` (on a server: /etc/usher/hooks.d)")
			f.StringVar(&errexit, "errexit", string(hooks.Enforce), "`MODE`: what is done about scripts without set -e: enforce, require, report or off")
			f.BoolVar(&yes, "yes", false, "do not ask before scripts change this machine, as in a container of CI")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		policy, err := hooks.ParsePolicy(errexit)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		cfg, err := config.Default().WithLink(link)
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
		if roles != "" {
			if roles, err = filepath.Abs(roles); err != nil {
				return in.Fail(cli.ExitUsage, err)
			}
			if _, err := os.Stat(roles); err != nil {
				return in.Fail(cli.ExitUsage, fmt.Errorf("cannot open the role hooks: %w", err))
			}
		}
		if path, err = filepath.Abs(path); err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		if !yes && root != "/" {
			if err := agree(ctx, in, path, roles); err != nil {
				return in.Fail(cli.ExitUsage, err)
			}
		}
		server, err := serverBelow(root, cfg, policy)
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		if roles != "" {
			server.RoleHooks = roles
		}
		// By it the processes are known that its scripts leave, which are ended: no two at a time have the same.
		id := fmt.Sprintf("rehearsal-%s-%d", time.Now().UTC().Format("20060102T150405Z"), os.Getpid())
		scratch := root == "" && !keep
		if scratch {
			defer func() {
				if err := safepath.RemoveAll(server.Layout.Root); err != nil {
					fmt.Fprintf(in.Stderr, "usher rehearse: cannot remove the scratch directory %s: %v\n", server.Layout.Root, err)
				}
			}()
		}
		if root != "/" {
			defer tidy(in, id, scratch)
		}
		state, me := filepath.Join(server.Layout.Root, cfg.StateDir), server.Identity
		rec, err := record.Open(state, record.Owner{Instance: me.InstanceID, Image: me.ImageID, Boot: me.BootID})
		if err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		defer rec.Close()
		rec.Timings = new(record.Timings)
		processes := runner.AsProcesses(nil)
		defer processes.Close()
		on := &deployment.Deployer{Server: server, Record: rec, Runner: processes, Log: newLogger(in.Stdout), Notify: new(systemd.Notifier)}
		if rec.Notice != "" {
			on.Log.Warn(rec.Notice)
		}
		if rec.Damaged {
			err = on.Recover(ctx)
		}
		if err == nil {
			err = rehearse(ctx, on, id, path)
		}
		switch { // after a failure most of all somebody wants to look
		case scratch:
			fmt.Fprintln(in.Stdout, "the scratch directory is removed again: --keep keeps it")
		case err != nil && root == "":
			fmt.Fprintf(in.Stdout, "the scratch directory is kept: %s\n", server.Layout.Root)
		}
		if err != nil {
			switch {
			case ctx.Err() != nil:
				fmt.Fprintln(in.Stderr, "usher rehearse: interrupted")
			case !deployment.IsLogged(err):
				return in.Fail(cli.ExitFailed, err)
			}
			return cli.ExitFailed
		}
		if scratch {
			return cli.ExitDone
		}
		live, _, _ := server.Layout.Live()
		fmt.Fprintf(in.Stdout, "%s -> %s\n", server.Layout.LinkPath(), live)
		return cli.ExitDone
	}
	return c
}

// agree asks before scripts run that change more of this machine than the directories of the rehearsal. What they cannot be
// asked about is no error: the rehearsal itself says what is wrong with a revision.
func agree(ctx context.Context, in cli.Call, path, roles string) error {
	touches, err := developer.Touches(ctx, path, roles)
	if err != nil || len(touches) == 0 {
		return nil
	}
	fmt.Fprintln(in.Stderr, "The scripts run here, on this machine, and these lines change more of it than the rehearsal's directories:")
	for i, t := range touches {
		if i == shownTouches {
			fmt.Fprintf(in.Stderr, "  and %d more\n", len(touches)-i)
			break
		}
		fmt.Fprintln(in.Stderr, format.Printable("  "+t.String()))
	}
	answer, err := developer.Ask(ctx, in.Stderr, "Run them? [y/N] ")
	switch {
	case errors.Is(err, developer.ErrNobody):
		return errors.New("nobody can be asked here whether that is meant, and nothing was run: use --yes where it is, as in a container")
	case err != nil:
		return err
	case answer != "y" && answer != "yes":
		return errors.New("nothing was run: a container is a machine where it does no harm")
	}
	return nil
}

// shownTouches is how many lines are shown before a person is asked: what fits on a screen.
const shownTouches = 20

// tidy ends the processes that the scripts have left running when what they ran from is removed, and otherwise names them.
func tidy(in cli.Call, id string, scratch bool) {
	left := hooks.ProcessesOf(id, instanceID)
	if len(left) == 0 {
		return
	}
	names := format.Limited(left)
	if !scratch {
		fmt.Fprintf(in.Stdout, "still running: %s\n", names)
		return
	}
	if alive := hooks.EndProcessesOf(id, instanceID); len(alive) > 0 {
		fmt.Fprintf(in.Stderr, "usher rehearse: cannot end what the scripts left running: %s\n", format.Limited(alive))
		return
	}
	fmt.Fprintf(in.Stdout, "ended what the scripts left running: %s\n", names)
}
