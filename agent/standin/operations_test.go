package standin_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"usher/agent/standin"
)

// What a person at `demo -serve` does to a group with an AWS CLI.
func TestAGroupByTheCLI(t *testing.T) {
	t.Parallel()
	needCLI(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	other := cloud.Launch("web", standin.LaunchOptions{})
	of := []string{"--auto-scaling-group-name", "web"}
	one := append(slices.Clone(of), "--instance-ids", server.ID)
	query := func(what string) []string { return []string{"--output", "json", "--query", what} }
	for _, c := range []struct {
		name, verb string
		args       []string
		want       string // an expression
	}{
		{"out of service", "enter-standby", slices.Concat(one, []string{"--should-decrement-desired-capacity"}, query("Activities[].StatusCode")), `^\["InProgress"\]$`},
		{"it is", "describe-auto-scaling-instances", slices.Concat([]string{"--instance-ids", server.ID}, query("AutoScalingInstances[].LifecycleState")), `^\["Standby"\]$`},
		{"once more", "enter-standby", slices.Concat(one, []string{"--should-decrement-desired-capacity"}), `\(ValidationError\).*The instance ` + server.ID + ` is not in InService`},
		{"back", "exit-standby", slices.Concat(one, query("Activities[].AutoScalingGroupName")), `^\["web"\]$`},
		{"protected", "set-instance-protection", slices.Concat(one, []string{"--protected-from-scale-in"}), `^$`},
		{"it is", "describe-auto-scaling-groups", query("AutoScalingGroups[0].Instances[].ProtectedFromScaleIn"), `^\[true,false\]$`},
		{"a warm pool", "put-warm-pool", slices.Concat(of, []string{"--min-size", "1", "--pool-state", "Running", "--instance-reuse-policy", "ReuseOnScaleIn=true"}), `^$`},
		{"its state", "describe-warm-pool", slices.Concat(of, query("[WarmPoolConfiguration.[MinSize,PoolState,InstanceReusePolicy.ReuseOnScaleIn],Instances[].LifecycleState]")),
			`^\[\[1,"Running",true\],\["Warmed:Running"\]\]$`},
		{"a detached one", "detach-instances", slices.Concat(of, []string{"--instance-ids", other.ID, "--should-decrement-desired-capacity"}, query("length(Activities)")), `^1$`},
		{"a refresh", "start-instance-refresh", slices.Concat(of, query("InstanceRefreshId")), `^"[0-9a-f-]{36}"$`},
		{"a group that is not empty", "delete-auto-scaling-group", of, `\(ResourceInUse\)`},
		{"by force", "delete-auto-scaling-group", slices.Concat(of, []string{"--force-delete"}), `^$`},
		{"it is gone", "describe-auto-scaling-groups", query("AutoScalingGroups"), `^\[\]$`},
	} {
		stdout, stderr, _ := cli(t, cloud, slices.Concat([]string{"autoscaling", c.verb}, c.args)...)
		if got := compact(strings.TrimSpace(stdout + stderr)); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: aws autoscaling %s\n got %s\nwant %s", c.name, c.verb, got, c.want)
		}
	}
	if got := other.State(); got != standin.Detached {
		t.Errorf("the detached one is %s", got)
	}
	for _, inst := range cloud.Instances() {
		if s := inst.State(); s != standin.Terminated && s != standin.WarmedTerminated && s != standin.Detached {
			t.Errorf("%s is %s after its group is gone", inst.ID, s)
		}
	}
}

// A refresh replaces what is in service, one after the other; a new strategy keeps the instance and replaces its disk.
func TestAnInstanceRefresh(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	api := autoscaling.NewFromConfig(asUser(cloud))
	refresh := func(strategy types.RefreshStrategy) error {
		_, err := api.StartInstanceRefresh(ctx, &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: aws.String("web"), Strategy: strategy})
		return err
	}
	drained := func(inst *standin.Instance) {
		t.Helper()
		if _, err := api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("drain"),
			InstanceId: &inst.ID, LifecycleActionResult: aws.String(standin.Continue)}); err != nil {
			t.Fatal(err)
		}
	}
	status := func() types.InstanceRefresh {
		t.Helper()
		out, err := api.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: aws.String("web")})
		if err != nil || len(out.InstanceRefreshes) == 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		return out.InstanceRefreshes[0]
	}
	ends := func() {
		t.Helper()
		for status().Status != types.InstanceRefreshStatusSuccessful {
			if ctx.Err() != nil {
				t.Fatalf("the refresh is %+v", status())
			}
		}
	}
	if err := refresh(""); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitFor(ctx, standin.TerminatingWait); err != nil {
		t.Fatal(err)
	}
	if got := status(); got.Status != types.InstanceRefreshStatusInProgress || *got.InstancesToUpdate != 1 || *got.PercentageComplete != 0 || got.EndTime != nil {
		t.Errorf("under way, it is %+v", got)
	}
	if err := refresh(""); code(err) != "InstanceRefreshInProgress" {
		t.Errorf("a second one: %v", err)
	}
	drained(server)
	ends()
	next, err := server.Replacement(ctx)
	if err != nil || next.State() != standin.InService || server.State() != standin.Terminated {
		t.Fatalf("%v, %v", next, err)
	}
	if err := refresh(types.RefreshStrategyReplaceRootVolume); err != nil {
		t.Fatal(err)
	}
	if err := next.WaitFor(ctx, standin.ReplacingRootWait); err != nil {
		t.Fatal(err)
	}
	drained(next)
	ends()
	if got, want := next.States()[len(next.States())-3:], []standin.State{standin.ReplacingRootProceed, standin.RootReplaced, standin.InService}; !slices.Equal(got, want) {
		t.Errorf("it ended as %v, want %v", got, want)
	}
}

