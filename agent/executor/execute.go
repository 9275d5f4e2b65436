// Package executor carries out the host commands by which CodeDeploy drives a deployment: one for each lifecycle event, by the
// same steps as at a launch. Between two commands the record alone knows where the deployment is.
//
//	e := &executor.Executor{On: deployer, Revisions: finder, Client: client, Retries: policy, Terminating: terminating, Staying: staying}
//	launched := e.PickUp(ctx)           // while the server launches, a command is taken, and carried out later
//	launched()
//	err := e.Resume(ctx)                // the command that an earlier agent left, before CodeDeploy is asked for more
//	commands, ended := e.Poll(ctx)
//	for d := range commands { err = e.Take(ctx, d) }
//
// The contract:
//
//   - A command is recorded, acknowledged, carried out and reported, in this order. Recorded first, because CodeDeploy does
//     not give out again what was acknowledged. Of a deployment that is under way here the specification is asked for beside
//     the acknowledgement, and the next command beside the result: an event costs two round trips.
//   - A result is on disk before it is sent, and sent until CodeDeploy has it; what it has is not sent again. A command that
//     was carried out is never carried out again, but its result reported.
//   - A deployment that has failed, or that CodeDeploy has failed on this server, is rolled back, in one place
//     (Executor.conclude): what was live is live again before CodeDeploy is told. One that CodeDeploy drops without a word is rolled
//     back too ([Executor.RollBackStopped]).
//   - What is for another deployment group, or cannot be understood, is answered with a failure and changes nothing. What
//     CodeDeploy starts by itself of a release that is live and good already is answered without doing anything.
//   - CodeDeploy fails a command that no server takes in five minutes. In a launch that takes more than one, a command is
//     recorded and acknowledged, and carried out when the launch is over ([Executor.PickUp]): for the event itself CodeDeploy
//     waits an hour. So CodeDeploy's own hook and usher's can hold the same launch, and neither waits for the other for ever.
//   - One command at a time: Resume, Take and RollBackStopped are for one goroutine, that of the caller.
package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"usher/agent/deployment"
	"usher/agent/hostcommand"
	"usher/agent/record"
	"usher/agent/retry"
	"usher/agent/revision"
	"usher/agent/source"
	"usher/systemd"
)

// Executor carries out the host commands of one server.
type Executor struct {
	On          *deployment.Deployer
	Revisions   *source.Finder
	Client      *hostcommand.Client                                       // nil: CodeDeploy's deployments are not answered
	Retries     retry.Policy                                              // of calls that may pass
	QuietPeriod time.Duration                                             // how long after a command CodeDeploy's account of its group may lag
	Terminating func(context.Context) bool                                // Auto Scaling is terminating this instance: nothing is waited for
	Staying     func(context.Context) (work context.Context, done func()) // a context for work that ends when that is so

	lastCommand  time.Time // when a command was carried out last; zero before Poll
	lastReported string    // ID of the last command whose result CodeDeploy has; in memory because the record may not have taken it (disk full)
	lastSkipped  string    // the deployment whose commands are answered without doing anything
	pollOn       func()    // lets Poll ask for the command after the one that Take carries out; nil: none is
	pickedUp     string    // ID of the command that was taken during the launch
	checkedAt    time.Time // when CodeDeploy was asked about a deployment that it is silent about
}

// acknowledgeTimeout is less than the five minutes that CodeDeploy gives a command to be acknowledged.
const acknowledgeTimeout = 4 * time.Minute

// execute carries a host command out. The error is one that keeps CodeDeploy from knowing how the event ended.
func (e *Executor) execute(ctx context.Context, cmd hostcommand.Command) error {
	if cmd.Event == hostcommand.UpdateAgent {
		return e.declineUpdate(ctx, cmd)
	}
	defer func() { e.lastCommand = time.Now() }()
	if done := e.past().Command; done != nil && done.ID == cmd.ID && done.Result != "" {
		return e.conclude(ctx, cmd, ending{recorded: done.Result})
	}
	var todo work
	var refused error
	beside := e.goesOn(cmd)
	if !beside {
		if todo, refused = e.understand(ctx, cmd); ctx.Err() != nil {
			return refused
		}
	}
	todo.skipped = refused == nil && !beside && e.skips(todo)
	refused = cmp.Or(refused, e.accept(cmd, todo.skipped, refused))
	todo.nothing = todo.skipped || refused == nil && !beside && e.On.Nothing(cmd.Event, todo.DeploymentID)
	nothing := todo.nothing // todo is asking's until that has ended
	var asking sync.WaitGroup
	if beside && refused == nil {
		asking.Go(func() { todo, refused = e.understand(ctx, cmd) })
	}
	status, err := e.acknowledge(ctx, cmd, nothing)
	asking.Wait()
	if err != nil && (ctx.Err() != nil || hostcommand.Retryable(err)) {
		return err // CodeDeploy gives it out again
	}
	if refused != nil && ctx.Err() == nil {
		e.On.Log.Error(fmt.Sprintf("refused the host command %s: %v", cmd.Event, refused), systemd.ID(systemd.MessageCommandRefused))
	}
	end := ending{failure: cmp.Or(err, refused), known: err != nil} // what CodeDeploy does not let be taken is over
	if end.failure == nil {
		end = e.run(ctx, cmd, todo, status)
	}
	if retry.Stopped(ctx, end.failure) {
		return end.failure // the next start goes on from the record
	}
	if e.pollOn != nil && err == nil {
		e.pollOn() // CodeDeploy hands out no more what was acknowledged (AWS's own agent polls beside its work too): the next poll is there when the result is
	}
	return cmp.Or(e.conclude(ctx, cmd, end), err)
}

