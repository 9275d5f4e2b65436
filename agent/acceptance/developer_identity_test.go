package acceptance

import (
	"crypto/sha1"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// Who a developer is to AWS: each way to have no credentials is named as what it is, where that is said, and what to do.

// identity is a shop whose developer has no credentials but those of an AWS configuration.
func identity(t *testing.T, profile, configuration string) *shop {
	t.Helper()
	h := newShop(t, 1, production())
	h.awsConfig(configuration)
	if profile != "" {
		h.environments("    profile: " + profile + "\n")
	}
	return h
}

// awsConfig writes the developer's AWS configuration. KEYS stands for the lines of a profile with the user's access key.
func (h *shop) awsConfig(text string) {
	h.Helper()
	h.write("aws/config", strings.ReplaceAll(text, "KEYS", fmt.Sprintf("aws_access_key_id = %s\naws_secret_access_key = %s", h.cloud.AccessKey, h.cloud.SecretKey)))
	h.write("aws/credentials", "")
	h.environ = []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE=" + h.path("aws/config"), "AWS_SHARED_CREDENTIALS_FILE=" + h.path("aws/credentials"),
		"AWS_ENDPOINT_URL_STS=" + h.cloud.Endpoint} // the SDK assumes a role before it has read AWS_ENDPOINT_URL
}

// A role that the profile names is assumed; one that may not be is told with its profile and file.
func TestAnAssumedRole(t *testing.T) {
	h := identity(t, "acme", "[profile acme]\nrole_arn = "+standin.RoleARN("deploy")+"\nsource_profile = me\n[profile me]\nKEYS\n")
	h.ended(h.usher("deploy production"), 1, "usher deploy: cannot determine your AWS identity: you may not assume role arn:aws:iam::123456789012:role/deploy (role_arn of profile acme in "+h.path("aws/config")+
		"): allow your identity sts:AssumeRole on it, and let the role's trust policy name your identity; where it asks for an MFA code, add mfa_serial to the profile: "+
		"AccessDenied: User: arn:aws:iam::123456789012:user/operator is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/deploy\n")
	h.cloud.PutRole(standin.Role{Name: "deploy"})
	h.ended(h.usher("deploy production"), 0, "as         arn:aws:sts::123456789012:assumed-role/deploy/")
	h.expect("live", h.live(), "1")
	for _, call := range h.cloud.CallsOf("AssumeRole") {
		h.expect("how long the role is assumed for", call.Params["DurationSeconds"], "3600")
	}
}

// What is wrong with an AWS configuration, and with what it names.
func TestNoCredentials(t *testing.T) {
	h := identity(t, "acme", "")
	file := h.path("aws/config")
	for _, c := range []struct {
		name, config string
		environ      []string
		want         []string
	}{
		{name: "a profile that is not there", config: "[profile acne]\nKEYS\n",
			want: []string{"there is no profile acme (profile in usher.yml) in " + file + " nor in " + h.path("aws/credentials") + ": did you mean acne? `aws configure sso --profile acme` makes one"}},
		{name: "a profile without credentials", config: "[profile acme]\nregion = eu-west-1\n",
			want: []string{"there are no AWS credentials: profile acme in " + file + " has none: run `aws sso login --profile acme`"}},
		{name: "a source profile that is not there", config: "[profile acme]\nrole_arn = " + standin.RoleARN("deploy") + "\nsource_profile = me\n",
			want: []string{"cannot use profile acme in " + file + ": its source_profile me is not there, nor in " + h.path("aws/credentials") + ": correct it\n"}},
		{name: "a source profile without credentials", config: "[profile acme]\nrole_arn = " + standin.RoleARN("deploy") + "\nsource_profile = me\n[profile me]\nregion = eu-west-1\n",
			want: []string{"cannot use profile acme in " + file + ": its source_profile me has no credentials: `aws configure --profile me`\n"}},
		{name: "a process that fails", config: "[profile acme]\ncredential_process = sh -c 'echo no key is plugged in >&2; exit 3'\n",
			want: []string{"no key is plugged in\n", "credential_process of profile acme in " + file + " failed (sh): run it by hand to see why: ", "exit status 3"}},
		{name: "a process that is not there", config: "[profile acme]\ncredential_process = /nowhere/to-be-found\n",
			want: []string{"credential_process of profile acme in " + file + " failed (/nowhere/to-be-found): run it by hand to see why: "}},
		{name: "a process of the source profile", config: "[profile acme]\nrole_arn = " + standin.RoleARN("deploy") + "\nsource_profile = me\n[profile me]\ncredential_process = echo {}\n",
			want: []string{"credential_process of profile me in " + file + " failed (echo): run it by hand to see why: "}},
		{name: "a session of SSO that is not there", config: "[profile acme]\nsso_session = acme\nsso_account_id = 123456789012\nsso_role_name = deploy\n[sso-session acme]\nsso_region = eu-west-1\nsso_start_url = https://acme.awsapps.com/start\n",
			want: []string{"the sign-in of profile acme in " + file + " has expired, or was never made: run `aws sso login --profile acme`"}},
		{name: "the same, in the old form", config: "[profile acme]\nsso_account_id = 123456789012\nsso_role_name = deploy\nsso_region = eu-west-1\nsso_start_url = https://acme.awsapps.com/start\n",
			want: []string{"the sign-in of profile acme in " + file + " has expired, or was never made: run `aws sso login --profile acme`"}},
		{name: "a sign-in of aws login", config: "[profile acme]\nlogin_session = arn:aws:iam::123456789012:user/ann\n",
			want: []string{"the sign-in of profile acme in " + file + " has expired, or was never made: run `aws login --profile acme`"}},
		{name: "a role of a CI job, without its token", environ: []string{"AWS_WEB_IDENTITY_TOKEN_FILE=" + h.path("token"), "AWS_ROLE_ARN=" + standin.RoleARN("deploy")},
			want: []string{"cannot read the job's token, " + h.path("token") + " (AWS_WEB_IDENTITY_TOKEN_FILE): "}},
		{name: "access keys that nobody knows", config: "[profile acme]\naws_access_key_id = AKIASTRANGER\naws_secret_access_key = x\n",
			want: []string{"AWS does not know these credentials: run `aws sso login --profile acme`"}},
		{name: "access keys that nobody knows, for a role", config: "[profile acme]\nrole_arn = " + standin.RoleARN("deploy") + "\nsource_profile = me\n[profile me]\naws_access_key_id = AKIASTRANGER\naws_secret_access_key = x\n",
			want: []string{"cannot assume role arn:aws:iam::123456789012:role/deploy (role_arn of profile acme in " + file + "): AWS does not know the access key of profile me: correct it: InvalidClientTokenId: "}},
		{name: "an MFA code, and nobody to ask", config: "[profile acme]\nmfa_serial = " + standin.MFADevice + "\nrole_arn = " + standin.RoleARN("deploy") + "\nsource_profile = me\n[profile me]\nKEYS\n",
			want: []string{"profile acme in " + file + " asks for an MFA code of " + standin.MFADevice + " (mfa_serial), and this is not a terminal: " +
				"run it on one, or get credentials first: eval \"$(aws configure export-credentials --profile acme --format env)\"\n"}},
	} {
		h.awsConfig(c.config)
		h.environ = append(h.environ, c.environ...)
		got := h.usher("deploy production")
		text := got.stdout + got.stderr
		for _, want := range c.want {
			if got.code != 1 || !strings.Contains(text, want) {
				t.Errorf("%s: exit %d; it does not say %q but\n%s", c.name, got.code, want, text)
			}
		}
	}

	// Without a profile in usher.yml it is AWS_PROFILE's, or the default one.
	h.environments("")
	h.awsConfig("")
	h.ended(h.usher("deploy production"), 1, "there are no AWS credentials: none in the environment, and there is no "+file+" with a profile: run `aws sso login` or `aws configure`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID\n")
	h.environ = append(h.environ, "AWS_PROFILE=acme")
	h.ended(h.usher("deploy production"), 1, "there is no profile acme (AWS_PROFILE) in "+file)
}

