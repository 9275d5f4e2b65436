package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"usher/agent/standin"
)

// driftRepair is how often a server of the demo looks whether its group has moved on without it: often enough
// to watch it. The default is 15 minutes.
const driftRepair = 500 * time.Millisecond

// events are what a deployment does on a server, in order.
const events = "ApplicationStop DownloadBundle BeforeInstall Install AfterInstall ApplicationStart ValidateService"

// member is a server of the fleet, with its agent at work and users who ask for its page all the time.
type member struct {
	*server
	instance *standin.Instance
	agent    *process
	users    *users
}

// join launches another server of the fleet and waits until it is in service.
func (d *demo) join(ctx context.Context) (*member, error) {
	s, err := newServer(filepath.Join(d.scratch, fmt.Sprintf("fleet-%d", len(d.fleet)+1)), fmt.Sprintf("drift_check_interval: %s\n", driftRepair))
	if err != nil {
		return nil, err
	}
	m := &member{server: s, instance: d.cloud.Launch(scalingGroup, standin.LaunchOptions{}), users: s.watch(ctx)}
	if m.agent, err = startUsher(ctx, d.usher, s, d.cloud.Environ(m.instance), func(string) {}); err != nil {
		m.users.stop()
		s.close()
		return nil, err
	}
	d.fleet = append(d.fleet, m)
	if _, err = m.agent.says(ctx, completedLine); err == nil {
		err = m.instance.WaitFor(ctx, standin.InService)
	}
	return m, err
}

// disband ends the agents, as systemd does, and sends the users home.
func (d *demo) disband() (seen []tally, err error) {
	for _, m := range d.fleet {
		err = cmp.Or(err, m.agent.stop())
		seen = append(seen, m.users.stop())
		m.close()
	}
	d.fleet = nil
	return seen, err
}

// took is how long the launch of the server took.
func (m *member) took() time.Duration {
	history := m.instance.History()
	return history[len(history)-1].At.Sub(history[0].At)
}

// commitIn is a commit's id in a release's.
var commitIn = regexp.MustCompile(`\b([0-9a-f]{10})[0-9a-f]{30}\b`)

// show prints what each server of the fleet runs, with a commit's id as short as people write it.
func (d *demo) show(ctx context.Context) error {
	for n, m := range d.fleet {
		a, err := m.get(ctx)
		if err != nil {
			return err
		}
		d.row([]int{10, 21, 14}, fmt.Sprintf("server %d", n+1), m.instance.ID, a.title, "/opt/app -> "+commitIn.ReplaceAllString(m.target(), "$1..."))
	}
	return nil
}

// runs compares what the servers run with what they must, a commit's number for each; 0 is the base.
func (d *demo) runs(ctx context.Context, commits ...int) error {
	for n, m := range d.fleet {
		a, err := m.get(ctx)
		if err != nil {
			return err
		}
		released, err := m.release()
		if err != nil {
			return err
		}
		if want := commits[n]; a.title != edition(want) {
			return fmt.Errorf("server %d should answer with %q, and does with %q", n+1, edition(want), a.title)
		} else if want > 0 {
			if id := d.repo.commits[want-1]; !strings.Contains(released, id) || a.facts["Release"] != released || a.facts["Instance"] != m.instance.ID {
				return fmt.Errorf("server %d should run commit %s: its link leads to %s, and its page shows %v", n+1, id, m.target(), a.facts)
			}
		}
	}
	return nil
}

// deployments are the commands of each deployment, in the order in which CodeDeploy began them.
func (d *demo) deployments() (all [][]standin.HostCommand) {
	at := map[string]int{}
	for _, c := range d.cloud.HostCommands() {
		n, known := at[c.DeploymentID]
		if !known {
			n, all = len(all), append(all, nil)
			at[c.DeploymentID] = n
		}
		all[n] = append(all[n], c)
	}
	return all
}

// inTurn tells what is wrong with a deployment that should have gone to the first servers of the fleet, one
// after the other and each event after the one before. The last event of all may fail.
func (d *demo) inTurn(commands []standin.HostCommand, servers int, last string) error {
	var turns []string // the servers, as they came
	did := map[string][]string{}
	var ended time.Time
	for n, c := range commands {
		if did[c.InstanceID] = append(did[c.InstanceID], c.Name); len(did[c.InstanceID]) == 1 {
			turns = append(turns, c.InstanceID)
		}
		switch {
		case turns[len(turns)-1] != c.InstanceID:
			return fmt.Errorf("CodeDeploy went back to %s for %s: not one server at a time", c.InstanceID, c.Name)
		case c.Sent.Before(ended):
			return fmt.Errorf("%s was sent to %s before the command before it had ended", c.Name, c.InstanceID)
		case n == len(commands)-1 && c.Status != last, n < len(commands)-1 && c.Status != "Succeeded":
			return fmt.Errorf("%s on %s is %s: %s", c.Name, c.InstanceID, c.Status, c.Diagnostics.Message)
		case c.Completed > 1:
			return fmt.Errorf("%s on %s was answered %d times", c.Name, c.InstanceID, c.Completed)
		}
		ended = c.Ended
	}
	var want []string
	for _, m := range d.fleet[:servers] {
		want = append(want, m.instance.ID)
		if got := strings.Join(did[m.instance.ID], " "); got != events {
			return fmt.Errorf("the events on %s were %s, and not %s", m.instance.ID, got, events)
		}
	}
	if !slices.Equal(turns, want) {
		return fmt.Errorf("the deployment went to %v, and not to %v", turns, want)
	}
	return nil
}

// edition is what a server's page is called that runs the commit of that number; 0 is the base.
func edition(commit int) string {
	if commit == 0 {
		return "shop, from the base image"
	}
	return fmt.Sprintf("%s %d.0.0", application, commit)
}

// inOrder tells whether users saw nothing but these pages, in this order. Not all of them: a page may have been
// there too shortly.
func (t tally) inOrder(pages ...string) bool {
	for _, a := range t.answers {
		at := slices.Index(pages, a)
		if at < 0 {
			return false
		}
		pages = pages[at+1:]
	}
	return t.failed == 0
}
