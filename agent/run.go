//go:build linux && !developer

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/instance"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/runner"
	"usher/systemd"
)

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
			log.Error(err.Error(), systemd.ID(systemd.MessageConfigurationInvalid))
			return cli.ExitUsage
		}
		a := &agent{cfg: cfg, log: log, notify: new(systemd.Notifier), repeats: new(retry.Repeats), clients: clients.New()}
		if err := a.notify.Ready(); err != nil {
			log.Warn(err.Error())
		}
		scripts, err := a.newRunner(how)
		if err != nil {
			log.Error(err.Error(), systemd.ID(systemd.MessageConfigurationInvalid))
			return cli.ExitUsage
		}
		defer scripts.Close()
		if err := a.start(ctx, scripts); err != nil {
			return a.ended(ctx, err)
		}
		defer a.deploy.Record.Close()
		a.requests = a.listen(ctx)
		defer a.requests.close()
		launched := func() {}
		if !once {
			launched = a.commands.PickUp(ctx)
		}
		was, err := a.boot(ctx)
		launched()
		a.deploy.Record.Timings.Drain() // of this boot, and not of what is deployed later
		if once || ctx.Err() != nil {
			return a.ended(ctx, err)
		}
		if err != nil && !errors.Is(err, errNothingToDo) {
			a.notify.Status("failed: %v", a.logOnce(err))
		}
		a.serve(ctx, was) // also after a failure: the instance is being replaced, or a person looks at it
		return a.ended(ctx, nil)
	}
	return c
}

// start finds out who this instance is and opens its record.
func (a *agent) start(ctx context.Context, scripts *runner.Runner) error {
	a.notify.Status("waiting for instance metadata")
	began, timings := time.Now(), new(record.Timings)
	timings.Since(record.BootTime(), "", record.PartBoot)
	me, err := a.identify(ctx)
	if err != nil {
		return err
	}
	timings.Since(began, "", record.PartMetadata)
	timings.Mark(me.PendingTime, record.PartLaunched)
	a.log = a.log.With(zap.String("instance_id", me.InstanceID), zap.String("application", a.cfg.Application), zap.String("deployment_group", a.cfg.DeploymentGroup))
	a.log.Info(fmt.Sprintf("usher %s on %s (%s, %s) for deployment group %s of %s", cli.Version(), me.InstanceID, me.ImageID, me.Region,
		a.cfg.DeploymentGroup, a.cfg.Application), systemd.ID(systemd.MessageStarted), zap.String("region", me.Region))
	if err := a.connect(ctx, me); err != nil {
		return err
	}
	a.deploy = &deployment.Deployer{Server: a.server(me), Runner: scripts, Log: a.log, Notify: a.notify}
	a.deploy.Layout.Processes = !scripts.Units()
	owner := record.Owner{Instance: me.InstanceID, Image: me.ImageID, Boot: me.BootID}
	if err = a.awaitMounts(ctx, a.cfg.StateDir); err == nil {
		a.deploy.Record, err = record.Open(a.cfg.StateDir, owner)
	}
	if errors.Is(err, record.ErrLocked) { // that one is at work
		return err
	}
	if err != nil {
		a.deploy.Record = record.InMemory(owner)
	}
	a.deploy.Record.Timings = timings
	a.revisions = a.finder()
	a.commands = a.executor()
	if err != nil {
		return a.abandonWithoutRecord(ctx, cmp.Or(systemd.CheckWritable(a.cfg.StateDir), err))
	}
	if notice := a.deploy.Record.Notice; notice != "" {
		a.log.Warn(notice, systemd.ID(systemd.MessageRecordForeign))
	}
	if err := a.deploy.Layout.CheckOwners(); err != nil { // whatever is done there would be for somebody else than root
		return a.abandonWithoutRecord(ctx, unfit{err})
	}
	if a.deploy.Record.Damaged {
		return a.deploy.Recover(ctx)
	}
	return nil
}

// server is what a deployment has to know of this server.
func (a *agent) server(me instance.Identity) deployment.Server {
	return deployment.Server{Identity: me, Application: a.cfg.Application, Group: a.cfg.DeploymentGroup, Layout: a.cfg.Layout(),
		RoleHooks: a.cfg.RoleHooks, Errexit: a.cfg.Errexit, KeepReleases: a.cfg.KeepReleases}
}

// tagsLate is how long tags that nothing else says are waited for. Metadata shows an instance's tags as EC2 sets them,
// which is within seconds of its launch.
const tagsLate = 30 * time.Second

// identify finds out who this instance is, and whose server.
func (a *agent) identify(ctx context.Context) (instance.Identity, error) {
	for began := time.Now(); ; {
		me, err := a.clients.Discover(ctx, a.onMetadataRetry)
		if err != nil {
			return me, err
		}
		cfg, err := a.cfg.ForInstance(me)
		if err == nil {
			a.cfg, me.PendingTime = cfg, a.clients.Clock.Here(me.PendingTime)
			return me, nil
		}
		if time.Since(began) > min(tagsLate, a.cfg.RetryTimeout) {
			return me, err
		}
		a.logRetryAs(systemd.MessageMetadataWaiting, "waiting for the tags of this instance", 0, err)
		a.notify.Alive()
		if !retry.Pause(ctx, time.Second) {
			return me, context.Cause(ctx)
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
		return cli.ExitDone
	case errors.Is(err, errNothingToDo):
		return cli.ExitNothing
	case errors.Is(err, config.ErrInvalid):
		_ = a.logOnce(err)
		return cli.ExitUsage
	case err != nil:
		_ = a.logOnce(err)
		return cli.ExitFailed
	}
	return cli.ExitDone
}
