package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"usher/agent/standin"
)

// deployLimit bounds the whole second part, which takes some seconds.
const deployLimit = 10 * time.Minute

// movedOn is what a server says that missed a deployment.
const movedOn = "this server missed a deployment: deploying "

// rolledBack is the exit code of `usher deploy` for a deployment that failed and was rolled back.
const rolledBack = 3

// failingValidation fails at line 4: what it asks for was forgotten. The link leads to the release by then.
const failingValidation = `#!/bin/bash
set -euo pipefail
echo "asking release ${USHER_RELEASE_DIR##*/} for its page of orders"
cat "$USHER_RELEASE_DIR/www/orders.html"
echo "the orders are there"
`

// deploys is the second part: three servers in service get three releases from a repository, the last of
// which fails.
func (d *demo) deploys(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, deployLimit)
	defer cancel()
	defer d.disband() // when something went wrong
	for n, part := range []func(context.Context) error{d.firstRelease, d.secondRelease, d.failingRelease} {
		if err := part(ctx); err != nil {
			return fmt.Errorf("deploy %d did not go as it must: %w", n+1, err)
		}
	}
	return d.fleetSummary(ctx)
}

// firstRelease: a repository, three servers on the base, and their first release.
func (d *demo) firstRelease(ctx context.Context) (err error) {
	d.section("Deploy 1", "three servers in service on the base get the first release")
	d.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: application, Name: deploymentGroup, AutoScalingGroups: []string{scalingGroup},
		Config: "CodeDeployDefault.OneAtATime", AutoRollback: true})
	d.item("group", deploymentGroup+": one server at a time, and rolled back when it fails")
	if d.repo, err = newRepository(ctx, filepath.Join(d.scratch, "developer")); err != nil {
		return err
	}
	shop, err := d.example.shared()
	if err != nil {
		return err
	}
	if err := d.repo.push(ctx, "The shop opens", shop.with(files{"usher.yml": fmt.Sprintf(environments, d.cloud.Bucket, d.cloud.Region)})); err != nil {
		return err
	}
	d.item("repository", "hooks/example and an usher.yml, pushed to an origin. Two things are changed: its appspec has no `files:`, so")
	d.item("", "that the whole bundle is the release (they name /opt/app, and here each server's is elsewhere), and render.sh")
	d.item("", "replaces its page in one step (a rollback runs it where that page is live).")
	for range 3 {
		m, err := d.join(ctx)
		if err != nil {
			return err
		}
		d.item(fmt.Sprintf("server %d", len(d.fleet)), fmt.Sprintf("%s is in service on the base after %s; its page is asked for every %s", m.instance.ID, seconds(m.took()), visitEvery))
	}
	if err := d.runs(ctx, 0, 0, 0); err != nil {
		return err
	}
	typed, err := d.deploy(ctx, "its last line", func(line string) bool { return strings.HasPrefix(line, "production runs") })
	if err != nil {
		return err
	}
	if err := typed.exits(ctx, 0); err != nil {
		return err
	}
	if err := d.runs(ctx, 1, 1, 1); err != nil {
		return err
	}
	return d.inTurn(d.deployments()[0], 3, "Succeeded")
}

// secondRelease: a release for all, while a fourth server launches.
func (d *demo) secondRelease(ctx context.Context) error {
	d.section("Deploy 2", "the second release, and a fourth server launches in the middle")
	gate := filepath.Join(d.scratch, "open")
	slow, err := d.example.edited("scripts/start.sh", "\necho ", "\nuntil [ -e "+gate+" ]; do sleep 0.02; done\necho ")
	if err != nil {
		return err
	}
	if err := d.repo.push(ctx, "The shop sells more", files{"VERSION": "2.0.0\n", "scripts/start.sh": slow["scripts/start.sh"]}); err != nil {
		return err
	}
	d.say("The commit makes it version 2.0.0, and its start.sh takes a while: until the demo has launched the fourth server.")
	first := d.fleet[0].instance.ID
	typed, err := d.deploy(ctx, "of events that went well, those on server 1 only", func(line string) bool {
		about := routine.FindStringSubmatch(line)
		return about == nil || about[1] == first
	})
	if err != nil {
		return err
	}
	if _, err := typed.says(ctx, first+" ApplicationStart began"); err != nil {
		return err
	}
	late, err := d.join(ctx)
	if err != nil {
		return err
	}
	d.item("server 4", fmt.Sprintf("%s is launched now, and in service after %s. The servers answer:", late.instance.ID, seconds(late.took())))
	if err := d.show(ctx); err != nil {
		return err
	}
	if err := d.runs(ctx, 2, 1, 1, 1); err != nil {
		return err
	}
	if err := writeFile(gate, "", 0o644); err != nil {
		return err
	}
	if err := typed.exits(ctx, 0); err != nil {
		return err
	}
	d.say("", fmt.Sprintf("Server 4 had come up on the last release that had succeeded. It looks for drift every %s here (drift_check_interval):", driftRepair), "")
	for _, what := range []string{movedOn, "is live and good"} {
		line, err := late.agent.says(ctx, what)
		if err != nil {
			return err
		}
		d.journal(late.server, line)
	}
	if err := d.runs(ctx, 2, 2, 2, 2); err != nil {
		return err
	}
	return d.inTurn(d.deployments()[1], 3, "Succeeded")
}

