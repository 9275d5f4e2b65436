// Command demo shows usher's work on a laptop, with no AWS account, no root and no set-up:
//
//	go run ./agent/demo                 launches, then deploys; then it ends
//	go run ./agent/demo -only launch    one of the two
//	go run ./agent/demo -serve          ... and another instance waits for your own AWS CLI
//
// It builds the real usher and starts AWS on loopback (package standin: Auto Scaling, CodeDeploy, instance
// metadata and S3). First it publishes the sample revision in hooks/example, launches two instances and
// runs `usher run` on each, as systemd would: one goes into service on the new release; the other
// gets a revision with a script that fails, and is abandoned. Then it makes a git repository of the sample,
// puts three servers in service and types `usher deploy` three times: a first release, a second while a fourth server
// launches, and a third that fails and is rolled back. Everything is below one scratch directory,
// which is removed at the end. Meanwhile a small web server of each server answers through its link /opt/app, so
// that it can be seen what users see: it is asked every few milliseconds while usher works.
//
// The demo is also a test: it compares what happened with what must happen, and ends with 1 and the
// difference if they are not the same. The deploys need git.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"usher/agent/safepath"
	"usher/agent/standin"
)

// launchLimit bounds one launch. It takes less than a second; a machine that is busy or slow may need more.
const launchLimit = 5 * time.Minute

// The names in this AWS.
const (
	application     = "shop"
	deploymentGroup = "production"
	scalingGroup    = "web"
	hookName        = "usher-launch"
)

// The parts of the demo, for -only.
const (
	onlyLaunch = "launch"
	onlyDeploy = "deploy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the demo: 0 when usher did what it must, 1 when not, 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	serve := flags.Bool("serve", false, "afterwards keep AWS up, with an instance that waits, until Ctrl-C")
	only := flags.String("only", "", "play one `PART`: launch or deploy")
	binary := flags.String("usher", "", "run this usher `BINARY` instead of building one")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "demo: takes no arguments, got %q\n", flags.Args())
		return 2
	case *only != "" && *only != onlyLaunch && *only != onlyDeploy:
		fmt.Fprintf(stderr, "demo: there is no part %q: -only takes %s or %s\n", *only, onlyLaunch, onlyDeploy)
		return 2
	}
	d := &demo{printer: newPage(stdout), usher: *binary}
	err := d.play(ctx, *only, *serve)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "\ndemo: %v\n", err)
	return 1
}

// demo is one performance.
type demo struct {
	*printer
	usher   string // the binary
	example files
	cloud   *standin.Cloud
	scratch string

	repo  *repository // of the second part
	fleet []*member
}

