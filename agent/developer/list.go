package developer

import (
	"cmp"
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

// listedDeployments is how many deployments `usher deploy list` shows: a screen.
const listedDeployments = 20

// listedDeployment is a line of `usher deploy list --json`. What does not apply, and what CodeDeploy does not know, is left out.
type listedDeployment struct {
	Deployment   string    `json:"deployment_id"`
	Created      time.Time `json:"created"`
	Ended        time.Time `json:"ended,omitzero"`
	Status       string    `json:"status"`
	Creator      string    `json:"creator"`
	By           string    `json:"by,omitempty"`
	Commit       string    `json:"commit,omitempty"`
	Subject      string    `json:"subject,omitempty"`
	Message      string    `json:"message,omitempty"`
	Revision     string    `json:"revision"`
	RollbackOf   string    `json:"undoes,omitempty"`
	RolledBackBy string    `json:"undone_by,omitempty"`
	Code         string    `json:"code,omitempty"`
	Error        string    `json:"error,omitempty"`
}

// deployListCommand is `usher deploy list ENV`.
func deployListCommand() cli.Command {
	d := &Session{Name: "deploy list"}
	most := 0
	return cli.Command{Name: "list", Args: []string{"ENV"}, About: "list the past deployments of an environment, the newest first",
		More: "exit codes: 0 also when there is none, 1 CodeDeploy cannot be asked, 2 usage",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&d.json, "json", false, "print a JSON object for each, a line each")
			f.IntVar(&most, "limit", listedDeployments, "list the newest `N`; 0 for all")
		},
		Complete: CompleteEnvironment,
		Run: func(ctx context.Context, in cli.Call) int {
			if most < 0 {
				return in.Misused(fmt.Errorf("--limit is %d: it must not be less than 0", most))
			}
			err := d.Begin(ctx, in.Arg(0), in.Stdout, in.Stderr)
			if err == nil {
				err = d.list(ctx, in, most)
			}
			return d.answered(ctx, err)
		}}
}

// answered is the exit code of a command that only looks, and has printed what it saw: no last event of a deployment follows it.
func (d *Session) answered(ctx context.Context, err error) int {
	if err == nil {
		return cli.ExitDone
	}
	d.json = false
	return d.End(ctx, err)
}

// list prints the deployments.
func (d *Session) list(ctx context.Context, in cli.Call, most int) error {
	all, err := rollout.List(ctx, d.AWS.CodeDeploy, d.Env, most)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		fmt.Fprintf(in.Stderr, "usher deploy list: %v\n", rollout.NoneYetError{Environment: d.Env})
		return nil
	}
	if d.json {
		out := json.NewEncoder(in.Stdout)
		out.SetEscapeHTML(false)
		for _, p := range all {
			line := listedDeployment{Deployment: p.ID, Created: p.Created.UTC(), Status: p.Status, Creator: p.Creator, By: p.By, Commit: p.Revision.Commit(), Message: p.Message,
				Revision: p.Revision.String(), Ended: utc(p.Ended), RollbackOf: p.RollbackOf, RolledBackBy: p.RolledBackBy, Code: p.Code, Error: p.Trouble}
			line.Subject = d.subject(ctx, line.Commit)
			if err := out.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, p := range all {
		outcome, by, what := rollout.InWords(p.Status), cmp.Or(p.By, p.Creator), p.Revision.String()
		if p.RolledBackBy != "" {
			outcome += ", undone by " + p.RolledBackBy
		}
		if p.RollbackOf != "" {
			by += ", undoes " + p.RollbackOf
		}
		if sha := p.Revision.Commit(); sha != "" {
			what = rollout.Short(sha) + " " + cmp.Or(d.subject(ctx, sha), strings.TrimPrefix(p.Message, rollout.Short(sha)+" "))
		}
		rows = append(rows, []string{format.Local(p.Created), p.ID, outcome, cell(by), cell(what)})
	}
	if err := printTable(in.Stdout, []string{"WHEN", "DEPLOYMENT", "OUTCOME", "BY", "WHAT"}, rows); err != nil || !rollout.IsTerminal(in.Stdout) {
		return err
	}
	_, err = fmt.Fprintf(in.Stdout, "\n`usher rollback %s d-ID` goes back to one of them.\n", d.Env.Name)
	return err
}

// cell is somebody else's text in a table: on one line, and in one column.
func cell(text string) string { return format.Printable(strings.Join(strings.Fields(text), " ")) }

// subject is a commit's subject, "" when the repository does not have it.
func (d *Session) subject(ctx context.Context, sha string) string {
	if d.repo == nil || sha == "" {
		return ""
	}
	c, err := d.repo.Resolve(ctx, sha)
	if err != nil {
		return ""
	}
	return c.Subject
}
