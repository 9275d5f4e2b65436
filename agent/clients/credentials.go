package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/smithy-go"

	"usher/hooks"
)

// CredentialsError is why a developer has no credentials: what failed, where that is set, what to do, and AWS's words.
type CredentialsError struct {
	Text string // up to what to do
	Err  error
}

func (e *CredentialsError) Error() string {
	if words := answerOf(e.Err); words != "" {
		return e.Text + ": " + words
	}
	return e.Text
}

func (e *CredentialsError) Unwrap() error { return e.Err }

// SaysWhatToDo marks an error that needs no more advice.
func (e *CredentialsError) SaysWhatToDo() {}

// ErrNoCode is what AskForCode returns where nobody can be asked.
var ErrNoCode = errors.New("this is not a terminal")

// roleTime is how long a role is assumed for, where the profile does not say: what every role allows. The SDK's own quarter of an
// hour would ask for another MFA code in the midst of a deployment.
const roleTime = time.Hour

// origin is where a developer's credentials come from, for the errors about them.
type origin struct {
	profile, from string // the profile's name, and what named it; the first is "" for none
	shared        awsconfig.SharedConfig
}

// originOf is where they come from when usher.yml names that profile, or none.
func originOf(profile string) *origin {
	if profile != "" {
		return &origin{profile: profile, from: "profile in usher.yml"}
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if profile = os.Getenv(name); profile != "" {
			return &origin{profile: profile, from: name}
		}
	}
	return &origin{}
}

// configFile and keysFile are the files of an AWS configuration.
func configFile() string {
	return cmp.Or(os.Getenv("AWS_CONFIG_FILE"), awsconfig.DefaultSharedConfigFilename())
}

func keysFile() string {
	return cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), awsconfig.DefaultSharedCredentialsFilename())
}

// in names a profile with its file.
func in(profile string) string {
	return "profile " + cmp.Or(profile, "default") + " in " + configFile()
}

// flag is a profile as an argument of AWS's CLI.
func flag(profile string) string {
	if profile == "" || profile == "default" {
		return ""
	}
	return " --profile " + profile
}

// of is the profile that has something: this one, or one that it names as its source.
func (o origin) of(has func(awsconfig.SharedConfig) bool) awsconfig.SharedConfig {
	for c := &o.shared; c != nil; c = c.Source {
		if has(*c) {
			return *c
		}
	}
	return o.shared
}

// cannotLoad is an error of reading the AWS configuration.
func (o origin) cannotLoad(err error) error {
	source := awsconfig.SharedConfigAssumeRoleError{}
	if errors.As(err, &source) {
		what := "has no credentials: `aws configure" + flag(source.Profile) + "`"
		if source.Err != nil {
			what = "is not there, nor in " + keysFile() + ": correct it"
		}
		return &CredentialsError{"cannot use " + in(o.profile) + ": its source_profile " + source.Profile + " " + what, hidden{err}}
	}
	missing := awsconfig.SharedConfigProfileNotExistError{}
	if !errors.As(err, &missing) || missing.Profile != o.profile {
		return &CredentialsError{"cannot use " + in(o.profile) + ": correct it", err}
	}
	do := "`aws configure sso" + flag(o.profile) + "` makes one"
	if near := hooks.Closest(o.profile, profiles()); near != "" {
		do = "did you mean " + near + "? " + do
	}
	return &CredentialsError{fmt.Sprintf("there is no profile %s (%s) in %s nor in %s: %s", o.profile, o.from, configFile(), keysFile(), do), nil}
}