// play is the whole demo, in order.
func (d *demo) play(ctx context.Context, only string, serve bool) error {
	d.title("usher: an instance enters service with the right code, or not at all")
	var err error
	if _, err := exec.LookPath("git"); err != nil && only != onlyLaunch {
		return errNoGit
	}
	if d.scratch, err = os.MkdirTemp("", "usher-demo-"); err != nil {
		return fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	defer safepath.RemoveAll(d.scratch)
	if err := d.setUp(ctx); err != nil {
		return err
	}
	defer func() { d.cloud.Close() }() // whichever it is by then

	if only != onlyDeploy {
		if err := d.launches(ctx); err != nil {
			return err
		}
	}
	if only == "" { // the first part has left its marks on this AWS
		d.cloud.Close()
		if err := d.startAWS(); err != nil {
			return err
		}
	}
	if only != onlyLaunch {
		if err := d.deploys(ctx); err != nil {
			return err
		}
	}
	if serve {
		return d.serve(ctx)
	}
	d.say("")
	return nil
}

// launches is the first part: an instance that enters service, and one that does not.
func (d *demo) launches(ctx context.Context) error {
	good, err := d.goodLaunch(ctx)
	if err != nil {
		return fmt.Errorf("launch 1 did not go as it must: %w", err)
	}
	bad, err := d.failingLaunch(ctx)
	if err != nil {
		return fmt.Errorf("launch 2 did not go as it must: %w", err)
	}
	d.summary(good, bad)
	return nil
}

// setUp builds usher and starts AWS with one group, whose launch hook is usher's.
func (d *demo) setUp(ctx context.Context) error {
	d.section("Set-up", "AWS on loopback, and the real usher")
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if d.example, err = readRevision(filepath.Join(root, "hooks", "example")); err != nil {
		return err
	}
	if d.usher != "" { // the S3 server will move this process into a directory of its own
		if d.usher, err = filepath.Abs(d.usher); err != nil {
			return fmt.Errorf("cannot find the binary: %w", err)
		}
	} else {
		d.usher = filepath.Join(d.scratch, "usher")
		d.begin("usher", "go build ./agent")
		began := time.Now()
		if err := build(ctx, root, d.usher); err != nil {
			return err
		}
		d.end(fmt.Sprintf("%s in %s", fileSize(d.usher), seconds(time.Since(began))))
	}
	if err := d.startAWS(); err != nil {
		return err
	}
	d.item("AWS", d.cloud.Endpoint+" is Auto Scaling and CodeDeploy, "+d.cloud.S3Endpoint+" is S3")
	d.item("group", fmt.Sprintf("%s, whose launch hook %s holds every new instance in Pending:Wait", scalingGroup, hookName))
	d.item("scratch", d.scratch+"; paths of a server are shown from its own directory there")
	return nil
}

// startAWS starts a new AWS.
func (d *demo) startAWS() (err error) {
	if d.cloud, err = standin.Start(standin.Options{Silent: true}); err != nil {
		return fmt.Errorf("cannot start AWS on loopback: %w", err)
	}
	d.cloud.CreateGroup(standin.Group{Name: scalingGroup, NoReplacement: true})
	d.cloud.PutHook(scalingGroup, standin.Hook{Name: hookName})
	return nil
}

// goodLaunch: the sample revision, from Pending:Wait to InService.
func (d *demo) goodLaunch(ctx context.Context) (*launch, error) {
	d.section("Launch 1", "the sample revision hooks/example, from Pending:Wait to InService")
	l, err := d.launch(ctx, "1.0.0", d.example, standin.InService)
	if err != nil {
		return nil, err
	}
	defer l.server.close()
	after, err := l.server.get(ctx)
	if err != nil {
		return nil, err
	}
	d.say("", "After: the link points to the new release, which was made beside the base and flipped in one rename.", "")
	d.answer(l.server, after)
	d.lifecycle(l)
	d.calls(l)

	released, err := l.server.release()
	switch {
	case err != nil:
		return nil, err
	case l.verdicts() != standin.Continue:
		return nil, fmt.Errorf("the lifecycle action was answered with %q, not once with CONTINUE", l.verdicts())
	case released == "":
		return nil, fmt.Errorf("/opt/app points to %s, not to a release", l.server.target())
	case after.title != application+" 1.0.0" || after.facts["Instance"] != l.instance.ID || after.facts["Release"] != released:
		return nil, fmt.Errorf("the page is not that of release %s on %s: %q %v", released, l.instance.ID, after.title, after.facts)
	case len(l.seen.answers) != 2 || l.seen.failed > 0:
		return nil, fmt.Errorf("the link should have led to the base, then to the release: %s", l.seen)
	case l.budget() > maxCalls:
		return nil, fmt.Errorf("the launch made %d API calls besides heartbeats: %d is the most", l.budget(), maxCalls)
	}
	return l, nil
}

// failingLaunch: a revision with a script that fails in the middle. Without errexit nobody would notice.
func (d *demo) failingLaunch(ctx context.Context) (*launch, error) {
	d.section("Launch 2", "a revision whose AfterInstall script fails in the middle")
	d.say("The revision is the same, but for scripts/render.sh:", "")
	d.script(failingScript, map[int]string{
		4: "fails: the bundle has no such file",
		5: "succeeds, and would be the script's exit status",
	})
	d.say("", "Under `set -e` the script ends at line 4. Without it, it ends with 0: nobody would know.", "")
	l, err := d.launch(ctx, "1.1.0", d.example.with(files{"VERSION": "1.1.0\n", "scripts/render.sh": failingScript}), standin.Terminated)
	if err != nil {
		return nil, err
	}
	defer l.server.close()
	after, err := l.server.get(ctx)
	if err != nil {
		return nil, err
	}
	d.say("", "After: the link was not flipped, and the application that was there still answers.", "")
	d.answer(l.server, after)

	l.reason = l.process.reason()
	released, err := l.server.release()
	switch {
	case err != nil:
		return nil, err
	case l.verdicts() != standin.Abandon:
		return nil, fmt.Errorf("the lifecycle action was answered with %q, not once with ABANDON", l.verdicts())
	case released != "":
		return nil, fmt.Errorf("/opt/app points to release %s, not to the base", released)
	case after.title != l.before.title || len(l.seen.answers) != 1 || l.seen.failed > 0:
		return nil, fmt.Errorf("the link should have led to the base all the time: %s", l.seen)
	case l.reason == "":
		return nil, errors.New("usher did not say why the deployment failed")
	}
	return l, nil
}
