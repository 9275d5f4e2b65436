package developer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/rollout"
	"usher/hooks"
)

// plannedCommits is how many commits a plan lists: a screen that is still read.
const plannedCommits = 10

// plan is what is about to be done, as it is shown before it is done.
type plan struct {
	action       string // Deploy, Roll back
	group        rollout.Group
	account, arn string
	fleet        rollout.Fleet
	commit       rollout.Commit // what is deployed; its subject is "" when the repository does not have it
	revision     string         // of what: the commit, or where the bundle is when it is of none
	bundle       string         // what there is to say of the bundle
	location     string         // where it is, or will be
	stops        string         // the deployment that is stopped first
	warnings     []string
	choices      rollout.Choices
}

// show prints the plan.
func (d *Session) show(ctx context.Context, p plan) error {
	running := p.group.Running.Commit()
	between, err := d.commitsBetween(ctx, running, p.commit.SHA)
	if err != nil {
		return err
	}
	d.planned = rollout.Event{Time: time.Now().UTC(), Type: rollout.Planned, Commit: p.commit.SHA, Subject: d.subject(ctx, p.commit.SHA), From: running, Command: d.Name, By: rollout.Who(p.arn, os.Getenv),
		Environment: d.Env.Name, Application: d.Env.Application, Account: p.account, Region: d.Env.Region, Bundle: p.location,
		Adds: ids(between.adds), Reverts: ids(between.reverts), Warnings: p.warnings, Version: cli.Version()}
	d.view.Show(d.planned)
	fmt.Fprintf(d.People, "%s %s of %s (%s, account %s)\n\n", p.action, d.Env.Name, d.Env.Application, d.Env.Region, p.account)
	line := func(name, form string, args ...any) {
		fmt.Fprintf(d.People, "  %-10s %s\n", name, format.Printable(fmt.Sprintf(form, args...)))
	}
	if line("as", "%s", p.arn); d.Env.Profile != "" && d.AWS.Given {
		line("", "by credentials in the environment, which win over profile %s", d.Env.Profile)
	}
	var selected []string
	if len(p.group.AutoScalingGroups) > 0 {
		selected = append(selected, "Auto Scaling group "+format.Limited(p.group.AutoScalingGroups))
		if p.fleet.Known {
			selected[0] += ": " + p.fleet.String()
		}
	}
	if len(p.group.Tags) > 0 {
		selected = append(selected, "tagged "+strings.Join(p.group.Tags, ", "))
	}
	servers := cmp.Or(strings.Join(selected, "; "), "none are selected by the deployment group")
	line("servers", "%s; %s", servers, strings.TrimPrefix(cmp.Or(p.choices.Config, p.group.Config), "CodeDeployDefault."))
	if len(p.group.Alarms) > 0 {
		line("alarms", "%s: each stops the deployment", strings.Join(p.group.Alarms, ", "))
	}
	if p.choices.NoRollback {
		line("rollback", "none, if it fails (--no-rollback)")
	}
	line("running", "%s", d.whatRuns(ctx, p.group))
	if g := p.group; g.Failed != "" && g.Failed != p.stops {
		line("failed", "deployment %s: some servers may run it", g.Failed)
	}
	line("deploying", "%s", p.revision)
	between.show(line)
	line("bundle", "%s", p.bundle)
	if p.stops != "" {
		line("stops", "deployment %s, which is in progress", p.stops)
	}
	for _, w := range p.warnings {
		line("warning", "%s", w)
	}
	fmt.Fprintln(d.People)
	return nil
}

// count counts the servers there are. None is an error where something is to be begun, and a warning otherwise: CodeDeploy would
// fail the deployment, and go on giving new servers what they get now.
func (d *Session) count(ctx context.Context, p *plan, dryRun bool) (err error) {
	p.fleet, err = rollout.CountServers(ctx, d.AWS.AutoScaling, d.Env, p.group)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil: // an older policy does not allow it; CodeDeploy looks for itself
		p.warnings = append(p.warnings, "the servers were not counted: "+err.Error())
	case !p.fleet.None():
	case dryRun:
		p.warnings = append(p.warnings, "there is no server to deploy to")
	default:
		return cli.UsageError{Err: fmt.Errorf("there is no server of %s to deploy to: Auto Scaling group %s has none in service and none that launches. New servers get %s\n"+
			"To deploy something else, raise the desired capacity, and deploy when a server is there. Where every launch fails (`usher servers %s` shows them), hold one (`usher hold`), complete its lifecycle action with CONTINUE, and deploy to it",
			d.Env.Name, format.Limited(p.group.AutoScalingGroups), d.whatRuns(ctx, p.group), d.Env.Name)}
	}
	return nil
}