// explain is an error of getting credentials as one that says what to do; one that is not about them stays as it is.
func (o origin) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.As(err, new(*CredentialsError)) {
		return err
	}
	call := innermost(err)
	switch {
	case errors.As(err, new(*processcreds.ProviderError)):
		p := o.of(func(c awsconfig.SharedConfig) bool { return c.CredentialProcess != "" })
		program, _, _ := strings.Cut(p.CredentialProcess, " ") // its arguments may be secret, and this is what ends in logs
		return &CredentialsError{"credential_process of " + in(p.Profile) + " failed (" + program + "): run it by hand to see why", err}
	case call != nil && call.Service() == "STS" && call.Operation() == "AssumeRole":
		return o.role(err)
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "" && strings.Contains(err.Error(), "failed to retrieve jwt"):
		return &CredentialsError{"cannot read the job's token, " + os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") + " (AWS_WEB_IDENTITY_TOKEN_FILE): let the job write it first", err}
	case call != nil && call.Service() == "STS" && call.Operation() == "AssumeRoleWithWebIdentity" && codeOf(err) != "":
		return &CredentialsError{"role " + cmp.Or(os.Getenv("AWS_ROLE_ARN"), o.shared.RoleARN) + " does not take the job's token: correct the subject and the audience in its trust policy, and its identity provider", err}
	}
	p := o.of(func(c awsconfig.SharedConfig) bool { return c.SSOAccountID != "" || c.LoginSession != "" })
	switch {
	case p.LoginSession != "":
		return &CredentialsError{"the sign-in of " + in(p.Profile) + " has expired, or was never made: run `aws login" + flag(p.Profile) + "`", err}
	case p.SSOAccountID != "" && codeOf(err) == "ForbiddenException":
		return &CredentialsError{fmt.Sprintf("you have no role %s in account %s (%s): correct sso_role_name and sso_account_id, or have it assigned to you in IAM Identity Center", p.SSORoleName, p.SSOAccountID, in(p.Profile)), err}
	case p.SSOAccountID != "" && (errors.As(err, new(*ssocreds.InvalidTokenError)) || strings.Contains(err.Error(), "SSO token") || codeOf(err) == "UnauthorizedException"):
		return &CredentialsError{"the sign-in of " + in(p.Profile) + " has expired, or was never made: run `aws sso login" + flag(p.Profile) + "`", err}
	case strings.Contains(err.Error(), "EC2 IMDS role"): // the last that is tried
		return o.none(err)
	}
	return err
}

// none is the error where nothing has credentials. That metadata has none either is what every laptop says.
func (o origin) none(err error) error {
	const first = "there are no AWS credentials: "
	switch {
	case o.profile != "":
		return &CredentialsError{first + in(o.profile) + " has none: run `aws sso login" + flag(o.profile) + "` or `aws configure" + flag(o.profile) + "`", hidden{err}}
	case o.shared.Profile == "" || len(profiles()) == 0:
		return &CredentialsError{first + "none in the environment, and there is no " + configFile() + " with a profile: run `aws sso login` or `aws configure`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID", hidden{err}}
	}
	return &CredentialsError{first + "none in the environment, and none in " + in("") + ": run `aws sso login` or `aws configure`, or set AWS_PROFILE (" + strings.Join(profiles(), ", ") + ") or AWS_ACCESS_KEY_ID", hidden{err}}
}

// role is an error of assuming a role.
func (o origin) role(err error) error {
	p := o.of(func(c awsconfig.SharedConfig) bool { return c.RoleARN != "" })
	named := fmt.Sprintf("role %s (role_arn of %s)", p.RoleARN, in(p.Profile))
	whose := cmp.Or(p.SourceProfileName, p.Profile)
	switch code, words := codeOf(err), answerOf(err); {
	case code == "AccessDenied" && strings.Contains(words, "MultiFactorAuthentication failed"):
		return &CredentialsError{fmt.Sprintf("AWS did not accept the MFA code of %s (mfa_serial of %s): each is good once: wait for the next one", p.MFASerial, in(p.Profile)), err}
	case code == "AccessDenied":
		do := "allow your identity sts:AssumeRole on it, and let the role's trust policy name your identity"
		if p.MFASerial == "" {
			do += "; where it asks for an MFA code, add mfa_serial to the profile"
		}
		return &CredentialsError{"you may not assume " + named + ": " + do, err}
	case code == "InvalidClientTokenId", code == "SignatureDoesNotMatch":
		return &CredentialsError{"cannot assume " + named + ": AWS does not know the access key of profile " + whose + ": correct it", err}
	case code == "ExpiredToken":
		return &CredentialsError{"cannot assume " + named + ": the credentials of profile " + whose + " have expired: renew them", err}
	case code != "":
		return &CredentialsError{"cannot assume " + named, err}
	}
	return err
}

