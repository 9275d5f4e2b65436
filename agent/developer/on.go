package developer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"usher/agent/format"
	"usher/agent/rollout"
)

// The commands of `on:` in usher.yml, such as one that writes into a chat. They are about a deployment that this command created,
// and change nothing about how it ends.

const (
	onStarted   = "started"
	onSucceeded = "succeeded"
	onFailed    = "failed"
)

// notified is what became of a command of `on:`.
type notified struct {
	event, output string
	err           error
}

// notify begins the command that usher.yml has for an event. Meanwhile the deployment is followed.
func (d *Session) notify(ctx context.Context, event string, e rollout.Event) {
	command := map[string]string{onStarted: d.Env.On.Started, onSucceeded: d.Env.On.Succeeded, onFailed: d.Env.On.Failed}[event]
	if command == "" {
		return
	}
	told := d.planned
	told.Time, told.Type, told.Event, told.Deployment = time.Now().UTC(), rollout.OnInput, event, d.deployment
	told.Status, told.Message, told.ExitCode, told.URL = e.Status, e.Message, e.ExitCode, rollout.ConsoleURL(d.Env, d.deployment)
	ended := make(chan notified, 1)
	d.notified = append(d.notified, ended)
	go func() {
		n := notified{event: event}
		n.output, n.err = d.repo.RunOn(ctx, command, told)
		ended <- n
	}()
}

// conclude closes the view, runs the command of `on:` for how the deployment ended, and shows what the commands printed and which
// of them failed. Where nobody knows how it ends, as after an interrupt, no command is for that.
func (d *Session) conclude(ctx context.Context, status, message string, code int) {
	var all []notified
	wait := func() {
		for _, ended := range d.notified {
			all = append(all, <-ended)
		}
		d.notified = nil
	}
	if wait(); d.created {
		switch e := (rollout.Event{Status: status, Message: message, ExitCode: &code}); status {
		case rollout.EndedSucceeded:
			d.notify(ctx, onSucceeded, e)
		case rollout.EndedFailed, rollout.EndedRolledBack:
			d.notify(ctx, onFailed, e)
		}
	}
	wait()
	d.view.Close()
	for _, n := range all {
		for line := range strings.Lines(n.output) {
			fmt.Fprintf(d.stderr, "on.%s | %s\n", n.event, format.Printable(strings.TrimRight(line, "\r\n")))
		}
		if n.err == nil {
			continue
		}
		text := fmt.Sprintf("on.%s of %s failed: %v", n.event, rollout.FileName, n.err)
		fmt.Fprintf(d.stderr, "usher %s: warning: %s\n", d.Name, format.Printable(text))
		if d.json {
			d.view.Show(rollout.Event{Time: time.Now().UTC(), Type: rollout.Notice, Deployment: d.deployment, Message: text})
		}
	}
}
