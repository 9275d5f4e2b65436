package standin

import "time"

// count is how many targets have a status; those that are gone are not counted.
func (d *deployment) count(status string) int {
	n := 0
	for _, t := range d.targets {
		if t.status == status && !t.gone {
			n++
		}
	}
	return n
}

// size is how many targets are not gone.
func (d *deployment) size() int {
	n := 0
	for _, t := range d.targets {
		if !t.gone {
			n++
		}
	}
	return n
}

// mayBegin tells whether another target may be taken: all that are under way or have failed count as unhealthy, and
// the configuration's minimum must stay.
func (d *deployment) mayBegin() bool {
	size := d.size()
	return !d.stopping && d.count(statusInProgress)+d.count(statusFailed) < size-deploymentConfigs[d.order.config].minimumHealthy(size)
}

// conclude ends a deployment that has nothing left to do; mu is held.
func (d *deployments) conclude(dep *deployment) {
	if dep.count(statusInProgress) > 0 {
		return
	}
	left := dep.count(statusPending)
	enough := max(1, deploymentConfigs[dep.order.config].minimumHealthy(dep.size()))
	switch {
	case dep.stopping:
		d.end(dep, statusStopped)
	case left == 0 && dep.count(statusSucceeded) >= enough:
		d.end(dep, statusSucceeded)
	default: // nothing runs, and nothing more may begin
		dep.failure = &failure{"HEALTH_CONSTRAINTS", tooFewHealthy}
		d.end(dep, statusFailed)
	}
}

// end gives a deployment its last status, and lets follow what follows from it; mu is held.
func (d *deployments) end(dep *deployment, status string) {
	for _, t := range dep.targets {
		if t.status == statusPending {
			t.end(statusSkipped, withdrawn)
		}
	}
	dep.status, dep.ended = status, time.Now()
	if status == statusStopped {
		dep.failure = &failure{"MANUAL_STOP", "The deployment was stopped."}
	}
	switch {
	case dep.creator == createdByAutoScaling:
		d.answer(dep)
	case status == statusSucceeded:
		dep.group.changing()
		dep.group.last, dep.group.revision = dep, dep.revision
	case dep.creator == createdByUser:
		d.rollBack(dep)
	}
}

// rollBack follows a deployment that failed or was stopped with one of the last successful revision, when
// that was asked for; mu is held. A rollback that fails is not rolled back.
func (d *deployments) rollBack(dep *deployment) {
	wanted := dep.order.rollback.after(onFailure)
	if dep.status == statusStopped {
		wanted = dep.order.rollbackOnStop
	}
	if !wanted || len(dep.targets) == 0 {
		return
	}
	g := dep.group
	if g.last == nil {
		dep.rollback = &rollbackInfo{Message: "The deployment was not rolled back: its deployment group has no last successful deployment."}
		return
	}
	back := d.add(g, g.revision, createdByRollback, order{config: dep.order.config, fileExists: dep.order.fileExists})
	back.rollback = &rollbackInfo{Triggering: dep.id}
	dep.rollback = &rollbackInfo{Deployment: back.id, Message: "Rolled back to the revision of deployment " + g.last.id + "."}
}
