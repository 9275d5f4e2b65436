package standin

import (
	"maps"
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

// targets returns the instances that a deployment group selects now, in the order of launch.
func (f *fleet) targets(g DeploymentGroup) []*Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []*Instance
	for _, inst := range f.all {
		associated := inst.state == InService && slices.Contains(g.AutoScalingGroups, inst.groupName())
		if associated || len(g.EC2Tags) > 0 && inst.running() && inst.hasTags(g.EC2Tags) {
			found = append(found, inst)
		}
	}
	return found
}

// running tells whether the machine is up, in service or not.
func (i *Instance) running() bool {
	return !i.state.leaving() && i.state != WarmedStopped && i.state != WarmedHibernated
}

// hasTags tells whether the instance has all of these tags; fleet.mu is held.
func (i *Instance) hasTags(want map[string]string) bool {
	has := i.tags()
	for name, value := range want {
		if has[name] != value {
			return false
		}
	}
	return true
}

// tags are the instance's own and those its group gave it; fleet.mu is held.
func (i *Instance) tags() map[string]string {
	tags := map[string]string{}
	if g := i.group; g != nil {
		maps.Copy(tags, g.Tags)
		tags["aws:autoscaling:groupName"] = g.Name
	}
	maps.Copy(tags, i.options.Tags)
	return tags
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

// recordHeartbeat restarts the timer of a hook that holds an instance, when it still does.
func (f *fleet) recordHeartbeat(inst *Instance, hook string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := inst.heldBy(hook); a != nil && !f.closed {
		a.recordHeartbeat()
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
