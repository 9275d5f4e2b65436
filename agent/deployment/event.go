package deployment

import (
	"context"
	"errors"
	"fmt"

	"usher/agent/record"
	"usher/hooks"
)

// Event runs one lifecycle event of a deployment that CodeDeploy drives.
func (d *Deployment) Event(ctx context.Context, event string) error {
	steps := []step{{event, d.runScripts}}
	switch event {
	case hooks.BeforeBlockTraffic, hooks.AfterBlockTraffic, hooks.ApplicationStop:
		steps[0].do = d.runLiveScripts
	case hooks.DownloadBundle:
		steps[0].do = d.download
	case hooks.Install:
		steps[0].do = d.install
	case hooks.AfterInstall:
		steps = append(steps, step{record.StepFlip, d.flip})
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
	if needs := steps[0].name != hooks.DownloadBundle && !beforeDownload(event); needs && d.release.ID == "" {
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