// A hook that is deleted: "ABANDON for launching instances, CONTINUE for terminating instances".
func TestADeletedHook(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true})
	leaving := cloud.Launch("web", standin.LaunchOptions{})
	cloud.PutHook("web", standin.Hook{Name: "deploy"})
	cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	leaving.Terminate()
	launching := cloud.Launch("web", standin.LaunchOptions{})
	api := autoscaling.NewFromConfig(asUser(cloud))
	for _, hook := range []string{"deploy", "drain"} {
		if _, err := api.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: &hook}); err != nil {
			t.Fatal(err)
		}
	}
	for inst, want := range map[*standin.Instance]string{launching: standin.Abandon, leaving: standin.Continue} {
		if got := inst.Answers(); len(got) == 0 || got[0].Result != want || got[0].TimedOut || inst.State() != standin.Terminated {
			t.Errorf("%s is %s and was answered %+v, want %s", inst.ID, inst.State(), got, want)
		}
	}
}

// "Retained instances don't count toward desired capacity and remain until you call TerminateInstanceInAutoScalingGroup."
func TestARetainedInstance(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", RetainAbandoned: true})
	server := cloud.Launch("web", standin.LaunchOptions{})
	warm := cloud.Launch("web", standin.LaunchOptions{})
	cloud.PutHook("web", standin.Hook{Name: "drain", Transition: standin.OnTerminate})
	api := autoscaling.NewFromConfig(asUser(cloud))
	abandon := func(inst *standin.Instance) {
		t.Helper()
		if _, err := api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("drain"),
			InstanceId: &inst.ID, LifecycleActionResult: aws.String(standin.Abandon)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.SetInstanceHealth(ctx, &autoscaling.SetInstanceHealthInput{InstanceId: &server.ID, HealthStatus: aws.String("Unhealthy")}); err != nil {
		t.Fatal(err)
	}
	abandon(server)
	if _, err := server.Replacement(ctx); err != nil || server.State() != standin.TerminatingRetained {
		t.Errorf("it is %s, %v", server.State(), err)
	}
	warm.ReturnToPool()
	abandon(warm)
	seen, err := api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{server.ID, warm.ID}})
	if err != nil || len(seen.AutoScalingInstances) != 2 || *seen.AutoScalingInstances[0].LifecycleState != "Terminating:Retained" || *seen.AutoScalingInstances[1].LifecycleState != "Warmed:Pending:Retained" {
		t.Errorf("%+v, %v", seen, err)
	}
	before := len(cloud.Instances())
	for inst, want := range map[*standin.Instance]standin.State{server: standin.Terminated, warm: standin.WarmedTerminated} {
		if _, err := api.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &inst.ID, ShouldDecrementDesiredCapacity: aws.Bool(true)}); err != nil {
			t.Fatal(err)
		}
		if got := inst.State(); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
	if after := len(cloud.Instances()); after != before {
		t.Errorf("%d were launched for instances that did not count", after-before)
	}
}

// With Options.Eventual descriptions are behind, and nothing else is.
func TestDescriptionsThatAreBehind(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	const lag = 2 * time.Second
	cloud := start(t, standin.Options{Eventual: lag})
	cloud.CreateGroup(standin.Group{Name: "web"})
	cloud.PutHook("web", standin.Hook{Name: "deploy"})
	server := cloud.Launch("web", standin.LaunchOptions{})
	api := autoscaling.NewFromConfig(asUser(cloud))
	state := func() string {
		t.Helper()
		out, err := api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{server.ID}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.AutoScalingInstances) == 0 {
			return "not there"
		}
		return *out.AutoScalingInstances[0].LifecycleState
	}
	becomes := func(was, want string) {
		t.Helper()
		began := time.Now()
		if got := state(); got != was && time.Since(began) < lag/2 {
			t.Errorf("at once it is %s, want %s", got, was)
		}
		for state() != want {
			if ctx.Err() != nil {
				t.Fatalf("it is still %s, want %s", state(), want)
			}
		}
	}
	becomes("not there", "Pending:Wait")
	if _, err := api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy"),
		InstanceId: &server.ID, LifecycleActionResult: aws.String(standin.Continue)}); err != nil || server.State() != standin.InService {
		t.Fatalf("it is %s, %v", server.State(), err)
	}
	becomes("Pending:Wait", "InService")
	if _, err := api.DeleteLifecycleHook(ctx, &autoscaling.DeleteLifecycleHookInput{AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("deploy")}); err != nil {
		t.Fatal(err)
	}
	if hooks, err := api.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("web")}); err != nil || len(hooks.LifecycleHooks) != 1 {
		t.Errorf("a deleted hook is gone at once: %+v, %v", hooks, err)
	}
}
