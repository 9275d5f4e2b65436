package developer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/retry"
	"usher/agent/rollout"
	"usher/agent/safepath"
)

// What is deployed, and when: what `usher deploy` may be told beside the environment and the ref.

// deployOptions are the flags of `usher deploy`.
type deployOptions struct {
	dryRun, forwardOnly, skipUnchanged bool
	message, bundle                    string
	wait                               time.Duration
	choices                            rollout.Choices
}

func (o *deployOptions) flags(f *flag.FlagSet) {
	f.BoolVar(&o.dryRun, "dry-run", false, "pack the commit and check it as a server will, and end there")
	f.StringVar(&o.message, "m", "", "`MESSAGE` for the deployment's description (default: the commit's subject)")
	f.StringVar(&o.bundle, "bundle", "", "deploy what was built, the directory or archive at `PATH`, in place of the commit's files")
	f.DurationVar(&o.wait, "wait", 0, "wait up to `D` for a deployment that is in progress to end")
	f.BoolVar(&o.forwardOnly, "forward-only", false, "refuse a commit that does not have all that runs now")
	f.BoolVar(&o.skipUnchanged, "skip-unchanged", false, "exit with 0 when what is to be deployed runs already")
	f.StringVar(&o.choices.Config, "config", "", "deployment configuration `NAME`, in place of the deployment group's")
	f.StringVar(&o.choices.FileExists, "file-exists", "", "answer `HOW` to a file in the way outside of the application's path: disallow, overwrite or retain")
	f.BoolVar(&o.choices.NoRollback, "no-rollback", false, "let no failure be rolled back by CodeDeploy")
}

// check makes CodeDeploy's words of what was typed.
func (o *deployOptions) check() error {
	typed := o.choices.FileExists
	o.choices.FileExists = strings.ToUpper(typed)
	if !slices.Contains([]string{"", "DISALLOW", "OVERWRITE", "RETAIN"}, o.choices.FileExists) {
		return cli.UsageError{Err: fmt.Errorf("--file-exists is %q: it must be disallow, overwrite or retain", typed)}
	}
	return nil
}

// turnInterval is between two looks whether the deployment in progress has ended.
const turnInterval = 3 * time.Second

// waitForTurn waits, for so long at most, until no deployment is in progress, and returns the group as it is then.
func (d *Session) waitForTurn(ctx context.Context, g rollout.Group, most time.Duration) (rollout.Group, error) {
	if most == 0 {
		return g, fmt.Errorf("%w; --wait 30m waits for it", rollout.InProgressError{Deployment: g.Active, Group: d.Env.DeploymentGroup})
	}
	end, said := time.Now().Add(most), ""
	for g.Active != "" {
		if said != g.Active {
			said = g.Active
			d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Notice, Deployment: g.Active, Message: "waiting for deployment " + g.Active + " to end"})
		}
		if time.Until(end) <= 0 {
			return g, fmt.Errorf("waited for %s (--wait), and %w", format.Duration(most), rollout.InProgressError{Deployment: g.Active, Group: d.Env.DeploymentGroup})
		}
		if !retry.Pause(ctx, min(turnInterval, time.Until(end))) {
			return g, ctx.Err()
		}
		now, err := rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env)
		if err != nil && !retry.Transient(err) {
			return g, err
		} else if err == nil {
			g = now
		}
	}
	return g, nil
}

// forwardOnly refuses a commit that lacks some of what runs.
func (d *Session) forwardOnly(ctx context.Context, g rollout.Group, c rollout.Commit) error {
	running := g.Running.Commit()
	if running == "" {
		return nil
	}
	between, err := d.commitsBetween(ctx, running, c.SHA)
	switch {
	case err != nil:
		return err
	case between.unknown:
		return cli.UsageError{Err: fmt.Errorf("cannot tell whether %s has all that runs (--forward-only): commit %s is not in this repository: fetch it (a shallow clone: git fetch --unshallow)", c.Short(), rollout.Short(running))}
	case between.reverted > 0:
		return cli.UsageError{Err: fmt.Errorf("%s runs %s, and %s lacks %d of its commits (--forward-only): deploy a newer commit, or without --forward-only to go back", d.Env.Name, rollout.Short(running), c.Short(), between.reverted)}
	}
	return nil
}

// jobVariables are where CI systems have the commit of the job: GitHub Actions, GitLab, CircleCI, Buildkite, Bitbucket, Travis.
var jobVariables = []string{"GITHUB_SHA", "CI_COMMIT_SHA", "CIRCLE_SHA1", "BUILDKITE_COMMIT", "BITBUCKET_COMMIT", "TRAVIS_COMMIT"}

// jobCommit refuses the environment's branch, in a CI job, when it has moved on from the job's commit: what was tested is deployed.
func (d *Session) jobCommit(_ context.Context, c rollout.Commit) error {
	if os.Getenv("CI") == "" {
		return nil
	}
	for _, name := range jobVariables {
		if sha := os.Getenv(name); sha != "" && sha != c.SHA {
			return cli.UsageError{Err: fmt.Errorf("%s is at %s now, and this job is for %s: name the job's commit: usher deploy %s \"$%s\"", c.Ref, c.Short(), rollout.Short(sha), d.Env.Name, name)}
		} else if sha != "" {
			return nil
		}
	}
	return nil
}

// pack makes the bundle: of the commit's files, or of what was built of it.
func (d *Session) pack(ctx context.Context, c rollout.Commit, dir string) (rollout.Bundle, error) {
	if d.Env.Built == "" {
		began := time.Now()
		d.repo.Fetching = func(remote string, done, total int64) {
			e := rollout.Event{Time: time.Now().UTC(), Type: rollout.FetchProgress, Status: rollout.InProgress, Done: done, Total: total, Message: remote}
			if done == total {
				e.Status, e.Seconds = rollout.Succeeded, time.Since(began).Seconds()
			}
			d.view.Show(e)
		}
		return d.repo.Archive(ctx, c, dir)
	}
	if runtime.GOOS == "windows" { // a program without the bit starts on no server; git knows that of a commit's files
		return rollout.Bundle{}, cli.UsageError{Err: errors.New("cannot pack what was built: files have no executable bit on Windows: deploy this environment from CI, WSL, Linux or macOS")}
	}
	if d.Env.Build != "" {
		if err := d.repo.Build(ctx, d.Env.Build, c, d.stderr); err != nil {
			return rollout.Bundle{}, cli.UsageError{Err: err}
		}
	}
	info, err := os.Stat(d.Env.Built)
	if err != nil {
		return rollout.Bundle{}, cli.UsageError{Err: fmt.Errorf("cannot open what was built: %w: build it first, or let `build:` in %s do it", err, rollout.FileName)}
	}
	var stats bundle.Stats // by the rules of a server
	from := d.Env.Built
	if info.IsDir() {
		stats, err = bundle.Survey(ctx, from, bundle.Limits{})
	} else { // an archive of any kind becomes one of ours
		from = filepath.Join(dir, "tree")
		if err := os.Mkdir(from, 0o700); err != nil {
			return rollout.Bundle{}, fmt.Errorf("cannot make a scratch directory: %w", err)
		}
		defer safepath.RemoveAll(from)
		stats, err = bundle.UnpackLocal(ctx, d.Env.Built, from, nil)
	}
	if err != nil {
		return rollout.Bundle{}, cli.UsageError{Err: fmt.Errorf("servers could not use what was built: %w", err)}
	}
	if stats.Files == 0 {
		return rollout.Bundle{}, cli.UsageError{Err: errors.New("what was built has no files: " + d.Env.Built)}
	}
	return rollout.Built(ctx, from, c, dir)
}
