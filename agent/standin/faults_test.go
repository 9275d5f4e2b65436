package standin_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/standin"
)

// asUser is a user's configuration, with one attempt a call.
func asUser(c *standin.Cloud) aws.Config {
	return aws.Config{
		Region: c.Region, BaseEndpoint: aws.String(c.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func TestErrorsAreTheServicesOwn(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true})
	cloud.PutHook("web", standin.Hook{Name: "deploy"})
	cloud.PublishRevision("shop", "production", standin.Revision{})
	server := cloud.Launch("web", standin.LaunchOptions{})
	asg, deploy := autoscaling.NewFromConfig(asUser(cloud)), codedeploy.NewFromConfig(asUser(cloud))
	complete := func(group, hook, instance, token, result string) func(context.Context) error {
		return func(ctx context.Context) error {
			in := &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: &group, LifecycleHookName: &hook, LifecycleActionResult: &result}
			if instance != "" {
				in.InstanceId = &instance
			}
			if token != "" {
				in.LifecycleActionToken = &token
			}
			_, err := asg.CompleteLifecycleAction(ctx, in)
			return err
		}
	}
	group := func(app, group string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := deploy.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: &app, DeploymentGroupName: &group})
			return err
		}
	}
	for _, c := range []struct {
		name    string
		call    func(context.Context) error
		status  int
		code    string
		message string
	}{
		{"an instance that is not ours", complete("web", "deploy", "i-00000000000000000", "", "CONTINUE"),
			400, "ValidationError", "No active Lifecycle Action found with instance ID i-00000000000000000"},
		{"a hook that is not there", complete("web", "other", server.ID, "", "CONTINUE"),
			400, "ValidationError", "No active Lifecycle Action found with instance ID " + server.ID},
		{"a token that is not known", complete("web", "deploy", "", "2f0ba2b8-0000-0000-0000-000000000000", "CONTINUE"),
			400, "ValidationError", "No active Lifecycle Action found with token 2f0ba2b8"},
		{"a group that is not there", complete("wbe", "deploy", server.ID, "", "CONTINUE"),
			400, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup wbe not found"},
		{"a result that is none", complete("web", "deploy", server.ID, "", "OK"),
			400, "ValidationError", "must be one of CONTINUE or ABANDON"},
		{"a parameter that is missing", complete("", "deploy", server.ID, "", "CONTINUE"),
			400, "ValidationError", "1 validation error detected: Value null at 'autoScalingGroupName' failed to satisfy constraint: Member must not be null"},
		{"a heartbeat below the minimum", func(ctx context.Context) error {
			_, err := asg.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"),
				LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(29)})
			return err
		}, 400, "ValidationError", "between 30 and 7200 seconds"},
		{"a page that is not there", func(ctx context.Context) error {
			_, err := asg.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{NextToken: aws.String("x")})
			return err
		}, 400, "InvalidNextToken", "The token 'x' is not valid"},
		{"an operation we have not", func(ctx context.Context) error {
			_, err := asg.DescribeLoadBalancers(ctx, &autoscaling.DescribeLoadBalancersInput{AutoScalingGroupName: aws.String("web")})
			return err
		}, 400, "InvalidAction", "Could not find operation DescribeLoadBalancers"},
		{"an application that is not there", group("shpo", "production"),
			400, "ApplicationDoesNotExistException", "No application found for name: shpo"},
		{"a deployment group that is not there", group("shop", "prodution"),
			400, "DeploymentGroupDoesNotExistException", "No Deployment Group found for name: prodution"},
		{"no application at all", group("", "production"), 400, "ApplicationNameRequiredException", ""},
		{"a name that is none", group("shop/1", "production"), 400, "InvalidApplicationNameException", "shop/1"},
		{"a deployment that is not there", func(ctx context.Context) error {
			_, err := deploy.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: aws.String("d-NONE")})
			return err
		}, 400, "DeploymentDoesNotExistException", "d-NONE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.call(testContext(t))
			var resp *awshttp.ResponseError
			if code(err) != c.code || !errors.As(err, &resp) || resp.HTTPStatusCode() != c.status || !strings.Contains(err.Error(), c.message) || resp.ServiceRequestID() == "" {
				t.Errorf("got %v\nwant %d %s: %s", err, c.status, c.code, c.message)
			}
		})
	}
}

