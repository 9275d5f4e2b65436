package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/format"
	"usher/agent/record"
	"usher/agent/release"
)

// ServerStatus is what `usher status --json` prints: one object. Times are RFC 3339, in UTC; what does not
// apply is left out.
type ServerStatus struct {
	Health string `json:"health"` // "good"; "bad": the last deployment failed, or the link leads to no good release; "empty": nothing was deployed yet
	Why    string `json:"why,omitempty"`

	Instance        string `json:"instance,omitempty"`         // i-..., of the record
	Image           string `json:"image,omitempty"`            // ami-..., of the record
	Application     string `json:"application,omitempty"`      // CodeDeploy's; the instance's tags, which win, are known only to a running agent
	DeploymentGroup string `json:"deployment_group,omitempty"` // likewise

	Agent *control.AgentStatus `json:"agent,omitempty"` // what the running agent answered; without one it is left out

	Live     liveStatus        `json:"live"`
	Last     *DeploymentStatus `json:"last,omitempty"`      // the newest deployment that has ended
	UnderWay *DeploymentStatus `json:"under_way,omitempty"` // the one that has not
	Command  *commandStatus    `json:"command,omitempty"`   // CodeDeploy's host command that is being carried out or answered

	Record string `json:"record"` // path of the record
	Notice string `json:"notice,omitempty"`
}

// liveStatus is what the application's link leads to.
type liveStatus struct {
	Target     string    `json:"target,omitempty"`     // a directory; without one there is no link
	Release    string    `json:"release,omitempty"`    // when it is a release
	Revision   string    `json:"revision,omitempty"`   // its revision
	Status     string    `json:"status,omitempty"`     // of the release: good, bad, in-use, unpacked; "base" for the base, "unknown" for anything else
	Deployment string    `json:"deployment,omitempty"` // by which it became live and good
	Since      time.Time `json:"since,omitzero"`       // when that ended
}

// commandStatus is a host command of CodeDeploy's.
type commandStatus struct {
	ID    string `json:"id"`
	Event string `json:"event"`
}

// StatusCommand is `usher status`: what this server runs, and what the agent does.
func StatusCommand() cli.Command {
	var file string
	var asJSON bool
	c := cli.Command{Name: "status", Group: cli.Server, About: "what this server runs, how its last deployment ended, and what the agent does now",
		More: "exit codes: 0 good, 1 the last deployment failed or what is live is no good release, 3 nothing was deployed yet",
		Flags: func(f *flag.FlagSet) {
			cli.ConfigFlag(f, &file)
			f.BoolVar(&asJSON, "json", false, "print a JSON object")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		s, err := statusOf(ctx, file)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		if asJSON {
			out := json.NewEncoder(in.Stdout)
			out.SetIndent("", "  ")
			out.SetEscapeHTML(false)
			if err := out.Encode(s); err != nil {
				return in.Fail(cli.ExitFailed, err)
			}
		} else {
			s.print(in.Stdout, time.Now())
		}
		return map[string]int{"good": cli.ExitDone, "bad": cli.ExitFailed, "empty": cli.ExitNothing}[s.Health]
	}
	return c
}

// readRecord is the history of the server that a configuration is of. A server without a record has an
// empty one.
func readRecord(file, command string) (config.Config, record.History, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return cfg, record.History{}, err
	}
	h, err := record.ReadAll(cfg.StateDir)
	switch {
	case errors.Is(err, record.ErrNone):
		err = nil
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("only root may read the record: sudo usher %s", command)
	}
	return cfg, h, err
}

