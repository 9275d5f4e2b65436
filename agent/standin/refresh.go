package standin

import (
	"context"
	"slices"
	"time"
)

// The strategies of an instance refresh. The second keeps the instances, and is newer than most clients.
const (
	rolling     = "Rolling"
	replaceRoot = "ReplaceRootVolume"
)

// The statuses of an instance refresh here.
const (
	refreshInProgress = "InProgress"
	refreshSuccessful = "Successful"
	refreshFailed     = "Failed"
)

// refresh is an instance refresh: all instances that are in service when it begins, one after the other.
type refresh struct {
	id, status, strategy, reason string
	began, ended                 time.Time
	all, left                    int
}

// startInstanceRefresh replaces the instances that are in service, one at a time: each ends, by its termination hooks, and
// its replacement must get into service. What preferences a request has is not looked at.
func startInstanceRefresh(c *Cloud, r request) (any, *apiError) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	if slices.ContainsFunc(g.refreshes, func(had *refresh) bool { return had.status == refreshInProgress }) {
		return nil, &apiError{400, "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."}
	}
	one := &refresh{id: newUUID(), status: refreshInProgress, strategy: rolling, began: time.Now()}
	if given := r.params["Strategy"]; given != "" {
		one.strategy = given
	}
	var due []*Instance
	for _, inst := range c.fleet.all {
		if inst.group == g && inst.state == InService {
			due = append(due, inst)
		}
	}
	one.all, one.left = len(due), len(due)
	g.refreshes = append(g.refreshes, one)
	c.under.Go(func() { c.refresh(c.stopped, one, due) })
	return struct{ InstanceRefreshId string }{one.id}, nil
}

// refresh carries a refresh out.
func (c *Cloud) refresh(ctx context.Context, one *refresh, due []*Instance) {
	for _, inst := range due {
		err := inst.renew(ctx, one.strategy)
		c.fleet.mu.Lock()
		if err != nil {
			one.status, one.reason, one.ended = refreshFailed, err.Error(), time.Now()
			c.fleet.mu.Unlock()
			return
		}
		one.left--
		c.fleet.mu.Unlock()
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	one.status, one.ended = refreshSuccessful, time.Now()
}

// renew gives an instance a new root volume, or a replacement that is in service. One that has left meanwhile is done.
func (i *Instance) renew(ctx context.Context, strategy string) error {
	i.fleet.mu.Lock()
	if i.state != InService {
		i.fleet.mu.Unlock()
		return nil
	}
	if strategy == replaceRoot {
		i.enter(ReplacingRoot)
		i.hold(OnTerminate)
		i.fleet.mu.Unlock()
		if err := i.WaitFor(ctx, RootReplaced); err != nil {
			return err
		}
		i.fleet.mu.Lock()
		defer i.fleet.mu.Unlock()
		if i.state == RootReplaced {
			i.enter(InService)
		}
		return nil
	}
	i.replaceable = true
	i.terminate()
	i.fleet.mu.Unlock()
	next, err := i.Replacement(ctx)
	for err == nil && next.WaitFor(ctx, InService) != nil { // its launch failed: Auto Scaling tries again
		next, err = next.Replacement(ctx)
	}
	return err
}

type xmlRefresh struct {
	InstanceRefreshId, AutoScalingGroupName, Status string

	StatusReason                          string `xml:",omitempty"`
	StartTime                             string
	EndTime                               string `xml:",omitempty"`
	PercentageComplete, InstancesToUpdate int
}

// describeInstanceRefreshes lists a group's refreshes, the latest first.
func describeInstanceRefreshes(c *Cloud, r request) (any, *apiError) {
	only := members(r, "InstanceRefreshIds")
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, bad := c.fleet.groupNamed(r.params["AutoScalingGroupName"])
	if bad != nil {
		return nil, bad
	}
	var found []xmlRefresh
	for _, one := range slices.Backward(g.refreshes) {
		if len(only) > 0 && !slices.Contains(only, one.id) {
			continue
		}
		x := xmlRefresh{
			InstanceRefreshId: one.id, AutoScalingGroupName: g.Name, Status: one.status, StatusReason: one.reason,
			StartTime: one.began.UTC().Format(time.RFC3339), PercentageComplete: 100, InstancesToUpdate: one.left,
		}
		if one.all > 0 {
			x.PercentageComplete = 100 * (one.all - one.left) / one.all
		}
		if !one.ended.IsZero() {
			x.EndTime = one.ended.UTC().Format(time.RFC3339)
		}
		found = append(found, x)
	}
	part, next, bad := page(r, found, pageMax)
	return struct {
		InstanceRefreshes list[xmlRefresh]
		NextToken         string `xml:",omitempty"`
	}{list[xmlRefresh]{part}, next}, bad
}
