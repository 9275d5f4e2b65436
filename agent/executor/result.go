package executor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"usher/agent/hostcommand"
	"usher/agent/record"
	"usher/hooks"
	"usher/systemd"
)

// reportTimeout bounds telling CodeDeploy how an event ended. CodeDeploy itself waits for an hour; what
// cannot be reported in this time stands in the record, and is reported after the next start.
//
// reportAttempt is how long one call with its retries may take before the watchdog is told that work goes on.
const (
	reportTimeout = 15 * time.Minute
	reportAttempt = time.Minute
)

// acknowledge tells CodeDeploy that a command was taken.
func (e *Executor) acknowledge(ctx context.Context, cmd hostcommand.Command, nothing bool) (status hostcommand.Status, err error) {
	err = e.inTime(ctx, func() (err error) {
		status, err = e.Client.Acknowledge(ctx, cmd, nothing)
		return err
	})
	return status, err
}

// ending is how a command ended.
type ending struct {
	failure  error  // why its deployment does not go on here; nil: it does, or has succeeded
	recorded string // the result as the record has it, of one that was carried out before
	known    bool   // CodeDeploy knows how it ended, or takes no result
}

// errNotReported: CodeDeploy could not be reached with a result.
var errNotReported = errors.New("cannot report a lifecycle event's result to CodeDeploy")

// conclude brings a command to its end, when CodeDeploy knows how it ended. It is the only place that abandons a deployment:
// one that has failed, before CodeDeploy is told; and one whose result CodeDeploy does not take, since the event has ended for
// it then, and with it the deployment on this server.
func (e *Executor) conclude(ctx context.Context, cmd hostcommand.Command, end ending) error {
	if end.failure != nil {
		e.abandon(ctx, cmd, end.failure)
	}
	if end.known {
		reported := record.Entry{What: record.Reported, Command: cmd.ID}
		if end.failure != nil {
			reported.Error = end.failure.Error()
		}
		e.lastReported = cmd.ID
		e.On.Record.AppendOrLog(reported, e.logError)
		return nil
	}
	refused, err := e.report(ctx, cmd, end)
	if err != nil {
		return err
	}
	if err := e.conclude(ctx, cmd, ending{failure: refused, known: true}); err != nil {
		return err
	}
	if e.past().Open() == nil {
		e.On.Prune() // after CodeDeploy knows: it costs time
	}
	return nil
}

// report tells CodeDeploy how a command ended, once that is on disk. refused is why CodeDeploy does not take it.
func (e *Executor) report(ctx context.Context, cmd hostcommand.Command, end ending) (refused, err error) {
	var result hostcommand.Result
	if end.recorded != "" {
		if err := json.Unmarshal([]byte(end.recorded), &result); err != nil {
			return nil, fmt.Errorf("cannot read the result of a host command from the record: %w", err)
		}
	} else {
		result = e.resultOf(cmd, end.failure)
		text, err := json.Marshal(result)
		if err != nil {
			return nil, fmt.Errorf("cannot encode the result of a host command: %w", err)
		}
		e.On.Record.AppendOrLog(record.Entry{What: record.Reporting, Command: cmd.ID, Result: string(text)}, e.logError)
	}
	err = e.complete(ctx, cmd.ID, result)
	switch {
	case err == nil, ctx.Err() != nil:
		return nil, err
	case errors.Is(err, errNotReported):
		return nil, fmt.Errorf("%s of deployment %s: %w", cmd.Event, deploymentOf(cmd.Execution), err) // tried again
	}
	e.On.Log.Error(fmt.Sprintf("CodeDeploy does not take the result of %s: %v", cmd.Event, err), systemd.ID(systemd.MessageCommandRefused))
	return err, nil
}

// complete is PutHostCommandComplete, tried for as long as it makes sense.
func (e *Executor) complete(ctx context.Context, id string, r hostcommand.Result) error {
	for began := time.Now(); ; {
		try, cancel := context.WithTimeout(ctx, reportAttempt)
		err := e.Client.Complete(try, id, r)
		unreachable := try.Err() != nil
		cancel()
		e.On.Notify.Alive()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil, !unreachable:
			return err
		case time.Since(began) > reportTimeout, e.Terminating(ctx):
			return fmt.Errorf("%w: %v", errNotReported, err)
		}
	}
}

// declineUpdate answers the command to update the agent, which is no event of a deployment: the record is not for it,
// and its specification is not asked for. It is answered as AWS's agents do, acknowledged as work and completed, with a
// success, because a failure would be one of a deployment.
func (e *Executor) declineUpdate(ctx context.Context, cmd hostcommand.Command) error {
	const why = "usher is updated by its package: nothing was done"
	status, err := e.Client.Acknowledge(ctx, cmd, false)
	if err != nil || status == hostcommand.Succeeded || status == hostcommand.Failed {
		return err
	}
	e.On.Log.Info(fmt.Sprintf("CodeDeploy asks its agent to update itself (%s): %s", cmd.Event, why), systemd.ID(systemd.MessageUpdateDeclined))
	return e.complete(ctx, cmd.ID, hostcommand.Result{Message: why})
}

// resultOf is how a command ended as CodeDeploy shows it in its console; no failure is success.
func (e *Executor) resultOf(cmd hostcommand.Command, failure error) hostcommand.Result {
	if failure == nil {
		return hostcommand.Result{Message: "Succeeded"}
	}
	r := hostcommand.Result{Code: hostcommand.UnknownError, Message: failure.Error()}
	if f := (*hooks.Failure)(nil); errors.As(failure, &f) {
		r.Code, r.Script, r.Log = hostcommand.Code(cmp.Or(f.Code, hooks.UnknownError)), f.Script.Location, f.Result.Tail
	}
	if last := e.past().Last; last != nil && last.Serving && deploymentOf(cmd.Execution) == last.ID {
		r.Message += "\nrolled back: " + filepath.Base(last.Fallback) + " is live again"
	}
	return r
}

func (e *Executor) logError(err error) { e.On.Log.Error(err.Error()) }
