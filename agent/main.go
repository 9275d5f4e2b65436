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
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/config"
	"usher/agent/instance"
	"usher/agent/record"
	"usher/hooks"
	"usher/systemd"
)

// Exit codes, as doc.go has them.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNothing = 3
)

// commands are usher's subcommands. Each parses its own flags and returns an exit code.
var commands = []subcommand{
	{"run", "[-config FILE] [-once]", "the agent: bring this server up with its group's latest revision", runAgent},
	{"check", "[-errexit MODE] [-strict] [-json] PATH", "judge a revision (directory, zip, tar, tgz) exactly as an instance will", runCheck},
	{"rehearse", "[-root DIR] [-errexit MODE] PATH", "deploy a local revision under a scratch root, hooks run for real", runRehearse},
	{"deploy", "ENV [REF] | status [ENV | d-ID]", "bring the servers of an environment to a commit; follow a deployment", runDeploy},
	{"rollback", "ENV [d-ID | COMMIT]", "bring an environment back to what it ran before; on a server: the server", runRollback},
	{"status", "[-json]", "on a server: what it runs, and what the agent does now", runStatus},
	{"history", "[-n N] [-json]", "on a server: its deployments, the newest last", runHistory},
	{"blame", "[-n N] [-json] [d-ID]", "on a server: where a deployment's time went, the slowest first", runBlame},
	{"plot", "[-no-boot] [d-ID] > FILE.svg", "on a server: a launch as a picture, from the boot to the verdict", runPlot},
	{"hold", "[DURATION]", "on a server: keep it when its launch fails, for a person to look", runHold},
	{"release", "", "on a server: let a held one go, or take a hold back", runRelease},
	{"doctor", "[-json] [ENV]", "what is wrong with this server, or with an environment, before a launch finds out", runDoctor},
	{"bake", "[-check] [-root DIR] [-revision R]", "the last step of an image: is it complete? then clean it", runBake},
	{"attach", "[-yes] [-dry-run] ENV", "give the Auto Scaling groups of an environment the launch hook", runAttach},
	{"iam-policy", "-group ASG -application A ...", "print the least IAM policy", runIAMPolicy},
	{"version", "", "print usher's version", runVersion},
	{"place", "FILE", "", runPlace}, // the agent's own: told to nobody
}

type subcommand struct {
	name, arguments, about string
	run                    func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		for _, c := range commands {
			if c.name == args[0] {
				return c.run(ctx, args[1:], stdout, stderr)
			}
		}
		switch args[0] {
		case "help", "-h", "-help", "--help":
			usage(stdout)
			return exitDone
		}
		fmt.Fprintf(stderr, "usher: there is no command %q", args[0])
		if near := hooks.Closest(args[0], commandNames()); near != "" {
			fmt.Fprintf(stderr, ": did you mean %s?", near)
		}
		fmt.Fprintln(stderr, "\nusher help lists the commands")
		return exitUsage
	}
	usage(stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usher brings an Auto Scaling server up with the latest code, or not at all.\n\n")
	for _, c := range commands {
		if c.about != "" {
			fmt.Fprintf(w, "  usher %-10s %-34s %s\n", c.name, c.arguments, c.about)
		}
	}
	fmt.Fprint(w, "\nusher COMMAND -h explains a command. The configuration is "+config.DefaultFile+"; the journal is `journalctl -u usher`.\n")
}

func commandNames() (names []string) {
	for _, c := range commands {
		if c.about != "" {
			names = append(names, c.name)
		}
	}
	return names
}

// newLogger writes to the journal when standard error is the journal, and for a person otherwise.
func newLogger(stderr io.Writer, level zapcore.Level) *zap.Logger {
	if systemd.StderrIsJournal() {
		return zap.New(systemd.NewCore(level))
	}
	return zap.New(systemd.NewConsole(stderr, level))
}

