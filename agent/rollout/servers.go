package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// AutoScaling is the subset of *autoscaling.Client that Servers calls.
type AutoScaling interface {
	DescribeAutoScalingGroups(context.Context, *autoscaling.DescribeAutoScalingGroupsInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingGroupsOutput, error)
	DescribeScalingActivities(context.Context, *autoscaling.DescribeScalingActivitiesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeScalingActivitiesOutput, error)
}

// Server is a server of an environment, as CodeDeploy and Auto Scaling know it. Neither looks at a server's disk: what a person
// did on the server itself is not in here.
type Server struct {
	ID, Group     string // Group is "" for one that is selected by tags
	State, Health string // Auto Scaling's words; "" for one that is in none of the groups
	Launched      time.Time
	Revision      Revision
	Since         time.Time
	By            string // ByDeployment, ByLaunch, or "" when it cannot be known
	Deployment    string // that brought the revision; for ByLaunch the one that was the last successful one when the launch began
	Failed        string // a later deployment that failed here: the agent restored what was live
	Underway      string // a deployment that has not ended here
}

// How a server got what it runs.
const (
	ByDeployment = "deployment" // CodeDeploy says that it succeeded there
	ByLaunch     = "launch"     // the launch succeeded, and what it brought was the group's revision then
)

// deploymentsBack is how many deployments are looked at for the one that a server has.
const deploymentsBack = 50

// Servers are the servers of the environment's group, and the launches of the last day that failed, the newest first.
func Servers(ctx context.Context, api CodeDeploy, scaling AutoScaling, env Environment, g Group) (all []Server, failed []FailedLaunch, err error) {
	began := map[string]autoscalingtypes.Activity{}
	for _, name := range g.AutoScalingGroups {
		of, err := inGroup(ctx, scaling, env, name)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, of...)
		more, err := launches(ctx, scaling, env, name, of, began)
		if err != nil {
			return nil, nil, err
		}
		failed = append(failed, more...)
	}
	slices.SortStableFunc(failed, func(a, b FailedLaunch) int { return b.Time.Compare(a.Time) })
	past, err := List(ctx, api, env, deploymentsBack)
	if err != nil {
		return nil, nil, err
	}
	if len(g.Tags) > 0 {
		if all, err = addTagged(ctx, api, env, all, past); err != nil {
			return nil, nil, err
		}
	}
	at := map[string]*Server{}
	for i := range all {
		s := &all[i]
		s.Launched = aws.ToTime(began[s.ID].StartTime)
		at[s.ID] = s
	}
	if err := deployed(ctx, api, env, at, past); err != nil {
		return nil, nil, err
	}
	for i := range all {
		if a, ok := began[all[i].ID]; ok && all[i].By == "" && a.StatusCode == autoscalingtypes.ScalingActivityStatusCodeSuccessful {
			all[i].launched(a, past)
		}
	}
	return all, failed, nil
}

// Fleet is how many servers of an environment there are for a deployment.
type Fleet struct {
	InService, Launching int
	Others               int  // in standby, say
	Known                bool // false where tags select servers, which Auto Scaling does not list
}

// None tells whether there is nothing to deploy to.
func (f Fleet) None() bool { return f.Known && f.InService+f.Launching+f.Others == 0 }

// String is the fleet in a plan, "" when it is not known.
func (f Fleet) String() string {
	if !f.Known {
		return ""
	}
	text := fmt.Sprintf("%d in service", f.InService)
	if f.Launching > 0 {
		text += fmt.Sprintf(", %d launching", f.Launching)
	}
	if f.Others > 0 {
		text += fmt.Sprintf(", %d others", f.Others)
	}
	return text
}

// CountServers counts the servers of the environment's group.
func CountServers(ctx context.Context, scaling AutoScaling, env Environment, g Group) (f Fleet, err error) {
	if len(g.Tags) > 0 || len(g.AutoScalingGroups) == 0 {
		return f, nil
	}
	for _, name := range g.AutoScalingGroups {
		all, err := inGroup(ctx, scaling, env, name)
		if err != nil {
			return Fleet{}, err
		}
		for _, s := range all {
			switch state := autoscalingtypes.LifecycleState(s.State); {
			case state == autoscalingtypes.LifecycleStateInService:
				f.InService++
			case strings.HasPrefix(s.State, "Pending"):
				f.Launching++
			case strings.HasPrefix(s.State, "Terminat"), strings.HasPrefix(s.State, "Warmed"), strings.HasPrefix(s.State, "Detach"):
			default:
				f.Others++
			}
		}
	}
	f.Known = true
	return f, nil
}

