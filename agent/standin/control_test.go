package standin_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	cdtypes "github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"usher/agent/standin"
)

// recorder keeps the last answer as it came over the wire.
type recorder struct{ body []byte }

func (r *recorder) Do(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(r.body))
	return resp, nil
}

func TestAnswersOnTheWire(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "deploy"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	seen := &recorder{}
	cfg := asUser(cloud)
	cfg.HTTPClient = seen
	asg := autoscaling.NewFromConfig(cfg)
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	is := func(want string) {
		t.Helper()
		got := strings.ReplaceAll(id.ReplaceAllString(string(seen.body), "UUID"), server.ID, "INSTANCE")
		if got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}

	if _, err := asg.DescribeAutoScalingInstances(ctx, nil); err != nil {
		t.Error(err)
	}
	is(`<DescribeAutoScalingInstancesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeAutoScalingInstancesResult>` +
		`<AutoScalingInstances><member><InstanceId>INSTANCE</InstanceId><InstanceType>t3.small</InstanceType><AutoScalingGroupName>web</AutoScalingGroupName>` +
		`<AvailabilityZone>eu-west-1a</AvailabilityZone><LifecycleState>Pending:Wait</LifecycleState><HealthStatus>HEALTHY</HealthStatus>` +
		`<LaunchTemplate><LaunchTemplateId>lt-0123456789abcdef0</LaunchTemplateId><LaunchTemplateName>web</LaunchTemplateName><Version>1</Version></LaunchTemplate>` +
		`<ProtectedFromScaleIn>false</ProtectedFromScaleIn></member></AutoScalingInstances>` +
		`</DescribeAutoScalingInstancesResult><ResponseMetadata><RequestId>UUID</RequestId></ResponseMetadata></DescribeAutoScalingInstancesResponse>`)

	in := &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"),
		InstanceId: &server.ID, LifecycleActionResult: aws.String("CONTINUE")}
	if _, err := asg.CompleteLifecycleAction(ctx, in); err != nil {
		t.Error(err)
	}
	is(`<CompleteLifecycleActionResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><CompleteLifecycleActionResult></CompleteLifecycleActionResult>` +
		`<ResponseMetadata><RequestId>UUID</RequestId></ResponseMetadata></CompleteLifecycleActionResponse>`)

	if _, err := asg.CompleteLifecycleAction(ctx, in); err == nil {
		t.Error("completed twice")
	}
	is(`<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>ValidationError</Code>` +
		`<Message>No active Lifecycle Action found with instance ID INSTANCE</Message></Error><RequestId>UUID</RequestId></ErrorResponse>`)

	_, err := codedeploy.NewFromConfig(cfg).GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("production")})
	if err == nil {
		t.Error("a group that is not there")
	}
	is(`{"__type":"ApplicationDoesNotExistException","message":"No application found for name: shop"}`)
}

func TestAnUnhealthyInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	server := cloud.Launch("web", standin.LaunchOptions{})
	asg := autoscaling.NewFromConfig(asUser(cloud))
	if _, err := asg.SetInstanceHealth(ctx, &autoscaling.SetInstanceHealthInput{InstanceId: &server.ID, HealthStatus: aws.String("Unhealthy")}); err != nil {
		t.Fatal(err)
	}
	if got := server.State(); got != standin.TerminatingWait {
		t.Errorf("it is %s, want Terminating:Wait", got)
	}
	// The hook that holds it goes away: as good as an answer.
	if _, err := asg.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("drain")}); err != nil {
		t.Fatal(err)
	}
	next, err := server.Replacement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if server.State() != standin.Terminated || next.State() != standin.InService {
		t.Errorf("it is %s and its replacement %s", server.State(), next.State())
	}
	if types, err := asg.DescribeLifecycleHookTypes(ctx, nil); err != nil || len(types.LifecycleHookTypes) != 2 {
		t.Errorf("hook types %+v, %v", types, err)
	}
}

func TestTheLatestSuccessfulRevisionIsTheTarget(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	api := codedeploy.NewFromConfig(asUser(cloud))
	app, group := aws.String("shop"), aws.String("production")
	target := func() *cdtypes.DeploymentGroupInfo {
		t.Helper()
		out, err := api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: app, DeploymentGroupName: group})
		if err != nil {
			t.Fatal(err)
		}
		return out.DeploymentGroupInfo
	}

	if _, err := api.CreateApplication(ctx, &codedeploy.CreateApplicationInput{ApplicationName: app}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateDeploymentGroup(ctx, &codedeploy.CreateDeploymentGroupInput{ApplicationName: app, DeploymentGroupName: group,
		ServiceRoleArn: aws.String("arn:aws:iam::123456789012:role/codedeploy")}); err != nil {
		t.Fatal(err)
	}
	if got := target(); got.TargetRevision != nil || got.LastSuccessfulDeployment != nil || aws.ToString(got.DeploymentGroupId) == "" {
		t.Errorf("a new group has %+v", got)
	}

	good := cloud.PublishRevision("shop", "production", standin.GitHubRevision("owner/shop", "abc1234"))
	bad := cloud.FailDeployment("shop", "production", standin.GitHubRevision("owner/shop", "def5678"))
	got := target()
	if *got.TargetRevision.GitHubLocation.CommitId != "abc1234" || *got.LastSuccessfulDeployment.DeploymentId != good || *got.LastAttemptedDeployment.DeploymentId != bad {
		t.Errorf("after a failure the group has %+v", got)
	}

	cloud.PublishRevision("shop", "production", standin.Revision{Raw: json.RawMessage(`{"revisionType":"String","string":{"content":"{}","sha256":"x"}}`)})
	if got := target(); got.TargetRevision.RevisionType != cdtypes.RevisionLocationTypeString {
		t.Errorf("target revision %+v", got.TargetRevision)
	}

	list, err := api.ListDeployments(ctx, &codedeploy.ListDeploymentsInput{ApplicationName: app, DeploymentGroupName: group, IncludeOnlyStatuses: []cdtypes.DeploymentStatus{"Failed"}})
	if err != nil || len(list.Deployments) != 1 || list.Deployments[0] != bad {
		t.Errorf("failed deployments %+v, %v", list, err)
	}
	one, err := api.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &bad})
	if err != nil || one.DeploymentInfo.Status != cdtypes.DeploymentStatusFailed || *one.DeploymentInfo.Revision.GitHubLocation.CommitId != "def5678" || one.DeploymentInfo.CompleteTime == nil {
		t.Errorf("%+v, %v", one, err)
	}
	used, err := api.GetApplicationRevision(ctx, &codedeploy.GetApplicationRevisionInput{ApplicationName: app, Revision: &cdtypes.RevisionLocation{
		RevisionType: "GitHub", GitHubLocation: &cdtypes.GitHubLocation{Repository: aws.String("owner/shop"), CommitId: aws.String("abc1234")}}})
	if err != nil || len(used.RevisionInfo.DeploymentGroups) != 1 {
		t.Errorf("%+v, %v", used, err)
	}
	groups, err := api.ListDeploymentGroups(ctx, &codedeploy.ListDeploymentGroupsInput{ApplicationName: app})
	if err != nil || len(groups.DeploymentGroups) != 1 {
		t.Errorf("%+v, %v", groups, err)
	}
}
