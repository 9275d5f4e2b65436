package standin_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/standin"
)

// What is easily taken for granted on the wire, and is otherwise: held against what the services were recorded to say.

// recordedGroup has the members of the deploymentGroupInfo of a group to which nothing was deployed, as the real service
// answered an inventory tool: present in every recording.
var recordedGroup = []string{
	"alarmConfiguration", "applicationName", "autoScalingGroups", "computePlatform", "deploymentConfigName", "deploymentGroupId",
	"deploymentGroupName", "deploymentStyle", "ec2TagFilters", "onPremisesInstanceTagFilters", "outdatedInstancesStrategy",
	"serviceRoleArn", "triggerConfigurations",
}

func TestTheMembersOfADeploymentGroup(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	seen := &recorder{}
	cfg := asUser(cloud)
	cfg.HTTPClient = seen
	members := func(g standin.DeploymentGroup) []string {
		t.Helper()
		g.Application, g.Name = "shop", "production"
		cloud.PutDeploymentGroup(g)
		if _, err := codedeploy.NewFromConfig(cfg).GetDeploymentGroup(t.Context(), &codedeploy.GetDeploymentGroupInput{
			ApplicationName: aws.String("shop"), DeploymentGroupName: aws.String("production")}); err != nil {
			t.Fatal(err)
		}
		var out struct{ DeploymentGroupInfo map[string]json.RawMessage }
		if err := json.Unmarshal(seen.body, &out); err != nil {
			t.Fatal(err)
		}
		if got := string(out.DeploymentGroupInfo["alarmConfiguration"]); got != `{"alarms":[],"enabled":false,"ignorePollAlarmFailure":false}` {
			t.Errorf("alarmConfiguration is %s", got)
		}
		return slices.Sorted(maps.Keys(out.DeploymentGroupInfo))
	}
	if got := members(standin.DeploymentGroup{}); !slices.Equal(got, recordedGroup) {
		t.Errorf("a new group has\n%q, want\n%q", got, recordedGroup)
	}
	got := members(standin.DeploymentGroup{AutoRollback: true, EC2Tags: map[string]string{"a": "b"}})
	want := append(slices.Clone(recordedGroup), "autoRollbackConfiguration", "ec2TagSet")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("where they are set it has\n%q, want\n%q", got, want)
	}
}

// startTime is there once the deployment has started.
func TestTheStartOfADeployment(t *testing.T) {
	t.Parallel()
	cloud, _, _ := oneHost(t, standin.Options{})
	cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}, StartAfter: time.Hour})
	id, err := cloud.Deploy("shop", "production", standin.GitHubRevision("o/r", strings.Repeat("a", 40)))
	if err != nil {
		t.Fatal(err)
	}
	api := codedeploy.NewFromConfig(asUser(cloud))
	if out, err := api.GetDeployment(t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: &id}); err != nil || out.DeploymentInfo.StartTime != nil {
		t.Errorf("before its start: %+v, %v", out, err)
	}
	done := cloud.PublishRevision("shop", "production", standin.GitHubRevision("o/r", strings.Repeat("b", 40)))
	if out, err := api.GetDeployment(t.Context(), &codedeploy.GetDeploymentInput{DeploymentId: &done}); err != nil || out.DeploymentInfo.StartTime == nil {
		t.Errorf("after it: %+v, %v", out, err)
	}
}

// The command after ApplicationStop, as an agent logged its identifier (issue 135 of aws/aws-codedeploy-agent; the account
// is another).
const loggedCommand = `{"deploymentId":"CodeDeploy/us-east-1/Prod/arn:aws:sds:us-east-1:123456789012:deployment/d-QMJ10MYTO",` +
	`"hostId":"arn:aws:ec2:us-east-1:123456789012:instance/i-0f5a37f4354c9906e","commandName":"DownloadBundle","commandPosition":2,"commandAttempt":1}`

// identifier is what a HostCommandIdentifier is made of.
func identifier(t *testing.T, id string) map[string]any {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(id)
	var parts []any
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	if err != nil || len(parts) != 2 {
		t.Fatalf("%s is %s, %v", id, text, err)
	}
	return parts[1].(map[string]any)
}

func TestCommandsAreCountedAsTheServiceDoes(t *testing.T) {
	t.Parallel()
	cloud, _, host := oneHost(t, standin.Options{})
	cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	if _, err := cloud.Deploy("shop", "production", standin.GitHubRevision("o/r", strings.Repeat("a", 40))); err != nil {
		t.Fatal(err)
	}
	first := host.poll().HostCommand
	host.ask("PutHostCommandAcknowledgement", fields{"HostCommandIdentifier": first.HostCommandIdentifier, "Diagnostics": diagnostics(fields{"IsCommandNoop": true})}, &acknowledged{})
	second := identifier(t, host.poll().HostCommand.HostCommandIdentifier)
	var want map[string]any
	if err := json.Unmarshal([]byte(loggedCommand), &want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"commandName", "commandPosition", "commandAttempt"} {
		if second[name] != want[name] {
			t.Errorf("%s is %v, and was logged as %v", name, second[name], want[name])
		}
	}
	if got, want := slices.Sorted(maps.Keys(second)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("an identifier has %q, and was logged with %q", got, want)
	}
}

// What no deployment of a server is, and the service may send: AWS's order to its own agent to update itself, a
// specification with a variant beside the generic one.
func TestOtherCommands(t *testing.T) {
	t.Parallel()
	cloud, inst, host := oneHost(t, standin.Options{})
	sent := event(standin.UpdateDeploymentAgent)
	sent.Variant = "blue"
	id := cloud.SendCommand(inst, sent)
	got := host.poll().HostCommand
	if got == nil || got.HostCommandIdentifier != id || got.CommandName != "UpdateDeploymentAgent" {
		t.Fatalf("polled %+v", got)
	}
	var spec map[string]any
	host.ask("GetDeploymentSpecification", fields{"DeploymentExecutionId": got.DeploymentExecutionId, "HostIdentifier": host.host}, &spec)
	all := spec["DeploymentSpecification"].(map[string]any)
	if all["VariantId"] != "blue" || all["VariantEnvelope"] == nil || all["GenericEnvelope"] == nil {
		t.Errorf("the specification has %q", slices.Sorted(maps.Keys(all)))
	}
	// An error code in words, which AWS's agents say of what they have no number for.
	host.ask("PutHostCommandComplete", fields{"HostCommandIdentifier": id, "CommandStatus": "Failed",
		"Diagnostics": diagnostics(fields{"error_code": "Unknown", "script_name": "", "message": "no", "log": ""})}, nil)
	if seen := cloud.HostCommands()[0]; seen.Status != "Failed" || seen.Diagnostics.Code != 5 {
		t.Errorf("CodeDeploy saw %+v", seen)
	}
}

// The statuses of a refusal: a JSON service says 400, a Query service 403.
func TestTheStatusOfARefusal(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.Fail("ListApplications", 1, standin.Fault{Code: "AccessDeniedException"})
	cloud.Fail("DescribeAutoScalingGroups", 1, standin.Fault{Code: "AccessDenied"})
	_, _ = codedeploy.NewFromConfig(asUser(cloud)).ListApplications(t.Context(), nil)
	_, _ = autoscaling.NewFromConfig(asUser(cloud)).DescribeAutoScalingGroups(t.Context(), nil)
	calls := cloud.Calls()
	if len(calls) != 2 || calls[0].Status != http.StatusBadRequest || calls[1].Status != http.StatusForbidden {
		t.Errorf("%+v", calls)
	}
}
