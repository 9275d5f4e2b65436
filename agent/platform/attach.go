package platform

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"usher/agent/cli"
	"usher/agent/developer"
	"usher/agent/format"
	"usher/agent/groups"
	"usher/agent/rollout"
)

// What Auto Scaling allows for a heartbeat timeout.
const (
	leastHeartbeat = 30 * time.Second
	mostHeartbeat  = 2 * time.Hour
)

// hookForm is what Auto Scaling allows in a hook's name.
var hookForm = cli.LazyRegexp(`^[A-Za-z0-9\-_/]{1,255}$`)

// AttachCommand is `usher attach ENV`.
func AttachCommand() cli.Command {
	d, want := &developer.Session{Name: "attach"}, groups.Default()
	var dryRun bool
	return cli.Command{Name: "attach", Args: []string{"ENV"}, Group: cli.Platform, About: "give every Auto Scaling group of an environment the launch hook that usher completes",
		More: "The groups are those that CodeDeploy associates with the deployment group, and those with the tags usher:application and usher:deployment-group.\n" +
			"exit codes: 0 done, or nothing to do; 1 failed; 2 refused; 130 interrupted",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&d.Yes, "yes", false, "do not ask")
			f.BoolVar(&dryRun, "dry-run", false, "show the difference, and end there")
			f.StringVar(&want.Name, "hook", groups.Default().Name, "`NAME` of the hook")
			f.DurationVar(&want.Heartbeat, "heartbeat", groups.Default().Heartbeat, "heartbeat timeout: fail a launch that sends none for `D`")
		},
		Complete: developer.CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			err := checkHook(want)
			if err == nil {
				err = d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			} else {
				d.Show(in.Stdout, in.Stderr)
			}
			if err == nil {
				err = attach(ctx, d, want, dryRun)
			}
			return d.End(ctx, err)
		}}
}

func checkHook(h groups.Hook) error {
	switch {
	case !hookForm().MatchString(h.Name) || h.Managed():
		return cli.UsageError{Err: fmt.Errorf("the hook's name is %q: it must be 1 to 255 letters, digits, - _ and /, and not begin with CodeDeploy-managed-", h.Name)}
	case h.Heartbeat < leastHeartbeat || h.Heartbeat > mostHeartbeat || h.Heartbeat%time.Second != 0:
		return cli.UsageError{Err: fmt.Errorf("the heartbeat timeout is %s: Auto Scaling allows whole seconds from %s to %s", h.Heartbeat, leastHeartbeat, mostHeartbeat)}
	}
	return nil
}

// attach shows what each group's hook is and would be, and makes it so.
func attach(ctx context.Context, d *developer.Session, want groups.Hook, dryRun bool) error {
	account, arn, err := d.WhoAmI(ctx)
	if err != nil {
		return err
	}
	all, err := groups.Of(ctx, d.AWS.AutoScaling, d.AWS.CodeDeploy, groups.Deployment{Application: d.Env.Application, Group: d.Env.DeploymentGroup})
	if err != nil {
		return rollout.Explain("find the Auto Scaling groups of "+d.Env.Name, d.Env, err)
	}
	if len(all) == 0 {
		return cli.UsageError{Err: fmt.Errorf("%s has no Auto Scaling group: give the group, and the instances it launches, the tags %s=%s and %s=%s",
			d.Env.Name, groups.TagApplication, d.Env.Application, groups.TagGroup, d.Env.DeploymentGroup)}
	}
	var todo []groups.Change
	var wrong []error
	fmt.Fprintf(d.People, "Attach to %s of %s (%s, account %s)\n\n", d.Env.Name, d.Env.Application, d.Env.Region, account)
	line := func(name, form string, args ...any) {
		fmt.Fprintf(d.People, "  %-10s %s\n", name, format.Printable(fmt.Sprintf(form, args...)))
	}
	line("as", "%s", arn)
	for _, g := range all {
		change, err := groups.Compare(g, want)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		showChange(line, change, want.Name)
		if len(change.Lines) > 0 {
			todo = append(todo, change)
		}
	}
	for _, g := range all {
		for _, w := range groups.Warnings(g, want.Name) {
			line("warning", "%s", w)
		}
	}
	fmt.Fprintln(d.People)
	switch {
	case len(wrong) > 0:
		return cli.UsageError{Err: errors.Join(wrong...)}
	case len(todo) == 0:
		d.Done = fmt.Sprintf("Nothing to do: %s is as it should be on %s.", want.Name, format.Plural(len(all), "group"))
		return nil
	case dryRun:
		return developer.ExitError{Code: cli.ExitDone, Status: rollout.EndedDryRun, Message: "A dry run: no hook was changed."}
	}
	if err := d.Agree(ctx, "hooks are changed by a person only"); err != nil {
		return err
	}
	return put(ctx, d, todo, want.Name)
}

// showChange prints a group's hook, line by line.
func showChange(line func(name, format string, args ...any), c groups.Change, hook string) {
	switch {
	case len(c.Lines) == 0:
		line(c.Group, "hook %s is as it should be", hook)
		return
	case c.New:
		line(c.Group, "hook %s is not there, and would be", hook)
	default:
		line(c.Group, "hook %s would change", hook)
	}
	for _, x := range c.Lines {
		if c.New {
			line("", "  %-18s %s", x.Setting, x.WouldBe)
		} else {
			line("", "  %-18s %s -> %s", x.Setting, x.Is, x.WouldBe)
		}
	}
}

// put changes the hooks. One that fails does not keep the others from it: the command can be given again.
func put(ctx context.Context, d *developer.Session, todo []groups.Change, hook string) error {
	var failed []string
	var last error
	for _, c := range todo {
		if ctx.Err() != nil {
			break
		}
		if err := groups.Put(ctx, d.AWS.AutoScaling, c); err != nil {
			last = rollout.Explain("put hook "+hook+" on group "+c.Group, d.Env, err)
			failed = append(failed, last.Error())
			continue
		}
		fmt.Fprintf(d.People, "%s has hook %s\n", c.Group, hook)
	}
	switch {
	case ctx.Err() != nil:
		return developer.ExitError{Code: cli.ExitInterrupted, Status: rollout.EndedInterrupted, Message: "interrupted: some groups may have the hook and others not; the same command goes on"}
	case len(failed) > 1:
		return errors.New(strings.Join(failed, "\n"))
	case last != nil:
		return last
	}
	d.Done = fmt.Sprintf("Instances that %s from now on wait for usher.", map[bool]string{true: "it launches", false: "they launch"}[len(todo) == 1])
	return nil
}
