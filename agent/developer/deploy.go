package developer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
	"usher/agent/safepath"
)

// DeployCommand is `usher deploy ENV [REF]`, and `usher deploy status`.
func DeployCommand() cli.Command {
	d := &Session{Name: "deploy"}
	var o deployOptions
	return cli.Command{Name: "deploy", Args: []string{"ENV", "[REF]"}, Group: cli.Developer, About: "deploy a commit to an environment",
		More: "ENV is one of usher.yml; REF a branch, tag or commit, by default the environment's branch.\n" +
			"usher deploy status [ENV | d-ID] follows a deployment that exists already; usher deploy list ENV lists the past ones,\n" +
			"usher deploy stop ENV stops the one in progress.\n" +
			"exit codes: 0 done, 1 failed, 2 refused, 3 rolled back, 4 still running, 5 another deployment is in progress, 130 interrupted",
		Flags: func(f *flag.FlagSet) {
			d.flags(f)
			f.BoolVar(&d.Yes, "yes", false, "do not ask, also where usher.yml says confirm")
			o.flags(f)
			d.lockFlag(f)
		},
		Complete: func(ctx context.Context, args []string) []string {
			switch len(args) {
			case 0:
				return EnvironmentNames()
			case 1:
				return refs(ctx)
			}
			return nil
		},
		Commands: []cli.Command{deployStatusCommand(), deployListCommand(), deployStopCommand()},
		Run: func(ctx context.Context, in cli.Call) int {
			err := d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			if err == nil {
				err = o.check()
			}
			if err == nil {
				err = d.deploy(ctx, in.Arg(1), o)
			}
			return d.End(ctx, err)
		}}
}

// deploy brings a ref to the environment's servers. Until the deployment is created, nothing is changed
// anywhere but for the bundle in S3.
func (d *Session) deploy(ctx context.Context, ref string, o deployOptions) error {
	if o.bundle != "" {
		d.Env.Built, d.Env.Build = o.bundle, ""
	}
	commit, warnings, err := d.commit(ctx, ref)
	if err != nil {
		return err
	}
	if ref == "" {
		if err := d.jobCommit(ctx, commit); err != nil {
			return err
		}
	}
	p := plan{action: "Deploy to", commit: commit, warnings: warnings,
		revision: fmt.Sprintf("%s %s (%s, by %s, %s)", commit.Short(), commit.Subject, commit.Ref, commit.Author, format.Ago(commit.Time))}
	if p.account, p.arn, err = d.WhoAmI(ctx); err != nil {
		return err
	}
	locked, err := d.heedLock(ctx, o.dryRun)
	if err != nil {
		return err
	}
	p.warnings = append(p.warnings, locked...)
	if p.group, err = rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env); err != nil {
		return err
	}
	if p.group.Active != "" && !o.dryRun {
		if p.group, err = d.waitForTurn(ctx, p.group, o.wait); err != nil {
			return err
		}
	}
	if err := d.count(ctx, &p, o.dryRun); err != nil {
		return err
	}
	if p.group.Active != "" && o.dryRun {
		p.warnings = append(p.warnings, "deployment "+p.group.Active+" is in progress: another cannot begin before its end")
	}
	d.choices, p.choices = o.choices, o.choices
	if o.forwardOnly {
		if err := d.forwardOnly(ctx, p.group, commit); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "usher-")
	if err != nil {
		return fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	defer safepath.RemoveAll(dir)
	packed, err := d.pack(ctx, commit, dir) // also of what was uploaded before: nobody else says what is in a commit
	if err != nil {
		return err
	}
	uploaded, found, err := rollout.Existing(ctx, d.AWS.S3, d.Env, packed)
	if err != nil {
		return err
	}
	p.location = "s3://" + d.Env.Bucket + "/" + d.Env.Key(packed.Name())
	same := found && p.group.Running == uploaded.Revision()
	if running := p.group.Running.Commit(); !same && running != "" && d.repo.Path != "" && d.Env.Built == "" && !strings.HasSuffix(p.group.Running.Key, running+".tgz") { // of another commit, it may be the same
		between, err := d.commitsBetween(ctx, running, commit.SHA)
		if err != nil {
			return err
		}
		same = !between.unknown && between.added+between.reverted == 0
	}
	if same && o.skipUnchanged && p.group.Failed == "" {
		return ExitError{cli.ExitDone, rollout.EndedUnchanged, fmt.Sprintf("%s runs %s %s already: nothing was started", d.Env.Name, commit.Short(), commit.Subject)}
	}
	if found && !o.dryRun {
		p.bundle = "uploaded before, compared with the commit now"
	} else {
		stats, problems, err := d.check(ctx, packed.Path)
		if err != nil {
			return err
		}
		p.bundle = fmt.Sprintf("%s, %s, valid", format.Bytes(packed.Size), format.Plural(stats.Files, "file"))
		if len(problems) > 0 {
			p.bundle += fmt.Sprintf(", %s (`usher check` shows them)", format.Plural(len(problems), "warning"))
		}
		for _, problem := range problems {
			if o.dryRun {
				p.warnings = append(p.warnings, problem.String())
			}
		}
	}
	if err := d.show(ctx, p); err != nil {
		return err
	}
	if o.dryRun {
		return ExitError{cli.ExitDone, rollout.EndedDryRun, "A dry run: nothing was uploaded, and no deployment created."}
	}
	if err := d.confirm(ctx); err != nil {
		return err
	}
	if !found {
		if uploaded, err = d.upload(ctx, packed); err != nil {
			return err
		}
	} else {
		d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.UploadProgress, Status: rollout.Skipped, Message: uploaded.Revision().String()})
	}
	message := o.message
	if message == "" {
		message = commit.Short() + " " + commit.Subject
	}
	return d.createAndFollow(ctx, uploaded.Revision(), message, commit.Short()+" "+commit.Subject)
}