// work is what a command is about.
type work struct {
	hostcommand.Specification
	rev     revision.Revision // pinned
	nothing bool              // there is nothing to run for its event
	skipped bool              // nor for any other of its deployment
}

// run runs the event of a command that was acknowledged, unless CodeDeploy answers that it has ended.
func (e *Executor) run(ctx context.Context, cmd hostcommand.Command, todo work, status hostcommand.Status) ending {
	if ended := status == hostcommand.Succeeded || status == hostcommand.Failed; ended && !todo.nothing {
		why := fmt.Errorf("CodeDeploy has ended %s of deployment %s already (%s): it is not run", cmd.Event, todo.DeploymentID, status)
		e.On.Log.Warn(why.Error(), systemd.ID(systemd.MessageCommandRefused))
		if status == hostcommand.Succeeded {
			why = nil
		}
		return ending{failure: why, known: true}
	} else if todo.skipped {
		return ending{known: ended}
	}
	d, err := e.On.Begin(ctx, deployment.Request{ID: todo.DeploymentID, By: record.ByCommand, Source: e.Revisions.From(todo.rev), FileExists: todo.FileExists})
	if err == nil {
		staying, done := e.Staying(ctx)
		err = d.Event(staying, cmd.Event)
		done()
	}
	return ending{failure: err, known: err == nil && todo.nothing && status == hostcommand.Succeeded} // of nothing, CodeDeploy wants to know no more
}

// goesOn says that a command is of the deployment that this server has begun, and has work to do: its acknowledgement goes
// beside the question for its specification, as AWS's agents have asked in either order. Of another one the specification
// says whether it is taken at all, and what has nothing to do has ended when that is acknowledged: a refusal would come too late.
func (e *Executor) goesOn(cmd hostcommand.Command) bool {
	id := deploymentOf(cmd.Execution)
	return e.entry(id) != nil && !e.On.Nothing(cmd.Event, id)
}

// accept records a command, unless it is there from an earlier try. One that is skipped is not refused because the disk is
// full. A failure is logged where it is not why the command is refused.
func (e *Executor) accept(cmd hostcommand.Command, skipped bool, refused error) (err error) {
	if due := e.past().CommandDue(); due == nil || due.ID != cmd.ID {
		entry := record.Entry{What: record.Commanded, Command: cmd.ID, Execution: cmd.Execution, Step: cmd.Event}
		if skipped {
			e.On.Record.AppendOrLog(entry, e.logError)
		} else {
			err = e.On.Record.Append(entry)
		}
	}
	if refused != nil && err != nil {
		e.On.Log.Error(err.Error())
	}
	return err
}

// abandon rolls back the open deployment of a command that CodeDeploy has failed on this server, or will: a stopped
// application is started again.
func (e *Executor) abandon(ctx context.Context, cmd hostcommand.Command, why error) {
	open := e.past().Open()
	if open != nil && open.By == record.ByCommand && (cmd.Execution == "" || strings.HasSuffix(cmd.Execution, "/"+open.ID)) {
		e.On.Abandon(ctx, open, why)
	}
}

// Resume takes up the host command that the record has as not answered: an earlier agent ended while it
// carried it out, or CodeDeploy could not be told.
func (e *Executor) Resume(ctx context.Context) error {
	due := e.past().CommandDue()
	if due == nil || e.Client == nil || due.ID == e.lastReported {
		return nil
	}
	cmd := hostcommand.Command{ID: due.ID, Execution: due.Execution, Event: due.Event}
	if due.Result != "" {
		return e.conclude(ctx, cmd, ending{recorded: due.Result})
	}
	if e.lastCommand.IsZero() && cmd.ID != e.pickedUp {
		e.On.Log.Info(fmt.Sprintf("resuming deployment %s in %s after an agent restart", deploymentOf(due.Execution), due.Event),
			systemd.ID(systemd.MessageResumed), zap.String("lifecycle_event", due.Event))
	}
	return e.execute(ctx, cmd)
}

// Quiet says that a command was carried out a moment ago: CodeDeploy's account of its group may be late.
func (e *Executor) Quiet() bool { return time.Since(e.lastCommand) < e.QuietPeriod }

// finalizeAfter: CodeDeploy gives an event an hour. No traffic event follows a deployment after that.
const finalizeAfter = 90 * time.Minute

// RollBackStopped rolls back a deployment by commands that CodeDeploy has ended, or stopped, without telling this
// server: it just sends no more. The application may have been stopped for it. It is to be called now and then.
func (e *Executor) RollBackStopped(ctx context.Context) error {
	open := e.past().Open()
	if open == nil || open.By != record.ByCommand {
		if last := e.past().Last; last != nil && !last.Ended.IsZero() && time.Since(last.Ended) > finalizeAfter {
			e.On.Finalize()
		}
		return nil
	}
	if e.Quiet() || time.Since(e.checkedAt) < e.QuietPeriod {
		return nil
	}
	e.checkedAt = time.Now()
	rev, err := e.Revisions.Look(ctx)
	switch {
	case rev.Group == "" || err != nil && rev.GroupID == "":
		return fmt.Errorf("cannot see whether deployment %s goes on: %w", open.ID, err)
	case rev.Underway != open.ID:
		e.On.Abandon(ctx, open, errors.New("CodeDeploy has ended this deployment, and did not finish it here"))
	}
	return nil
}

// past is what was done on this server.
func (e *Executor) past() record.State { return e.On.Record.State() }

// deploymentOf is the deployment's id in CodeDeploy's id of an execution.
func deploymentOf(execution string) string {
	return execution[strings.LastIndexByte(execution, '/')+1:]
}
