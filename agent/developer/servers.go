package developer

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// serversReport is what `usher servers --json` prints.
type serversReport struct {
	Environment string         `json:"environment"`
	Commit      string         `json:"commit,omitempty"`
	Revision    string         `json:"revision,omitempty"`
	Servers     []serverLine   `json:"servers"`
	Failed      []failedLaunch `json:"failed_launches"`
}

// serverLine is a server of it. What does not apply, and what cannot be known, is left out.
type serverLine struct {
	ID         string    `json:"instance_id"`
	Group      string    `json:"group,omitempty"`
	State      string    `json:"state,omitempty"`
	Health     string    `json:"health,omitempty"`
	Launched   time.Time `json:"launched,omitzero"`
	Commit     string    `json:"commit,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	Revision   string    `json:"revision,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	By         string    `json:"by,omitempty"`
	Deployment string    `json:"deployment_id,omitempty"`
	Failed     string    `json:"failed,omitempty"`
	Underway   string    `json:"in_progress,omitempty"`
}

// failedLaunch is a launch of it that failed.
type failedLaunch struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"instance_id,omitempty"`
	Group   string    `json:"group"`
	Message string    `json:"message"`
}

// ServersCommand is `usher servers ENV`.
func ServersCommand() cli.Command {
	d := &Session{Name: "servers"}
	return cli.Command{Name: "servers", Args: []string{"ENV"}, Group: cli.Developer, About: "the servers of an environment, and which commit each runs",
		More:     "As CodeDeploy and Auto Scaling know it: a rollback on a server itself is not seen.\nexit codes: 0 done, 1 AWS cannot be asked, 2 usage",
		Flags:    func(f *flag.FlagSet) { f.BoolVar(&d.json, "json", false, "print it as a JSON object") },
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			err := d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			if err == nil {
				err = d.servers(ctx, in)
			}
			return d.answered(ctx, err)
		}}
}

// servers prints them.
func (d *Session) servers(ctx context.Context, in cli.Call) error {
	g, err := rollout.DescribeGroup(ctx, d.AWS.CodeDeploy, d.Env)
	if err != nil {
		return err
	}
	all, failed, err := rollout.Servers(ctx, d.AWS.CodeDeploy, d.AWS.AutoScaling, d.Env, g)
	if err != nil {
		return err
	}
	if d.json {
		return d.serversJSON(ctx, in, g, all, failed)
	}
	fmt.Fprintf(in.Stdout, "New servers of %s get %s\n\n", d.Env.Name, format.Printable(d.whatRuns(ctx, g)))
	if len(all) == 0 {
		fmt.Fprintln(in.Stdout, "There is no server now.")
	} else {
		var rows [][]string
		for _, s := range all {
			rows = append(rows, []string{s.ID, state(s), since(s), by(s), cell(d.runs(ctx, s, g))})
		}
		if err := printTable(in.Stdout, []string{"SERVER", "STATE", "SINCE", "BY", "RUNS"}, rows); err != nil {
			return err
		}
	}
	if len(failed) == 0 {
		return nil
	}
	fmt.Fprintf(in.Stdout, "\n%s failed in the last 24 hours:\n\n", format.Plural(len(failed), "launch"))
	for at, f := range failed {
		if at == listedDeployments {
			fmt.Fprintf(in.Stdout, "and %d more\n", len(failed)-at)
			break
		}
		fmt.Fprintf(in.Stdout, "%s  %s\n", strings.TrimSpace(format.Local(f.Time)+"  "+f.Server), cell(f.Message))
	}
	for _, f := range failed {
		if f.Server != "" { // the newest: EC2 keeps the console of an instance that is gone for an hour or so
			profile := ""
			if d.Env.Profile != "" {
				profile = " --profile " + d.Env.Profile
			}
			fmt.Fprintf(in.Stdout, "\nWhy usher said so is on the console: aws ec2 get-console-output --latest --output text --region %s%s --instance-id %s\n", d.Env.Region, profile, f.Server)
			break
		}
	}
	return nil
}

// state is where Auto Scaling has a server.
func state(s rollout.Server) string {
	switch {
	case s.State == "":
		return "in no group"
	case s.Health != "" && !strings.EqualFold(s.Health, "healthy"):
		return s.State + ", " + strings.ToLower(s.Health)
	}
	return s.State
}

// since is when the server got what it runs, or when it was launched.
func since(s rollout.Server) string {
	switch {
	case !s.Since.IsZero():
		return format.Local(s.Since)
	case !s.Launched.IsZero():
		return format.Local(s.Launched)
	}
	return "-"
}

// by is how it got that.
func by(s rollout.Server) string {
	text := s.Deployment
	switch {
	case s.By == rollout.ByLaunch:
		text = "its launch"
	case s.By == "":
		text = "-"
	}
	if s.Failed != "" {
		text += ", " + s.Failed + " failed"
	}
	if s.Underway != "" {
		text += ", " + s.Underway + " in progress"
	}
	return text
}

// runs is what it runs, in words.
func (d *Session) runs(ctx context.Context, s rollout.Server, g rollout.Group) string {
	switch sha := s.Revision.Commit(); {
	case s.By == "" && strings.Contains(s.State, "Pending"):
		return "its launch has not ended"
	case s.By == "" && g.Running == rollout.Revision{}:
		return "what its image has"
	case s.By == "":
		return "unknown"
	case sha == "":
		return s.Revision.String()
	default:
		return d.commitTitle(ctx, sha)
	}
}

// serversJSON prints them for programs.
func (d *Session) serversJSON(ctx context.Context, in cli.Call, g rollout.Group, all []rollout.Server, failed []rollout.FailedLaunch) error {
	report := serversReport{Environment: d.Env.Name, Commit: g.Running.Commit(), Servers: []serverLine{}, Failed: []failedLaunch{}}
	if g.Running != (rollout.Revision{}) {
		report.Revision = g.Running.String()
	}
	for _, s := range all {
		line := serverLine{ID: s.ID, Group: s.Group, State: s.State, Health: s.Health, Launched: utc(s.Launched), Since: utc(s.Since), By: s.By,
			Deployment: s.Deployment, Failed: s.Failed, Underway: s.Underway}
		if s.By != "" {
			line.Commit, line.Revision = s.Revision.Commit(), s.Revision.String()
			line.Subject = d.subject(ctx, line.Commit)
		}
		report.Servers = append(report.Servers, line)
	}
	for _, f := range failed {
		report.Failed = append(report.Failed, failedLaunch{utc(f.Time), f.Server, f.Group, f.Message})
	}
	out := json.NewEncoder(in.Stdout)
	out.SetEscapeHTML(false)
	return out.Encode(report)
}

// utc is a time in UTC; the zero time stays that.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