// commit is the commit that ref means now, after a fetch when it is a remote's, with what is odd about it. One
// that servers could not use is refused.
func (d *Session) commit(ctx context.Context, ref string) (c rollout.Commit, warnings []string, err error) {
	if ref == "" {
		ref = d.Env.Branch
	}
	if ref == "" {
		return c, nil, cli.UsageError{Err: fmt.Errorf("environment %s has no branch in usher.yml: name what to deploy: usher deploy %s REF", d.Env.Name, d.Env.Name)}
	}
	remote, err := d.repo.Remote(ctx, ref)
	if err == nil && remote != "" {
		err = d.repo.Fetch(ctx, remote)
	}
	if err != nil {
		return c, nil, err
	}
	if c, err = d.repo.Resolve(ctx, ref); err != nil {
		return c, nil, cli.UsageError{Err: err}
	}
	if d.Env.Built != "" { // what is deployed is not what git packs
		if dirty, err := d.repo.Uncommitted(ctx); err != nil || len(dirty) == 0 {
			return c, nil, err
		}
		return c, []string{"files are changed and not committed: what was built may not be of " + c.Short()}, nil
	}
	no, err := d.repo.Refusals(ctx, c)
	if err != nil {
		return c, nil, err
	}
	if len(no) > 0 {
		return c, nil, cli.UsageError{Err: errors.New(strings.Join(no, "\n"))}
	}
	warnings, err = d.repo.Warnings(ctx, c)
	return c, warnings, err
}

// upload uploads a bundle.
func (d *Session) upload(ctx context.Context, b rollout.Bundle) (rollout.Uploaded, error) {
	began := time.Now()
	show := func(status string, done int64, message string, took time.Duration) {
		d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.UploadProgress, Status: status, Done: done, Total: b.Size, Message: message, Seconds: took.Seconds()})
	}
	last := time.Time{}
	u, err := rollout.Upload(ctx, d.AWS.S3, b, d.Env, func(done, _ int64) {
		const often = 100 * time.Millisecond // it is called for every piece that is sent
		if now := time.Now(); now.Sub(last) >= often {
			last = now
			show(rollout.InProgress, done, "", 0)
		}
	})
	if err != nil {
		return u, err
	}
	if u.Already { // somebody was faster
		show(rollout.Skipped, b.Size, u.Revision().String(), 0)
	} else {
		show(rollout.Succeeded, b.Size, u.Revision().String(), time.Since(began))
	}
	return u, nil
}

// createAndFollow creates the deployment of a revision and follows it to its end.
func (d *Session) createAndFollow(ctx context.Context, r rollout.Revision, description, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, err := d.heedLock(ctx, false); err != nil { // it may have been locked since the plan was made
		return err
	}
	id, err := rollout.Create(ctx, d.AWS.CodeDeploy, d.Env, r, description, rollout.Who(d.arn, os.Getenv), d.choices)
	if err != nil {
		return err
	}
	d.deployment, d.created = id, true
	d.notify(ctx, onStarted, rollout.Event{Status: rollout.EndedStarted, Message: fmt.Sprintf("deployment %s of %s to %s has begun", id, name, d.Env.Name)})
	if d.noWait {
		d.started = true
		d.Done = fmt.Sprintf("Deployment %s of %s to %s has begun: `usher deploy status %s` follows it.", id, name, d.Env.Name, id)
		return nil
	}
	d.Done = fmt.Sprintf("%s runs %s", d.Env.Name, name)
	return d.follow(ctx)
}
