package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy/types"

	"usher/agent/format"
	"usher/agent/retry"
)

// How often CodeDeploy is asked. Most deployments end within a minute and are watched by a person; the long
// ones share the account's request rate with everybody else.
const (
	pollInterval  = time.Second
	lookEveryLong = 5 * time.Second
	longAfter     = time.Minute
)

// rollbackGrace is how long after a failure the id of the automatic rollback is waited for. CodeDeploy creates
// it some seconds later.
const rollbackGrace = time.Minute

// Outcome is how a deployment ended.
type Outcome struct {
	Deployment string
	Status     string   // Succeeded, Failed or Stopped
	Reason     string   // why it failed or was stopped, in CodeDeploy's words
	Failed     []string // the instances on which it failed, also when enough others succeeded
	Why        string   // of the first of them: the event, the script, the line, the last output; "" when no event failed
	Instances  int      // on how many it succeeded
	Took       time.Duration

	// Rollback is what became of the automatic rollback, nil when there was none; NoRollback is why, if
	// CodeDeploy says so.
	Rollback   *Outcome
	NoRollback string
}

// Follow emits what happens in a deployment until it and its automatic rollback have ended. What had
// happened before is emitted as well, so that a deployment can be followed from any time on.
//
// A CodeDeploy that throttles or cannot be reached is asked again, for as long as ctx lasts. Follow ends early
// with the cause of ctx, or when CodeDeploy refuses to answer; the deployment goes on then, and the outcome is
// what was known last.
func Follow(ctx context.Context, api CodeDeploy, env Environment, id string, emit func(Event)) (Outcome, error) {
	return newFollower(api, env, id, emit).follow(ctx)
}

// ErrRunning is what Snapshot returns when the deployment, or its rollback, has not ended.
var ErrRunning = errors.New("the deployment is still running")

// Snapshot is Follow with one look, at what happened so far.
func Snapshot(ctx context.Context, api CodeDeploy, env Environment, id string, emit func(Event)) (Outcome, error) {
	f := newFollower(api, env, id, emit)
	f.once = true
	return f.follow(ctx)
}

// follower follows one deployment.
type follower struct {
	api    CodeDeploy
	env    Environment
	id     string
	undoes string // the deployment that this one rolls back
	emit   func(Event)
	began  time.Time
	once   bool // look once

	noRollback bool // none is to come

	targets     map[string]*target
	status      string
	done        int64
	unreachable bool // CodeDeploy did not answer the last time, and that was said
	out         Outcome
}

// target is what was emitted of an instance.
type target struct {
	status string
	events map[string]types.LifecycleEventStatus
}

func newFollower(api CodeDeploy, env Environment, id string, emit func(Event)) *follower {
	return &follower{api: api, env: env, id: id, emit: emit, began: time.Now(), targets: map[string]*target{}, out: Outcome{Deployment: id}}
}

func (f *follower) follow(ctx context.Context) (Outcome, error) {
	var ended time.Time // when the end was first seen, while its rollback is waited for
	for {
		info, err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			return f.out, context.Cause(ctx)
		case err != nil && (f.once || !retry.Transient(err)):
			return f.out, Explain("follow deployment "+f.id, f.env, err)
		case err != nil:
			if !f.unreachable {
				f.emit(Event{Time: time.Now().UTC(), Type: Notice, Deployment: f.id, Message: "CodeDeploy is not responding; retrying: " + oneLine(err)})
			}
			f.unreachable = true
		case HasEnded(f.out.Status):
			f.unreachable = false
			if ended.IsZero() {
				ended = time.Now()
			}
			if waiting, err := f.followRollback(ctx, info); !waiting || f.once || time.Since(ended) > rollbackGrace {
				return f.out, err
			}
		case f.once:
			return f.out, ErrRunning
		default:
			f.unreachable = false
		}
		every := pollInterval
		if time.Since(f.began) > longAfter {
			every = lookEveryLong
		}
		if !retry.Pause(ctx, every) {
			return f.out, context.Cause(ctx)
		}
	}
}

