// Package groups is the Auto Scaling groups of a deployment group and their lifecycle hooks, as who sets them up sees
// them: which groups there are, what hook each has, and what it would take for each to have usher's.
//
//	all, err := groups.Of(ctx, api, codedeploy, groups.Deployment{Application: "shop", Group: "production"})
//	change := groups.Compare(all[0], groups.Default())
//	err = groups.Put(ctx, api, change)
//
// A group belongs to a deployment group when CodeDeploy associates the two, or when it has the tags
// usher:application and usher:deployment-group of that name, which its instances inherit. Only a hook of the name that
// is asked for is ever written; those of others, and CodeDeploy's own (CodeDeploy-managed-*), are only told of.
//
// Caveats. Auto Scaling gives a hook to the instances that it launches from then on: one that waits already keeps
// what it began with. Between Compare and Put somebody else may write the same hook; the last one counts.
package groups

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
)

// API is the subset of *autoscaling.Client that this package calls.
type API interface {
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
	DescribeLifecycleHooks(context.Context, *autoscaling.DescribeLifecycleHooksInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHooksOutput, error)
	PutLifecycleHook(context.Context, *autoscaling.PutLifecycleHookInput, ...func(*autoscaling.Options)) (*autoscaling.PutLifecycleHookOutput, error)
}

// CodeDeploy is the subset of *codedeploy.Client that this package calls.
type CodeDeploy interface {
	GetDeploymentGroup(context.Context, *codedeploy.GetDeploymentGroupInput, ...func(*codedeploy.Options)) (*codedeploy.GetDeploymentGroupOutput, error)
}

// Tags that tie an Auto Scaling group, and the instances it launches, to a deployment group.
const (
	TagApplication = "usher:application"
	TagGroup       = "usher:deployment-group"
)

// Launching is the transition of a launch hook.
const Launching = "autoscaling:EC2_INSTANCE_LAUNCHING"

// Deployment names a deployment group.
type Deployment struct{ Application, Group string }

// Group is one Auto Scaling group.
type Group struct {
	Name       string
	Associated bool              // by CodeDeploy; else by its tags
	Tags       map[string]string // of a group that has both of usher's; nil otherwise
	Hooks      []Hook
}

// Hook is a lifecycle hook.
type Hook struct {
	Name          string
	Transition    string
	DefaultResult string
	Heartbeat     time.Duration
	Global        time.Duration // 0 when it is not known yet

	seen types.LifecycleHook // all that Auto Scaling said of it
}

// Managed reports whether CodeDeploy put the hook there, for its own launches.
func (h Hook) Managed() bool { return strings.HasPrefix(h.Name, "CodeDeploy-managed-") }

