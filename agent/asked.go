package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"usher/agent/cli"
	"usher/agent/control"
	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/retry"
	"usher/hooks"
	"usher/systemd"
)

// What the agent answers on its control socket.

// answer does what a client asks, and returns the last line of it.
func (c *requests) answer(ctx context.Context, what control.Ask, say func(control.Answer)) control.Answer {
	switch what.Do {
	case control.Status:
		return control.Answer{Agent: c.status()}
	case control.Hold:
		return c.keep(what.For)
	case control.Unhold:
		return c.letGo()
	case control.Rollback:
		return c.ask(ctx, what, say)
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
	case c.launch && c.fate == fateHeld:
		return "the launch of this instance failed, and is held", false
	case c.launch:
		return "the launch of this instance is under way", false
	}
	return "", false
}

// ask hands a request to the agent's loop and tells its client what becomes of it. What cannot begin at once
// is refused: a rollback that begins later than its operator thinks is no help.
func (c *requests) ask(ctx context.Context, what control.Ask, say func(control.Answer)) control.Answer {
	const later = "%s. Try again when it is over: usher status"
	busy, unfinished := c.underWay()
	switch {
	case unfinished && !what.Force:
		return control.Declined(cli.ExitFailed, "%s. If nothing goes on with it, because it was stopped at CodeDeploy: usher rollback --force gives it up first", busy)
	case busy != "" && !unfinished:
		return control.Declined(cli.ExitFailed, later, busy)
	}
	r := request{ask: what, agent: c.agent, lines: make(chan string, lineBuffer), outcome: make(chan control.Answer, 1)}
	late := time.NewTimer(handOver)
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
			say(control.Answer{Line: line})
		case last := <-r.outcome:
			for len(r.lines) > 0 { // all were sent before the outcome
				say(control.Answer{Line: <-r.lines})
			}
			return last
		}
	}
}

// request is work that the agent's loop does, one at a time with all else that it does.
type request struct {
	ask     control.Ask
	agent   *agent
	lines   chan string         // what goes on
	outcome chan control.Answer // with room for the one
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
func (a *agent) rollBackTo(ctx context.Context, what control.Ask, w request) control.Answer {
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
		return control.Declined(cli.ExitFailed, "the agent was stopped in the middle of it. When it is started again: usher status")
	case err != nil:
		return control.Declined(cli.ExitFailed, "%s", format.FirstLine(err))
	}
	return control.Answer{Text: "release " + to.ID + " is live, as it was left"}
}

// choose is the release that a rollback is to: the named one, by a beginning of its name that no other has,
// or the newest good one of another revision than the live one. One that is not good is refused, unless that is meant.
func (a *agent) choose(name string, force bool) (release.Release, control.Answer) {
	all, err := a.deploy.Layout.All()
	if err != nil {
		return release.Release{}, control.Declined(cli.ExitFailed, "%v", err)
	}
	_, live, err := a.deploy.Layout.Live()
	if err != nil {
		return release.Release{}, control.Declined(cli.ExitFailed, "%v", err)
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
			return r, control.Answer{}
		case name == r.ID:
			named = []release.Release{r}
		case name != "" && strings.HasPrefix(r.ID, name) && (len(named) == 0 || named[0].ID != name):
			named = append(named, r)
		}
	}
	here := releaseList(all, live)
	switch {
	case name == "":
		return release.Release{}, control.Declined(cli.ExitNothing, "there is no good release of another revision on this server to go back to%s", here)
	case len(named) > 1:
		return release.Release{}, control.Declined(cli.ExitUsage, "%q is the beginning of %s%s", name, format.Plural(len(named), "release"), here)
	case len(named) == 0:
		return release.Release{}, control.Declined(cli.ExitUsage, "there is no release %q on this server%s%s", name, meant(name, all), here)
	}
	r := named[0]
	switch {
	case r.ID == live && r.Status == release.Good:
		return r, control.Declined(cli.ExitNothing, "release %s is live already", r.ID)
	case r.Status != release.Good && !force:
		return r, control.Declined(cli.ExitUsage, "release %s is not good: %s. To deploy it all the same: usher rollback --force %[1]s", r.ID, whyNotGood(r.Status))
	}
	return r, control.Answer{}
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
