package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/lifecycle"
	"usher/agent/standin"
)

// What AWS documents and what was recorded of it, replayed to usher: no word of these answers is ours.

// Recordings of CodeDeploy's.
const (
	noRevision   = "codedeploy.GetDeploymentGroup_1.group_config_filter"    // group test of application test, of platform Lambda
	lambda       = "codedeploy.GetDeploymentGroup_1.deploymentgroup_delete" // group World of application c7n-abc, with a revision
	noGroup      = "codedeploy.GetDeploymentGroup_3.deploymentgroup_delete" // there is no group World
	listOfGroups = "codedeploy.ListDeploymentGroups_1.group_config_filter"  // of application test
	ofConfig     = "codedeploy.GetDeploymentConfig_1.group_config_filter"   // my-test-configuration
	instanceID   = "i-05b4f7d5be44822a6"                                    // the instance of DescribeAutoScalingInstances
	itsGroup     = "my-auto-scaling-group"                                  // its Auto Scaling group
	itsHook      = "my-lifecycle-hook"                                      // the group's hook, of DescribeLifecycleHooks
	putHook      = "my-launch-lifecycle-hook"                               // of PutLifecycleHook
)

func TestReplay(t *testing.T) {
	r := readRecordings(t)
	t.Cleanup(func() { // the stories run in parallel
		if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
			return // not all of them
		}
		answered, compared := 0, 0
		for half, n := range r.used {
			if strings.HasSuffix(half, " output") {
				answered += n
			} else {
				compared++
			}
		}
		t.Logf("%d examples replayed: %d answers to usher and to its clients, %d documented requests that usher makes or the stand-in takes", len(r.all), answered, compared)
		if left := r.unused(); len(left) > 0 {
			t.Errorf("replayed to nobody: %s", strings.Join(left, ", "))
		}
	})
	t.Run("the models", r.heldAgainstModels)
	t.Run("a launch, and no revision yet", r.launch)
	t.Run("a server in service", r.inService)
	t.Run("a group of Lambda", func(t *testing.T) {
		r.fails(t, lambda, "c7n-abc", "World", "cannot deploy the revision of deployment group World of application c7n-abc in eu-west-1: "+
			"the application's compute platform is Lambda, and usher deploys to servers: use an application of platform Server")
	})
	t.Run("a group of Lambda without a revision", func(t *testing.T) {
		r.fails(t, noRevision, "test", "test", "cannot deploy the revision of deployment group test of application test in eu-west-1: the application's compute platform is Lambda")
	})
	t.Run("no such group", func(t *testing.T) {
		r.fails(t, noGroup, "c7n-abc", "World", "cannot read deployment group World of application c7n-abc in eu-west-1: the application has no such deployment group: create it, or correct ",
			"DeploymentGroupDoesNotExistException: No Deployment Group found for name: World")
	})
	t.Run("a workstation", r.workstation)
	t.Run("the clients", r.clients)
	t.Run("the stand-in", r.standIn)
}

// replayed is the documented instance: a stage whose AWS is the recordings. It was launched so long ago that its hook is
// due a heartbeat at once.
func (r *recordings) replayed(t *testing.T, group, application, name string) (*stage, *replay, *standin.Instance) {
	s := newStage(t)
	s.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Hour}) // of the stand-in: what metadata's state comes from
	server := s.cloud.Launch("web", standin.LaunchOptions{Age: 45 * time.Minute})
	p := r.replay(t, s.cloud.Endpoint, group)
	s.config["application"], s.config["deployment_group"] = application, name
	s.env = []string{"AWS_ENDPOINT_URL=" + p.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + metadataOf(t, server, instanceID)}
	return s, p, server
}

