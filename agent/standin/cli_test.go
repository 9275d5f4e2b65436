package standin_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// cli runs an AWS CLI, a client nobody of us wrote, as a user of the Cloud.
func cli(t *testing.T, c *standin.Cloud, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, bad strings.Builder
	endpoint := c.Endpoint
	if args[0] == "s3" || args[0] == "s3api" {
		endpoint = c.S3Endpoint
	}
	// By the flag, because Debian's does not know AWS_ENDPOINT_URL yet.
	cmd := exec.CommandContext(testContext(t), awsCLI(), append([]string{"--endpoint-url", endpoint}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_MAX_ATTEMPTS=1"}, c.CLIEnviron()...)
	cmd.Stdout, cmd.Stderr = &out, &bad
	err = cmd.Run()
	// Debian's version tells of the retries that it was told not to make.
	return out.String(), strings.Replace(bad.String(), " (reached max retries: 0)", "", 1), err
}

// awsCLI is Debian's, whose models the answers are held against, or the one in PATH.
func awsCLI() string {
	if _, err := os.Stat("/usr/bin/aws"); err == nil {
		return "/usr/bin/aws"
	}
	return "aws"
}

// needCLI: CI installs an AWS CLI, so there its absence is a failure.
func needCLI(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(awsCLI()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no aws in PATH: install an AWS CLI")
		}
		t.Skip("no aws in PATH: the answers are decoded by the SDK only")
	}
}

func TestALaunchByTheCLI(t *testing.T) {
	t.Parallel()
	needCLI(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "deploy", HeartbeatTimeout: 10 * time.Minute, NotificationMetadata: `{"a":"<b>"}`})
	server := cloud.Launch("web", standin.LaunchOptions{})
	file := filepath.Join(t.TempDir(), "app.tgz")
	if err := os.WriteFile(file, []byte("bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	object := "s3://" + cloud.Bucket + "/app.tgz"
	deployment := cloud.PublishRevision("shop", "production", standin.S3Revision(cloud.Bucket, "app.tgz", "tgz", "", ""))
	action := func(verb string, more ...string) []string {
		return append([]string{"autoscaling", verb, "--auto-scaling-group-name", "web", "--lifecycle-hook-name", "deploy", "--instance-id", server.ID}, more...)
	}
	complete := action("complete-lifecycle-action", "--lifecycle-action-result", "CONTINUE")
	for _, c := range []struct {
		name  string
		args  []string
		query string // JMESPath
		want  string // JSON, or the beginning of an error
	}{
		{"where the instance is", []string{"autoscaling", "describe-auto-scaling-instances", "--instance-ids", server.ID},
			"AutoScalingInstances[].[AutoScalingGroupName,LifecycleState,HealthStatus]", `[["web","Pending:Wait","HEALTHY"]]`},
		{"an instance that is not there", []string{"autoscaling", "describe-auto-scaling-instances", "--instance-ids", "i-00000000000000000"},
			"AutoScalingInstances", `[]`},
		{"its hooks", []string{"autoscaling", "describe-lifecycle-hooks", "--auto-scaling-group-name", "web"},
			"LifecycleHooks[].[LifecycleHookName,LifecycleTransition,HeartbeatTimeout,GlobalTimeout,DefaultResult,NotificationMetadata]",
			`[["deploy","autoscaling:EC2_INSTANCE_LAUNCHING",600,60000,"ABANDON","{\"a\":\"<b>\"}"]]`},
		{"a heartbeat", action("record-lifecycle-action-heartbeat"), "", ""},
		{"the group", []string{"autoscaling", "describe-auto-scaling-groups"}, "AutoScalingGroups[].Instances[].LifecycleState", `["Pending:Wait"]`},
		{"the revision", []string{"deploy", "get-deployment-group", "--application-name", "shop", "--deployment-group-name", "production"},
			"deploymentGroupInfo.[targetRevision.s3Location.key,lastSuccessfulDeployment.deploymentId]", `["app.tgz","` + deployment + `"]`},
		{"the deployment", []string{"deploy", "get-deployment", "--deployment-id", deployment}, "deploymentInfo.[status,revision.revisionType]", `["Succeeded","S3"]`},
		{"no such application", []string{"deploy", "get-deployment-group", "--application-name", "shpo", "--deployment-group-name", "production"},
			"", "An error occurred (ApplicationDoesNotExistException) when calling the GetDeploymentGroup operation: No application found for name: shpo"},
		{"a bundle up", []string{"s3", "cp", "--no-progress", file, object}, "", "upload: "},
		{"and down", []string{"s3", "cp", "--no-progress", object, file + ".down"}, "", "download: "},
		{"the answer", complete, "", ""},
		{"a second answer", complete, "", "An error occurred (ValidationError) when calling the CompleteLifecycleAction operation: No active Lifecycle Action found with instance ID " + server.ID},
		{"a new hook", []string{"autoscaling", "put-lifecycle-hook", "--auto-scaling-group-name", "web", "--lifecycle-hook-name", "drain",
			"--lifecycle-transition", "autoscaling:EC2_INSTANCE_TERMINATING"}, "", ""},
		{"a scale-in", []string{"autoscaling", "terminate-instance-in-auto-scaling-group", "--instance-id", server.ID, "--should-decrement-desired-capacity"},
			"Activity.StatusCode", `"InProgress"`},
		{"what happened", []string{"autoscaling", "describe-scaling-activities", "--auto-scaling-group-name", "web"}, "Activities[].StatusCode", `["InProgress","Successful"]`},
	} {
		args := c.args
		if c.query != "" {
			args = append(args, "--output", "json", "--query", c.query)
		}
		stdout, stderr, _ := cli(t, cloud, args...)
		got := strings.TrimSpace(stdout + stderr)
		if c.query != "" {
			got = compact(got)
		}
		if (c.query != "" && got != c.want) || !strings.HasPrefix(got, c.want) || (c.want == "" && got != "") {
			t.Errorf("%s: aws %s\n got %s\nwant %s", c.name, strings.Join(c.args[:2], " "), got, c.want)
		}
	}
	if got, err := os.ReadFile(file + ".down"); err != nil || string(got) != "bundle" {
		t.Errorf("downloaded %q, %v", got, err)
	}
	if got := server.State(); got != standin.TerminatingWait {
		t.Errorf("the instance is %s", got)
	}
}

// compact writes JSON on one line, without escapes it does not need.
func compact(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return text
	}
	return strings.TrimSpace(b.String())
}
