package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/record"
	"usher/agent/runner"
)

// How package runner is used by the agent: for scripts, and for files that its sandbox keeps it from.

// newRunner is the runner for a setting of --runner.
func (a *agent) newRunner(how string) (*runner.Runner, error) {
	return runner.New(runner.Options{How: how, StateDir: a.cfg.StateDir, Alive: a.notify.Alive, Log: func() *zap.Logger { return a.log },
		Deployment: a.deployed, Stopped: stopped})
}

// deployed is the revision and the release of a deployment that the record knows.
func (a *agent) deployed(id string) (revision, release string) {
	if a.rec == nil {
		return "", ""
	}
	past := a.rec.State()
	for _, d := range []*record.Deployment{past.Last, past.Good} {
		if d != nil && d.ID == id {
			return d.Revision, d.Release
		}
	}
	return "", ""
}

// runUnsandboxed runs a file operation of a deployment outside the sandbox; done is false where the caller is to do it.
func (a *agent) runUnsandboxed(ctx context.Context, of *record.Deployment, q runner.FileRequest, needed func() bool) (out runner.FileResult, done bool, err error) {
	q.Layout = a.layout
	return a.runner.RunUnsandboxed(ctx, fmt.Sprintf("%s-%d", of.ID, of.Sequence), q, map[string]string{"LIFECYCLE_EVENT": q.Step, "DEPLOYMENT_ID": of.ID,
		"REVISION": of.Revision, "RELEASE": of.Release, "APPLICATION": a.cfg.Application, "DEPLOYMENT_GROUP": a.cfg.DeploymentGroup}, needed)
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
