package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/runner"
	"usher/systemd"
)

// commands are usher's commands, in the order of `usher help`.
func commands() cli.Program {
	return cli.Program{
		About:  "usher brings an Auto Scaling server up with the latest code, or not at all.",
		Footer: "usher help COMMAND explains a command. The configuration is " + config.DefaultFile + "; the journal is `journalctl -u usher`.",
		Commands: []cli.Command{
			runCommand(),
			statusCommand(), historyCommand(), blameCommand(), plotCommand(), holdCommand(), unholdCommand(),
			checkCommand(), rehearseCommand(), deployCommand(), rollbackCommand(rollbackHere),
			doctorCommand(), bakeCommand(), attachCommand(), iamPolicyCommand(),
			cli.VersionCommand(), applyFilesCommand(),
		},
	}.WithCompletion(environmentNames)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(commands().Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// newLogger writes to the journal when standard error is the journal, and for a person otherwise.
func newLogger(stderr io.Writer, level zapcore.Level) *zap.Logger {
	if systemd.StderrIsJournal() {
		return zap.New(systemd.NewCore(level))
	}
	return zap.New(systemd.NewConsole(stderr, level))
}

// runCommand is `usher run`.
func runCommand() cli.Command {
	var file, how string
	var once, verbose bool
	c := cli.Command{Name: "run", Group: cli.Agent, About: "bring this server up with its group's latest revision, then answer CodeDeploy's deployments",
		More: "This is what usher.service starts.",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&file, "config", config.DefaultFile, "configuration `FILE`")
			f.BoolVar(&once, "once", false, "end after the launch: 0 deployed, 1 failed, 3 nothing to do")
			f.StringVar(&how, "runner", runner.Auto, "how to run hook scripts, `HOW`: units, processes or auto")
			f.BoolVar(&verbose, "v", false, "log also what the AWS SDK says")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		level := zapcore.InfoLevel
		if verbose {
			level = zapcore.DebugLevel
		}
		log := newLogger(in.Stderr, level)
		cfg, err := config.Load(file)
		if err == nil {
			err = clients.CheckEnvironment()
		}
		if err != nil {
			log.Error(err.Error())
			return exitUsage
		}
		a := &agent{cfg: cfg, log: log, notify: new(systemd.Notifier), timings: new(record.Timings), repeats: new(retry.Repeats), clients: clients.New()}
		if err := a.notify.Ready(); err != nil {
			log.Warn(err.Error())
		}
		if a.runner, err = a.newRunner(how); err != nil {
			log.Error(err.Error())
			return exitUsage
		}
		defer a.runner.Close()
		if err := a.start(ctx); err != nil {
			return a.ended(ctx, err)
		}
		defer a.rec.Close()
		a.control = a.listen(ctx)
		defer a.control.close()
		err = a.boot(ctx)
		a.timings.Drain() // of this boot, and not of what is deployed later
		if once || ctx.Err() != nil {
			return a.ended(ctx, err)
		}
		if err != nil && !errors.Is(err, errNothingToDo) {
			a.notify.Status("failed: %v", a.say(err))
		}
		a.serve(ctx) // also after a failure: the instance is being replaced, or a person looks at it
		return a.ended(ctx, nil)
	}
	return c
}

// start finds out who this instance is and opens its record.
func (a *agent) start(ctx context.Context) (err error) {
	a.notify.Status("waiting for instance metadata")
	began := time.Now()
	a.timings.Since(record.BootTime(), "", record.PartBoot)
	if err = a.identify(ctx); err != nil {
		return err
	}
	a.timings.Since(began, "", record.PartMetadata)
	a.timings.Mark(a.me.PendingTime, record.PartLaunched)
	a.log = a.log.With(zap.String("instance_id", a.me.InstanceID), zap.String("application", a.cfg.Application), zap.String("deployment_group", a.cfg.DeploymentGroup))
	a.log.Info(fmt.Sprintf("usher %s on %s (%s, %s) for deployment group %s of %s", version(), a.me.InstanceID, a.me.ImageID, a.me.Region,
		a.cfg.DeploymentGroup, a.cfg.Application), systemd.ID(systemd.MessageStarted), zap.String("region", a.me.Region))
	a.layout = a.cfg.Layout()
	if err := a.connect(ctx, nil); err != nil {
		return err
	}
	owner := record.Owner{Instance: a.me.InstanceID, Image: a.me.ImageID, Boot: a.me.BootID}
	if err = a.awaitMounts(ctx, a.cfg.StateDir); err == nil {
		a.rec, err = record.Open(a.cfg.StateDir, owner)
	}
	if err != nil {
		if !errors.Is(err, record.ErrLocked) { // that one is at work
			a.rec = record.InMemory(owner)
			a.rec.Timings = a.timings
			err = a.decline(ctx, cmp.Or(systemd.CheckWritable(a.cfg.StateDir), err))
		}
		return err
	}
	a.rec.Timings = a.timings
	if a.rec.Notice != "" {
		a.log.Warn(a.rec.Notice, systemd.ID(systemd.MessageRecordForeign))
	}
	if err := a.layout.CheckOwners(); err != nil { // whatever is done there would be for somebody else than root
		return a.decline(ctx, unfit{err})
	}
	if a.rec.Damaged {
		return a.goOnWithLive(ctx)
	}
	return nil
}

// tagsLate is how long tags that nothing else says are waited for. Metadata shows an instance's tags as EC2 sets them,
// which is within seconds of its launch.
const tagsLate = 30 * time.Second

// identify finds out who this instance is, and whose server.
func (a *agent) identify(ctx context.Context) (err error) {
	for began := time.Now(); ; {
		if a.me, err = a.clients.Metadata.Discover(ctx, a.waiting); err != nil {
			return err
		}
		cfg, err := a.cfg.ForInstance(a.me)
		if err == nil {
			a.cfg, a.me.PendingTime = cfg, a.clients.Clock.Here(a.me.PendingTime)
			return nil
		}
		if time.Since(began) > min(tagsLate, a.cfg.RetryTimeout) {
			return err
		}
		a.logRetryAs(systemd.MessageMetadataWaiting, "waiting for the tags of this instance", 0, err)
		a.notify.Alive()
		if !retry.Pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// unfit is an error of the machine's set-up, which starting again cannot mend: it ends the service like a configuration
// that cannot be used.
type unfit struct{ error }

func (u unfit) Is(target error) bool { return target == config.ErrInvalid }
func (u unfit) Unwrap() error        { return u.error }

// ended says how the command ended and is its exit code.
func (a *agent) ended(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil:
		a.notify.Stopping()
		a.log.Info("stopping", systemd.ID(systemd.MessageStopping))
		return exitDone
	case errors.Is(err, errNothingToDo):
		return exitNothing
	case errors.Is(err, config.ErrInvalid):
		_ = a.say(err)
		return exitUsage
	case err != nil:
		_ = a.say(err)
		return exitFailed
	}
	return exitDone
}
