package standin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// defaultRole is the role of instances of which nobody said another.
const defaultRole = "usher-instance"

// Group is an Auto Scaling group with its launch template.
type Group struct {
	Name string

	Tags         map[string]string // propagated to its instances
	MetadataTags bool              // the launch template allows tags in instance metadata
	Role         string            // of the instance profile; default "usher-instance"

	// PoolState is where an instance of the warm pool rests: WarmedStopped (the default),
	// WarmedRunning or WarmedHibernated.
	PoolState State

	// RetainAbandoned is the group's InstanceLifecyclePolicy with TerminateHookAbandon "retain": an instance whose
	// termination hook ended with ABANDON is kept until TerminateInstanceInAutoScalingGroup.
	RetainAbandoned bool

	// NoReplacement: a failed launch is not made good, so a test sees one instance only.
	NoReplacement bool
}

// group is a Group, its hooks and its activities.
type group struct {
	Group
	hooks      []Hook
	activities []activity
	failures   int // failed launches in a row
	pool       warmPool
	replaced   []oldHooks // what describing calls may still see
	refreshes  []*refresh
}

// LaunchOptions say how an instance comes into being.
type LaunchOptions struct {
	WarmPool bool // launch into the group's warm pool

	// PendingFor is how long the instance is Pending before the wait state; a machine is often up before
	// its group has got that far. HoldPending keeps it there until Instance.Release.
	PendingFor  time.Duration
	HoldPending bool

	// Age is how long ago the instance was launched: its pendingTime, and what follows from it.
	Age time.Duration

	Tags         map[string]string // over the group's
	MetadataTags bool              // tags in instance metadata, whatever the group's template says

	// MetadataRefused: nothing listens on the metadata endpoint until Instance.SetMetadata(Answering).
	MetadataRefused bool

	// CredentialLifetime is how long role credentials last; default six hours, as on EC2.
	CredentialLifetime time.Duration

	InstanceType string // default "t3.small"
	ImageID      string // default made up, the same for all instances of a Cloud
}

// Instance is one EC2 instance as its control plane sees it.
type Instance struct {
	ID               string
	MetadataEndpoint string // "http://127.0.0.1:PORT"

	fleet    *fleet
	metadata *metadata
	options  LaunchOptions

	// All below is guarded by fleet.mu.
	group       *group // nil: not in a group
	state       State
	history     []Transition
	changed     chan struct{} // closed and replaced with every transition
	launched    time.Time     // the identity document's pendingTime
	actions     []*action
	answers     []Answer
	activity    int // index of the launch in group.activities
	pending     *time.Timer
	unhealthy   bool // SetInstanceHealth said so
	protected   bool // SetInstanceProtection said so
	replaceable bool // its end is to be made good by a new instance
	replacement *Instance
}

// fleet is the state of Auto Scaling: groups, hooks and instances, with no sockets. One mutex guards
// all of it; timers take it as callers do.
type fleet struct {
	region string
	image  string

	mu     sync.Mutex
	groups map[string]*group
	all    []*Instance
	timers map[*time.Timer]struct{} // replacements to come
	closed bool

	behind time.Duration // Options.Eventual

	booted func(*Instance) // gives a new instance its metadata service; called with mu held
	moved  func()          // tells CodeDeploy of a change; called with mu held, and does not wait
}

func newFleet(region string) *fleet {
	return &fleet{
		region: region,
		image:  "ami-" + randomHex(17),
		groups: map[string]*group{},
		timers: map[*time.Timer]struct{}{},
		booted: func(*Instance) {},
		moved:  func() {},
	}
}

// close stops every timer: nothing changes any more.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for t := range f.timers {
		t.Stop()
	}
	for _, inst := range f.all {
		inst.dropActions()
		if inst.pending != nil {
			inst.pending.Stop()
		}
	}
}