// failingRelease: a release that fails on the first server.
func (d *demo) failingRelease(ctx context.Context) error {
	d.section("Deploy 3", "a release whose ValidateService script fails on the first server")
	d.say("Its validate.sh:", "")
	d.script(failingValidation, map[int]string{4: "fails: there is no such page"})
	if err := d.repo.push(ctx, "The shop takes orders", files{"VERSION": "3.0.0\n", "scripts/validate.sh": failingValidation}); err != nil {
		return err
	}
	planned := false
	typed, err := d.deploy(ctx, "without its plan, and events that went well", func(line string) bool {
		planned = planned || clock.MatchString(line) // the plan is what comes before
		return planned && !routine.MatchString(line)
	})
	if err != nil {
		return err
	}
	if err := typed.exits(ctx, rolledBack); err != nil {
		return err
	}
	if err := d.runs(ctx, 2, 2, 2, 2); err != nil {
		return err
	}
	all := d.deployments()
	if len(all) != 4 {
		return fmt.Errorf("there should have been 4 deployments, one of them the rollback, and there were %d", len(all))
	}
	d.say("", "Server 1 had put its link back by itself, before CodeDeploy's rollback came to it:", "")
	for _, what := range []string{" Rollback finished ", " deployment " + all[3][0].DeploymentID + " needs nothing"} {
		line, err := d.fleet[0].agent.says(ctx, what)
		if err != nil {
			return err
		}
		d.journal(d.fleet[0].server, line)
	}
	return errors.Join(d.inTurn(all[2], 1, "Failed"), d.inTurn(all[3], 4, "Succeeded"))
}

// fleetSummary prints what came of the servers, and compares what users saw with what they must.
func (d *demo) fleetSummary(ctx context.Context) error {
	d.section("Summary of the deploys", "what users saw")
	running, err := d.running(ctx)
	if err != nil {
		return err
	}
	fleet := d.fleet
	seen, err := d.disband()
	if err != nil {
		return err
	}
	for n, t := range seen {
		d.row([]int{10}, fmt.Sprintf("server %d", n+1), t.String())
	}
	for n, m := range fleet {
		repaired := 0 // by itself
		for _, line := range m.agent.said() {
			if strings.Contains(line, movedOn) {
				repaired++
			}
		}
		if late := n == 3; late != (repaired == 1) || !late && repaired > 0 {
			return fmt.Errorf("server 4 alone should have found once that its group had moved on; server %d did %d times", n+1, repaired)
		}
	}
	for n, t := range seen {
		pages := []string{edition(0), edition(1), edition(2)}
		if n == 0 { // where release 3 was live for a moment
			pages = append(pages, edition(3), edition(2))
		}
		if !t.inOrder(pages...) {
			return fmt.Errorf("users of server %d should have seen %s: %s", n+1, strings.Join(pages, ", then "), t)
		}
	}
	if want := d.repo.commits[1][:10]; !strings.HasPrefix(running, want+" ") {
		return fmt.Errorf("a new server should get commit %s, the last that was deployed with success, and would get %s", want, running)
	}
	d.say("", "No request failed. A new server gets "+running+".")
	return nil
}

// environments is usher.yml, with places for the bucket and the Region.
const environments = `application: ` + application + `
environments:
  production:
    deployment_group: ` + deploymentGroup + `
    bucket: %s
    region: %s
    branch: origin/master
`
