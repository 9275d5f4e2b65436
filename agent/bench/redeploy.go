package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"usher/agent/bundle"
	"usher/agent/standin"
)

// redeploys deploys to a server in service: CodeDeploy sends a host command for each of seven lifecycle events, the
// next when the one before has been answered. It is timed from the call that creates the deployment to its end.
func (b *bench) redeploys(ctx context.Context) error {
	return b.redeploysOf(ctx, small, nil, row{Name: "a small revision, seven events",
		Note: "host commands, from the deployment's creation to its end, all polls included"}, 11)
}

// redeploysOf deploys a corpus again and again to a server whose agent has these variables as well.
func (b *bench) redeploysOf(ctx context.Context, c corpus, environ []string, w row, rounds int) error {
	g, err := b.group(c)
	if err != nil {
		return err
	}
	b.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: application, Name: g.name, AutoScalingGroups: []string{g.name}})
	archive, err := b.archive(c, bundle.Zip)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		return fmt.Errorf("cannot read the bundle: %w", err)
	}
	d, err := b.daemonWith(ctx, g, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, environ...) })
	if err != nil {
		return err
	}
	n := 0
	err = b.race(ctx, w, b.rounds(rounds),
		subject{who: whoUsher, run: func(ctx context.Context) (time.Duration, error) {
			n++
			revision, err := b.upload(fmt.Sprintf("%s-%d.zip", g.name, n), content) // another key is another release
			if err != nil {
				return 0, err
			}
			return b.redeploy(ctx, g, revision)
		}})
	return errors.Join(err, d.stop())
}

func (b *bench) redeploy(ctx context.Context, g *group, revision standin.Revision) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, launchLimit)
	defer cancel()
	began := time.Now()
	id, err := b.cloud.Deploy(application, g.name, revision)
	if err != nil {
		return 0, fmt.Errorf("cannot deploy: %w", err)
	}
	status, err := b.cloud.WaitForDeployment(ctx, id)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if status != "Succeeded" {
		return 0, fmt.Errorf("the deployment ended as %s", status)
	}
	return took, nil
}
