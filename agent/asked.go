package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// What the agent answers on its control socket.

// What can be asked, as the value of ask.Do.
const (
	askStatus   = "status"
	askHold     = "hold"
	askRelease  = "release"
	askRollback = "rollback"
)

// ask is what a client wants.
type ask struct {
	Do      string        `json:"do"`
	For     time.Duration `json:"for,omitempty"`     // of hold: how long; 0 for the configuration's hold_timeout
	Release string        `json:"release,omitempty"` // of rollback: to which; "" for the newest good one of another revision than the live one
	Force   bool          `json:"force,omitempty"`   // of rollback: also to one that is not good, also over a deployment that was left unfinished
}

// answer is one line of what the client is told.
type answer struct {
	Line string `json:"line,omitempty"` // what goes on, as a person reads it in the journal

	Done  bool         `json:"done,omitempty"`  // the last one: what follows is set
	Code  int          `json:"code,omitempty"`  // exit code of the command
	Text  string       `json:"text,omitempty"`  // for standard output
	Error string       `json:"error,omitempty"` // for standard error
	Agent *agentStatus `json:"agent,omitempty"` // of status
}

// declined is an answer that nothing was done for.
func declined(code int, format string, args ...any) answer {
	return answer{Code: code, Error: fmt.Sprintf(format, args...)}
}

// answer does what a client asks, and returns the last line of it.
func (c *control) answer(ctx context.Context, what ask, say func(answer)) answer {
	switch what.Do {
	case askStatus:
		return answer{Agent: c.status()}
	case askHold:
		return c.keep(what.For)
	case askRelease:
		return c.letGo()
	case askRollback:
		return c.ask(ctx, what, say)
	}
	return declined(exitUsage, "the agent, usher %s, does not know how to %q: is it of another version than this command? systemctl restart usher", version(), what.Do)
}

// status is what only the agent knows.
func (c *control) status() *agentStatus {
	s := &agentStatus{Version: version(), Application: c.cfg.Application, DeploymentGroup: c.cfg.DeploymentGroup}
	s.Doing, _ = c.underWay()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Hold = c.holding()
	return s
}

// underWay is what a request would have to wait for, "" for nothing. unfinished says that it is a deployment
// of which no step is being done: more of CodeDeploy's commands are to come, or it was stopped in between.
func (c *control) underWay() (what string, unfinished bool) {
	if open := c.rec.State().Open(); open != nil {
		if n := len(open.Started); n > 0 && open.Interrupted(open.Started[n-1]) {
			return fmt.Sprintf("a deployment is under way: %s, %s", open.ID, open.Started[n-1]), false
		}
		return fmt.Sprintf("a deployment is under way: %s, between two steps", open.ID), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.launch && c.fate == fateHeld:
		return "the launch of this instance failed, and is held", false
	case c.launch:
		return "the launch of this instance is under way", false
	}
	return "", false
}

// ask hands a request to the agent's loop and tells its client what becomes of it. What cannot begin at once
// is refused: a rollback that begins later than its operator thinks is no help.
func (c *control) ask(ctx context.Context, what ask, say func(answer)) answer {
	const later = "%s. Try again when it is over: usher status"
	busy, unfinished := c.underWay()
	switch {
	case unfinished && !what.Force:
		return declined(exitFailed, "%s. If nothing goes on with it, because it was stopped at CodeDeploy: usher rollback --force gives it up first", busy)
	case busy != "" && !unfinished:
		return declined(exitFailed, later, busy)
	}
	r := request{ask: what, agent: c.agent, lines: make(chan string, toldAhead), outcome: make(chan answer, 1)}
	late := time.NewTimer(handOver)
	defer late.Stop()
	select {
	case c.requests <- r:
	case <-ctx.Done():
		return declined(exitFailed, "the agent is being stopped")
	case <-late.C:
		if busy, _ = c.underWay(); busy == "" {
			busy = "the agent has other work"
		}
		return declined(exitFailed, later, busy)
	}
	for {
		select {
		case line := <-r.lines:
			say(answer{Line: line})
		case last := <-r.outcome:
			for len(r.lines) > 0 { // all were sent before the outcome
				say(answer{Line: <-r.lines})
			}
			return last
		}
	}
}

