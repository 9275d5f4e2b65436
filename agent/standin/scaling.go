package standin

import (
	"slices"
	"time"
)

// Terminate scales the instance in: its termination hooks run, and nothing replaces it.
func (i *Instance) Terminate() {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	if i.group != nil {
		i.terminate()
	}
}

// SetAge says how long ago the instance was launched, from now on: its metadata has that pendingTime.
func (i *Instance) SetAge(age time.Duration) {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	i.launched = time.Now().Add(-age)
}

// StartFromPool moves a resting instance of the warm pool towards service, as a scale-out does. A
// stopped one boots: its metadata has a new pendingTime. Launch hooks fire a second time.
func (i *Instance) StartFromPool() {
	i.must("start from the warm pool", WarmedStopped, WarmedRunning, WarmedHibernated)
	defer i.fleet.mu.Unlock()
	if i.state == WarmedStopped {
		i.launched = time.Now()
	}
	i.activity = i.group.began("Launching a new EC2 instance from warm pool: "+i.ID,
		"an instance was started in response to a difference between desired and actual capacity, increasing the capacity.")
	i.enter(Pending)
	i.advance()
}

// ReturnToPool scales the instance in to the warm pool (ReuseOnScaleIn): it waits at Warmed:Pending:Wait,
// but for the group's *termination* hooks.
func (i *Instance) ReturnToPool() {
	i.must("return to the warm pool", InService)
	defer i.fleet.mu.Unlock()
	i.enter(WarmedPending)
	i.hold(OnTerminate)
}

// ReplaceRootVolume swaps the root volume as an instance refresh does: the termination hooks run, then
// the instance boots again, with the same id, and stays RootVolumeReplaced until ReturnToService. No
// launch hook fires.
func (i *Instance) ReplaceRootVolume() {
	i.must("have its root volume replaced", InService)
	defer i.fleet.mu.Unlock()
	i.enter(ReplacingRoot)
	i.hold(OnTerminate)
}

// EnterStandby takes the instance out of service; no hook fires.
func (i *Instance) EnterStandby() {
	i.must("enter standby", InService)
	defer i.fleet.mu.Unlock()
	i.enter(EnteringStandby)
	i.enter(Standby)
}

// ReturnToService ends standby or a root-volume replacement; no hook fires.
func (i *Instance) ReturnToService() {
	i.must("return to service", Standby, RootReplaced)
	defer i.fleet.mu.Unlock()
	if i.state == Standby {
		i.enter(Pending)
	}
	i.enter(InService)
}

// Detach takes the instance out of its group; no hook fires.
func (i *Instance) Detach() {
	i.must("be detached", InService, Standby)
	defer i.fleet.mu.Unlock()
	i.enter(Detaching)
	i.enter(Detached)
}

// Attach puts a standalone instance in a group and in service; no hook fires.
func (c *Cloud) Attach(inst *Instance, groupName string) {
	inst.must("be attached", "")
	defer c.fleet.mu.Unlock()
	inst.group = c.fleet.mustGroup(groupName)
	inst.enter(Pending)
	inst.enter(InService)
}

// must locks the fleet, and panics when the instance is not in one of the states.
func (i *Instance) must(what string, states ...State) {
	i.fleet.mu.Lock()
	if !slices.Contains(states, i.state) {
		defer i.fleet.mu.Unlock()
		panic("standin: " + i.ID + " cannot " + what + ": it is " + path(i.history))
	}
}
