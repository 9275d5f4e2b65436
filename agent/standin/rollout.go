package standin

import (
	"slices"
	"time"
)

// The statuses of a target and of an event that a deployment has not; the others are the same words.
const (
	statusPending = "Pending"
	statusSkipped = "Skipped"
	statusUnknown = "Unknown" // an event whose instance went away under it
)

// What CodeDeploy says when it is not an agent that says it. The first three are the service's own words.
const (
	tooFewHealthy = "The overall deployment failed because too many individual instances failed deployment, too few healthy " +
		"instances are available for deployment, or some instances in your deployment group are experiencing problems."
	noInstances = "The deployment failed because no instances were found for your deployment group. Check your deployment group " +
		"settings to make sure the tags for your Amazon EC2 instances or Auto Scaling groups correctly identify the " +
		"instances you want to deploy to, and then try again."
	notPickedUp = "CodeDeploy agent was not able to receive the lifecycle event. Check the CodeDeploy agent logs on your host " +
		"and make sure the agent is running and can connect to the CodeDeploy server."
	notCompleted = "The lifecycle event was acknowledged and did not end in time."
	withdrawn    = "The deployment was stopped before an agent acknowledged the lifecycle event."
	terminated   = "The instance was terminated during the lifecycle event."
)

// unknownError is the diagnostics code of what is nobody's script's fault.
const unknownError = 5

// target is an instance that a deployment deploys to.
type target struct {
	inst    *Instance
	status  string
	events  []*event
	updated time.Time
	gone    bool // terminated, or on its way: neither a success nor a failure
}

// event is one lifecycle event on one target.
type event struct {
	name, status string
	began, ended time.Time
	command      *hostCommand // nil: not sent, or the service's own
	diagnosis    *diagnosis
}

// serviceEvents are carried out by the service itself: no command is sent for them.
var serviceEvents = []string{"BlockTraffic", "AllowTraffic"}

// ignorable are the events whose failure ignoreApplicationStopFailures forgives.
var ignorable = []string{"BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop"}

// eventsOf are the events of a deployment, in order. An instance that is launched has no traffic to block.
func eventsOf(dep *deployment) []*event {
	first, last := slices.Index(possibleEvents, "ApplicationStop"), slices.Index(possibleEvents, "ValidateService")
	if dep.settings.LoadBalancer {
		last = len(possibleEvents) - 1
		if dep.creator != createdByAutoScaling {
			first = 0
		}
	}
	var events []*event
	for _, name := range possibleEvents[first : last+1] {
		events = append(events, &event{name: name, status: statusPending})
	}
	return events
}

func newTarget(dep *deployment, inst *Instance) *target {
	return &target{inst: inst, status: statusPending, events: eventsOf(dep), updated: time.Now()}
}

// current is the first event that has not ended; nil when all have.
func (t *target) current() *event {
	for _, e := range t.events {
		if e.ended.IsZero() {
			return e
		}
	}
	return nil
}

func (e *event) end(status string, diag diagnosis) {
	e.status, e.ended, e.diagnosis = status, time.Now(), &diag
	if e.began.IsZero() {
		e.began = e.ended
	}
}

// end gives the target its last status; what it has not got to is skipped, and why is for the command it has.
func (t *target) end(status, why string) {
	t.status, t.updated = status, time.Now()
	for _, e := range t.events {
		switch e.status {
		case statusPending:
			e.status = statusSkipped
		case statusInProgress:
			e.status = statusUnknown
		}
		if e.command != nil && !e.command.hasEnded() {
			e.command.end(commandFailed, diagnosis{Code: unknownError, Message: why})
		}
	}
}

// starts is when a deployment is to leave Created.
func (d *deployment) starts() time.Time { return d.created.Add(d.settings.StartAfter) }

// deadline is when CodeDeploy gives up on a command that has not ended.
func (d *deployment) deadline(h *hostCommand) time.Time {
	if h.status == commandPending {
		return h.sent.Add(d.settings.PickUp)
	}
	return h.acknowledged.Add(d.settings.EventTimeout)
}