// code asks for an MFA code.
func (o origin) code(ctx context.Context, ask func(ctx context.Context, question string) (string, error)) func() (string, error) {
	return func() (string, error) {
		p := o.of(func(c awsconfig.SharedConfig) bool { return c.MFASerial != "" })
		code, err := "", ErrNoCode
		if ask != nil {
			code, err = ask(ctx, fmt.Sprintf("MFA code of %s for profile %s: ", p.MFASerial, p.Profile))
		}
		switch code = strings.TrimSpace(code); {
		case errors.Is(err, ErrNoCode):
			return "", &CredentialsError{fmt.Sprintf("%s asks for an MFA code of %s (mfa_serial), and this is not a terminal: run it on one, or get credentials first: eval \"$(aws configure export-credentials%s --format env)\"",
				in(p.Profile), p.MFASerial, flag(p.Profile)), hidden{err}}
		case err != nil:
			return "", err
		case code == "":
			return "", &CredentialsError{"no MFA code was typed", hidden{ErrNoCode}}
		}
		return code, nil
	}
}

// told are credentials whose errors say what to do.
type told struct {
	aws.CredentialsProvider
	origin origin
}

func (t told) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := t.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = t.origin.explain(ctx, err)
	}
	return c, err
}

// hidden is an error that a person need not read; it can still be told by errors.Is and errors.As.
type hidden struct{ error }

func (h hidden) Unwrap() error { return h.error }

// innermost is the call that failed in the end: a call that wants credentials has the one that gets them inside.
func innermost(err error) (call *smithy.OperationError) {
	for next := (*smithy.OperationError)(nil); errors.As(err, &next); err = next.Err {
		call = next
	}
	return call
}

// codeOf is the service's code of an error, "" when it is not a service's.
func codeOf(err error) string {
	if e := smithy.APIError(nil); errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// answerOf are what the one who refused said, without what was called on the way.
func answerOf(err error) string {
	process := (*processcreds.ProviderError)(nil)
	api := smithy.APIError(nil)
	switch {
	case err == nil, errors.As(err, new(hidden)):
		return ""
	case errors.As(err, &process):
		return process.Err.Error()
	case errors.As(err, &api):
		return strings.TrimSpace(api.ErrorCode() + ": " + api.ErrorMessage())
	}
	return strings.TrimPrefix(err.Error(), "failed to refresh cached credentials, ")
}

// assumed sets how roles are assumed.
func (o *origin) assumed(ctx context.Context, ask func(context.Context, string) (string, error)) func(*stscreds.AssumeRoleOptions) {
	return func(a *stscreds.AssumeRoleOptions) {
		if a.Duration == 0 {
			a.Duration = roleTime
		}
		a.TokenProvider = func() (string, error) { return o.code(ctx, ask)() } // by then the profile has been read
	}
}

// profiles are the names of the AWS configuration's profiles, as far as its files can be read.
func profiles() (names []string) {
	for _, file := range []string{configFile(), keysFile()} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			name, ok := strings.CutPrefix(strings.TrimSpace(line), "[")
			name, _, closed := strings.Cut(name, "]")
			if name = strings.TrimSpace(name); !ok || !closed || strings.HasPrefix(name, "sso-session") || strings.HasPrefix(name, "services") {
				continue
			}
			if name = strings.TrimSpace(strings.TrimPrefix(name, "profile ")); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}
