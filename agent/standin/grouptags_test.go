package standin_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/standin"
)

// Groups by their tags: every filter must match, and of a filter's values one.
func TestGroupsByTag(t *testing.T) {
	t.Parallel()
	c := start(t, standin.Options{})
	ctx := testContext(t)
	api := autoscaling.NewFromConfig(asUser(c))
	c.CreateGroup(standin.Group{Name: "web", Tags: map[string]string{"app": "shop", "stage": "production"}})
	c.CreateGroup(standin.Group{Name: "job", Tags: map[string]string{"app": "shop", "stage": "staging"}})
	c.CreateGroup(standin.Group{Name: "other"})
	tag := func(key string, values ...string) types.Filter {
		return types.Filter{Name: aws.String("tag:" + key), Values: values}
	}
	for _, q := range []struct {
		filters []types.Filter
		want    string
	}{
		{nil, "[job map[app:shop stage:staging] other map[] web map[app:shop stage:production]]"},
		{[]types.Filter{tag("app", "shop")}, "[job map[app:shop stage:staging] web map[app:shop stage:production]]"},
		{[]types.Filter{tag("app", "shop"), tag("stage", "production", "test")}, "[web map[app:shop stage:production]]"},
		{[]types.Filter{tag("app", "blog")}, "[]"},
	} {
		out, err := api.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{Filters: q.filters})
		if err != nil {
			t.Fatal(err)
		}
		got := []any{}
		for _, g := range out.AutoScalingGroups {
			tags := map[string]string{}
			for _, x := range g.Tags {
				tags[*x.Key] = *x.Value
			}
			got = append(got, *g.AutoScalingGroupName, tags)
		}
		if fmt.Sprint(got) != q.want {
			t.Errorf("%v, want %s", got, q.want)
		}
	}
}

// Many deployment groups in one call; one that is not there is left out, and told.
func TestBatchGetDeploymentGroups(t *testing.T) {
	t.Parallel()
	c := start(t, standin.Options{})
	ctx := testContext(t)
	api := codedeploy.NewFromConfig(asUser(c))
	c.CreateGroup(standin.Group{Name: "web"})
	c.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	c.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "staging"})
	out, err := api.BatchGetDeploymentGroups(ctx, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: aws.String("shop"),
		DeploymentGroupNames: []string{"production", "nowhere", "staging"}})
	if err != nil || len(out.DeploymentGroupsInfo) != 2 || *out.DeploymentGroupsInfo[0].AutoScalingGroups[0].Name != "web" ||
		*out.DeploymentGroupsInfo[1].DeploymentGroupName != "staging" || aws.ToString(out.ErrorMessage) != "No Deployment Group found for name: nowhere" {
		t.Errorf("%+v, %v", out, err)
	}
	for app, want := range map[string]string{"shop": "DeploymentGroupNameRequiredException", "blog": "ApplicationDoesNotExistException"} {
		groups := []string{}
		if app == "blog" {
			groups = []string{"x"}
		}
		_, err := api.BatchGetDeploymentGroups(ctx, &codedeploy.BatchGetDeploymentGroupsInput{ApplicationName: &app, DeploymentGroupNames: groups})
		if code(err) != want {
			t.Errorf("%s: %v, want %s", app, err, want)
		}
	}
}