// drive takes a deployment as far as it can go now; mu is held.
func (d *deployments) drive(dep *deployment, now time.Time) {
	if dep.status == statusCreated {
		if dep.stopping {
			d.end(dep, statusStopped)
			return
		}
		if now.Before(dep.starts()) {
			return
		}
		if !d.begin(dep) {
			return
		}
	}
	for _, t := range dep.targets {
		d.follow(dep, t)
	}
	for _, t := range dep.targets {
		if t.status == statusPending && dep.mayBegin() {
			t.status, t.updated = statusInProgress, now
			d.follow(dep, t)
		}
	}
	d.conclude(dep)
}

// begin finds the targets of a deployment, and ends it when there is none; mu is held.
func (d *deployments) begin(dep *deployment) bool {
	dep.started = time.Now()
	if dep.targets == nil { // one of a launch brings its own
		for _, inst := range d.fleet.targets(dep.settings) {
			if dep.order.outdatedOnly && sameJSON(dep.group.installed[inst.ID], dep.revision) {
				continue
			}
			dep.targets = append(dep.targets, newTarget(dep, inst))
		}
	}
	if len(dep.targets) == 0 {
		dep.failure = &failure{"NO_INSTANCES", noInstances}
		d.end(dep, statusFailed)
		return false
	}
	dep.status = statusInProgress
	return true
}

// follow takes one target as far as it can go now; mu is held.
func (d *deployments) follow(dep *deployment, t *target) {
	state := t.inst.State()
	if t.status == statusPending && state.leaving() || t.status == statusInProgress && state.ended() {
		t.gone = true
		t.end(statusSkipped, terminated)
	}
	for t.status == statusInProgress {
		e := t.current()
		if e == nil {
			t.end(statusSucceeded, "")
			dep.group.installed[t.inst.ID] = dep.revision
			return
		}
		if e.command == nil {
			switch {
			case dep.stopping:
				t.end(statusSkipped, withdrawn)
			case slices.Contains(serviceEvents, e.name):
				e.end(statusSucceeded, diagnosis{})
			default:
				d.tell(dep, t, e)
			}
			continue
		}
		if !d.settled(dep, e) {
			if dep.stopping && e.command.status == commandPending {
				t.end(statusSkipped, withdrawn)
			}
			return
		}
		t.updated = e.command.ended
		e.began, e.ended = e.command.acknowledged, e.command.ended
		if e.began.IsZero() {
			e.began = e.ended
		}
		e.status, e.diagnosis = e.command.status, &e.command.diagnosis
		if e.status == statusFailed && !(dep.order.ignoreStopFailures && slices.Contains(ignorable, e.name)) {
			t.end(statusFailed, "")
		}
		if dep.creator == createdByAutoScaling {
			d.fleet.recordHeartbeat(t.inst, dep.group.hook)
		}
	}
}

// settled tells whether an event's command has ended, and gives up on one that is overdue; mu is held.
func (d *deployments) settled(dep *deployment, e *event) bool {
	h := e.command
	if h.hasEnded() {
		return true
	}
	if !time.Now().Before(dep.deadline(h)) {
		why := notPickedUp
		if h.status == commandInProgress {
			why = notCompleted
		}
		h.end(commandFailed, diagnosis{Code: unknownError, Message: why})
		return true
	}
	if h.status == commandInProgress && e.status == statusPending {
		e.status, e.began = statusInProgress, h.acknowledged
	}
	return false
}

// tell sends the command of an event; mu is held.
func (d *deployments) tell(dep *deployment, t *target, e *event) {
	position := firstPosition + slices.Index(t.events, e)
	e.command = d.send(t.inst.ID, dep.id, executionOf(dep.id), e.name, position, dep.specification().write())
	t.updated = e.command.sent
}

// specification is what the agents get to see of the deployment.
func (d *deployment) specification() specification {
	return specification{
		DeploymentId: d.id, DeploymentGroupId: d.group.id, DeploymentGroupName: d.group.Name, ApplicationName: d.group.Application,
		DeploymentCreator: d.creator, DeploymentType: "IN_PLACE", Revision: revisionOfHost(d.revision),
		AgentActionOverrides: overrides(d.order.fileExists),
	}
}
