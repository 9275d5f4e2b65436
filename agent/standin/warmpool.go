package standin

import (
	"strconv"
	"strings"
)

// warmPool is the configuration of a group's warm pool; the zero warmPool is none.
type warmPool struct {
	set         bool
	min         int
	max         *int // MaxGroupPreparedCapacity; nil: not given
	reuse, told bool // InstanceReusePolicy, and whether it was given
}

// poolStates are where instances of a warm pool rest, by the API's names.
var poolStates = map[string]State{"": WarmedStopped, "Stopped": WarmedStopped, "Running": WarmedRunning, "Hibernated": WarmedHibernated}

// putWarmPool gives a group a warm pool, and launches the least number of instances into it.
func putWarmPool(c *Cloud, r request) (any, *apiError) {
	p := warmPool{set: true, reuse: r.params["InstanceReusePolicy.ReuseOnScaleIn"] == "true"}
	_, p.told = r.params["InstanceReusePolicy.ReuseOnScaleIn"]
	p.min, _ = strconv.Atoi(r.params["MinSize"]) // a number, or absent: the constraints hold
	if given := r.params["MaxGroupPreparedCapacity"]; given != "" && given != "-1" {
		n, _ := strconv.Atoi(given)
		p.max = &n
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	g.pool, g.PoolState = p, poolStates[r.params["PoolState"]]
	for n := len(c.fleet.resting(g)); n < p.min; n++ {
		c.fleet.launch(g, LaunchOptions{WarmPool: true}, "a warm pool was created or its size was increased.")
	}
	return nil, nil
}

// resting are a group's instances in its warm pool, or on their way into it; mu is held.
func (f *fleet) resting(g *group) []*Instance {
	var found []*Instance
	for _, inst := range f.all {
		if inst.group == g && strings.HasPrefix(string(inst.state), "Warmed:") && !inst.state.ended() {
			found = append(found, inst)
		}
	}
	return found
}

type xmlWarmPool struct {
	MaxGroupPreparedCapacity *int `xml:",omitempty"`
	MinSize                  int
	PoolState                string
	InstanceReusePolicy      *xmlReuse `xml:",omitempty"`
}

type xmlReuse struct{ ReuseOnScaleIn bool }

// describeWarmPool shows a group's warm pool; a group without one has no configuration.
func describeWarmPool(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	var instances []xmlInstance
	for _, inst := range c.fleet.resting(g) {
		instances = append(instances, inst.describe(inst.state, false))
	}
	part, next, bad := page(r, instances, pageDefault)
	out := struct {
		WarmPoolConfiguration *xmlWarmPool `xml:",omitempty"`
		Instances             list[xmlInstance]
		NextToken             string `xml:",omitempty"`
	}{Instances: list[xmlInstance]{part}, NextToken: next}
	if p := g.pool; p.set {
		out.WarmPoolConfiguration = &xmlWarmPool{p.max, p.min, strings.TrimPrefix(string(g.PoolState), "Warmed:"), nil}
		if p.told {
			out.WarmPoolConfiguration.InstanceReusePolicy = &xmlReuse{p.reuse}
		}
	}
	return out, bad
}
