package developer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// follow follows the deployment to its end.
func (d *Session) follow(ctx context.Context) error {
	watch, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	out, err := rollout.Follow(watch, d.AWS.CodeDeploy, d.Env, d.deployment, d.view.Show)
	if err == nil {
		return d.result(out)
	}
	again := fmt.Sprintf("`usher deploy status %s` follows it again", d.deployment)
	switch {
	case ctx.Err() != nil:
		return ExitError{cli.ExitInterrupted, rollout.EndedRunning, fmt.Sprintf("interrupted, but deployment %s goes on: %s", d.deployment, again)}
	case watch.Err() != nil:
		return ExitError{cli.ExitRunning, rollout.EndedRunning, fmt.Sprintf("deployment %s is still running after %s: %s", d.deployment, d.timeout, again)}
	}
	return ExitError{cli.ExitRunning, rollout.EndedRunning, fmt.Sprintf("%v\ndeployment %s goes on: %s", err, d.deployment, again)}
}

// result is the error that a deployment which has ended is, nil for one that succeeded.
func (d *Session) result(out rollout.Outcome) error {
	trouble, undone, status := out.FailureText(), out.Rollback, rollout.EndedFailed
	code := cli.ExitFailed
	switch {
	case trouble == "":
		d.Done += fmt.Sprintf(": %s in %s.", format.Plural(out.Instances, "server"), format.Duration(out.Took))
		return nil
	case undone != nil && undone.FailureText() == "":
		code, status = cli.ExitRolledBack, rollout.EndedRolledBack
		trouble += "\ndeployment " + undone.Deployment + " rolled it back"
	case undone != nil:
		trouble += "\nthe rollback failed too: " + undone.FailureText() + "\n`usher rollback " + cmp.Or(d.Env.Name, "ENV") + "` tries again"
		if undone.Why != "" {
			trouble += "\nof the rollback: " + undone.Why
		}
	case out.NoRollback != "":
		trouble += "\nCodeDeploy did not roll it back: " + out.NoRollback
	case out.Status != rollout.Succeeded:
		trouble += "\nCodeDeploy did not roll it back: `usher rollback " + cmp.Or(d.Env.Name, "ENV") + "` does that"
	}
	if out.Why != "" { // last, where somebody who opens a log looks first
		trouble += "\n" + out.Why
	}
	return ExitError{code, status, trouble}
}

// deployStatusCommand is `usher deploy status [ENV | d-ID]`.
func deployStatusCommand() cli.Command {
	d := &Session{Name: "deploy status"}
	return cli.Command{Name: "status", Args: []string{"[ENV | d-ID]"}, About: "follow the newest deployment of an environment, or one by its id",
		More:     "exit codes: those of usher deploy; with --no-wait 4 while it is running",
		Flags:    d.flags,
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			d.Show(in.Stdout, in.Stderr)
			return d.End(ctx, d.status(ctx, in.Arg(0)))
		}}
}

// status follows a deployment that is there already.
func (d *Session) status(ctx context.Context, name string) error {
	what, err := d.findDeployment(ctx, name)
	if err != nil {
		return err
	}
	d.deployment = what.ID
	name = what.Revision.String()
	if sha := what.Revision.Commit(); sha != "" {
		name = d.commitTitle(ctx, sha)
	}
	fmt.Fprintf(d.People, "Deployment %s of %s to %s of %s, %s by %s\n\n", what.ID, format.Printable(name), what.Group, what.Application, format.Ago(what.Created), what.Creator)
	d.tellLock(ctx)
	d.Done = fmt.Sprintf("Deployment %s succeeded", what.ID)
	if !d.noWait {
		return d.follow(ctx)
	}
	out, err := rollout.Snapshot(ctx, d.AWS.CodeDeploy, d.Env, what.ID, d.view.Show)
	if errors.Is(err, rollout.ErrRunning) {
		return ExitError{cli.ExitRunning, rollout.EndedRunning, fmt.Sprintf("deployment %s is still running: `usher deploy status %s` follows it", what.ID, what.ID)}
	} else if err != nil {
		return err
	}
	return d.result(out)
}

// findDeployment is the deployment of that id, or the newest of an environment: of the only one, when there is
// one only. An id is looked for wherever usher.yml says that environments are; without one, where AWS_REGION
// says.
func (d *Session) findDeployment(ctx context.Context, name string) (rollout.Deployment, error) {
	all, file, err := environments()
	if !rollout.IsDeployment(name) {
		switch {
		case err != nil:
			return rollout.Deployment{}, err
		case name == "" && len(all) > 1:
			return rollout.Deployment{}, cli.UsageError{Err: errors.New("which deployment? Name an environment of usher.yml, or a deployment by its id")}
		case name == "":
			name = all[0].Name
		}
		if d.Env, err = rollout.ByName(all, name); err != nil {
			return rollout.Deployment{}, cli.UsageError{Err: fmt.Errorf("%w (%s)", err, file)}
		}
		all = []rollout.Environment{d.Env}
	} else if err != nil { // no usher.yml, or none that can be used: not needed here
		all = []rollout.Environment{{}}
	}
	if dir, err := os.Getwd(); err == nil {
		d.repo, _ = rollout.OpenRepository(ctx, dir) // only for the subjects of commits
	}
	var last error
	asked := map[[2]string]bool{}
	for _, d.Env = range all {
		if place := [2]string{d.Env.Region, d.Env.Profile}; asked[place] {
			continue
		} else {
			asked[place] = true
		}
		if err := d.connect(ctx); err != nil {
			return rollout.Deployment{}, err
		}
		id := name
		if !rollout.IsDeployment(name) {
			if id, err = rollout.Newest(ctx, d.AWS.CodeDeploy, d.Env); err != nil {
				return rollout.Deployment{}, err
			}
		}
		where := d.Env
		if rollout.IsDeployment(name) {
			where.Name = "" // nobody has named it
		}
		found, err := rollout.Describe(ctx, d.AWS.CodeDeploy, where, id)
		if err == nil {
			if at := slices.IndexFunc(all, func(e rollout.Environment) bool {
				return e.Application == found.Application && e.DeploymentGroup == found.Group
			}); at >= 0 {
				d.Env = all[at]
			} else {
				d.Env.Name = ""
			}
			return found, nil
		}
		if !errors.Is(err, rollout.ErrNoDeployment) {
			return found, err
		}
		last = err
	}
	return rollout.Deployment{}, cli.UsageError{Err: last}
}
