package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/record"
)

// DeploymentStatus is one deployment: a line of `usher history --json`, and part of `usher status --json`.
// Times are RFC 3339, in UTC; what does not apply is left out.
type DeploymentStatus struct {
	Deployment string     `json:"deployment"`        // CodeDeploy's id, d-..., or rollback-TIME-N of an operator's rollback
	What       string     `json:"what"`              // launch, command (CodeDeploy's), repair or rollback (an operator's)
	Release    string     `json:"release"`           // id of the release
	Revision   string     `json:"revision"`          // where its bundle is from
	Began      time.Time  `json:"began"`             //
	Ended      time.Time  `json:"ended,omitzero"`    // not while it is under way
	Outcome    string     `json:"outcome"`           // succeeded, failed, superseded or "under way"
	RolledBack bool       `json:"rolled_back"`       // of one that failed: what was live before is live again
	Serving    bool       `json:"serving,omitempty"` // of one that was rolled back: its ApplicationStart and ValidateService passed
	Step       string     `json:"step,omitempty"`    // that failed, or is under way
	Error      string     `json:"error,omitempty"`   // of one that failed
	Verdict    string     `json:"verdict,omitempty"` // CONTINUE or ABANDON, when Auto Scaling was told one
	Seconds    float64    `json:"seconds"`           // until it ended, or until now
	Steps      []doneStep `json:"steps"`             // in the order they first started
}

// doneStep is one step of a deployment.
type doneStep struct {
	Name    string  `json:"name"`             // lifecycle event, or Flip, Rollback
	Done    bool    `json:"done"`             // it ended, well or not
	Seconds float64 `json:"seconds"`          // of the run that ended
	Detail  string  `json:"detail,omitempty"` // of one that ended well
	Error   string  `json:"error,omitempty"`  // of one that failed
}

// How a deployment may have ended, as the value of deploymentStatus.Outcome.
const (
	outcomeSucceeded  = "succeeded"
	outcomeFailed     = "failed"
	outcomeSuperseded = "superseded" // it was unfinished when another began
	outcomeUnderWay   = "under way"
)

// historyLines is how many deployments `usher history` shows: a screen.
const historyLines = 20

// HistoryCommand is `usher history`: the deployments of this server, the newest last.
func HistoryCommand() cli.Command {
	var file string
	var n int
	var asJSON bool
	c := cli.Command{Name: "history", Group: cli.Server, About: "the deployments of this server, the newest last",
		Flags: func(f *flag.FlagSet) {
			cli.ConfigFlag(f, &file)
			f.IntVar(&n, "n", historyLines, "show the newest `N`; 0 for all")
			f.BoolVar(&asJSON, "json", false, "print a JSON object for each, with its steps, a line each")
		}}
	c.Run = func(_ context.Context, in cli.Call) int {
		_, h, err := readRecord(file, "history")
		if err == nil && n < 0 {
			err = fmt.Errorf("-n is %d: it must not be less than 0", n)
		}
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		var all []DeploymentStatus
		for _, p := range h.Deployments {
			all = append(all, describe(p, time.Now()))
		}
		if n > 0 && len(all) > n {
			all = all[len(all)-n:]
		}
		if h.Damaged != nil {
			fmt.Fprintf(in.Stderr, "usher history: %v; what is before that is shown\n", h.Damaged)
		}
		if len(all) == 0 {
			fmt.Fprintln(in.Stderr, "usher history: nothing was deployed yet")
			return cli.ExitNothing
		}
		if asJSON {
			out := json.NewEncoder(in.Stdout)
			out.SetEscapeHTML(false)
			for _, d := range all {
				if err := out.Encode(d); err != nil {
					return in.Fail(cli.ExitFailed, err)
				}
			}
			return cli.ExitDone
		}
		table := tabwriter.NewWriter(in.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "WHEN\tDEPLOYMENT\tRELEASE\tWHAT\tOUTCOME\tTOOK")
		for _, d := range all {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", format.Local(d.Began), format.Printable(d.Deployment), format.Printable(d.Release), format.Printable(d.What), d.Ending(), format.Duration(time.Duration(d.Seconds*1e9)))
		}
		if err := table.Flush(); err != nil {
			return in.Fail(cli.ExitFailed, err)
		}
		return cli.ExitDone
	}
	return c
}

// describe is a deployment of the record.
func describe(p record.DeploymentHistory, now time.Time) DeploymentStatus {
	d := DeploymentStatus{Deployment: p.ID, What: cmp.Or(p.By, "launch"), Release: p.Release, Revision: p.Revision, Began: p.Began, Ended: p.Ended,
		Verdict: p.Verdict, Seconds: p.Took(now).Seconds(), Steps: []doneStep{}}
	if p.By == record.ByOperator {
		d.What = "rollback"
	}
	switch p.End {
	case record.Succeeded:
		d.Outcome = outcomeSucceeded
	case record.Abandoned:
		d.Outcome, d.RolledBack, d.Step, d.Error = outcomeFailed, p.RolledBack, p.Step(), p.Error
		d.Serving = p.Serving
	case record.Superseded:
		d.Outcome, d.Step = outcomeSuperseded, p.Step()
	default:
		d.Outcome, d.Step = outcomeUnderWay, p.Step()
	}
	for _, s := range p.Steps {
		d.Steps = append(d.Steps, doneStep{s.Name, s.Done, s.Seconds, s.Detail, s.Error})
	}
	return d
}

// Ending is how it ended, for a person: where it failed, and whether that was undone.
func (d DeploymentStatus) Ending() string {
	at := ""
	if d.Step != "" {
		at = " in " + d.Step
	}
	switch {
	case d.Outcome == outcomeFailed && d.RolledBack && !d.Serving:
		return d.Outcome + at + ", rolled back to what does not work"
	case d.Outcome == outcomeFailed && d.RolledBack:
		return d.Outcome + at + ", rolled back"
	case d.Outcome == outcomeFailed:
		return d.Outcome + at + ", NOT rolled back"
	}
	return d.Outcome + at
}
