package standin

import (
	"fmt"
	"slices"
	"time"
)

// Transit is the transition a lifecycle hook is for.
type Transit string

// The two transitions.
const (
	OnLaunch    Transit = "autoscaling:EC2_INSTANCE_LAUNCHING"
	OnTerminate Transit = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// The two results of a lifecycle action.
const (
	Continue = "CONTINUE"
	Abandon  = "ABANDON"
)

// Limits of a hook, from the service's reference. The Go API does not hold tests to the minimum.
const (
	minHeartbeat     = 30 * time.Second
	maxHeartbeat     = 7200 * time.Second
	defaultHeartbeat = 3600 * time.Second
	maxGlobal        = 172800 * time.Second
	globalFactor     = 100 // the global timeout is this many heartbeats, or maxGlobal
)

// Hook is a lifecycle hook of a group.
type Hook struct {
	Name                 string
	Transition           Transit       // default OnLaunch
	HeartbeatTimeout     time.Duration // default 3600 s
	GlobalTimeout        time.Duration // default the service's: 100 heartbeats, at most 48 hours
	DefaultResult        string        // what a timeout counts as; default Abandon
	NotificationMetadata string
}

// complete fills in the service's defaults.
func (h Hook) complete() Hook {
	if h.Transition == "" {
		h.Transition = OnLaunch
	}
	if h.HeartbeatTimeout == 0 {
		h.HeartbeatTimeout = defaultHeartbeat
	}
	if h.GlobalTimeout == 0 {
		h.GlobalTimeout = min(maxGlobal, globalFactor*h.HeartbeatTimeout)
	}
	if h.DefaultResult == "" {
		h.DefaultResult = Abandon
	}
	return h
}

// PutHook gives a group a hook, or a hook of that name new settings. Instances that wait already are
// not touched by it, as with the service.
func (c *Cloud) PutHook(groupName string, h Hook) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	c.fleet.mustGroup(groupName).put(h.complete())
}

func (g *group) put(h Hook) {
	at := slices.IndexFunc(g.hooks, func(had Hook) bool { return had.Name == h.Name })
	if at < 0 {
		g.hooks = append(g.hooks, h)
		return
	}
	g.hooks[at] = h
}

// action is a hook that holds an instance.
type action struct {
	hook       Hook
	token      string
	began      time.Time
	deadline   time.Time // restarted by heartbeats
	global     time.Time // never moved
	heartbeats int
	timer      *time.Timer
}

// Action is a lifecycle action that holds an instance now.
type Action struct {
	Hook       string
	Transition Transit
	Token      string
	Began      time.Time
	Deadline   time.Time // when the default result applies unless a heartbeat comes
	Global     time.Time // when it applies whatever comes
	Heartbeats int       // so far
}

// Actions are the lifecycle actions that hold the instance now.
func (i *Instance) Actions() []Action {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	var list []Action
	for _, a := range i.actions {
		list = append(list, Action{a.hook.Name, a.hook.Transition, a.token, a.began, a.deadline, a.global, a.heartbeats})
	}
	return list
}

// Answer is how a lifecycle action ended.
type Answer struct {
	Hook       string
	Transition Transit
	Result     string // Continue or Abandon
	TimedOut   bool   // nobody answered: Result is the hook's default
	Heartbeats int
	At         time.Time
}

// Answers are the lifecycle actions of the instance that have ended, by a call or a timeout, in order.
// Actions that were dropped because another was abandoned are not among them.
func (i *Instance) Answers() []Answer {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	return slices.Clone(i.answers)
}

// newAction starts an action and its timer; mu is held.
func (i *Instance) newAction(h Hook) *action {
	now := time.Now()
	a := &action{hook: h, token: newUUID(), began: now, global: now.Add(h.GlobalTimeout)}
	a.deadline = earlier(now.Add(h.HeartbeatTimeout), a.global)
	a.timer = time.AfterFunc(time.Until(a.deadline), func() { i.expire(a) })
	return a
}

// recordHeartbeat restarts an action's timer; mu is held.
func (a *action) recordHeartbeat() {
	a.heartbeats++
	a.deadline = earlier(time.Now().Add(a.hook.HeartbeatTimeout), a.global)
	a.timer.Reset(time.Until(a.deadline))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// expire applies the default result to an action nobody answered.
func (i *Instance) expire(a *action) {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	if !slices.Contains(i.actions, a) {
		return // answered while the timer fired
	}
	if left := time.Until(a.deadline); left > 0 { // a heartbeat came while the timer fired
		a.timer.Reset(left)
		return
	}
	i.finish(a, a.hook.DefaultResult, true)
}

// finish ends an action and lets the instance move on when it was the last; mu is held.
func (i *Instance) finish(a *action, result string, timedOut bool) {
	a.timer.Stop()
	i.actions = slices.DeleteFunc(i.actions, func(had *action) bool { return had == a })
	i.answers = append(i.answers, Answer{a.hook.Name, a.hook.Transition, result, timedOut, a.heartbeats, time.Now()})
	switch {
	case result == Abandon && a.hook.Transition == OnLaunch:
		why := "Lifecycle Action Completed with ABANDON Result"
		if timedOut {
			why = "Heartbeat Timeout"
		}
		i.abandon(fmt.Sprintf("Instance failed to complete user's Lifecycle Action: Lifecycle Action with token %s was abandoned: %s", a.token, why))
	case result == Abandon && i.group.RetainAbandoned && i.state.base() != ReplacingRoot:
		i.retain()
	case result == Abandon: // a termination goes on at once, without its other hooks
		i.dropActions()
		i.proceed()
	case len(i.actions) == 0:
		i.proceed()
	}
}

// dropActions ends the actions without a result; mu is held.
func (i *Instance) dropActions() {
	for _, a := range i.actions {
		a.timer.Stop()
	}
	i.actions = nil
}

// activity is a scaling activity.
type activity struct {
	id, description, cause, status, message string
	began, ended                            time.Time
}

// began opens an activity and returns its index; mu is held.
func (g *group) began(description, cause string) int {
	now := time.Now().UTC()
	g.activities = append(g.activities, activity{
		id: newUUID(), description: description, status: "InProgress", began: now,
		cause: fmt.Sprintf("At %s %s", now.Format(time.RFC3339), cause),
	})
	return len(g.activities) - 1
}

// ended closes an activity that is open; mu is held.
func (g *group) ended(index int, status, message string) {
	a := &g.activities[index]
	if a.status == "InProgress" {
		a.status, a.message, a.ended = status, message, time.Now().UTC()
	}
}