func TestSignaturesAreChecked(t *testing.T) {
	t.Parallel()
	cloud, other := start(t, standin.Options{}), start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	expired := cloud.Launch("web", standin.LaunchOptions{})
	cfg, _ := onInstance(t, cloud, expired)
	if err := describe(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
	expired.ExpireCredentials()
	role, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := credentials.NewStaticCredentialsProvider(cloud.AccessKey, cloud.SecretKey, "")
	fresh := cloud.Launch("web", standin.LaunchOptions{})
	freshCfg, _ := onInstance(t, cloud, fresh)
	session, err := freshCfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		provider aws.CredentialsProvider
		region   string
		code     string // of Auto Scaling
		json     string // of CodeDeploy
	}{
		{"a user's key", good, "eu-west-1", "", ""},
		{"a role's session", freshCfg.Credentials, "eu-west-1", "", ""},
		{"no signature", aws.AnonymousCredentials{}, "eu-west-1", "MissingAuthenticationToken", "MissingAuthenticationTokenException"},
		{"an unknown key", credentials.NewStaticCredentialsProvider("AKIA0000000000000000", "x", ""), "eu-west-1", "InvalidClientTokenId", "UnrecognizedClientException"},
		{"a key of another account", credentials.NewStaticCredentialsProvider(other.AccessKey, other.SecretKey, ""), "eu-west-1", "InvalidClientTokenId", "UnrecognizedClientException"},
		{"a wrong secret", credentials.NewStaticCredentialsProvider(cloud.AccessKey, "x", ""), "eu-west-1", "SignatureDoesNotMatch", "InvalidSignatureException"},
		{"a session without its token", credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.SecretAccessKey, ""), "eu-west-1", "InvalidClientTokenId", "UnrecognizedClientException"},
		{"another region", good, "us-east-1", "SignatureDoesNotMatch", "InvalidSignatureException"},
		{"an expired session", credentials.StaticCredentialsProvider{Value: role}, "eu-west-1", "ExpiredToken", "ExpiredTokenException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := asUser(cloud)
			cfg.Credentials, cfg.Region = c.provider, c.region
			if err := describe(testContext(t), cfg); code(err) != c.code {
				t.Errorf("Auto Scaling: %v, want %s", err, c.code)
			}
			_, err := codedeploy.NewFromConfig(cfg).ListApplications(testContext(t), nil)
			if code(err) != c.json {
				t.Errorf("CodeDeploy: %v, want %s", err, c.json)
			}
		})
	}
}

func describe(ctx context.Context, cfg aws.Config) error {
	_, err := autoscaling.NewFromConfig(cfg).DescribeAutoScalingInstances(ctx, nil)
	return err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault standin.Fault
		n     int
		want  []string // what three completions get
		state standin.State
	}{
		{"the next call throttled", standin.Fault{Code: "Throttling"}, 1, []string{"Throttling", "", "ValidationError"}, standin.InService},
		{"two calls in contention", standin.Fault{Code: "ResourceContention"}, 2, []string{"ResourceContention", "ResourceContention", ""}, standin.InService},
		{"no permission", standin.Fault{Code: "AccessDenied"}, -1, []string{"AccessDenied", "AccessDenied", "AccessDenied"}, standin.PendingWait},
		{"a bare 503", standin.Fault{Status: 503}, 1, []string{"ServiceUnavailable", "", "ValidationError"}, standin.InService},
		{"the request lost", standin.Fault{DropConnection: true}, 1, []string{"broken", "", "ValidationError"}, standin.InService},
		{"the answer lost", standin.Fault{DropConnection: true, AfterEffect: true}, 1, []string{"broken", "ValidationError", "ValidationError"}, standin.InService},
		{"the answer a 500", standin.Fault{Code: "InternalFailure", AfterEffect: true}, 1, []string{"InternalFailure", "ValidationError", "ValidationError"}, standin.InService},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := testContext(t)
			cloud := start(t, standin.Options{})
			cloud.CreateGroup(standin.Group{Name: "web"})
			cloud.PutHook("web", standin.Hook{Name: "deploy"})
			server := cloud.Launch("web", standin.LaunchOptions{})
			cloud.Fail("CompleteLifecycleAction", c.n, c.fault)
			cfg := asUser(cloud)
			if err := describe(ctx, cfg); err != nil {
				t.Errorf("another operation: %v", err)
			}
			var got []string
			for range 3 {
				_, err := autoscaling.NewFromConfig(cfg).CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
					AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"),
					InstanceId: &server.ID, LifecycleActionResult: aws.String("CONTINUE")})
				if word := code(err); err == nil || word != "" {
					got = append(got, word)
				} else {
					got = append(got, "broken")
				}
			}
			if !slices.Equal(got, c.want) || server.State() != c.state {
				t.Errorf("got %q and %s, want %q and %s", got, server.State(), c.want, c.state)
			}
			if calls := cloud.CallsOf("CompleteLifecycleAction"); len(calls) != 3 {
				t.Errorf("%d calls in the log", len(calls))
			}
		})
	}
}