// look asks once, and emits what is new.
func (f *follower) look(ctx context.Context) (*types.DeploymentInfo, error) {
	out, err := f.api.GetDeployment(ctx, &codedeploy.GetDeploymentInput{DeploymentId: &f.id})
	if err != nil {
		return nil, err
	}
	info := out.DeploymentInfo
	if info == nil {
		return nil, errors.New("the answer is empty")
	}
	if f.out.Status != "" { // everything was emitted: the rollback alone is waited for
		return info, nil
	}
	switch {
	case !HasEnded(string(info.Status)):
		f.deployment(info)
	case f.undoes != "" && f.status == "": // over before the first look: what it is comes before what it did
		f.status = Created
		f.emit(Event{Time: aws.ToTime(info.CreateTime).UTC(), Type: DeploymentChanged, Deployment: f.id, Status: Created, RollbackOf: f.undoes})
	}
	if err := f.lookAtTargets(ctx); err != nil {
		return nil, err
	}
	if HasEnded(string(info.Status)) { // last, when all that led to it was said
		f.out.Status = string(info.Status)
		f.out.Took = aws.ToTime(info.CompleteTime).Sub(aws.ToTime(info.CreateTime))
		if e := info.ErrorInformation; e != nil {
			f.out.Reason = aws.ToString(e.Message)
		}
		f.deployment(info)
	}
	return info, nil
}

// deployment emits a change of the deployment itself.
func (f *follower) deployment(info *types.DeploymentInfo) {
	e := Event{Time: time.Now().UTC(), Type: DeploymentChanged, Deployment: f.id, Status: string(info.Status), RollbackOf: f.undoes}
	if o := info.DeploymentOverview; o != nil {
		e.Done = o.Succeeded + o.Failed + o.Skipped
		e.Total = e.Done + o.Pending + o.InProgress + o.Ready
	}
	if e.Status == f.status && e.Done == f.done {
		return
	}
	if e.Status != f.status {
		e.Time = cmpTime(changedAt(info))
	}
	f.status, f.done = e.Status, e.Done
	if why := info.ErrorInformation; why != nil {
		e.Code, e.Message = string(why.Code), aws.ToString(why.Message)
	}
	f.emit(e)
}

// changedAt is when a deployment came to the status it has.
func changedAt(info *types.DeploymentInfo) *time.Time {
	switch {
	case HasEnded(string(info.Status)):
		return info.CompleteTime
	case info.Status == types.DeploymentStatusCreated:
		return info.CreateTime
	case info.Status == types.DeploymentStatusInProgress:
		return info.StartTime
	}
	return nil
}

// followRollback follows the automatic rollback of the deployment, which has ended, when there is one. waiting tells that
// there will be, and that its id is not known yet.
func (f *follower) followRollback(ctx context.Context, info *types.DeploymentInfo) (waiting bool, err error) {
	if f.noRollback || f.out.Status == Succeeded || info.Creator == types.DeploymentCreatorCodeDeployRollback {
		return false, nil
	}
	if r := info.RollbackInfo; r != nil && aws.ToString(r.RollbackDeploymentId) != "" {
		undo := newFollower(f.api, f.env, *r.RollbackDeploymentId, f.emit)
		undo.undoes, undo.once = f.id, f.once
		out, err := undo.follow(ctx)
		f.out.Rollback = &out
		return false, err
	} else if r != nil && aws.ToString(r.RollbackMessage) != "" {
		f.out.NoRollback = *r.RollbackMessage
		return false, nil
	}
	rule := info.AutoRollbackConfiguration
	if rule == nil { // the group's then
		out, err := f.api.GetDeploymentGroup(ctx, &codedeploy.GetDeploymentGroupInput{ApplicationName: info.ApplicationName, DeploymentGroupName: info.DeploymentGroupName})
		if err != nil || out.DeploymentGroupInfo == nil {
			return true, nil // it is asked again, while the grace lasts
		}
		rule = out.DeploymentGroupInfo.AutoRollbackConfiguration
	}
	if rule == nil || !rule.Enabled {
		return false, nil
	}
	if f.out.Status == Failed {
		return slices.Contains(rule.Events, types.AutoRollbackEventDeploymentFailure), nil
	}
	return slices.Contains(rule.Events, types.AutoRollbackEventDeploymentStopOnRequest) ||
		slices.Contains(rule.Events, types.AutoRollbackEventDeploymentStopOnAlarm), nil
}

// oneLine is an error in a line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// FailureText is the outcome in a sentence, "" when all is well.
func (o Outcome) FailureText() string {
	on := ""
	if len(o.Failed) > 0 {
		on = " on " + format.AtMost(3, o.Failed)
	}
	text := fmt.Sprintf("deployment %s %s", o.Deployment, InWords(o.Status))
	switch {
	case o.Status == Succeeded && on == "":
		return ""
	case o.Status == Succeeded:
		return text + ", but failed" + on
	case o.Status == Stopped && on != "":
		text += ", and had failed"
	}
	text += on
	if o.Why == "" && o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}
