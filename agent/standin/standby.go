package standin

import (
	"fmt"
	"slices"
)

// How many ids these calls take, by the service's reference.
const (
	standbyMax    = 20 // EnterStandby, ExitStandby, DetachInstances
	protectionMax = 50 // SetInstanceProtection
)

// named finds the instances of a request in its group, each in one of the states; mu is held.
func (f *fleet) named(r request, most int, states ...State) (*group, []*Instance, *apiError) {
	g, bad := f.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, nil, bad
	}
	ids := members(r, "InstanceIds")
	if len(ids) > most {
		return nil, nil, validation("The number of instance ids exceeds the limit of %d", most)
	}
	var found []*Instance
	for _, id := range ids {
		inst := f.find(id)
		switch {
		case inst == nil || inst.group != g:
			return nil, nil, validation("The instance %s is not part of Auto Scaling group %s.", id, g.Name)
		case len(states) > 0 && !slices.Contains(states, inst.state):
			return nil, nil, validation("The instance %s is not in %s.", id, states[0])
		}
		found = append(found, inst)
	}
	return g, found, nil
}

// activities is the answer of the calls that move instances.
type activities struct{ Activities list[xmlActivity] }

// moved opens and closes an activity for each instance, and has each replaced unless the desired capacity is to shrink;
// mu is held.
func (f *fleet) movedOut(r request, g *group, instances []*Instance, what string, move func(*Instance)) activities {
	var all activities
	for _, inst := range instances {
		index := g.began(what+" EC2 instance: "+inst.ID, fmt.Sprintf("instance %s was moved in response to a user request.", inst.ID))
		shown := g.activities[index].describe(g.Name)
		move(inst)
		g.ended(index, "Successful", "")
		if r.params["ShouldDecrementDesiredCapacity"] == "false" && !g.NoReplacement {
			f.replace(inst)
		}
		all.Activities.Members = append(all.Activities.Members, shown)
	}
	return all
}

// enterStandby takes instances out of service; no hook fires.
func enterStandby(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, found, bad := c.fleet.named(r, standbyMax, InService)
	if bad != nil {
		return nil, bad
	}
	return c.fleet.movedOut(r, g, found, "Moving to Standby", func(i *Instance) {
		i.enter(EnteringStandby)
		i.enter(Standby)
	}), nil
}

// exitStandby returns instances to service; no hook fires.
func exitStandby(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, found, bad := c.fleet.named(r, standbyMax, Standby)
	if bad != nil {
		return nil, bad
	}
	return c.fleet.movedOut(request{}, g, found, "Moving out of Standby", func(i *Instance) {
		i.enter(Pending)
		i.enter(InService)
	}), nil
}

// detachInstances takes instances out of their group; no hook fires.
func detachInstances(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, found, bad := c.fleet.named(r, standbyMax, InService, Standby)
	if bad != nil {
		return nil, bad
	}
	return c.fleet.movedOut(r, g, found, "Detaching", func(i *Instance) {
		i.enter(Detaching)
		i.enter(Detached)
	}), nil
}

// setInstanceProtection notes which instances a scale-in is to leave alone. Nothing here scales in by itself.
func setInstanceProtection(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	_, found, bad := c.fleet.named(r, protectionMax)
	if bad != nil {
		return nil, bad
	}
	for _, inst := range found {
		inst.protected = r.params["ProtectedFromScaleIn"] == "true"
	}
	return nil, nil
}

// deleteAutoScalingGroup deletes a group, by force with its instances: "without waiting for all instances to be
// terminated. This action also deletes any outstanding lifecycle actions associated with the group."
func deleteAutoScalingGroup(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	var left []*Instance
	for _, inst := range c.fleet.all {
		if inst.group == g && !inst.state.ended() {
			left = append(left, inst)
		}
	}
	if len(left) > 0 && r.params["ForceDelete"] != "true" {
		return nil, &apiError{400, "ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group."}
	}
	delete(c.fleet.groups, g.Name)
	for _, inst := range left {
		inst.dropActions()
		if inst.pending != nil {
			inst.pending.Stop()
		}
		if inst.state.base() != Terminating && inst.state.base() != WarmedTerminating {
			inst.enter(inst.state.exit())
		}
		inst.enter(inst.state.base().last())
	}
	return nil, nil
}
