package standin

import (
	"slices"
	"time"
)

// managedHeartbeat is the timeout of the hooks that CodeDeploy installs, as seen on real groups.
const managedHeartbeat = 600 * time.Second

// launch is an instance that CodeDeploy's own hook holds.
type launch struct {
	inst  *Instance
	token string
}

// launches starts a deployment for every instance that waits for CodeDeploy's own hook; mu is held.
// Such a deployment may run beside another of the group.
func (d *deployments) launches() {
	for _, a := range d.applications {
		for _, g := range a.groups {
			if !g.Managed {
				continue
			}
			for _, l := range d.fleet.heldBy(g.hook) {
				if g.launches[l.token] != nil {
					continue
				}
				if g.revision == nil { // nothing to deploy yet
					d.fleet.answer(l.inst, g.hook, Continue)
					continue
				}
				dep := d.add(g, g.revision, createdByAutoScaling, order{})
				dep.targets = []*target{newTarget(dep, l.inst)}
				g.launches[l.token] = dep
			}
		}
	}
}

// answer completes the launch that a deployment was for; mu is held.
func (d *deployments) answer(dep *deployment) {
	result := Abandon
	if dep.status == statusSucceeded {
		result = Continue
	}
	d.fleet.answer(dep.targets[0].inst, dep.group.hook, result)
}

// inService returns the instances of Auto Scaling groups that are in service, in the order of launch.
func (f *fleet) inService(groups []string) []*Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*Instance
	for _, inst := range f.all {
		if inst.state == InService && slices.Contains(groups, inst.groupName()) {
			found = append(found, inst)
		}
	}
	return found
}

// heldBy returns the instances that wait for a hook.
func (f *fleet) heldBy(hook string) []launch {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []launch
	for _, inst := range f.all {
		if a := inst.heldBy(hook); a != nil {
			found = append(found, launch{inst, a.token})
		}
	}
	return found
}

// heldBy is the instance's action for a hook; nil when the hook does not hold it. mu is held.
func (i *Instance) heldBy(hook string) *action {
	at := slices.IndexFunc(i.actions, func(a *action) bool { return a.hook.Name == hook })
	if at < 0 {
		return nil
	}
	return i.actions[at]
}

// answer ends the action by which a hook holds an instance, when it still does.
func (f *fleet) answer(inst *Instance, hook, result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := inst.heldBy(hook); a != nil && !f.closed {
		inst.finish(a, result, false)
	}
}

// beat restarts the timer of a hook that holds an instance, when it still does.
func (f *fleet) beat(inst *Instance, hook string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := inst.heldBy(hook); a != nil && !f.closed {
		a.beat()
	}
}

// addHook gives groups the hook of CodeDeploy's integration.
func (f *fleet) addHook(groups []string, hook string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range groups {
		f.mustGroup(name).put(Hook{Name: hook, HeartbeatTimeout: managedHeartbeat, DefaultResult: Abandon}.complete())
	}
}

// dropHook takes it away again.
func (f *fleet) dropHook(groups []string, hook string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range groups {
		f.deleteHook(f.mustGroup(name), hook)
	}
}

// missing is the first of the names that no group has; "" when all are there.
func (f *fleet) missing(groups []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range groups {
		if f.groups[name] == nil {
			return name
		}
	}
	return ""
}

// mustHaveGroups panics when a test names a group that is not there.
func (f *fleet) mustHaveGroups(groups []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range groups {
		f.mustGroup(name)
	}
}
