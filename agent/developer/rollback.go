package developer

import (
	"context"
	"flag"
	"fmt"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// RollbackCommand is `usher rollback ENV`. onServer, which may be nil, gives the declaration that takes its place on a server.
func RollbackCommand(onServer func(args []string) *cli.Command) cli.Command {
	d := &Session{Name: "rollback"}
	var stop, dryRun bool
	var how order
	about, more := "return an environment to what it ran before", ""
	if onServer != nil {
		about, more = about+"; on a server: the server", " On a server, usher rollback --help is about the server itself."
	}
	return cli.Command{Name: "rollback", Args: []string{"ENV", "[d-ID | REF]"}, Group: cli.Developer, About: about,
		More: "ENV is one of usher.yml, or several with commas between: staging,production.\n" +
			"The same bundle is deployed again, nothing is built: by default the latest successful deployment of a different revision;\n" +
			"on a terminal a list of them to pick from, unless --yes.\n" +
			"exit codes: those of usher deploy." + more,
		Flags: func(f *flag.FlagSet) {
			d.flags(f)
			f.BoolVar(&d.Yes, "yes", false, "ask nothing: neither what to go back to, nor where usher.yml says confirm")
			d.lockFlag(f)
			how.flags(f)
			f.BoolVar(&stop, "stop", false, "stop the deployment that is in progress first")
			f.BoolVar(&dryRun, "dry-run", false, "say what would be done, and end there")
		},
		Complete: completeEnvironmentAndRef,
		Instead:  onServer,
		Run: func(ctx context.Context, in cli.Call) int {
			return d.each(ctx, in, how, func(ctx context.Context, s *Session) (prepared, error) {
				return s.prepareRollback(ctx, in.Arg(1), stop, dryRun)
			})
		}}
}

// back is a rollback that only has to be begun.
type back struct {
	to    rollout.Revision
	name  string // of what it is
	stop  bool   // a deployment in progress is stopped
	stops string // that one, "" for none
}

// prepareRollback makes ready to deploy a revision again that was deployed before, and shows it.
func (d *Session) prepareRollback(ctx context.Context, target string, stop, dryRun bool) (r *back, err error) {
	r = &back{stop: stop}
	p := plan{action: "Roll back"}
	if p.account, p.arn, err = d.WhoAmI(ctx); err != nil {
		return r, err
	}
	if p.warnings, err = d.heedLock(ctx, dryRun); err != nil {
		return r, err
	}
	if p.group, err = rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env); err != nil {
		return r, err
	}
	if err := r.heed(d, p.group.Active); err != nil {
		return r, err
	}
	p.stops = p.group.Active
	if err := d.count(ctx, &p, dryRun); err != nil {
		return r, err
	}
	past, err := d.rollbackTarget(ctx, target, p.group)
	if err != nil {
		return r, cli.UsageError{Err: err}
	}
	if target == "" && past.Revision != p.group.Running && p.group.By != "" {
		last, err := rollout.Describe(ctx, d.AWS.CodeDeploy, d.Env, p.group.By)
		if err != nil {
			return r, err
		}
		if last.RollbackOf != "" {
			p.warnings = append(p.warnings, fmt.Sprintf("deployment %s was rolled back already, by %s: this goes back further", last.RollbackOf, last.ID))
		}
	}
	if target == "" && !dryRun {
		if past, err = d.pick(ctx, past, p.group); err != nil {
			return r, err
		}
	}
	if err := rollout.CheckObject(ctx, d.AWS.S3, d.Env, past.Revision); err != nil {
		return r, err
	}
	p.commit.SHA, p.bundle, p.location = past.Revision.Commit(), past.Revision.String(), past.Revision.String()
	if r.to, r.name = past.Revision, past.Revision.String(); p.commit.SHA != "" {
		r.name = d.commitTitle(ctx, p.commit.SHA)
	}
	if p.revision = r.name; past.Deployment != "" {
		p.revision += fmt.Sprintf(" (of %s, %s)", past.Deployment, format.Ago(past.When))
	} else {
		p.warnings = append(p.warnings, "no deployment of it to this group is known to have succeeded")
	}
	if err := d.show(ctx, p); err != nil {
		return r, err
	}
	if dryRun {
		return r, ExitError{cli.ExitDone, rollout.EndedDryRun, "A dry run: no deployment was created."}
	}
	return r, nil
}

// heed refuses to go on while a deployment is in progress that is not to be stopped.
func (r *back) heed(d *Session, active string) error {
	if r.stops = active; active != "" && !r.stop {
		return fmt.Errorf("%w; --stop stops it first", rollout.InProgressError{Deployment: active, Group: d.Env.DeploymentGroup})
	}
	return nil
}

func (r *back) again(ctx context.Context, d *Session) error {
	group, err := rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env)
	if err != nil {
		return err
	}
	return r.heed(d, group.Active)
}

func (r *back) begin(ctx context.Context, d *Session) error {
	if r.stops != "" {
		if err := d.stop(ctx, r.stops); err != nil {
			return err
		}
	}
	return d.createAndFollow(ctx, r.to, "rollback to "+r.name, r.name)
}

func (*back) remove() {}

// rollbackTarget is what to deploy again. When nothing is named and the last deployment did not come to a good end, or
// is being stopped, some servers may run it: then it is what the others have, which is also what new
// servers get. Otherwise it is what ran before that.
func (d *Session) rollbackTarget(ctx context.Context, target string, g rollout.Group) (rollout.Past, error) {
	switch {
	case rollout.IsDeployment(target):
		return rollout.OfDeployment(ctx, d.AWS.CodeDeploy, d.Env, target)
	case target != "":
		// A tag, a branch, HEAD~1: the commit that it is here. What git does not know is left to CodeDeploy, which has the digits.
		if c, err := d.repo.Resolve(ctx, target); err == nil {
			target = c.SHA
		}
		return rollout.OfCommit(ctx, d.AWS.CodeDeploy, d.Env, target)
	}
	running := rollout.Past{Revision: g.Running, Deployment: g.By, When: g.When}
	if g.Active != "" && g.By != "" {
		return running, nil
	}
	if g.Failed != "" && g.By != "" {
		failed, err := rollout.Describe(ctx, d.AWS.CodeDeploy, d.Env, g.Failed)
		if err != nil {
			return rollout.Past{}, err
		}
		if failed.Revision != g.Running {
			return running, nil
		}
	}
	return rollout.Before(ctx, d.AWS.CodeDeploy, d.Env, g.Running)
}

// stop stops the deployment that is in the way and waits for its end.
func (d *Session) stop(ctx context.Context, id string) error {
	watch, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Notice, Deployment: id, Message: "stopping deployment " + id + ": servers finish their current lifecycle event"})
	err := rollout.Stop(watch, d.AWS.CodeDeploy, d.Env, id)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ExitError{cli.ExitInterrupted, rollout.EndedInterrupted, "interrupted: deployment " + id + " is being stopped, and nothing else was started"}
	case watch.Err() != nil:
		return ExitError{cli.ExitRunning, rollout.EndedRunning, fmt.Sprintf("deployment %s was told to stop and has not ended after %s: nothing else was started", id, d.timeout)}
	}
	return err
}
