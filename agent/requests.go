//go:build linux && !developer

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/record"
)

const (
	// handOverTimeout is how long a request waits for the agent's loop. The loop's own looks at metadata take
	// milliseconds, seldom a second; whatever takes longer is work that a request must not wait for.
	handOverTimeout = 3 * time.Second
	// clientBuffer is how many lines of progress wait for a client that does not read: more than a deployment has without
	// the output of its scripts. It misses what comes beyond; that is in the journal.
	clientBuffer = 512
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

	mu      sync.Mutex // guards what follows
	launch  bool       // boot is at work
	failed  time.Time  // when the launch failed, zero while boot has not said so
	givenUp bool       // it failed, and is being abandoned: a hold comes too late
	hold    *hold      // an operator's, or nil
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
	if c.socket, err = control.Listen(ctx, a.cfg.StateDir, a.log, c.respond); err != nil {
		a.log.Warn(fmt.Sprintf("hold, unhold and rollback will not reach this agent: %v", err))
	}
	return c
}

// close ends the socket and waits for its clients to be answered.
func (c *requests) close() { c.socket.Close() }

// respond does what a client asks, and returns the last line of it.
func (c *requests) respond(ctx context.Context, what control.Request, say func(control.Response)) control.Response {
	switch what.Do {
	case control.Status:
		return control.Response{Agent: c.status()}
	case control.Hold:
		return c.holdLaunch(what.For)
	case control.Unhold:
		return c.endHold()
	case control.Rollback:
		return c.handOver(ctx, what, say)
	}
	return control.Declined(cli.ExitUsage, "the agent, usher %s, does not know how to %q: is it of another version than this command? systemctl restart usher", cli.Version(), what.Do)
}

// status is what only the agent knows.
func (c *requests) status() *control.AgentStatus {
	s := &control.AgentStatus{Version: cli.Version(), Application: c.cfg.Application, DeploymentGroup: c.cfg.DeploymentGroup}
	s.Doing, _ = c.underWay()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Hold = c.holding()
	return s
}

// underWay is what a request would have to wait for, "" for nothing. unfinished says that it is a deployment
// of which no step is being done: more of CodeDeploy's commands are to come, or it was stopped in between.
func (c *requests) underWay() (what string, unfinished bool) {
	if open := c.rec.State().Open(); open != nil {
		if n := len(open.Started); n > 0 && open.Interrupted(open.Started[n-1]) {
			return fmt.Sprintf("a deployment is under way: %s, %s", open.ID, open.Started[n-1]), false
		}
		return fmt.Sprintf("a deployment is under way: %s, between two steps", open.ID), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isHeld():
		return "the launch of this instance failed, and is held", false
	case c.launch:
		return "the launch of this instance is under way", false
	}
	return "", false
}

// handOver hands a request to the agent's loop and tells its client what becomes of it. What cannot begin at once
// is refused: a rollback that begins later than its operator thinks is no help.
func (c *requests) handOver(ctx context.Context, what control.Request, say func(control.Response)) control.Response {
	const later = "%s. Try again when it is over: usher status"
	busy, unfinished := c.underWay()
	switch {
	case unfinished && !what.Force:
		return control.Declined(cli.ExitFailed, "%s. If nothing goes on with it, because it was stopped at CodeDeploy: usher rollback --force gives it up first", busy)
	case busy != "" && !unfinished:
		return control.Declined(cli.ExitFailed, later, busy)
	}
	r := request{ask: what, agent: c.agent, lines: make(chan string, clientBuffer), outcome: make(chan control.Response, 1)}
	late := time.NewTimer(handOverTimeout)
	defer late.Stop()
	select {
	case c.queue <- r:
	case <-ctx.Done():
		return control.Declined(cli.ExitFailed, "the agent is being stopped")
	case <-late.C:
		if busy, _ = c.underWay(); busy == "" {
			busy = "the agent has other work"
		}
		return control.Declined(cli.ExitFailed, later, busy)
	}
	for {
		select {
		case line := <-r.lines:
			say(control.Response{Line: line})
		case last := <-r.outcome:
			for len(r.lines) > 0 { // all were sent before the outcome
				say(control.Response{Line: <-r.lines})
			}
			return last
		}
	}
}

// request is work that the agent's loop does, one at a time with all else that it does.
type request struct {
	ask     control.Request
	agent   *agent
	lines   chan string           // what goes on
	outcome chan control.Response // with room for the one
}

// do does the work, in the agent's loop. The client learns what became of it, and so does the journal.
func (r request) do(ctx context.Context) { r.outcome <- r.agent.rollBackTo(ctx, r.ask, r) }

// Write passes a line of the journal on to the client. It never holds the work up.
func (r request) Write(line []byte) (int, error) {
	select {
	case r.lines <- strings.TrimSuffix(string(line), "\n"):
	default:
	}
	return len(line), nil
}
