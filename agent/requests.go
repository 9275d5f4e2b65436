package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/record"
)

const (
	// handOver is how long a request waits for the agent's loop. The loop's own looks at metadata take
	// milliseconds, seldom a second; whatever takes longer is work that a request must not wait for.
	handOver = 3 * time.Second
	// lineBuffer is how many lines of progress wait for a client that does not read: more than a deployment has without
	// the output of its scripts. It misses what comes beyond; that is in the journal.
	lineBuffer = 512
)

// requests is what operators ask of the agent, by its control socket: it answers beside the agent's loop, or hands the
// loop what has to be done one at a time.
type requests struct {
	queue chan request // for serve's loop

	agent *agent // for the loop's requests only: the rest runs beside the agent, on values of its own
	cfg   config.Config
	log   *zap.Logger
	rec   *record.Record
	owner record.Owner

	socket *control.Server

	mu     sync.Mutex // guards what follows
	launch bool       // boot is at work
	fate   fate       // of the launch that boot is at work on
	until  time.Time  // when it is held: until when
	hold   *hold      // an operator's, or nil
}

// listen opens the control socket of an agent that has started. Without one the agent does all its work, so
// that it cannot be opened is a warning. Close ends what listen began.
func (a *agent) listen(ctx context.Context) *requests {
	c := &requests{
		queue: make(chan request), agent: a, cfg: a.cfg, log: a.log, rec: a.deploy.Record,
		owner:  record.Owner{Instance: a.me().InstanceID, Image: a.me().ImageID, Boot: a.me().BootID},
		launch: true, // boot comes next
	}
	c.hold = c.loadHold()
	var err error
	if c.socket, err = control.Listen(ctx, a.cfg.StateDir, a.log, c.answer); err != nil {
		a.log.Warn(fmt.Sprintf("hold, unhold and rollback will not reach this agent: %v", err))
	}
	return c
}

// close ends the socket and waits for its clients to be answered.
func (c *requests) close() { c.socket.Close() }