// launching has the documented instance, which is in service, wait for its launch hook until its action is completed, and CodeDeploy
// answer when a heartbeat has come.
func (p *replay) launching() {
	beat, completed := make(chan struct{}), false
	p.changes("DescribeAutoScalingInstances", func(output map[string]any) {
		if !completed {
			output["AutoScalingInstances"].([]any)[0].(map[string]any)["LifecycleState"] = "Pending:Wait"
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready["GetDeploymentGroup"] = beat
	p.told = func(op string) {
		switch {
		case op == "RecordLifecycleActionHeartbeat" && beat != nil:
			close(beat)
			beat = nil
		case op == "CompleteLifecycleAction":
			completed = true
		}
	}
}

// asServer makes a deployment group of Lambda one of servers.
func asServer(output map[string]any) {
	output["deploymentGroupInfo"].(map[string]any)["computePlatform"] = "Server"
}

// A launch: the documented hook is found, held and completed with the documented requests. A group without a revision
// keeps the base.
func (r *recordings) launch(t *testing.T) {
	s, p, server := r.replayed(t, noRevision, "test", "test")
	p.launching()
	p.changes("GetDeploymentGroup", asServer)
	run := s.start(server, "-once")
	s.expect("exit code", itoa(run.wait()), "0")
	s.said(run, "launching in group "+itsGroup+" (Pending:Wait); its hook "+itsHook+" is usher's",
		"deployment group test of application test has no revision yet: "+s.path("opt/app")+" stays as it is",
		"completed the lifecycle action of hook "+itsHook+" with CONTINUE")
	s.expect("live", s.live(), "base")
	p.askedAll("CONTINUE")
}

// askedAll checks what a launch asks of Auto Scaling. An instance is known by its id: usher has no token.
func (p *replay) askedAll(result string) {
	p.Helper()
	p.asked("DescribeAutoScalingInstances", nil)
	p.asked("DescribeLifecycleHooks", nil)
	p.asked("RecordLifecycleActionHeartbeat", map[string]string{"LifecycleActionToken": "", "InstanceId": instanceID})
	p.asked("CompleteLifecycleAction", map[string]string{"LifecycleActionToken": "", "InstanceId": instanceID, "LifecycleActionResult": result})
	if n := p.times("CompleteLifecycleAction"); n != 1 {
		p.Errorf("the action was completed %d times", n)
	}
}

// The documented instance as it is: nothing waits for it.
func (r *recordings) inService(t *testing.T) {
	s, p, server := r.replayed(t, noRevision, "test", "test")
	p.changes("GetDeploymentGroup", asServer)
	run := s.start(server, "-once")
	s.expect("exit code", itoa(run.wait()), "0")
	s.said(run, "no lifecycle action to complete: ", itsGroup, "InService")
	s.expect("live", s.live(), "base")
	p.asked("DescribeAutoScalingInstances", nil)
	for _, op := range []string{"RecordLifecycleActionHeartbeat", "CompleteLifecycleAction", "DescribeLifecycleHooks"} {
		s.expect(op, itoa(p.times(op)), "0")
	}
}

// fails is a launch with an answer of CodeDeploy's that no server can be deployed by: the documented action is abandoned, and
// the reason is said.
func (r *recordings) fails(t *testing.T, answer, application, name string, want ...string) {
	s, p, server := r.replayed(t, answer, application, name)
	p.launching()
	run := s.start(server, "-once")
	s.expect("exit code", itoa(run.wait()), "1")
	s.said(run, append(want, "completed the lifecycle action of hook "+itsHook+" with ABANDON")...)
	s.expect("live", s.live(), "base")
	p.askedAll("ABANDON")
}

// The commands of a workstation: attach, doctor, deploy and deploy status.
func (r *recordings) workstation(t *testing.T) {
	h := newShop(t, 0, standin.DeploymentGroup{Application: "test", Name: "test"})
	env := func(application, group string) {
		h.write("shop/usher.yml", fmt.Sprintf("application: %s\nenvironments:\n  production:\n    deployment_group: %s\n    bucket: %s\n    region: %s\n    branch: origin/main\n",
			application, group, h.cloud.Bucket, h.cloud.Region))
	}
	at := func(names ...string) *replay {
		p := r.replay(t, h.cloud.Endpoint, names...)
		h.environ = []string{"AWS_ENDPOINT_URL=" + p.url}
		return p
	}
	env("test", "test")
	p := at(noRevision, listOfGroups)
	p.changes("GetDeploymentGroup", asServer)
	h.ended(h.usher("attach --dry-run --hook "+itsHook+" --heartbeat 5m production"), 0, itsGroup, "hook "+itsHook+" would change", "heartbeat timeout  3600 s -> 300 s\n\nA dry run")
	h.ended(h.usher("attach --yes --hook "+putHook+" --heartbeat 5m production"), 0, itsGroup+" has hook "+putHook)
	p.asked("DescribeLifecycleHooks", nil)
	p.asked("PutLifecycleHook", map[string]string{"DefaultResult": "ABANDON"}) // usher's hooks have no other
	h.expect("hooks put", itoa(p.times("PutLifecycleHook")), "1")

	h.ended(h.usher("doctor production"), 0, "ok       group        "+itsGroup,
		"hook "+itsHook+" of group "+itsGroup+" has a heartbeat timeout of 1h0m0s",
		"warning  revision     deployment group test of test has no successful deployment yet",
		"ok       one group    no other deployment group deploys to the servers of "+itsGroup,
		"ok       assumption   a deployment group has its alarmConfiguration, also without alarms",
		"ok       assumption   a hook's transition is autoscaling:EC2_INSTANCE_LAUNCHING or _TERMINATING: "+itsHook+" has ",
		"ok       assumption   an instance's lifecycle state is one that is documented: InService")
	if p.times("ListDeploymentGroups") == 0 {
		t.Error("doctor does not look at the groups of the account")
	}

	at(noRevision)
	h.ended(h.usher("deploy --dry-run production HEAD"), 1, "cannot deploy to application test: its compute platform is Lambda, and usher deploys to servers")
	env("c7n-abc", "World")
	at(lambda)
	h.ended(h.usher("deploy --dry-run production HEAD"), 1, "cannot deploy to application c7n-abc: its compute platform is Lambda, and usher deploys to servers")
	h.ended(h.usher("doctor production"), 1, "problem  revision     cannot deploy the revision of deployment group World of application c7n-abc in eu-west-1: the application's compute platform is Lambda")
	at(noGroup)
	const missing = "cannot read deployment group World of application c7n-abc: application c7n-abc has no deployment group World: correct deployment_group in usher.yml"
	h.ended(h.usher("deploy --dry-run production HEAD"), 1, missing)
	h.ended(h.usher("doctor production"), 1, "problem  revision     "+missing)
}

// The clients that usher calls decode every example as it is recorded, to the last member.
func (r *recordings) clients(t *testing.T) {
	anybody := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
	})
	scaling := func(p *replay) *autoscaling.Client {
		return autoscaling.New(autoscaling.Options{Region: "us-west-2", BaseEndpoint: &p.url, Credentials: anybody})
	}
	deploy := func(p *replay) *codedeploy.Client {
		return codedeploy.New(codedeploy.Options{Region: "us-west-2", BaseEndpoint: &p.url, Credentials: anybody})
	}
	const nowhere = "http://127.0.0.1:1" // all is answered from recordings
	p := r.replay(t, nowhere, noRevision, listOfGroups, ofConfig)
	decodes(t, p, "DescribeAutoScalingGroups", scaling(p).DescribeAutoScalingGroups, nil)
	decodes(t, p, "DescribeAutoScalingInstances", scaling(p).DescribeAutoScalingInstances, nil)
	decodes(t, p, "DescribeLifecycleHooks", scaling(p).DescribeLifecycleHooks, nil)
	decodes(t, p, "DescribeScalingActivities", scaling(p).DescribeScalingActivities, nil)
	transitions := decodes(t, p, "DescribeLifecycleHookTypes", scaling(p).DescribeLifecycleHookTypes, nil)
	if want := []string{lifecycle.Launching, lifecycle.Terminating}; !slices.Equal(transitions.LifecycleHookTypes, want) {
		t.Errorf("a hook's transition is %q to Auto Scaling, and %q to usher", transitions.LifecycleHookTypes, want)
	}
	test := map[string]any{"ApplicationName": "test", "DeploymentGroupName": "test"}
	decodes(t, p, noRevision, deploy(p).GetDeploymentGroup, test)
	decodes(t, p, listOfGroups, deploy(p).ListDeploymentGroups, map[string]any{"ApplicationName": "test"})
	decodes(t, p, ofConfig, deploy(p).GetDeploymentConfig, map[string]any{"DeploymentConfigName": "my-test-configuration"})
	p = r.replay(t, nowhere, lambda)
	decodes(t, p, lambda, deploy(p).GetDeploymentGroup, test)
}

// decodes makes a call, with the documented input when there is none, and compares what the client made of the answer with the recording.
func decodes[In, Out, Options any](t *testing.T, p *replay, name string, call func(context.Context, *In, ...func(*Options)) (*Out, error), input map[string]any) *Out {
	t.Helper()
	x := p.of(name)
	if input == nil {
		input = x.input
	}
	got, err := call(t.Context(), as[In](t, input))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	about := reflect.ValueOf(got).Elem().FieldByName("ResultMetadata")
	about.SetZero()
	if want := as[Out](t, withTimes(x.output, func(at time.Time) any { return at })); !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got: %s\nwant: %s", name, text(got), text(want))
	}
	return got
}