// On a terminal the code is asked for, of the device that the profile names; a wrong one is said to be wrong.
func TestAnMFACode(t *testing.T) {
	h := identity(t, "acme", "[profile acme]\nmfa_serial = "+standin.MFADevice+"\nrole_arn = "+standin.RoleARN("careful")+"\nsource_profile = me\n[profile me]\nKEYS\n")
	h.cloud.PutRole(standin.Role{Name: "careful", MFA: "123456"})
	s, tty := terminal(t)
	onIt := func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stderr = tty, tty
		cmd.Env = append(cmd.Env, "TERM=xterm", "CI=")
	}
	wrong := h.types("deploy --dry-run production", onIt)
	s.says("MFA code of " + standin.MFADevice + " for profile acme: ")
	s.types("654321\n")
	s.says("AWS did not accept the MFA code of " + standin.MFADevice + " (mfa_serial of profile acme in " + h.path("aws/config") + "): each is good once: wait for the next one")
	h.expect("exit code", itoa(wrong.ends().code), "1")
	none := h.types("deploy --dry-run production", onIt)
	s.says("MFA code of ")
	s.types("\n")
	s.says("no MFA code was typed")
	h.expect("exit code", itoa(none.ends().code), "1")

	right := h.types("deploy production", onIt)
	s.says("MFA code of " + standin.MFADevice + " for profile acme: ")
	s.types("123456\n")
	h.ended(right.ends(), 0, "assumed-role/careful/", "production runs")
	h.expect("codes that were asked for in all", itoa(strings.Count(s.text(), "MFA code of "+standin.MFADevice+" for")), "3")
	if strings.Contains(right.text(), "MFA code") {
		t.Error("standard output has the question")
	}
	stopped := h.types("deploy production", onIt)
	s.says("MFA code of ")
	stopped.interrupt()
	h.expect("exit code", itoa(stopped.ends().code), "130")
}

// The session of SSO that has expired is known by its token's file.
func TestAnExpiredSignIn(t *testing.T) {
	h := identity(t, "acme", "[profile acme]\nsso_session = acme\nsso_account_id = 123456789012\nsso_role_name = deploy\n[sso-session acme]\nsso_region = eu-west-1\nsso_start_url = https://acme.awsapps.com/start\n")
	h.write(".aws/sso/cache/"+fmt.Sprintf("%x", sha1.Sum([]byte("acme")))+".json", `{"accessToken": "x", "expiresAt": "`+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)+`"}`)
	h.ended(h.usher("servers production"), 1, "the sign-in of profile acme in "+h.path("aws/config")+" has expired, or was never made: run `aws sso login --profile acme`")
}
