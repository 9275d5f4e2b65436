package standin

import (
	"strings"
	"time"
)

// State is an Auto Scaling lifecycle state, in the service's own words.
type State string

// The states an instance passes through. Those ending in :Wait hold it until its hooks are answered.
const (
	Pending              State = "Pending"
	PendingWait          State = "Pending:Wait"
	PendingProceed       State = "Pending:Proceed"
	InService            State = "InService"
	Terminating          State = "Terminating"
	TerminatingWait      State = "Terminating:Wait"
	TerminatingProceed   State = "Terminating:Proceed"
	TerminatingRetained  State = "Terminating:Retained"
	Terminated           State = "Terminated"
	Detaching            State = "Detaching"
	Detached             State = "Detached"
	EnteringStandby      State = "EnteringStandby"
	Standby              State = "Standby"
	ReplacingRoot        State = "ReplacingRootVolume"
	ReplacingRootWait    State = "ReplacingRootVolume:Wait"
	ReplacingRootProceed State = "ReplacingRootVolume:Proceed"
	RootReplaced         State = "RootVolumeReplaced"

	WarmedPending             State = "Warmed:Pending"
	WarmedPendingWait         State = "Warmed:Pending:Wait"
	WarmedPendingProceed      State = "Warmed:Pending:Proceed"
	WarmedPendingRetained     State = "Warmed:Pending:Retained"
	WarmedStopped             State = "Warmed:Stopped"
	WarmedRunning             State = "Warmed:Running"
	WarmedHibernated          State = "Warmed:Hibernated"
	WarmedTerminating         State = "Warmed:Terminating"
	WarmedTerminatingWait     State = "Warmed:Terminating:Wait"
	WarmedTerminatingProceed  State = "Warmed:Terminating:Proceed"
	WarmedTerminatingRetained State = "Warmed:Terminating:Retained"
	WarmedTerminated          State = "Warmed:Terminated"
)

// ended tells whether the instance has left its group for good.
func (s State) ended() bool { return s == Terminated || s == WarmedTerminated || s == Detached }

// base is the state without :Wait, :Proceed or :Retained.
func (s State) base() State {
	for _, phase := range []string{":Wait", ":Proceed", retained} {
		if before, ok := strings.CutSuffix(string(s), phase); ok {
			return State(before)
		}
	}
	return s
}

// retained ends the states of instances that are kept after a termination hook was abandoned.
const retained = ":Retained"

// isRetained tells whether the instance is kept until somebody terminates it.
func (s State) isRetained() bool { return strings.HasSuffix(string(s), retained) }

// exit is the state that begins the way out.
func (s State) exit() State {
	if strings.HasPrefix(string(s), "Warmed:") {
		return WarmedTerminating
	}
	return Terminating
}

// last is the state that ends it.
func (s State) last() State {
	if strings.HasPrefix(string(s), "Warmed:") {
		return WarmedTerminated
	}
	return Terminated
}

// leaving tells whether the instance is on its way out or gone.
func (s State) leaving() bool {
	return s.ended() || s.base() == Terminating || s.base() == WarmedTerminating || s == Detaching
}

// replaceBackoff is the pause before the second replacement in a row; it doubles with every further one up
// to maxReplaceBackoff. Auto Scaling limits the rate of launches while hooks keep failing, and a test whose
// launches all fail should not fill the machine with instances.
const (
	replaceBackoff    = 250 * time.Millisecond
	maxReplaceBackoff = 30 * time.Second
)

// enter records a transition; mu is held.
func (i *Instance) enter(s State) {
	i.state = s
	i.history = append(i.history, Transition{s, time.Now()})
	i.tell()
}

// tell wakes everyone who waits for a change of the instance; mu is held.
func (i *Instance) tell() {
	close(i.changed)
	i.changed = make(chan struct{})
	i.fleet.moved()
}

// boot makes the machine and its metadata; mu is held.
func (f *fleet) boot(g *group, o LaunchOptions) *Instance {
	if o.ImageID == "" {
		o.ImageID = f.image
	}
	if o.InstanceType == "" {
		o.InstanceType = "t3.small"
	}
	inst := &Instance{
		ID: "i-" + randomHex(17), fleet: f, options: o, group: g,
		launched: time.Now().Add(-o.Age), changed: make(chan struct{}),
	}
	f.all = append(f.all, inst)
	f.booted(inst)
	return inst
}

