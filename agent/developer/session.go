package developer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"usher/agent/appspec"
	"usher/agent/cli"
	"usher/agent/clients"
	"usher/agent/format"
	"usher/agent/rollout"
)

// Session is a person, or a CI job, at work on one environment: one command of theirs.
type Session struct {
	Name    string                        // of the command, as errors say it
	Yes     bool                          // nobody is asked
	Observe func(*middleware.Stack) error // sees every call of the clients; may be nil

	Env    rollout.Environment // from Begin on; its Region is the one that is used
	AWS    clients.Developer   // from Begin on
	People io.Writer           // what is written for people goes here: nowhere with --json
	Done   string              // what End says when all went well

	repo         *rollout.Repository
	view         *rollout.View
	stderr       io.Writer
	json, noWait bool
	despiteLock  bool
	choices      rollout.Choices
	timeout      time.Duration
	deployment   string                             // its id, once it is there
	arn          string                             // of the identity, once it was asked for
	started      bool                               // it was created, and nobody waits for its end
	created      bool                               // by this command
	planned      rollout.Event                      // as it was shown
	commits      map[string]rollout.Commit          // what refs are, of several environments: the same for all
	credentials  map[string]aws.CredentialsProvider // by profile, of several environments
	notified     []<-chan notified                  // commands of `on:` that were begun
}

// watchFor is how long a deployment is followed: an hour for a script is CodeDeploy's own default.
const watchFor = 2 * time.Hour

// flags declares the flags that all commands that deploy have.
func (d *Session) flags(flags *flag.FlagSet) {
	flags.BoolVar(&d.json, "json", false, "print events, one JSON object a line")
	flags.BoolVar(&d.noWait, "no-wait", false, "do not follow the deployment to its end")
	flags.DurationVar(&d.timeout, "timeout", watchFor, "stop watching after `D`; the deployment continues")
}

// Begin reads usher.yml, and makes the clients of the environment of that name. Nothing is called yet.
func (d *Session) Begin(ctx context.Context, name string, stdout, stderr io.Writer) error {
	d.Show(stdout, stderr)
	all, file, err := environments()
	if err != nil {
		return err
	}
	if d.Env, err = rollout.ByName(all, name); err != nil {
		return cli.UsageError{Err: fmt.Errorf("%w (%s)", err, file)}
	}
	if d.repo, err = rollout.OpenRepository(ctx, filepath.Dir(file)); err != nil {
		return cli.UsageError{Err: err}
	}
	d.repo.Submodules, d.repo.LFS = d.Env.Submodules, d.Env.LFS
	switch _, err := os.Stat(filepath.Join(filepath.Dir(file), appspec.Name)); {
	case d.Env.Path != "":
		d.repo.Limit(d.Env.Path)
	case err == nil: // where the application is, which may be a part of the repository
		d.repo.Limit(".")
	}
	return d.connect(ctx)
}

// brokenPipes are told of, in place of ending the command.
var brokenPipes = make(chan os.Signal, 1)

// Show says where what is to be seen goes. Where nobody reads it any more, as behind `| head`, the command goes on to its end: it
// is not to be cut off between an upload and its deployment, nor to leave what it has in its scratch directory.
func (d *Session) Show(stdout, stderr io.Writer) {
	signal.Notify(brokenPipes, syscall.SIGPIPE)
	d.stderr, d.People, d.view = stderr, stdout, nil
	if d.json {
		d.People, d.view = io.Discard, rollout.JSONView(stdout)
	} else {
		d.view = rollout.TerminalView(stdout)
	}
}

// environments are those of the usher.yml that is nearest above the working directory.
func environments() (all []rollout.Environment, file string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, "", fmt.Errorf("cannot find the working directory: %w", err)
	}
	if file, err = rollout.Find(dir); errors.Is(err, rollout.ErrNoFile) {
		return nil, "", cli.UsageError{Err: fmt.Errorf("%w, such as:\n\n%s", err, indented(rollout.Example))}
	} else if err != nil {
		return nil, "", err
	}
	if all, err = rollout.Load(file); err != nil {
		return nil, "", cli.UsageError{Err: err}
	}
	return all, file, nil
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// connect makes the clients, with the credentials that AWS's own tools would use here.
func (d *Session) connect(ctx context.Context) error {
	person := clients.Person{Region: d.Env.Region, Profile: d.Env.Profile, Observe: d.Observe, AskForCode: d.askForCode, Credentials: d.credentials[d.Env.Profile]}
	made, err := clients.ForDeveloper(ctx, person)
	switch {
	case errors.Is(err, clients.ErrNoRegion):
		return cli.UsageError{Err: err}
	case err != nil:
		return rollout.Explain("read the AWS configuration", d.Env, err)
	}
	d.AWS, d.Env.Region = made, made.Region
	if d.credentials != nil {
		d.credentials[d.Env.Profile] = made.Credentials
	}
	return nil
}

// asking is held by who reads from the terminal: environments side by side may all want a code.
var asking sync.Mutex

// askForCode asks for an MFA code, on standard error: standard output is what the command prints.
func (d *Session) askForCode(ctx context.Context, question string) (string, error) {
	out := d.stderr
	if named, ok := out.(*prefixed); ok {
		out = named.to
	}
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(out) {
		return "", clients.ErrNoCode
	}
	asking.Lock()
	defer asking.Unlock()
	fmt.Fprint(out, format.Printable(question))
	return readLine(ctx)
}

