//go:build linux && !developer

package main

import (
	"context"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/runner"
)

// How package runner is used by the agent: for scripts, and for files that its sandbox keeps it from.

// newRunner is the runner for a setting of --runner.
func (a *agent) newRunner(how string) (*runner.Runner, error) {
	return runner.New(runner.Options{How: how, StateDir: a.cfg.StateDir, Alive: a.notify.Alive, Log: func() *zap.Logger { return a.log },
		Deployment: a.deployed, Stopped: retry.Stopped})
}

// deployed is the revision and the release of a deployment that the record knows.
func (a *agent) deployed(id string) (revision, release string) {
	if a.deploy == nil { // it has not found out yet whose server it is
		return "", ""
	}
	past := a.state()
	for _, d := range []*record.Deployment{past.Last, past.Good} {
		if d != nil && d.ID == id {
			return d.RevisionField(), d.Release
		}
	}
	return "", ""
}

// applyFilesCommand is `usher apply-files`, which is the agent's own and listed nowhere.
func applyFilesCommand() cli.Command {
	c := cli.Command{Name: "apply-files", Args: []string{"FILE"}, About: "not for use by hand",
		More: "The agent, which has a sandbox, starts it in a unit of its own for what a revision installs outside the link, for setuid\n" +
			"and setgid modes, and to remove old releases. FILE says what is to be done; what became of it is written to " + runner.ResultFile + " beside it."}
	c.Run = func(ctx context.Context, in cli.Call) int {
		if err := runner.ApplyFiles(ctx, in.Arg(0)); err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		return cli.ExitDone
	}
	return c
}

// runWithLinkCommand is `usher run-with-link`, which is the agent's own and listed nowhere.
func runWithLinkCommand() cli.Command {
	c := cli.Command{Name: "run-with-link", Args: []string{"REQUEST"}, About: "not for use by hand",
		More: "The agent has it started in the unit of a hook script of BeforeInstall or AfterInstall: it mounts another link over\n" +
			"the application's, which only this unit sees, and becomes the script. REQUEST is JSON."}
	c.Run = func(_ context.Context, in cli.Call) int {
		return in.Fail(cli.ExitFailed, runner.RunWithLink(in.Arg(0)))
	}
	return c
}