// statusOf puts together what the record, the disk and the agent say.
func statusOf(ctx context.Context, file string) (*ServerStatus, error) {
	cfg, h, err := readRecord(file, "status")
	if err != nil {
		return nil, err
	}
	s := &ServerStatus{Instance: h.Owner.Instance, Image: h.Owner.Image, Application: cfg.Application, DeploymentGroup: cfg.DeploymentGroup,
		Record: filepath.Join(cfg.StateDir, record.FileName)}
	if h.Damaged != nil {
		s.Notice = h.Damaged.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	switch last, err := control.Do(ctx, cfg.StateDir, control.Request{Do: control.Status}, func(string) {}); {
	case err == nil && last.Agent != nil:
		s.Agent, s.Application, s.DeploymentGroup = last.Agent, last.Agent.Application, last.Agent.DeploymentGroup
	case err == nil:
		return nil, errors.New(last.Error)
	case !errors.Is(err, control.ErrNoAgent):
		return nil, err
	}
	unread := s.look(cfg, h)
	if unread != nil { // the rest is what a person needs then
		s.Live.Status, s.Notice = "unknown", strings.TrimPrefix(s.Notice+"\n"+unread.Error(), "\n")
	}
	for _, p := range h.Deployments {
		d := describe(p, time.Now())
		if p.End == "" {
			s.UnderWay = &d
		} else {
			s.Last, s.UnderWay = &d, nil
		}
	}
	if due := h.State.CommandDue(); due != nil {
		s.Command = &commandStatus{due.ID, due.Event}
	}
	s.health(h.State)
	if unread != nil && s.Health != "bad" {
		s.Health, s.Why = "bad", unread.Error()
	}
	return s, nil
}

// look finds out what the link leads to.
func (s *ServerStatus) look(cfg config.Config, h record.History) error {
	layout := cfg.Layout()
	target, id, err := layout.Live()
	if err != nil {
		return err
	}
	s.Live = liveStatus{Target: target, Status: "unknown"}
	switch r, ok := layout.Load(id); {
	case target == "":
		s.Live.Status = ""
	case ok:
		s.Live = liveStatus{Target: target, Release: r.ID, Revision: r.Revision, Status: r.Status}
	case target == layout.BasePath():
		s.Live.Status = "base"
	}
	for _, p := range h.Deployments {
		if p.End == record.Succeeded && p.Release == s.Live.Release {
			s.Live.Deployment, s.Live.Since = p.ID, p.Ended
		}
	}
	return nil
}

// health says how the server is.
func (s *ServerStatus) health(past record.State) {
	switch {
	case s.Last != nil && s.Last.Outcome == outcomeFailed:
		s.Health, s.Why = "bad", "the last deployment failed"
	case past.Good == nil:
		s.Health, s.Why = "empty", "nothing was deployed yet"
	case s.UnderWay == nil && s.Live.Status != release.Good:
		s.Health, s.Why = "bad", fmt.Sprintf("the link leads to %s, which is no good release", cmp.Or(s.Live.Target, "nothing"))
	default:
		s.Health = "good"
	}
}

// print writes it for a person.
func (s *ServerStatus) print(w io.Writer, now time.Time) {
	line := func(name, form string, args ...any) {
		fmt.Fprintf(w, "%-11s %s\n", name, strings.ReplaceAll(format.Printable(fmt.Sprintf(form, args...)), "\n", "\n"+strings.Repeat(" ", 12)))
	}
	line("status", "%s", format.JoinNonEmpty(": ", s.Health, s.Why))
	if s.Instance != "" {
		line("instance", "%s (%s)", s.Instance, s.Image)
	}
	line("group", "%s of %s", cmp.Or(s.DeploymentGroup, "(of the instance's tags)"), cmp.Or(s.Application, "(of the instance's tags)"))
	if a := s.Agent; a == nil {
		line("agent", "does not answer: systemctl status usher")
	} else {
		line("agent", "running, version %s", format.JoinNonEmpty("; ", a.Version, a.Doing))
	}
	line("live", "%s", s.Live.text(now))
	if d := s.UnderWay; d != nil {
		line("under way", "%s %s since %s", d.What, d.Deployment, format.Local(d.Began))
		line("", "%s", format.JoinNonEmpty(", ", "in "+cmp.Or(d.Step, "between two steps"), d.Release))
	}
	if s.Command != nil {
		line("command", "%s of CodeDeploy is being carried out", s.Command.Event)
	}
	if d := s.Last; d != nil {
		line("last", "%s", format.JoinNonEmpty(" ", d.Deployment, d.Ending(), "at", format.Local(d.Ended)))
		if d.Error != "" {
			line("", "%s", d.Error)
		}
	}
	if s.Agent != nil && s.Agent.Hold != nil {
		line("hold", "%s", holdText(*s.Agent.Hold, now))
	}
	line("record", "%s", s.Record)
	if s.Notice != "" {
		line("", "%s", s.Notice)
	}
}

func (l liveStatus) text(now time.Time) string {
	switch {
	case l.Target == "":
		return "nothing: there is no link"
	case l.Status == "base":
		return l.Target + ", the base of the image"
	case l.Release == "":
		return l.Target + ", which is no release of usher's"
	}
	text := l.Release
	if !l.Since.IsZero() {
		text += fmt.Sprintf(" since %s (%s), by %s", format.Local(l.Since), format.Duration(now.Sub(l.Since)), l.Deployment)
	}
	if l.Status != release.Good {
		text += ", " + l.Status
	}
	return text + "\n" + l.Revision
}

// holdText is a hold for people.
func holdText(h control.HoldStatus, now time.Time) string {
	by := "on_failure is hold"
	if h.ByOperator {
		by = "by an operator"
	}
	switch {
	case !h.Failed:
		return fmt.Sprintf("a launch that fails is kept for %s (%s)", h.For, by)
	default:
		return fmt.Sprintf("the failed launch is kept until %s (%s), for %s more: usher unhold ends it", format.Local(h.Until), by, format.Duration(h.Until.Sub(now)))
	}
}