// launch boots an instance and walks it to its first wait; mu is held.
func (f *fleet) launch(g *group, o LaunchOptions, cause string) *Instance {
	inst := f.boot(g, o)
	inst.activity = g.began("Launching a new EC2 instance: "+inst.ID, cause)
	if o.WarmPool {
		inst.enter(WarmedPending)
	} else {
		inst.enter(Pending)
	}
	inst.advance()
	return inst
}

// advance ends the time an instance is Pending as its options say; mu is held.
func (i *Instance) advance() {
	switch {
	case i.options.HoldPending:
	case i.options.PendingFor > 0:
		i.pending = time.AfterFunc(i.options.PendingFor, i.Release)
	default:
		i.admit()
	}
}

// Release lets an instance that is held Pending go on to its wait state.
func (i *Instance) Release() {
	i.fleet.mu.Lock()
	defer i.fleet.mu.Unlock()
	i.admit()
}

// admit ends the time an instance is Pending; mu is held.
func (i *Instance) admit() {
	if !i.fleet.closed && (i.state == Pending || i.state == WarmedPending) {
		i.hold(OnLaunch)
	}
}

// hold puts the instance in the wait state that follows its state, with an action for every hook of the
// transition, or lets it proceed when there is none; mu is held.
func (i *Instance) hold(t Transit) {
	var hooks []Hook
	for _, h := range i.group.hooks {
		if h.Transition == t {
			hooks = append(hooks, h)
		}
	}
	if len(hooks) == 0 {
		i.proceed()
		return
	}
	i.enter(i.state + ":Wait")
	for _, h := range hooks {
		i.actions = append(i.actions, i.newAction(h))
	}
}

// proceed moves the instance on from where its hooks held it; mu is held.
func (i *Instance) proceed() {
	base := i.state.base()
	if i.state != base {
		i.enter(base + ":Proceed")
	}
	switch base {
	case Pending:
		i.enter(InService)
		i.succeeded()
	case WarmedPending:
		i.enter(i.group.PoolState)
		i.succeeded()
	case Terminating:
		i.ended(Terminated)
	case WarmedTerminating:
		i.ended(WarmedTerminated)
	case ReplacingRoot:
		i.launched = time.Now()
		i.enter(RootReplaced)
	}
}

// succeeded closes the activity of a launch; mu is held.
func (i *Instance) succeeded() {
	i.group.failures = 0
	i.group.ended(i.activity, "Successful", "")
}

// abandon ends a launch that failed; mu is held.
func (i *Instance) abandon(why string) {
	i.dropActions()
	i.group.failures++
	i.group.ended(i.activity, "Cancelled", why)
	i.replaceable = true
	i.terminate()
}

// terminate starts the instance's way out, or ends that of a retained one; mu is held.
func (i *Instance) terminate() {
	if i.state.isRetained() {
		i.endRetained()
		return
	}
	if i.state.leaving() {
		return
	}
	i.dropActions()
	if i.pending != nil {
		i.pending.Stop()
	}
	i.enter(i.state.exit())
	i.hold(OnTerminate)
}

// ended is the last state; a replacement follows when one is due. mu is held.
func (i *Instance) ended(s State) {
	i.enter(s)
	i.makeGood()
}

// makeGood launches a replacement when one is due, later when launches fail in a row; mu is held.
func (i *Instance) makeGood() {
	f := i.fleet
	if !i.replaceable || i.group.NoReplacement || f.closed || f.groups[i.group.Name] != i.group {
		return
	}
	var wait time.Duration
	if n := i.group.failures; n > 1 {
		wait = min(maxReplaceBackoff, replaceBackoff<<min(n-2, 10))
	}
	if wait == 0 {
		f.replace(i)
		return
	}
	var t *time.Timer
	t = time.AfterFunc(wait, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.timers, t)
		if !f.closed && f.groups[i.group.Name] == i.group {
			f.replace(i)
		}
	})
	f.timers[t] = struct{}{}
}

// replace launches an instance like one that has ended; mu is held.
func (f *fleet) replace(old *Instance) {
	old.replacement = f.launch(old.group, old.options,
		"an instance was launched in response to an unhealthy instance needing to be replaced.")
	old.tell()
}
