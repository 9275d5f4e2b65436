package executor

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"usher/agent/format"
	"usher/agent/hostcommand"
	"usher/agent/retry"
	"usher/systemd"
)

// Delivery hands a host command to the loop that carries it out. The next poll waits until it was acknowledged and carried
// out, because CodeDeploy hands out the same command until then, and none other before it has the result.
type Delivery struct {
	command hostcommand.Command
	result  chan error
}

// A command that comes again at once was not taken; a poll that hurried would only write lines.
var redeliveryBackoff = retry.Backoff{Min: time.Second, Max: 30 * time.Second}

// Poll asks for host commands until ctx ends, and hands them over one at a time, for Take. ended is closed when it asks no more.
func (e *Executor) Poll(ctx context.Context) (commands <-chan Delivery, ended <-chan struct{}) {
	deliveries, over := make(chan Delivery), make(chan struct{})
	e.lastCommand = time.Now() // what came before it nobody knows
	go func() {
		defer close(over)
		for again, last := 0, ""; e.Client != nil; {
			next, err := e.Client.Next(ctx)
			if err != nil {
				return
			}
			d := Delivery{next, make(chan error, 1)}
			select {
			case deliveries <- d:
			case <-ctx.Done():
				return
			}
			select {
			case err = <-d.result:
			case <-ctx.Done():
				return
			}
			if err == nil && next.ID != last {
				again, last = 0, next.ID
				continue
			}
			if !retry.Pause(ctx, redeliveryBackoff.Next(again)) {
				return
			}
			again, last = again+1, next.ID
		}
	}()
	return deliveries, over
}

// pickUpAfter is how long a launch may take before the command that CodeDeploy has for this server is taken in its midst.
// CodeDeploy gives a command five minutes.
const pickUpAfter = time.Minute

// PickUp takes one command of CodeDeploy's while a launch is at work that takes long: it is recorded and acknowledged, so
// that CodeDeploy does not fail it, and with it the launch that CodeDeploy's own lifecycle hook holds. Nothing else is done:
// Resume carries it out when the launch is over, which end says and waits for.
func (e *Executor) PickUp(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		if e.Client != nil && retry.Pause(ctx, pickUpAfter) {
			e.pickUp(ctx)
		}
	}()
	return func() { cancel(); <-over }
}

func (e *Executor) pickUp(ctx context.Context) {
	cmd, err := e.Client.Next(ctx)
	last := e.past().Command
	if err != nil || cmd.Event == hostcommand.UpdateAgent || last != nil && (!last.Reported || last.ID == cmd.ID) {
		return // not for the time of a launch
	}
	if err := e.accept(cmd, false, nil); err != nil {
		return // it has not begun, and is given out again
	}
	e.pickedUp = cmd.ID
	if _, err := e.acknowledge(ctx, cmd, false); err != nil {
		return // Resume does it again, and says it
	}
	e.On.Log.Info(fmt.Sprintf("picked up %s of deployment %s: it is carried out after the launch", cmd.Event, deploymentOf(cmd.Execution)),
		systemd.ID(systemd.MessageCommandPickedUp), zap.String("lifecycle_event", cmd.Event))
}

// Take carries out a command that Poll has handed over. The error is one that keeps CodeDeploy from knowing how the event
// ended; how it ended is no error here.
func (e *Executor) Take(ctx context.Context, d Delivery) error {
	tell := func(err error) {
		select {
		case d.result <- err:
		default: // the poll goes on already
		}
	}
	e.pollOn = func() { tell(nil) }
	err := e.execute(ctx, d.command)
	e.pollOn = nil
	tell(err)
	return err
}

// Notify is what puts the events of a client of host commands into a journal.
func Notify(log *zap.Logger) func(hostcommand.Event) {
	return func(n hostcommand.Event) {
		switch n.Kind {
		case hostcommand.Retrying:
			log.Warn(fmt.Sprintf("trying again in %s: %v", format.Duration(n.Next), n.Err), systemd.ID(systemd.MessageRetrying))
		case hostcommand.Recovered:
			log.Info(fmt.Sprintf("%s works again, after %s", n.Op, format.Duration(n.Failed)), systemd.ID(systemd.MessageRetrying))
		case hostcommand.SignerUnverified:
			log.Info(fmt.Sprintf("CodeDeploy's specifications are signed by %s (sha256 %s), whose certificate is not verified (signer_ca_file is not set): %s",
				n.Signer.Subject, n.Signer.Fingerprint, n.Signer.Remark), systemd.ID(systemd.MessageSignerUnchecked))
		}
	}
}
