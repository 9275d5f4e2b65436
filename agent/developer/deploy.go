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
	var how order
	return cli.Command{Name: "deploy", Args: []string{"ENV", "[REF]"}, Group: cli.Developer, About: "deploy a commit to an environment",
		More: "ENV is one of usher.yml, or several with commas between: staging,production. REF is a branch, tag or commit, by default the environment's branch.\n" +
			"usher deploy status [ENV | d-ID] follows a deployment that exists already; usher deploy list ENV lists the past ones,\n" +
			"usher deploy stop ENV stops the one in progress.\n" +
			"exit codes: 0 done, 1 failed, 2 refused, 3 rolled back, 4 still running, 5 another deployment is in progress, 130 interrupted",
		Flags: func(f *flag.FlagSet) {
			d.flags(f)
			f.BoolVar(&d.Yes, "yes", false, "do not ask, also where usher.yml says confirm")
			o.flags(f)
			how.flags(f)
			d.lockFlag(f)
		},
		Complete: completeEnvironmentAndRef,
		Commands: []cli.Command{deployStatusCommand(), deployListCommand(), deployStopCommand()},
		Run: func(ctx context.Context, in cli.Call) int {
			if err := o.check(); err != nil {
				d.Show(in.Stdout, in.Stderr)
				return d.End(ctx, err)
			}
			return d.each(ctx, in, how, func(ctx context.Context, s *Session) (prepared, error) { return s.prepare(ctx, in.Arg(1), o) })
		}}
}

// ready is a commit's deployment that only has to be begun.
type ready struct {
	dir      string // scratch
	packed   rollout.Bundle
	uploaded rollout.Uploaded
	found    bool // it is uploaded
	message  string
	commit   rollout.Commit
	options  deployOptions
}

func (r ready) remove() {
	if r.dir != "" {
		safepath.RemoveAll(r.dir)
	}
}

// prepare makes a deployment ready, and shows it. Nothing is changed anywhere. The caller removes what it has made, also after an
// error: one that ends with ExitDone is of a deployment that need not be begun.
func (d *Session) prepare(ctx context.Context, ref string, o deployOptions) (r ready, err error) {
	r.options = o
	if o.bundle != "" {
		d.Env.Built, d.Env.Build = o.bundle, ""
	}
	commit, warnings, err := d.commit(ctx, ref)
	if err != nil {
		return r, err
	}
	if ref == "" {
		if err := d.jobCommit(ctx, commit); err != nil {
			return r, err
		}
	}
	p := plan{action: "Deploy to", commit: commit, warnings: warnings,
		revision: fmt.Sprintf("%s %s (%s, by %s, %s)", commit.Short(), commit.Subject, commit.Ref, commit.Author, format.Ago(commit.Time))}
	if p.account, p.arn, err = d.WhoAmI(ctx); err != nil {
		return r, err
	}
	locked, err := d.heedLock(ctx, o.dryRun)
	if err != nil {
		return r, err
	}
	p.warnings = append(p.warnings, locked...)
	if p.group, err = rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env); err != nil {
		return r, err
	}
	if p.group.Active != "" && !o.dryRun {
		if p.group, err = d.waitForTurn(ctx, p.group, o.wait); err != nil {
			return r, err
		}
	}
	if err := d.count(ctx, &p, o.dryRun); err != nil {
		return r, err
	}
	if p.group.Active != "" && o.dryRun {
		p.warnings = append(p.warnings, "deployment "+p.group.Active+" is in progress: another cannot begin before its end")
	}
	d.choices, p.choices = o.choices, o.choices
	if o.forwardOnly {
		if err := d.forwardOnly(ctx, p.group, commit); err != nil {
			return r, err
		}
	}
	if r.dir, err = os.MkdirTemp("", "usher-"); err != nil {
		return r, fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	if r.packed, err = d.pack(ctx, commit, r.dir); err != nil { // also of what was uploaded before: nobody else says what is in a commit
		return r, err
	}
	if r.uploaded, r.found, err = rollout.Existing(ctx, d.AWS.S3, d.Env, r.packed); err != nil {
		return r, err
	}
	p.location = "s3://" + d.Env.Bucket + "/" + d.Env.Key(r.packed.Name())
	same := r.found && p.group.Running == r.uploaded.Revision()
	if running := p.group.Running.Commit(); !same && running != "" && d.repo.Path != "" && d.Env.Built == "" && !strings.HasSuffix(p.group.Running.Key, running+".tgz") { // of another commit, it may be the same
		between, err := d.commitsBetween(ctx, running, commit.SHA)
		if err != nil {
			return r, err
		}
		same = !between.unknown && between.added+between.reverted == 0
	}
	if same && o.skipUnchanged && p.group.Failed == "" {
		return r, ExitError{cli.ExitDone, rollout.EndedUnchanged, fmt.Sprintf("%s runs %s %s already: nothing was started", d.Env.Name, commit.Short(), commit.Subject)}
	}
	if r.found && !o.dryRun {
		p.bundle = "uploaded before, compared with the commit now"
	} else {
		stats, problems, err := d.check(ctx, commit, r.packed.Path)
		if err != nil {
			return r, err
		}
		p.bundle = fmt.Sprintf("%s, %s, valid", format.Bytes(r.packed.Size), format.Plural(stats.Files, "file"))
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
		return r, err
	}
	if o.dryRun {
		return r, ExitError{cli.ExitDone, rollout.EndedDryRun, "A dry run: nothing was uploaded, and no deployment created."}
	}
	if r.message = o.message; r.message == "" {
		r.message = commit.Short() + " " + commit.Subject
	}
	r.commit = commit
	return r, nil
}

// again looks once more at an environment whose turn has come after another's deployment: somebody may have deployed to it.
func (r ready) again(ctx context.Context, d *Session) error {
	group, err := rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env)
	if err == nil && group.Active != "" {
		group, err = d.waitForTurn(ctx, group, r.options.wait)
	}
	if err == nil && r.options.forwardOnly {
		err = d.forwardOnly(ctx, group, r.commit)
	}
	return err
}

// begin uploads the bundle of a deployment, creates it and follows it.
func (r ready) begin(ctx context.Context, d *Session) (err error) {
	if !r.found {
		if r.uploaded, err = d.upload(ctx, r.packed); err != nil {
			return err
		}
	} else {
		d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.UploadProgress, Status: rollout.Skipped, Message: r.uploaded.Revision().String()})
	}
	return d.createAndFollow(ctx, r.uploaded.Revision(), r.message, r.commit.Short()+" "+r.commit.Subject)
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
	c, known := d.commits[ref]
	if !known {
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
		if d.commits != nil {
			d.commits[ref] = c
		}
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