// as is what was recorded, as a type of the SDK, whose fields have the members' names; a member without one is an error.
func as[T any](t *testing.T, recorded any) *T {
	t.Helper()
	v := new(T)
	d := json.NewDecoder(strings.NewReader(text(recorded)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s is no %T: %v", text(recorded), v, err)
	}
	return v
}

func text(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return b.String()
}

// What is documented as a request is one to the stand-in, too; instances are its own, and it is told them instead of tokens.
func (r *recordings) standIn(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: itsGroup, NoReplacement: true})
	s.cloud.PutHook(itsGroup, standin.Hook{Name: itsHook, HeartbeatTimeout: time.Hour})
	server, other := s.cloud.Launch(itsGroup, standin.LaunchOptions{}), s.cloud.Launch(itsGroup, standin.LaunchOptions{})
	s.waitFor(server, standin.PendingWait)
	s.waitFor(other, standin.PendingWait)
	api := autoscaling.New(autoscaling.Options{Region: s.cloud.Region, BaseEndpoint: &s.cloud.Endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.cloud.AccessKey, SecretAccessKey: s.cloud.SecretKey}, nil
		})})
	takes(s, r, "PutLifecycleHook", api.PutLifecycleHook, "")
	takes(s, r, "DescribeAutoScalingGroups", api.DescribeAutoScalingGroups, "")
	takes(s, r, "DescribeLifecycleHooks", api.DescribeLifecycleHooks, "")
	takes(s, r, "DescribeScalingActivities", api.DescribeScalingActivities, "")
	takes(s, r, "DescribeAutoScalingInstances", api.DescribeAutoScalingInstances, server.ID)
	takes(s, r, "RecordLifecycleActionHeartbeat", api.RecordLifecycleActionHeartbeat, server.ID)
	takes(s, r, "CompleteLifecycleAction", api.CompleteLifecycleAction, server.ID)
	s.waitFor(server, standin.InService)
	s.expect("the answers", answers(server), itsHook+" CONTINUE")
	takes(s, r, "SetInstanceHealth", api.SetInstanceHealth, server.ID)
	s.waitFor(server, standin.Terminated)
	takes(s, r, "TerminateInstanceInAutoScalingGroup", api.TerminateInstanceInAutoScalingGroup, other.ID)
	s.waitFor(other, standin.Terminated)
}

// takes makes a documented request of the stand-in.
func takes[In, Out, Options any](s *stage, r *recordings, op string, call func(context.Context, *In, ...func(*Options)) (*Out, error), instance string) {
	s.Helper()
	x := r.of(op)
	input := map[string]any{}
	for name, value := range x.input {
		switch name {
		case "InstanceIds":
			value = []any{instance}
		case "InstanceId", "LifecycleActionToken":
			name, value = "InstanceId", instance
		}
		input[name] = value
	}
	if _, err := call(s.ctx, as[In](s.T, input)); err != nil {
		s.Errorf("%s as it is documented: %v", op, err)
	}
	r.use(x, "input")
}
