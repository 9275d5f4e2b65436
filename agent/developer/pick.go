package developer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"usher/agent/cli"
	"usher/agent/format"
	"usher/agent/rollout"
)

// pickedFrom is how many revisions a rollback shows: what a person still knows.
const pickedFrom = 9

// pick asks a person on a terminal what to go back to; first is what it is without an answer. Nobody is asked where there is no
// choice, or no person.
func (d *Session) pick(ctx context.Context, first rollout.Past, g rollout.Group) (rollout.Past, error) {
	if d.Yes || !rollout.IsTerminal(os.Stdin) || !rollout.IsTerminal(d.People) {
		return first, nil
	}
	others, err := rollout.DeployedBefore(ctx, d.AWS.CodeDeploy, d.Env, g.Running, pickedFrom)
	if err != nil {
		return first, err
	}
	all := []rollout.Past{first}
	for _, p := range others {
		if p.Revision != first.Revision {
			all = append(all, p)
		}
	}
	if len(all) == 1 {
		return first, nil
	}
	fmt.Fprintf(d.People, "What was deployed to %s before:\n\n", d.Env.Name)
	table := tabwriter.NewWriter(d.People, 0, 0, 2, ' ', 0)
	for at, p := range all {
		what := p.Revision.String()
		if sha := p.Revision.Commit(); sha != "" {
			what = d.commitTitle(ctx, sha)
			other := func(r rollout.Revision) bool { return r != p.Revision && r.Commit() == sha }
			if other(g.Running) || slices.ContainsFunc(all, func(o rollout.Past) bool { return other(o.Revision) }) {
				what += " (" + cmp.Or(p.Revision.Content(), "its own files") + ")"
			}
		}
		fmt.Fprintf(table, "  %d\t%s\t%s\t%s\n", at+1, p.Deployment, format.Ago(p.When), cell(what))
	}
	if err := table.Flush(); err != nil {
		return first, err
	}
	for {
		fmt.Fprintf(d.People, "\nGo back to which? [1] ")
		answer, err := readLine(ctx)
		if err != nil {
			fmt.Fprintln(d.People)
			return first, err
		}
		typed := strings.TrimSpace(answer)
		n, err := strconv.Atoi(typed)
		switch {
		case answer == "": // the end of what is typed
			fmt.Fprintln(d.People)
			return first, cli.UsageError{Err: errors.New("nothing was picked: nothing was started")}
		case typed == "":
			n = 1
		case err != nil || n < 1 || n > len(all):
			fmt.Fprintf(d.People, "%s is none of 1 to %d.\n", format.Printable(typed), len(all))
			continue
		}
		fmt.Fprintln(d.People)
		return all[n-1], nil
	}
}
