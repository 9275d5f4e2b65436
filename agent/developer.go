package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"usher/agent/cli"
	"usher/agent/doctor"
	"usher/agent/format"
	"usher/agent/retry"
	"usher/agent/rollout"
)

// developer is a person, or a CI job, at work on one environment.
type developer struct {
	env        rollout.Environment
	repo       *rollout.Repository // nil where none is needed
	codedeploy *codedeploy.Client
	s3         *s3.Client
	sts        *sts.Client

	autoscaling *autoscaling.Client
	watched     *doctor.Watch // usher doctor sees the clients' calls; nil otherwise

	view   *rollout.View
	people io.Writer // what is written for people: not with --json
	stderr io.Writer

	name              string // of the command
	yes, json, noWait bool
	timeout           time.Duration

	deployment string // its id, once it is there
	done       string // what is said when all went well
}

// watchFor is how long a deployment is followed: an hour for a script is CodeDeploy's own default.
const watchFor = 2 * time.Hour

// flags declares the flags that all commands that deploy have.
func (d *developer) flags(flags *flag.FlagSet) {
	flags.BoolVar(&d.json, "json", false, "print events, one JSON object a line")
	flags.BoolVar(&d.noWait, "no-wait", false, "do not follow the deployment to its end")
	flags.DurationVar(&d.timeout, "timeout", watchFor, "stop watching after `D`; the deployment continues")
}

// begin reads usher.yml, and makes the clients of the environment of that name. Nothing is called yet.
func (d *developer) begin(ctx context.Context, name string, stdout, stderr io.Writer) error {
	d.watch(stdout, stderr)
	all, file, err := environments()
	if err != nil {
		return err
	}
	if d.env, err = rollout.Named(all, name); err != nil {
		return cli.UsageError{Err: fmt.Errorf("%w (%s)", err, file)}
	}
	if d.repo, err = rollout.OpenRepository(ctx, filepath.Dir(file)); err != nil {
		return cli.UsageError{Err: err}
	}
	return d.connect(ctx)
}

// watch says where what is to be seen goes.
func (d *developer) watch(stdout, stderr io.Writer) {
	d.stderr, d.people, d.view = stderr, stdout, nil
	if d.json {
		d.people, d.view = io.Discard, rollout.JSONView(stdout)
	} else {
		d.view = rollout.PeopleView(stdout)
	}
}

// environments are those of the usher.yml that is nearest above the working directory.
func environments() (all []rollout.Environment, file string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, "", fmt.Errorf("cannot find the working directory: %w", err)
	}
	if file, err = rollout.Find(dir); errors.Is(err, rollout.ErrNoFile) {
		return nil, "", cli.UsageError{Err: fmt.Errorf("%w. The least there must be in it:\n\n%s", err, indented(rollout.Example))}
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

// developerTimeout is how long AWS may take to begin an answer, and to end it. S3 may need a while to put parts together.
const developerTimeout = 30 * time.Second

// connect makes the clients, with the credentials that AWS's own tools would use here.
func (d *developer) connect(ctx context.Context) error {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = developerTimeout
		})),
		config.WithAPIOptions(retry.Deadline(developerTimeout)),
	}
	if d.env.Region != "" {
		options = append(options, config.WithRegion(d.env.Region))
	}
	if d.env.Profile != "" && !givenCredentials() {
		options = append(options, config.WithSharedConfigProfile(d.env.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if missing := (config.SharedConfigProfileNotExistError{}); errors.As(err, &missing) {
		return fmt.Errorf("cannot use profile %s of environment %s: it is not in your AWS configuration: `aws configure sso --profile %s` makes it; or correct profile in usher.yml: %w",
			d.env.Profile, d.env.Name, d.env.Profile, err)
	} else if err != nil {
		return rollout.Explain("read the AWS configuration", d.env, err)
	}
	if d.env.Region = cfg.Region; cfg.Region == "" {
		return cli.UsageError{Err: errors.New("cannot tell the AWS Region: there is no usher.yml here, so set AWS_REGION")}
	}
	if d.watched != nil {
		cfg.APIOptions = append(cfg.APIOptions, d.watched.Observe)
	}
	d.codedeploy, d.s3, d.sts = codedeploy.NewFromConfig(cfg), s3.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	d.autoscaling = autoscaling.NewFromConfig(cfg)
	return nil
}

// givenCredentials tells whether the environment brings credentials of its own, as in a CI job, which has no
// profiles. AWS_PROFILE alone does not count: usher.yml knows better which account an environment is in.
func givenCredentials() bool {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// whoAmI is the account and the identity that the credentials are of.
func (d *developer) whoAmI(ctx context.Context) (account, arn string, err error) {
	out, err := d.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", "", rollout.Explain("find out who you are to AWS", d.env, err)
	}
	return aws.ToString(out.Account), aws.ToString(out.Arn), nil
}

// confirm asks a person for the environment's name, when the environment wants that. y would be typed too soon.
func (d *developer) confirm(ctx context.Context) error {
	if !d.env.Confirm || d.yes {
		return nil
	}
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(d.people) {
		return cli.UsageError{Err: fmt.Errorf("%s must be confirmed by a person (confirm in usher.yml), and this is not a terminal: use --yes to go ahead", d.env.Name)}
	}
	fmt.Fprintf(d.people, "Type %s to go ahead: ", d.env.Name)
	answer, err := readLine(ctx)
	if err != nil {
		fmt.Fprintln(d.people)
		return err
	}
	if strings.TrimSpace(answer) != d.env.Name {
		return cli.UsageError{Err: errors.New("not confirmed: nothing was started")}
	}
	fmt.Fprintln(d.people)
	return nil
}

// agree asks a person for the environment's name, whatever usher.yml says. why is why a program may not say yes.
func (d *developer) agree(ctx context.Context, why string) error {
	if d.yes {
		return nil
	}
	if !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(d.people) {
		return cli.UsageError{Err: fmt.Errorf("%s, and this is not a terminal: use --yes to go ahead", why)}
	}
	d.env.Confirm = true
	return d.confirm(ctx)
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

// ending is an error that has its own exit code and status.
type ending struct {
	code    int
	status  string
	message string
}

func (e ending) Error() string { return e.message }

// end says how the command ended and is its exit code.
func (d *developer) end(ctx context.Context, err error) int {
	code, status, message := cli.ExitFailed, rollout.EndedFailed, d.done
	if err != nil {
		message = err.Error()
	}
	switch own := (ending{}); {
	case err == nil:
		code, status = cli.ExitDone, rollout.EndedSucceeded
	case errors.As(err, &own):
		code, status = own.code, own.status
	case errors.As(err, new(rollout.Busy)):
		code, status = cli.ExitBusy, rollout.EndedRefused
	case errors.As(err, new(cli.UsageError)):
		code, status = cli.ExitUsage, rollout.EndedRefused
	case ctx.Err() != nil:
		code, status, message = cli.ExitInterrupted, rollout.EndedInterrupted, "interrupted: nothing was started"
	}
	d.view.Close()
	if code == cli.ExitDone || d.json {
		d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Finished, Deployment: d.deployment, Status: status, Message: message, ExitCode: &code})
	}
	if code != cli.ExitDone {
		fmt.Fprintf(d.stderr, "usher %s: %s\n", d.name, format.Printable(message))
	}
	return code
}