func (f *fleet) createGroup(g Group) {
	if g.Role == "" {
		g.Role = defaultRole
	}
	if g.PoolState == "" {
		g.PoolState = WarmedStopped
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if had, ok := f.groups[g.Name]; ok {
		had.Group = g
		return
	}
	f.groups[g.Name] = &group{Group: g}
}

// CreateGroup makes an Auto Scaling group, or gives one new settings.
func (c *Cloud) CreateGroup(g Group) { c.fleet.createGroup(g) }

// mustGroup finds a group a test named; mu is held.
func (f *fleet) mustGroup(name string) *group {
	g, ok := f.groups[name]
	if !ok {
		panic(fmt.Sprintf("standin: no Auto Scaling group %q (there are: %s): call CreateGroup first",
			name, strings.Join(slices.Sorted(maps.Keys(f.groups)), ", ")))
	}
	return g
}

// Launch launches an instance in a group. On return it is Pending or, unless the options delay it,
// already in its wait state with one action per launch hook; without a hook it is in service.
func (c *Cloud) Launch(groupName string, o LaunchOptions) *Instance {
	f := c.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.launch(f.mustGroup(groupName), o, "an instance was started in response to a difference between desired and actual capacity, increasing the capacity.")
}

// Standalone launches an instance that is in no Auto Scaling group.
func (c *Cloud) Standalone(o LaunchOptions) *Instance {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return c.fleet.boot(nil, o)
}

// Instances returns every instance so far, terminated and replaced ones too, in the order of launch.
func (c *Cloud) Instances() []*Instance {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return slices.Clone(c.fleet.all)
}

// find returns the instance with an id that has not ended; mu is held.
func (f *fleet) find(id string) *Instance {
	for _, inst := range f.all {
		if inst.ID == id && inst.group != nil && !inst.state.ended() {
			return inst
		}
	}
	return nil
}

// State is where the instance is now; "" for an instance in no group.
func (i *Instance) State() State {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	return i.state
}

// Transition is a state and when it was entered.
type Transition struct {
	State State
	At    time.Time
}

// History is every state so far, the oldest first.
func (i *Instance) History() []Transition {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	return slices.Clone(i.history)
}

// States is History without the times, to compare with a literal.
func (i *Instance) States() []State {
	var states []State
	for _, t := range i.History() {
		states = append(states, t.State)
	}
	return states
}

// WaitFor returns when the instance is in the state, or has passed through it since WaitFor was
// called. It fails at once when the instance has ended in another state, and when ctx ends.
func (i *Instance) WaitFor(ctx context.Context, want State) error {
	f := i.fleet
	f.mu.Lock()
	from := max(len(i.history)-1, 0)
	for {
		seen := slices.Clone(i.history)
		changed := i.changed
		f.mu.Unlock()
		if slices.ContainsFunc(seen[min(from, len(seen)):], func(t Transition) bool { return t.State == want }) {
			return nil
		}
		if len(seen) > 0 && seen[len(seen)-1].State.ended() {
			return fmt.Errorf("cannot see %s become %s: it has ended as %s", i.ID, want, path(seen))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot see %s become %s, it went %s: %w", i.ID, want, path(seen), ctx.Err())
		}
		f.mu.Lock()
	}
}

// path writes states as "Pending -> Pending:Wait".
func path(history []Transition) string {
	var names []string
	for _, t := range history {
		names = append(names, string(t.State))
	}
	return strings.Join(names, " -> ")
}

// Replacement waits for the instance that was launched in place of this one.
func (i *Instance) Replacement(ctx context.Context) (*Instance, error) {
	for {
		i.fleet.mu.Lock()
		next, changed := i.replacement, i.changed
		i.fleet.mu.Unlock()
		if next != nil {
			return next, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot see a replacement of %s: %w", i.ID, ctx.Err())
		}
	}
}

// GroupName is the instance's Auto Scaling group; "" when it is in none.
func (i *Instance) GroupName() string {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	return i.groupName()
}

func (i *Instance) groupName() string {
	if i.group == nil {
		return ""
	}
	return i.group.Name
}
