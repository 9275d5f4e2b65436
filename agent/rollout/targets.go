package rollout

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"
)

// targetsAtOnce is how many targets one BatchGetDeploymentTargets may name.
const targetsAtOnce = 25

// lookAtTargets emits what happened on the instances, in the order in which it happened.
func (f *follower) lookAtTargets(ctx context.Context) error {
	var open []string // instances on which more may happen
	for in := (&codedeploy.ListDeploymentTargetsInput{DeploymentId: &f.id}); ; {
		page, err := f.api.ListDeploymentTargets(ctx, in)
		if early := (*types.DeploymentNotStartedException)(nil); errors.As(err, &early) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, id := range page.TargetIds {
			if t := f.targets[id]; t == nil || !terminal(t.status) {
				open = append(open, id)
			}
		}
		if in.NextToken = page.NextToken; aws.ToString(in.NextToken) == "" {
			break
		}
	}
	var news []Event
	for ids := range slices.Chunk(open, targetsAtOnce) {
		out, err := f.api.BatchGetDeploymentTargets(ctx, &codedeploy.BatchGetDeploymentTargetsInput{DeploymentId: &f.id, TargetIds: ids})
		if err != nil {
			return err
		}
		for _, t := range out.DeploymentTargets {
			if t.InstanceTarget != nil {
				news = append(news, f.instance(t.InstanceTarget)...)
			}
		}
	}
	slices.SortStableFunc(news, func(a, b Event) int { return a.Time.Compare(b.Time) })
	for _, e := range news {
		f.emit(e)
	}
	return nil
}

// instance is what is new on an instance.
func (f *follower) instance(now *types.InstanceTarget) (news []Event) {
	id := aws.ToString(now.TargetId)
	was := f.targets[id]
	if was == nil {
		was = &target{events: map[string]types.LifecycleEventStatus{}}
		f.targets[id] = was
	}
	var first, last time.Time // of all events
	for _, e := range now.LifecycleEvents {
		if e.StartTime != nil && (first.IsZero() || e.StartTime.Before(first)) {
			first = *e.StartTime
		}
		if e.EndTime != nil && e.EndTime.After(last) {
			last = *e.EndTime
		}
	}
	status := string(now.Status)
	changed := status != was.status
	e := Event{Time: cmpTime(now.LastUpdatedAt), Type: InstanceChanged, Deployment: f.id, Instance: id, Status: status}
	if changed && !terminal(status) {
		if !first.IsZero() {
			e.Time = first.UTC()
		}
		news = append(news, e)
	}
	news = append(news, f.lifecycle(id, was, now.LifecycleEvents)...)
	if changed && terminal(status) {
		if !last.IsZero() {
			e.Time, e.Seconds = last.UTC(), seconds(last.Sub(first))
		}
		news = append(news, e)
		switch status {
		case Failed:
			f.out.Failed = append(f.out.Failed, id)
		case Succeeded:
			f.out.Instances++
		}
	}
	was.status = status
	return news
}

// lifecycle is what is new in an instance's lifecycle events. Those that were skipped are left out: something
// before them failed, and that was said.
func (f *follower) lifecycle(id string, was *target, events []types.LifecycleEvent) (news []Event) {
	for at, now := range events {
		name := aws.ToString(now.LifecycleEventName)
		if now.Status == was.events[name] {
			continue
		}
		was.events[name] = now.Status
		e := Event{Type: LifecycleEvent, Deployment: f.id, Instance: id, Event: name, Status: string(now.Status), Done: int64(at), Total: int64(len(events))}
		switch now.Status {
		case types.LifecycleEventStatusInProgress:
			e.Time = cmpTime(now.StartTime)
		case types.LifecycleEventStatusSucceeded, types.LifecycleEventStatusFailed:
			e.Time, e.Done = cmpTime(now.EndTime), e.Done+1
			if now.StartTime != nil && now.EndTime != nil {
				e.Seconds = seconds(now.EndTime.Sub(*now.StartTime))
			}
		default:
			continue
		}
		if d := now.Diagnostics; d != nil && now.Status == types.LifecycleEventStatusFailed {
			e.Code, e.Script, e.Message, e.Log = string(d.ErrorCode), aws.ToString(d.ScriptName), aws.ToString(d.Message), aws.ToString(d.LogTail)
		}
		if e.Status == Failed && f.out.Why == "" {
			f.out.Why = reason(e)
		}
		news = append(news, e)
	}
	return news
}

// cmpTime is the time the service gives, or now.
func cmpTime(t *time.Time) time.Time { return cmp.Or(aws.ToTime(t), time.Now()).UTC() }

// seconds is a duration to the millisecond, the precision of the service's times.
func seconds(d time.Duration) float64 { return max(d, 0).Round(time.Millisecond).Seconds() }
