package developer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// deployStopCommand is `usher deploy stop [ENV | d-ID]`.
func deployStopCommand() cli.Command {
	d := &Session{Name: "deploy stop"}
	noRollback := false
	return cli.Command{Name: "stop", Args: []string{"[ENV | d-ID]"}, About: "stop the deployment that is in progress",
		More: "Servers finish their current lifecycle event. Nobody is asked, and a lock does not count: it is the brake.\n" +
			"exit codes: 0 stopped, and rolled back where that was to be; 2 nothing is in progress; the others are those of usher deploy",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&d.json, "json", false, "print events, one JSON object a line")
			f.DurationVar(&d.timeout, "timeout", watchFor, "stop watching after `D`")
			f.BoolVar(&noRollback, "no-rollback", false, "let CodeDeploy roll nothing back, whatever the deployment group says")
		},
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			d.Show(in.Stdout, in.Stderr)
			return d.End(ctx, d.stopDeployment(ctx, in.Arg(0), !noRollback))
		}}
}

// stopDeployment stops a deployment, and follows it and its rollback to their end.
func (d *Session) stopDeployment(ctx context.Context, name string, rollback bool) error {
	what, err := d.findDeployment(ctx, name)
	if errors.As(err, new(rollout.NoneYetError)) {
		return cli.UsageError{Err: fmt.Errorf("there is nothing to stop: %w", err)}
	} else if err != nil {
		return err
	}
	d.deployment = what.ID
	if rollout.HasEnded(what.Status) {
		return cli.UsageError{Err: fmt.Errorf("there is nothing to stop: deployment %s has %s", what.ID, rollout.InWords(what.Status))}
	}
	d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Notice, Deployment: what.ID, Message: "stopping deployment " + what.ID + ": servers finish their current lifecycle event"})
	watch, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	out, err := rollout.StopAndFollow(watch, d.AWS.CodeDeploy, d.Env, what.ID, rollback, d.view.Show)
	switch {
	case err == nil:
	case errors.Is(err, rollout.ErrNotStopped):
		return err
	case ctx.Err() != nil:
		return ExitError{cli.ExitInterrupted, rollout.EndedRunning, fmt.Sprintf("interrupted, but deployment %s is being stopped: `usher deploy status %s` follows it", what.ID, what.ID)}
	default:
		return ExitError{cli.ExitRunning, rollout.EndedRunning, fmt.Sprintf("deployment %s was told to stop, and its end was not seen: `usher deploy status %s` follows it: %v", what.ID, what.ID, err)}
	}
	again := "usher rollback " + d.Env.Name
	if d.Env.Name == "" {
		again = "usher rollback ENV"
	}
	switch undone := out.Rollback; {
	case out.Status == rollout.Succeeded && len(out.Failed) == 0:
		return fmt.Errorf("deployment %s succeeded before it was stopped: `%s` goes back", what.ID, again)
	case out.Status != rollout.Stopped:
		return d.result(out)
	case undone == nil:
		on := "no server"
		if out.Instances > 0 {
			on = format.Plural(out.Instances, "server")
		}
		d.Done = fmt.Sprintf("Deployment %s is stopped: it had succeeded on %s: `%s` returns all to what ran before", what.ID, on, again)
	case undone.FailureText() == "":
		d.Done = fmt.Sprintf("Deployment %s is stopped, and deployment %s rolled it back", what.ID, undone.Deployment)
	default:
		return d.result(out)
	}
	return nil
}