func TestInterceptSeesTheCall(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	var mu sync.Mutex
	var seen []standin.Request
	cloud.Intercept(func(r standin.Request) *standin.Fault {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
		return &standin.Fault{Status: http.StatusBadRequest, Code: "ValidationError", Message: "not today"}
	})
	_, err := autoscaling.NewFromConfig(asUser(cloud)).DescribeLifecycleHooks(testContext(t), &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("web")})
	if code(err) != "ValidationError" || !strings.Contains(err.Error(), "not today") {
		t.Errorf("%v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen[0].Op != "DescribeLifecycleHooks" || seen[0].Params["AutoScalingGroupName"] != "web" {
		t.Errorf("saw %+v", seen)
	}
}

func TestTheBudgetIsShared(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{Rate: 0.001, Burst: 5})
	cfg := asUser(cloud)
	var throttled int
	for range 8 {
		if err := describe(testContext(t), cfg); code(err) == "Throttling" {
			throttled++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if throttled != 3 {
		t.Errorf("%d of 8 calls throttled with a burst of 5, want 3", throttled)
	}
	if _, err := codedeploy.NewFromConfig(cfg).ListApplications(testContext(t), nil); err != nil {
		t.Errorf("CodeDeploy has a budget of its own: %v", err)
	}
}

func TestScalingActivityTellsWhyALaunchFailed(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "deploy"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	token := server.Actions()[0].Token
	asg := autoscaling.NewFromConfig(asUser(cloud))
	if _, err := asg.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"),
		LifecycleHookName: aws.String("deploy"), LifecycleActionToken: &token, LifecycleActionResult: aws.String("ABANDON")}); err != nil {
		t.Fatal(err)
	}
	next, err := server.Replacement(ctx)
	if err != nil || next.State() != standin.PendingWait {
		t.Fatalf("replacement %v", err)
	}
	out, err := asg.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("web")})
	if err != nil || len(out.Activities) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	if got := out.Activities[0]; *got.Description != "Launching a new EC2 instance: "+next.ID || got.StatusCode != "InProgress" {
		t.Errorf("latest activity %s: %s", *got.Description, got.StatusCode)
	}
	want := "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token " + token + " was abandoned: Lifecycle Action Completed with ABANDON Result"
	if got := out.Activities[1]; *got.StatusMessage != want || got.StatusCode != "Cancelled" {
		t.Errorf("activity %s: %s\nwant %s", got.StatusCode, *got.StatusMessage, want)
	}
	groups, err := asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"web"}})
	if err != nil || len(groups.AutoScalingGroups) != 1 || len(groups.AutoScalingGroups[0].Instances) != 1 || *groups.AutoScalingGroups[0].Instances[0].InstanceId != next.ID {
		t.Errorf("groups %+v, %v", groups, err)
	}
}

func TestDescribePages(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	for range 5 {
		cloud.Launch("web", standin.LaunchOptions{MetadataRefused: true})
	}
	pages := autoscaling.NewDescribeAutoScalingInstancesPaginator(autoscaling.NewFromConfig(asUser(cloud)),
		&autoscaling.DescribeAutoScalingInstancesInput{MaxRecords: aws.Int32(2)})
	var sizes []int
	for pages.HasMorePages() {
		out, err := pages.NextPage(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(out.AutoScalingInstances))
	}
	if !slices.Equal(sizes, []int{2, 2, 1}) {
		t.Errorf("pages of %v, want 2, 2, 1", sizes)
	}
}

func TestWaitForCalls(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	done := make(chan error, 1)
	ctx := testContext(t)
	go func() {
		_, err := cloud.WaitForCalls(ctx, "DescribeAutoScalingInstances", 2)
		done <- err
	}()
	for range 2 {
		if err := describe(ctx, asUser(cloud)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := cloud.WaitForCalls(short, "CompleteLifecycleAction", 1); err == nil || !strings.Contains(err.Error(), "there were 0") {
		t.Errorf("waiting in vain: %v", err)
	}
}