// inGroup are the servers of an Auto Scaling group.
func inGroup(ctx context.Context, scaling AutoScaling, env Environment, name string) (all []Server, err error) {
	out, err := scaling.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}})
	if err != nil {
		return nil, Explain("read Auto Scaling group "+name, env, err)
	}
	for _, g := range out.AutoScalingGroups {
		for _, i := range g.Instances {
			all = append(all, Server{ID: aws.ToString(i.InstanceId), Group: name, State: string(i.LifecycleState), Health: aws.ToString(i.HealthStatus)})
		}
	}
	return all, nil
}

// addTagged adds the servers that are in no group: the targets of the newest deployment that began.
func addTagged(ctx context.Context, api CodeDeploy, env Environment, all []Server, past []Deployment) ([]Server, error) {
	for _, d := range past {
		if launchOnly(d) {
			continue
		}
		ids, err := targetsOf(ctx, api, env, d.ID)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if !slices.ContainsFunc(all, func(s Server) bool { return s.ID == id }) {
				all = append(all, Server{ID: id})
			}
		}
		if len(ids) > 0 {
			break
		}
	}
	return all, nil
}

// launchOnly tells whether CodeDeploy made a deployment for a single server that comes or goes.
func launchOnly(d Deployment) bool {
	return d.Creator == string(types.DeploymentCreatorAutoscaling) || d.Creator == string(types.DeploymentCreatorAutoscalingTermination)
}

// targetsOf are the servers of a deployment, none when it has not begun.
func targetsOf(ctx context.Context, api CodeDeploy, env Environment, id string) (ids []string, err error) {
	for in := (&codedeploy.ListDeploymentTargetsInput{DeploymentId: &id}); ; {
		page, err := api.ListDeploymentTargets(ctx, in)
		if early := (*types.DeploymentNotStartedException)(nil); errors.As(err, &early) {
			return nil, nil
		}
		if err != nil {
			return nil, Explain("list the servers of deployment "+id, env, err)
		}
		ids = append(ids, page.TargetIds...)
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			return ids, nil
		}
	}
}

// deployed finds for each server the newest deployment that succeeded there since its launch, and what came after that.
func deployed(ctx context.Context, api CodeDeploy, env Environment, at map[string]*Server, past []Deployment) error {
	for _, d := range past {
		open := func(id string) bool {
			s := at[id]
			return s != nil && s.By == "" && (d.Ended.IsZero() || d.Ended.After(s.Launched))
		}
		some := false
		for id := range at {
			some = some || open(id)
		}
		if !some {
			continue
		}
		ids, err := targetsOf(ctx, api, env, d.ID)
		if err != nil {
			return err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return !open(id) })
		for part := range slices.Chunk(ids, targetsAtOnce) {
			out, err := api.BatchGetDeploymentTargets(ctx, &codedeploy.BatchGetDeploymentTargetsInput{DeploymentId: aws.String(d.ID), TargetIds: part})
			if err != nil {
				return Explain("read the servers of deployment "+d.ID, env, err)
			}
			for _, t := range out.DeploymentTargets {
				if t.InstanceTarget != nil {
					at[aws.ToString(t.InstanceTarget.TargetId)].had(d, t.InstanceTarget)
				}
			}
		}
	}
	return nil
}

// had is what a deployment did on the server; the newest is told first.
func (s *Server) had(d Deployment, t *types.InstanceTarget) {
	switch t.Status {
	case types.TargetStatusSucceeded:
		s.Revision, s.By, s.Deployment, s.Since = d.Revision, ByDeployment, d.ID, aws.ToTime(t.LastUpdatedAt)
	case types.TargetStatusFailed:
		s.Failed = cmp.Or(s.Failed, d.ID)
	case types.TargetStatusPending, types.TargetStatusInProgress, types.TargetStatusReady:
		if !HasEnded(d.Status) {
			s.Underway = cmp.Or(s.Underway, d.ID)
		}
	}
}

// launched is what the server got by its launch: the group's revision at that time, that of the newest deployment that had
// succeeded when it began. When another one succeeded in the midst of it, nobody here can tell which of the two.
func (s *Server) launched(a autoscalingtypes.Activity, past []Deployment) {
	for _, d := range past {
		ended := d.Ended.Truncate(time.Second) // Auto Scaling's times are whole seconds
		if d.Status != Succeeded || launchOnly(d) || ended.After(aws.ToTime(a.EndTime)) {
			continue
		}
		if !ended.After(aws.ToTime(a.StartTime)) {
			s.Revision, s.By, s.Deployment, s.Since = d.Revision, ByLaunch, d.ID, aws.ToTime(a.EndTime)
		}
		return
	}
}