// request is work that the agent's loop does, one at a time with all else that it does.
type request struct {
	ask     ask
	agent   *agent
	lines   chan string // what goes on
	outcome chan answer // with room for the one
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

// rollBackTo deploys a release that is on disk, with all the steps of a deployment. What goes on is also
// written to w.
func (a *agent) rollBackTo(ctx context.Context, what ask, w request) answer {
	to, refused := a.choose(what.Release, what.Force)
	if refused.Error != "" {
		return refused
	}
	log := a.log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewTee(core, systemd.NewConsole(w, zapcore.InfoLevel))
	}))
	log.Info(fmt.Sprintf("an operator rolls this server back to release %s (%s), as it was left here: nothing is downloaded", to.ID, to.Revision))
	err := a.deployRelease(ctx, to, log)
	switch {
	case retry.Stopped(ctx, err):
		return declined(exitFailed, "the agent was stopped in the middle of it. When it is started again: usher status")
	case err != nil:
		return declined(exitFailed, "%s", format.FirstLine(err))
	}
	return answer{Text: "release " + to.ID + " is live, as it was left"}
}

// choose is the release that a rollback is to: the named one, by a beginning of its name that no other has,
// or the newest good one of another revision than the live one. One that is not good is refused, unless that is meant.
func (a *agent) choose(name string, force bool) (release.Release, answer) {
	all, err := a.deploy.Layout.All()
	if err != nil {
		return release.Release{}, declined(exitFailed, "%v", err)
	}
	_, live, err := a.deploy.Layout.Live()
	if err != nil {
		return release.Release{}, declined(exitFailed, "%v", err)
	}
	slices.SortFunc(all, func(x, y release.Release) int { return y.Time.Compare(x.Time) })
	now, _ := a.deploy.Layout.Load(live)
	sameCode := func(r release.Release) bool {
		return deployment.SameRevision(r.ID, live) || r.Revision == now.Revision || r.ETag != "" && r.ETag == now.ETag
	}
	var named []release.Release
	for _, r := range all {
		switch {
		case name == "" && r.Status == release.Good && !sameCode(r):
			return r, answer{}
		case name == r.ID:
			named = []release.Release{r}
		case name != "" && strings.HasPrefix(r.ID, name) && (len(named) == 0 || named[0].ID != name):
			named = append(named, r)
		}
	}
	here := releaseList(all, live)
	switch {
	case name == "":
		return release.Release{}, declined(exitNothing, "there is no good release of another revision on this server to go back to%s", here)
	case len(named) > 1:
		return release.Release{}, declined(exitUsage, "%q is the beginning of %s%s", name, format.Plural(len(named), "release"), here)
	case len(named) == 0:
		return release.Release{}, declined(exitUsage, "there is no release %q on this server%s%s", name, meant(name, all), here)
	}
	r := named[0]
	switch {
	case r.ID == live && r.Status == release.Good:
		return r, declined(exitNothing, "release %s is live already", r.ID)
	case r.Status != release.Good && !force:
		return r, declined(exitUsage, "release %s is not good: %s. To deploy it all the same: usher rollback --force %[1]s", r.ID, whyNotGood(r.Status))
	}
	return r, answer{}
}

func whyNotGood(status string) string {
	switch status {
	case release.Bad:
		return "its deployment failed"
	case release.InUse:
		return "its deployment was not finished"
	}
	return "it was never deployed here"
}

// meant asks whether a release that is here was meant.
func meant(name string, all []release.Release) string {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	if near := hooks.Closest(name, ids); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// releaseList is the releases on disk, a line each.
func releaseList(all []release.Release, live string) string {
	if len(all) == 0 {
		return ": there are no releases at all"
	}
	var b strings.Builder
	b.WriteString("; the releases here are")
	for _, r := range all {
		status := r.Status
		if r.ID == live {
			status += ", live"
		}
		fmt.Fprintf(&b, "\n  %s  %s since %s", r.ID, status, format.Local(r.Time))
	}
	return b.String()
}
