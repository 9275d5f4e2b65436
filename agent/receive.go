package main

import (
	"context"
	"time"

	"usher/agent/hostcommand"
	"usher/agent/retry"
)

// order is a host command on its way to the loop that carries it out. The next one is asked for when it is
// known what became of this: until CodeDeploy knows that a command was taken, it gives out the same again.
type order struct {
	hostcommand.Command
	taken chan error
}

// A command that comes again at once was not taken; a receiver that hurried would only write lines.
var redeliveryBackoff = retry.Backoff{Min: time.Second, Max: 30 * time.Second}

// receive polls for host commands until ctx ends, and hands them over one at a time.
func (a *agent) receive(ctx context.Context) (orders chan order, ended chan struct{}) {
	orders, ended = make(chan order), make(chan struct{})
	go func() {
		defer close(ended)
		for again, last := 0, ""; a.clients.Commands != nil; {
			next, err := a.clients.Commands.Next(ctx)
			if err != nil {
				return
			}
			o := order{next, make(chan error, 1)}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
			select {
			case err = <-o.taken:
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
	return orders, ended
}