// runAgent is `usher run`.
func runAgent(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	file := flags.String("config", config.DefaultFile, "configuration `FILE`")
	once := flags.Bool("once", false, "end after the launch: 0 deployed, 1 failed, 3 nothing to do")
	how := flags.String("runner", runnerAuto, "`HOW` hook scripts are run: units of systemd, processes, or auto: units where usher is a service")
	verbose := flags.Bool("v", false, "say also what the AWS SDK says")
	if code, ok := parse(flags, args, 0, "usher run [-config FILE] [-once]: the agent, as its systemd unit starts it.", stdout, stderr); !ok {
		return code
	}
	level := zapcore.InfoLevel
	if *verbose {
		level = zapcore.DebugLevel
	}
	log := newLogger(stderr, level)
	cfg, err := config.Load(*file)
	if err == nil {
		err = checkEnvironment()
	}
	if err != nil {
		log.Error(err.Error())
		return exitUsage
	}
	a := &agent{cfg: cfg, log: log, notify: new(systemd.Notifier), spent: new(spent), repeats: new(repeats), clock: new(awsClock)}
	a.metadata = instance.NewMetadata(a.clock.ofMetadata)
	if err := a.notify.Ready(); err != nil {
		log.Warn(err.Error())
	}
	runner, err := a.newRunner(*how)
	if err != nil {
		log.Error(err.Error())
		return exitUsage
	}
	defer runner.Close()
	a.runner = runner
	if err := a.start(ctx); err != nil {
		return a.ended(ctx, err)
	}
	defer a.rec.Close()
	a.control = a.listen(ctx)
	defer a.control.close()
	err = a.boot(ctx)
	a.spent.take() // of this boot, and not of what is deployed later
	if *once || ctx.Err() != nil {
		return a.ended(ctx, err)
	}
	if err != nil && !errors.Is(err, errNothingToDo) {
		a.notify.Status("failed: %v", a.say(err))
	}
	a.serve(ctx) // also after a failure: the instance is being replaced, or a person looks at it
	return a.ended(ctx, nil)
}

// start finds out who this instance is and opens its record.
func (a *agent) start(ctx context.Context) (err error) {
	a.notify.Status("waiting for instance metadata")
	began := time.Now()
	a.spent.since(bootTime(), "", partBoot)
	if err = a.identify(ctx); err != nil {
		return err
	}
	a.spent.since(began, "", partMetadata)
	a.spent.moment(a.me.PendingTime, partLaunched)
	a.log = a.log.With(zap.String("instance_id", a.me.InstanceID), zap.String("application", a.cfg.Application), zap.String("deployment_group", a.cfg.DeploymentGroup))
	a.log.Info(fmt.Sprintf("usher %s on %s (%s, %s) for deployment group %s of %s", version(), a.me.InstanceID, a.me.ImageID, a.me.Region,
		a.cfg.DeploymentGroup, a.cfg.Application), systemd.ID(systemd.MessageStarted), zap.String("region", a.me.Region))
	a.layout = a.cfg.Layout()
	if err := a.connect(ctx); err != nil {
		return err
	}
	owner := record.Owner{Instance: a.me.InstanceID, Image: a.me.ImageID, Boot: a.me.BootID}
	if err = a.awaitMounts(ctx, a.cfg.StateDir); err == nil {
		a.rec, err = record.Open(a.cfg.StateDir, owner)
	}
	if err != nil {
		if !errors.Is(err, record.ErrLocked) { // that one is at work
			a.rec = record.InMemory(owner)
			err = a.decline(ctx, cmp.Or(readOnly(a.cfg.StateDir), err))
		}
		return err
	}
	if a.rec.Notice != "" {
		a.log.Warn(a.rec.Notice, systemd.ID(systemd.MessageRecordForeign))
	}
	return nil
}

// tagsLate is how long tags that nothing else says are waited for. Metadata shows an instance's tags as EC2 sets them,
// which is within seconds of its launch.
const tagsLate = 30 * time.Second

// identify finds out who this instance is, and whose server.
func (a *agent) identify(ctx context.Context) (err error) {
	for began := time.Now(); ; {
		if a.me, err = a.metadata.Discover(ctx, a.waiting); err != nil {
			return err
		}
		cfg, err := a.cfg.ForInstance(a.me)
		if err == nil {
			a.cfg, a.me.PendingTime = cfg, a.clock.here(a.me.PendingTime)
			return nil
		}
		if time.Since(began) > min(tagsLate, a.cfg.RetryTimeout) {
			return err
		}
		a.againAs(systemd.MessageMetadataWaiting, "waiting for the tags of this instance", 0, err)
		a.notify.Alive()
		if !a.pause(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

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

func runVersion(_ context.Context, args []string, stdout, stderr io.Writer) int {
	if code, ok := parse(flag.NewFlagSet("version", flag.ContinueOnError), args, 0, "usher version", stdout, stderr); !ok {
		return code
	}
	fmt.Fprintf(stdout, "usher %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return exitDone
}

// released is set by the packages' build: -ldflags "-X main.released=1.2.3".
var released string

// version is the released one, else the commit the binary was built from.
func version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "devel-" + s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return "devel"
}
