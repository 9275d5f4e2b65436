package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"usher/agent/record"
	"usher/hooks"
)

// Event runs one lifecycle event of a deployment that CodeDeploy drives. Where the deployment has begun again, because the
// server was restarted in the midst of an event, those before it come first: CodeDeploy has their results, and nothing else is
// left of them.
func (d *Deployment) Event(ctx context.Context, event string) error {
	all := d.steps()
	from := slices.IndexFunc(all, func(s step) bool { return s.name == event })
	to := from + 1
	if event == hooks.AfterInstall {
		to++ // Flip
	}
	steps := []step{{event, d.runScripts}}
	switch {
	case from >= 0 && d.entry.From != "":
		steps = all[:to]
	case from >= 0:
		steps = all[from:to]
	case beforeDownload(event):
		steps[0].do = d.runLiveScripts
	}
	if d.entry.End == record.Abandoned {
		return fmt.Errorf("deployment %s has failed on this server: %s", d.entry.ID, d.entry.Error)
	}
	if d.entry.End == record.Succeeded {
		if d.entry.Finished[event] {
			return nil
		}
		if err := d.append(record.Entry{What: record.Reopened}); err != nil {
			return err
		}
	}
	if needs := steps[0].name != hooks.DownloadBundle && !beforeDownload(steps[0].name); needs && d.release.ID == "" {
		return d.rollBack(ctx, event, errors.New("this server has not downloaded the revision in this deployment: deploy again"))
	}
	validated := event == hooks.ValidateService
	if d.entry.Finished[hooks.ValidateService] && !validated { // traffic events come after it, perhaps in another boot
		steps, validated = append([]step{{hooks.ValidateService, d.runScripts}}, steps...), true
	}
	for _, s := range steps {
		if err := d.run(ctx, s); err != nil {
			return err
		}
	}
	if validated {
		return d.succeed(ctx)
	}
	return nil
}

// beforeDownload are the events whose scripts are of the release that is live.
func beforeDownload(event string) bool {
	return event == hooks.BeforeBlockTraffic || event == hooks.AfterBlockTraffic || event == hooks.ApplicationStop
}

// Nothing says that there is nothing to run for an event of a deployment by CodeDeploy's commands, which need not have
// begun. Four events do work of usher's own.
func (s *Deployer) Nothing(event, id string) bool {
	last := s.byCommand(id)
	switch {
	case event == hooks.DownloadBundle, event == hooks.Install, event == hooks.AfterInstall, event == hooks.ValidateService:
		return false
	case last != nil && (last.End == record.Abandoned || last.FailedStep != ""):
		return false // it has failed
	}
	if last == nil {
		live, _, err := s.Layout.Live()
		if err != nil || !beforeDownload(event) {
			return false
		}
		last = &record.Deployment{Live: live}
	}
	d := s.deployment(last, Request{Source: onDisk{id: last.Release}})
	of := d.release
	if beforeDownload(event) {
		live, ok := d.liveRelease()
		if !ok {
			return true
		}
		of = live
	} else if of.ID == "" {
		return false
	}
	scripts, err := d.listScripts(event, of)
	return err == nil && len(scripts) == 0
}
