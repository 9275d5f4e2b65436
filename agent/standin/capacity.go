package standin

import (
	"maps"
	"slices"
)

// deleteLifecycleHook takes a hook away. "If there are any outstanding lifecycle actions, they are completed first
// (ABANDON for launching instances, CONTINUE for terminating instances)."
func deleteLifecycleHook(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "AutoScalingGroupName", "LifecycleHookName"); bad != nil {
		return nil, bad
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	g.changing()
	if name := r.params["LifecycleHookName"]; !c.fleet.deleteHook(g, name) {
		return nil, validation("No Lifecycle Hook found with name %s", name)
	}
	return nil, nil
}

// deleteHook takes a hook away, and tells whether there was one; mu is held.
func (f *fleet) deleteHook(g *group, name string) bool {
	at := slices.IndexFunc(g.hooks, func(h Hook) bool { return h.Name == name })
	if at < 0 {
		return false
	}
	g.hooks = slices.Delete(g.hooks, at, at+1)
	for _, inst := range slices.Clone(f.all) {
		if a := inst.heldBy(name); inst.group == g && a != nil {
			result := Abandon
			if a.hook.Transition == OnTerminate {
				result = Continue
			}
			inst.finish(a, result, false)
		}
	}
	return true
}

// terminateInstance ends an instance, and replaces it unless the desired capacity is to shrink.
func terminateInstance(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "InstanceId", "ShouldDecrementDesiredCapacity"); bad != nil {
		return nil, bad
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	inst := c.fleet.find(r.params["InstanceId"])
	if inst == nil {
		return nil, notFound(r.params["InstanceId"])
	}
	g := inst.group
	index := g.began("Terminating EC2 instance: "+inst.ID, "instance "+inst.ID+" was taken out of service in response to a user request.")
	inst.replaceable = r.params["ShouldDecrementDesiredCapacity"] == "false"
	inst.terminate()
	return struct{ Activity xmlActivity }{g.activities[index].describe(g.Name)}, nil
}

// setInstanceHealth ends and replaces an instance that is called unhealthy.
func setInstanceHealth(c *Cloud, r request) (any, *apiError) {
	if bad := required(r, "InstanceId", "HealthStatus"); bad != nil {
		return nil, bad
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	inst := c.fleet.find(r.params["InstanceId"])
	if inst == nil {
		return nil, notFound(r.params["InstanceId"])
	}
	switch r.params["HealthStatus"] {
	case "Healthy":
		inst.unhealthy = false
	case "Unhealthy":
		inst.unhealthy, inst.replaceable = true, true
		inst.terminate()
	default:
		return nil, validation("Valid instance health states are: [Healthy, Unhealthy].")
	}
	return nil, nil
}

func notFound(id string) *apiError {
	return validation("Instance Id not found - No managed instance found for instance ID: %s", id)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