// Of are the groups of a deployment group, by name, each with its hooks. Errors are the services' own.
func Of(ctx context.Context, api API, cd CodeDeploy, d Deployment) ([]Group, error) {
	out, err := cd.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: &d.Application, DeploymentGroupName: &d.Group})
	if err != nil {
		return nil, err
	}
	found, tags := map[string]bool{}, map[string]map[string]string{} // whether it is associated
	if info := out.DeploymentGroupInfo; info != nil {
		for _, g := range info.AutoScalingGroups {
			found[aws.ToString(g.Name)] = true
		}
	}
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(api, &autoscaling.DescribeAutoScalingGroupsInput{Filters: []types.Filter{
		{Name: aws.String("tag:" + TagApplication), Values: []string{d.Application}},
		{Name: aws.String("tag:" + TagGroup), Values: []string{d.Group}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range page.AutoScalingGroups {
			name := aws.ToString(g.AutoScalingGroupName)
			if !found[name] {
				found[name] = false
			}
			tags[name] = map[string]string{}
			for _, t := range g.Tags {
				tags[name][aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
		}
	}
	var all []Group
	for _, name := range slices.Sorted(maps.Keys(found)) {
		hooks, err := Hooks(ctx, api, name)
		if err != nil {
			return nil, err
		}
		all = append(all, Group{Name: name, Associated: found[name], Tags: tags[name], Hooks: hooks})
	}
	return all, nil
}

// Hooks are the lifecycle hooks of a group, of every transition.
func Hooks(ctx context.Context, api interface {
	DescribeLifecycleHooks(context.Context, *autoscaling.DescribeLifecycleHooksInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHooksOutput, error)
}, group string) ([]Hook, error) {
	out, err := api.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
	if err != nil {
		return nil, err
	}
	var all []Hook
	for _, h := range out.LifecycleHooks {
		all = append(all, Hook{
			Name: aws.ToString(h.LifecycleHookName), Transition: aws.ToString(h.LifecycleTransition), DefaultResult: aws.ToString(h.DefaultResult),
			Heartbeat: seconds(h.HeartbeatTimeout), Global: seconds(h.GlobalTimeout), seen: h,
		})
	}
	return all, nil
}

func seconds(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Second }

// Default is the launch hook that usher wants: one whose timeout counts as a failed launch, and is noticed soon.
func Default() Hook {
	return Hook{Name: "usher-launch", Transition: Launching, DefaultResult: "ABANDON", Heartbeat: 5 * time.Minute}
}

// Change is what it takes for a group to have a hook.
type Change struct {
	Group  string
	New    bool         // there is no such hook yet
	Lines  []Difference // none: the hook is as it should be
	want   Hook
	before types.LifecycleHook
}

// Difference is one setting of a hook: what it is, and what it would be.
type Difference struct{ Setting, Is, WouldBe string }

// Compare is what it takes for a group to have the hook. A hook of that name for another transition is an error: it
// is somebody else's.
func Compare(g Group, want Hook) (Change, error) {
	c := Change{Group: g.Name, New: true, want: want}
	is := Hook{}
	for _, h := range g.Hooks {
		if h.Name != want.Name {
			continue
		}
		if h.Transition != want.Transition {
			return c, fmt.Errorf("the hook %s of group %s is for %s, so it is not usher's: choose another name with --hook", h.Name, g.Name, h.Transition)
		}
		c.New, c.before, is = false, h.seen, h
	}
	for _, d := range []Difference{
		{"transition", is.Transition, want.Transition},
		{"default result", is.DefaultResult, want.DefaultResult},
		{"heartbeat timeout", inSeconds(is.Heartbeat), inSeconds(want.Heartbeat)},
	} {
		if c.New {
			d.Is = ""
		}
		if d.Is != d.WouldBe {
			c.Lines = append(c.Lines, d)
		}
	}
	return c, nil
}

// inSeconds is a timeout as Auto Scaling has it.
func inSeconds(d time.Duration) string { return fmt.Sprintf("%d s", int(d.Seconds())) }

// Warnings are what else of a group's hooks keeps a launch from going as it should with the hook of this name.
func Warnings(g Group, name string) (all []string) {
	var others []string
	for _, h := range g.Hooks {
		switch {
		case h.Transition != Launching || h.Name == name:
		case h.Managed():
			all = append(all, fmt.Sprintf("group %s has CodeDeploy's own launch hook %s: each launch then waits for a deployment of CodeDeploy's as well; "+
				"select the servers by the tags %s and %s instead of associating the group", g.Name, h.Name, TagApplication, TagGroup))
		default:
			others = append(others, h.Name)
		}
	}
	if len(others) > 0 {
		all = append(all, fmt.Sprintf("group %s has another launch hook (%s): set lifecycle_hook: %s in the image's agent.yml, or the agent refuses to choose; "+
			"and somebody must complete the other one", g.Name, strings.Join(others, ", "), name))
	}
	return all
}

// Put makes a change. What the hook has besides (where it notifies, and with what) stays.
func Put(ctx context.Context, api API, c Change) error {
	in := &autoscaling.PutLifecycleHookInput{
		AutoScalingGroupName: &c.Group, LifecycleHookName: &c.want.Name, LifecycleTransition: &c.want.Transition,
		DefaultResult: &c.want.DefaultResult, HeartbeatTimeout: aws.Int32(int32(c.want.Heartbeat.Seconds())),
		NotificationMetadata: c.before.NotificationMetadata, NotificationTargetARN: c.before.NotificationTargetARN, RoleARN: c.before.RoleARN,
	}
	_, err := api.PutLifecycleHook(ctx, in)
	return err
}
