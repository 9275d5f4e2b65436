package developer

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// longestReason is the longest reason of a lock, in characters: it stands in errors.
const longestReason = 500

// LockCommand is `usher lock ENV REASON`.
func LockCommand() cli.Command {
	d := &Session{Name: "lock"}
	return cli.Command{Name: "lock", Args: []string{"ENV", "REASON"}, Group: cli.Developer, About: "refuse deployments to an environment until usher unlock",
		More: "usher deploy and usher rollback are refused with REASON, but for --despite-lock. What is in progress goes on; CodeDeploy's own rollbacks and\n" +
			"new servers do too.\nexit codes: 0 locked, 1 S3 cannot be asked, 2 it is locked already",
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			reason := strings.Join(strings.Fields(in.Arg(1)), " ")
			if reason == "" || utf8.RuneCountInString(reason) > longestReason {
				return in.Misused(fmt.Errorf("the reason must have 1 to %d characters", longestReason))
			}
			err := d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			if err == nil {
				err = d.setLock(ctx, reason)
			}
			return d.answered(ctx, err)
		}}
}

func (d *Session) setLock(ctx context.Context, reason string) error {
	_, arn, err := d.WhoAmI(ctx)
	if err != nil {
		return err
	}
	l := rollout.Lock{By: rollout.Who(arn, os.Getenv), ARN: arn, Job: rollout.JobURL(os.Getenv), Time: time.Now().UTC(), Reason: reason}
	already, err := rollout.SetLock(ctx, d.AWS.S3, d.Env, l)
	if err != nil {
		return err
	}
	if already != nil {
		return cli.UsageError{Err: fmt.Errorf("%s is locked already %s: `usher unlock %s` removes that lock", d.Env.Name, already, d.Env.Name)}
	}
	fmt.Fprintf(d.People, "%s is locked: `usher unlock %s` unlocks it.\n", d.Env.Name, d.Env.Name)
	return nil
}

// UnlockCommand is `usher unlock ENV`.
func UnlockCommand() cli.Command {
	d := &Session{Name: "unlock"}
	return cli.Command{Name: "unlock", Args: []string{"ENV"}, Group: cli.Developer, About: "allow deployments to an environment again",
		More:     "exit codes: 0 unlocked, also when it was not locked; 1 S3 cannot be asked, 2 usage",
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			err := d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			if err == nil {
				err = d.removeLock(ctx)
			}
			return d.answered(ctx, err)
		}}
}

func (d *Session) removeLock(ctx context.Context) error {
	l, err := rollout.RemoveLock(ctx, d.AWS.S3, d.Env)
	switch {
	case err != nil:
		return err
	case l == nil:
		fmt.Fprintf(d.People, "%s was not locked.\n", d.Env.Name)
	default:
		fmt.Fprintf(d.People, "%s is unlocked. It was locked %s\n", d.Env.Name, format.Printable(l.String()))
	}
	return nil
}

// lockFlag declares the flag of the commands that a lock refuses.
func (d *Session) lockFlag(f *flag.FlagSet) {
	f.BoolVar(&d.despiteLock, "despite-lock", false, "go ahead although the environment is locked (usher lock)")
}

// heedLock refuses what is about to be done when the environment is locked. Where it is done all the same, or nothing is done
// but looking, the plan warns.
func (d *Session) heedLock(ctx context.Context, dryRun bool) (warnings []string, err error) {
	l, err := rollout.Locked(ctx, d.AWS.S3, d.Env)
	switch {
	case l == nil || err != nil:
		return nil, err
	case d.despiteLock || dryRun:
		return []string{"locked " + l.String()}, nil
	}
	return nil, cli.UsageError{Err: fmt.Errorf("%s is locked %s\n`usher unlock %s` unlocks it for everybody; --despite-lock goes ahead this once", d.Env.Name, l, d.Env.Name)}
}

// tellLock says that the environment is locked, or why that cannot be told, which is no reason not to show the rest.
func (d *Session) tellLock(ctx context.Context) {
	if d.Env.Name == "" || d.Env.Bucket == "" { // a deployment by its id, of no environment here
		return
	}
	text := ""
	switch l, err := rollout.Locked(ctx, d.AWS.S3, d.Env); {
	case ctx.Err() != nil, l == nil && err == nil:
		return
	case err != nil:
		text = "cannot tell whether " + d.Env.Name + " is locked: " + err.Error()
	default:
		text = d.Env.Name + " is locked " + l.String()
	}
	d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Notice, Message: text})
}