// whatRuns is the revision that new servers get now.
func (d *Session) whatRuns(ctx context.Context, g rollout.Group) string {
	switch {
	case g.Running == rollout.Revision{}:
		return "nothing: no deployment to " + d.Env.DeploymentGroup + " has succeeded yet"
	case g.Running.Commit() == "":
		return g.Running.String() + ", which is not from this repository"
	}
	since := ""
	if !g.When.IsZero() {
		since = fmt.Sprintf(" (%s, %s)", g.By, format.Ago(g.When))
	}
	return d.commitTitle(ctx, g.Running.Commit()) + since
}

// commitTitle is a commit's id with its subject, when the repository has it.
func (d *Session) commitTitle(ctx context.Context, sha string) string {
	if d.repo != nil {
		if c, err := d.repo.Resolve(ctx, sha); err == nil {
			return c.Short() + " " + c.Subject
		}
	}
	return rollout.Short(sha)
}

// difference is the commits between what runs and what is deployed.
type difference struct {
	same, unknown   bool
	adds, reverts   []rollout.Commit // newest first, plannedCommits at most
	added, reverted int              // all of them
}

// commitsBetween is the difference between two commits.
func (d *Session) commitsBetween(ctx context.Context, running, next string) (b difference, err error) {
	if running == "" || next == "" {
		return b, nil
	}
	if running == next {
		b.same = true
		return b, nil
	}
	b.adds, b.added, err = d.repo.Log(ctx, running, next, plannedCommits)
	if err == nil {
		b.reverts, b.reverted, err = d.repo.Log(ctx, next, running, plannedCommits)
	}
	if errors.Is(err, rollout.ErrUnknownCommit) {
		return difference{unknown: true}, nil
	}
	return b, err
}

// show lists what the change adds, and what it reverts.
func (b difference) show(line func(name, format string, args ...any)) {
	switch {
	case b.same:
		line("adds", "the same commit again")
	case b.unknown:
		line("adds", "unknown: the running commit or the new one is not in this repository")
	}
	list := func(name string, commits []rollout.Commit, n int) {
		if n == 0 {
			return
		}
		line(name, "%s", format.Plural(n, "commit"))
		for _, c := range commits {
			line("", "%s %s", c.Short(), c.Subject)
		}
		if more := n - len(commits); more > 0 {
			line("", "and %d more", more)
		}
	}
	list("adds", b.adds, b.added)
	list("reverts", b.reverts, b.reverted)
}

// ids are the full hashes of commits.
func ids(commits []rollout.Commit) (all []string) {
	for _, c := range commits {
		all = append(all, c.SHA)
	}
	return all
}

// check judges a bundle as an instance will. What is wrong is printed as file:line:col: message.
func (d *Session) check(ctx context.Context, c rollout.Commit, path string) (bundle.Stats, []hooks.Problem, error) {
	dir, stats, done, err := open(ctx, path, nil)
	if err != nil {
		return stats, nil, cli.UsageError{Err: fmt.Errorf("a server could not use this commit: %w", err)}
	}
	defer done()
	cfg, err := config.Default().WithLink(d.Env.Link)
	if err != nil {
		return stats, nil, cli.UsageError{Err: err}
	}
	_, problems := release.Check(layoutOf(cfg), dir, "", hooks.Enforce, hooks.CheckSource)
	fatal := hooks.Errors(problems)
	if len(fatal) == 0 {
		return stats, problems, nil
	}
	var lines []string
	for _, p := range fatal {
		lines = append(lines, p.String())
	}
	if d.Env.Built == "" {
		if missing, err := d.repo.LeftOut(ctx, c); err == nil && missing != "" {
			lines = append(lines, missing)
		}
	}
	return stats, problems, cli.UsageError{Err: fmt.Errorf("servers would reject this commit: %s; nothing was uploaded:\n%s", format.Plural(len(fatal), "problem"), strings.Join(lines, "\n"))}
}
