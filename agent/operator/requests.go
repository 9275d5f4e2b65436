package operator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/format"
)

// The commands a person types as root on a server, and what they share: hold and release a failed launch,
// roll back to a release that is on disk. The agent does it; these ask it, on its control socket.

// answerTime bounds what the agent answers at once: the longest is a write to a disk that is busy.
const answerTime = 10 * time.Second

// HoldCommand is `usher hold [DURATION]`.
func HoldCommand() cli.Command {
	var file string
	c := cli.Command{Name: "hold", Args: []string{"[DURATION]"}, Group: cli.Server, About: "keep this instance if its launch fails, or the failed one longer",
		More: "Without DURATION (such as 90s, 30m or 2h) it is the configuration's hold_timeout. The time counts from the failure, or, when\n" +
			"the launch has failed already, from now; it is never longer than the global timeout of the lifecycle hook.",
		Flags: func(f *flag.FlagSet) { cli.ConfigFlag(f, &file) }}
	c.Run = func(ctx context.Context, in cli.Call) int {
		what := control.Request{Do: control.Hold}
		if text := in.Arg(0); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil || d <= 0 {
				return in.Fail(cli.ExitUsage, fmt.Errorf("%q is no duration: write one such as 90s, 30m or 1h30m", text))
			}
			what.For = d
		}
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		return tellAgent(ctx, "hold", file, what, in)
	}
	return c
}

// UnholdCommand is `usher unhold`.
func UnholdCommand() cli.Command {
	var file string
	c := cli.Command{Name: "unhold", Group: cli.Server, About: "end a hold: abandon the failed launch now, or cancel the hold of one that has not failed",
		Flags: func(f *flag.FlagSet) { cli.ConfigFlag(f, &file) }}
	c.Run = func(ctx context.Context, in cli.Call) int {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		return tellAgent(ctx, "unhold", file, control.Request{Do: control.Unhold}, in)
	}
	return c
}

// RollBackServerCommand is `usher rollback [RELEASE]` on a server. The agent deploys a release that is on disk, with
// all the steps of a deployment; when one fails, what was live before is live again.
func RollBackServerCommand() cli.Command {
	var file string
	var force bool
	return cli.Command{Name: "rollback", Args: []string{"[RELEASE]"}, Group: cli.Server, About: "on a server, deploy the newest good release that is on disk and not live, or the named one",
		More: "From then on the server keeps it until CodeDeploy deploys again: it does not catch up with its group by itself.",
		Flags: func(f *flag.FlagSet) {
			cli.ConfigFlag(f, &file)
			f.BoolVar(&force, "force", false, "also to a release that is not good, also over a deployment that was left unfinished")
		},
		Run: func(ctx context.Context, in cli.Call) int {
			return tellAgent(ctx, "rollback", file, control.Request{Do: control.Rollback, Release: in.Arg(0), Force: force}, in)
		}}
}

// tellAgent asks the agent for something, prints what becomes of it, and returns the exit code.
func tellAgent(ctx context.Context, command, file string, what control.Request, in cli.Call) int {
	cfg, err := config.Load(file)
	if err != nil {
		return in.Fail(cli.ExitUsage, err)
	}
	last, err := control.Do(ctx, cfg.StateDir, what, func(line string) { fmt.Fprintln(in.Stdout, format.Printable(line)) })
	switch {
	case errors.Is(err, control.ErrNotRoot):
		return in.Fail(cli.ExitUsage, fmt.Errorf("%w: sudo usher %s", err, command))
	case ctx.Err() != nil && what.Do == control.Rollback && !errors.Is(err, control.ErrNoAgent):
		return in.Fail(cli.ExitInterrupted, errors.New("interrupted. The agent continues with it: usher status; journalctl -fu usher"))
	case err != nil:
		return in.Fail(cli.ExitFailed, err)
	case last.Error != "":
		return in.Fail(last.Code, errors.New(last.Error))
	}
	fmt.Fprintln(in.Stdout, last.Text)
	return last.Code
}