// WhoAmI is the account and the identity that the credentials are of.
func (d *Session) WhoAmI(ctx context.Context) (account, arn string, err error) {
	out, err := d.AWS.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", "", rollout.Explain("determine your AWS identity", d.Env, err)
	}
	account, d.arn = aws.ToString(out.Account), aws.ToString(out.Arn)
	if d.Env.Account != "" && account != d.Env.Account {
		whose := "use credentials of it"
		if d.Env.Profile != "" && d.AWS.Given {
			whose = "credentials in the environment win over profile " + d.Env.Profile + " of usher.yml: unset AWS_ACCESS_KEY_ID and its like"
		}
		return "", "", cli.UsageError{Err: fmt.Errorf("%s is in AWS account %s (account in usher.yml), and you are %s, of account %s: %s", d.Env.Name, d.Env.Account, d.arn, account, whose)}
	}
	return account, d.arn, nil
}

// exitOf is what an error, or none, means for the command.
func (d *Session) exitOf(ctx context.Context, err error) (code int, status, message string) {
	code, status, message = cli.ExitFailed, rollout.EndedFailed, d.Done
	if err != nil {
		message = err.Error()
	}
	switch own := (ExitError{}); {
	case err == nil && d.started:
		code, status = cli.ExitDone, rollout.EndedStarted
	case err == nil:
		code, status = cli.ExitDone, rollout.EndedSucceeded
	case errors.As(err, &own):
		code, status = own.Code, own.Status
	case errors.As(err, new(rollout.InProgressError)):
		code, status = cli.ExitBusy, rollout.EndedRefused
	case ctx.Err() != nil && !errors.Is(err, rollout.ErrMayHaveBegun): // whatever it made of what was going on: a build that was killed is no build that fails
		code, status, message = cli.ExitInterrupted, rollout.EndedInterrupted, "interrupted: nothing was started"
	case errors.As(err, new(cli.UsageError)):
		code, status = cli.ExitUsage, rollout.EndedRefused
	}
	return code, status, message
}

// confirm asks a person for the environment's name, when the environment wants that. y would be typed too soon.
func (d *Session) confirm(ctx context.Context) error {
	if !d.Env.Confirm || d.Yes {
		return nil
	}
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(d.People) {
		return cli.UsageError{Err: fmt.Errorf("%s must be confirmed by a person (confirm in usher.yml), and this is not a terminal: use --yes to go ahead", d.Env.Name)}
	}
	fmt.Fprintf(d.People, "Type %s to go ahead: ", d.Env.Name)
	answer, err := readLine(ctx)
	if err != nil {
		fmt.Fprintln(d.People)
		return err
	}
	if !strings.HasSuffix(answer, "\n") { // Ctrl-D
		fmt.Fprintln(d.People)
	}
	if strings.TrimSpace(answer) != d.Env.Name {
		return cli.UsageError{Err: errors.New("not confirmed: nothing was started")}
	}
	fmt.Fprintln(d.People)
	return nil
}

// Agree asks a person for the environment's name, whatever usher.yml says. why is why a program may not say yes.
func (d *Session) Agree(ctx context.Context, why string) error {
	if d.Yes {
		return nil
	}
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(d.People) {
		return cli.UsageError{Err: fmt.Errorf("%s, and this is not a terminal: use --yes to go ahead", why)}
	}
	d.Env.Confirm = true
	return d.confirm(ctx)
}

// ErrNobody says that there is no terminal with somebody to ask.
var ErrNobody = errors.New("this is not a terminal")

// Ask asks a person, and returns what was typed without the spaces around it.
func Ask(ctx context.Context, people io.Writer, question string) (string, error) {
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(people) {
		return "", ErrNobody
	}
	fmt.Fprint(people, question)
	answer, err := readLine(ctx)
	if err != nil {
		fmt.Fprintln(people)
	}
	return strings.TrimSpace(answer), err
}

// readLine reads a line from the terminal, which hands out whole ones. When ctx ends first, the read goes on for as long as the
// process lives, which is not long then.
func readLine(ctx context.Context) (string, error) {
	type answer struct {
		text string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		line := make([]byte, 4096)
		n, err := os.Stdin.Read(line)
		typed <- answer{string(line[:n]), err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-typed:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return "", fmt.Errorf("cannot read from the terminal: %w", a.err)
		}
		return a.text, nil
	}
}

// ExitError ends a command with an exit code and a status of its own.
type ExitError struct {
	Code    int    // cli.Exit...
	Status  string // rollout.Ended...: the last event's, with --json
	Message string // for people, and in that event
}

func (e ExitError) Error() string { return e.Message }

// End says how the command ended and is its exit code.
func (d *Session) End(ctx context.Context, err error) int {
	code, status, message := d.exitOf(ctx, err)
	d.conclude(ctx, status, message, code)
	if code == cli.ExitDone || d.json {
		d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Finished, Deployment: d.deployment, Status: status, Message: message, URL: rollout.ConsoleURL(d.Env, d.deployment), ExitCode: &code})
	}
	if code != cli.ExitDone {
		fmt.Fprintf(d.stderr, "usher %s: %s\n", d.Name, format.Printable(message))
	}
	return code
}
