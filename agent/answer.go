package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/hostcommand"
	"usher/agent/record"
	"usher/hooks"
	"usher/systemd"
)

// What CodeDeploy is told of its host commands. A result is on disk before it is sent, and sent until
// CodeDeploy has it; what it has is not sent again.

// reportTimeout bounds telling CodeDeploy how an event ended. CodeDeploy itself waits for an hour; what
// cannot be delivered in this time stands in the record, and is delivered after the next start.
//
// reportAttempt is how long one call with its retries may take before the watchdog is told that work goes on.
const (
	reportTimeout = 15 * time.Minute
	reportAttempt = time.Minute
)

// acknowledge tells CodeDeploy that a command was taken. When CodeDeploy does not take that, the command is over.
func (a *agent) acknowledge(ctx context.Context, cmd hostcommand.Command, noop bool) (status hostcommand.Status, err error) {
	began := time.Now()
	retryable := func(err error) bool {
		return hostcommand.Retryable(err) && time.Since(began) < pickUp && !a.isLeaving(ctx)
	}
	err = a.retries().DoIf(ctx, retryable, func() (err error) {
		status, err = a.clients.Commands.Acknowledge(ctx, cmd, noop)
		return err
	})
	if err != nil && ctx.Err() == nil && !hostcommand.Retryable(err) {
		a.letGo(ctx, cmd, err)
		a.deploy.Record.AppendOrLog(record.Entry{What: record.Reported, Command: cmd.ID, Error: err.Error()}, a.logError)
	}
	return status, err
}

// errUndelivered: CodeDeploy could not be reached with a result.
var errUndelivered = errors.New("cannot report a lifecycle event's result to CodeDeploy")

// refuse answers a command that is not carried out. CodeDeploy ends the deployment on this server with that: what
// the commands before it did is undone.
func (a *agent) refuse(ctx context.Context, cmd hostcommand.Command, why error) error {
	a.log.Error(fmt.Sprintf("refused the host command %s: %v", cmd.Event, why), systemd.ID(systemd.MessageCommandRefused))
	if err := a.appendCommand(cmd); err != nil {
		a.log.Error(err.Error())
	}
	if _, err := a.acknowledge(ctx, cmd, false); err != nil {
		return err
	}
	a.letGo(ctx, cmd, why)
	return a.answer(ctx, cmd, why)
}

// skip answers a command that there is nothing to do for.
func (a *agent) skip(ctx context.Context, cmd hostcommand.Command) error {
	status, err := a.acknowledge(ctx, cmd, true)
	if err != nil || status == hostcommand.Succeeded {
		return err
	}
	return a.tell(ctx, cmd.ID, hostcommand.Result{Message: "nothing to do"})
}

// updateNothing answers the command to update the agent, which is no event of a deployment: the record is not for it,
// and its specification is not asked for. It is answered as AWS's agents do, acknowledged as work and completed, with a
// success, because a failure would be one of a deployment.
func (a *agent) updateNothing(ctx context.Context, cmd hostcommand.Command) error {
	const why = "usher is updated by its package: nothing was done"
	status, err := a.clients.Commands.Acknowledge(ctx, cmd, false)
	if err != nil || status == hostcommand.Succeeded || status == hostcommand.Failed {
		return err
	}
	a.log.Info(fmt.Sprintf("CodeDeploy asks its agent to update itself (%s): %s", cmd.Event, why), systemd.ID(systemd.MessageUpdateDeclined))
	return a.tell(ctx, cmd.ID, hostcommand.Result{Message: why})
}

// answer records how a command ended, and tells CodeDeploy.
func (a *agent) answer(ctx context.Context, cmd hostcommand.Command, failure error) error {
	result := resultOf(failure)
	if last := a.state().Last; failure != nil && last != nil && last.Serving && strings.HasSuffix(cmd.Execution, "/"+last.ID) {
		result.Message += "\nrolled back: " + filepath.Base(last.Fallback) + " is live again"
	}
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("cannot encode the result of a host command: %w", err)
	}
	a.deploy.Record.AppendOrLog(record.Entry{What: record.Reporting, Command: cmd.ID, Result: string(text)}, a.logError)
	return a.deliver(ctx, record.Command{ID: cmd.ID, Result: string(text)}, cmd)
}

// deliver tells CodeDeploy a result that is in the record. When CodeDeploy does not take it, the event has ended
// for it, and with it the deployment on this server.
func (a *agent) deliver(ctx context.Context, done record.Command, cmd hostcommand.Command) error {
	var r hostcommand.Result
	if err := json.Unmarshal([]byte(done.Result), &r); err != nil {
		return fmt.Errorf("cannot read the result of a host command from the record: %w", err)
	}
	answered := record.Entry{What: record.Reported, Command: done.ID}
	err := a.tell(ctx, done.ID, r)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errUndelivered):
		return fmt.Errorf("%s of deployment %s: %w", cmd.Event, cmd.Execution[strings.LastIndexByte(cmd.Execution, '/')+1:], err) // tried again
	case err != nil:
		answered.Error = err.Error()
		a.log.Error(fmt.Sprintf("CodeDeploy does not take the result of %s: %v", cmd.Event, err), systemd.ID(systemd.MessageCommandRefused))
		a.letGo(ctx, cmd, err)
	}
	a.told = done.ID
	a.deploy.Record.AppendOrLog(answered, a.logError)
	if a.state().Open() == nil {
		a.deploy.Prune() // after CodeDeploy knows: it costs time
	}
	return nil
}

// tell is PutHostCommandComplete, tried for as long as it makes sense.
func (a *agent) tell(ctx context.Context, id string, r hostcommand.Result) error {
	for began := time.Now(); ; {
		try, cancel := context.WithTimeout(ctx, reportAttempt)
		err := a.clients.Commands.Complete(try, id, r)
		unreachable := try.Err() != nil
		cancel()
		a.notify.Alive()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil, !unreachable:
			return err
		case time.Since(began) > reportTimeout, a.isLeaving(ctx):
			return fmt.Errorf("%w: %v", errUndelivered, err)
		}
	}
}

// resultOf is a failure as CodeDeploy shows it in its console; nil is success.
func resultOf(failure error) hostcommand.Result {
	if failure == nil {
		return hostcommand.Result{Message: "Succeeded"}
	}
	r := hostcommand.Result{Code: hostcommand.UnknownError, Message: failure.Error()}
	if f := (*hooks.Failure)(nil); errors.As(failure, &f) {
		r.Code, r.Script, r.Log = hostcommand.Code(cmp.Or(f.Code, hooks.UnknownError)), f.Script.Location, f.Result.Tail
	}
	return r
}

// commandNotice puts what the client of host commands tells into the journal.
func (a *agent) commandNotice(n hostcommand.Event) {
	switch n.Kind {
	case hostcommand.Retrying:
		a.log.Warn(fmt.Sprintf("trying again in %s: %v", took(n.Next), n.Err), systemd.ID(systemd.MessageRetrying))
	case hostcommand.Recovered:
		a.log.Info(fmt.Sprintf("%s works again, after %s", n.Op, took(n.Failed)), systemd.ID(systemd.MessageRetrying))
	case hostcommand.SignerUnverified:
		a.log.Info(fmt.Sprintf("CodeDeploy's specifications are signed by %s (sha256 %s), whose certificate is not verified (signer_ca_file is not set): %s",
			n.Signer.Subject, n.Signer.Fingerprint, n.Signer.Remark), systemd.ID(systemd.MessageSignerUnchecked))
	}
}
