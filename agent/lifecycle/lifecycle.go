// Package lifecycle is this instance's lifecycle action at Auto Scaling: find it, hold it with heartbeats
// while the work is done, complete it.
//
//	launch, err := lifecycle.Find(ctx, api, metadata, me, options)
//	work := launch.Start(ctx)            // from here on: looked for, then held
//	…                                    // deploy, in work; it need not wait for anything
//	outcome, err := launch.Complete(ctx, lifecycle.Continue)
//	launch.Stop()
//
// What the contract rests on:
//
//   - Instance metadata (autoscaling/target-lifecycle-state) is the cheap gate: it costs nothing, but says
//     only where the instance is going. One DescribeAutoScalingInstances confirms where it is. Describe is
//     repeated, with a jittered back-off, only until the state is a wait state: the API's request rate is
//     shared by the whole account and region.
//   - Where a new instance's tag names its group (aws:autoscaling:groupName: tags that begin with aws: are AWS's own to set), the hooks are
//     asked for beside Describe. Once calls are throttled, Describe is left out, if it was not answered before: a new instance on its way into service waits
//     for the hook that its group has, and the verdict, or a heartbeat, is answered by whether it does. So completes AWS's own
//     tutorial for lifecycle hooks in user data, which never describes the instance.
//   - The hook is the one named in Options, else the group's only hook of the transition that CodeDeploy
//     does not manage (CodeDeploy-managed-*). Anything else is refused: completing somebody else's action
//     would put a half-made server into service.
//   - The action needs no token: the instance id identifies it.
//   - "No active Lifecycle Action found" means too early while the state is still a wait state, and
//     already decided otherwise.
//   - The request budget is shared by everybody who was launched in the same minute: all calls of
//     the launch pass one [retry.Limiter], the caller's own to CodeDeploy too. Their clients should have the retryer
//     [retry.WithoutThrottleRetries]: one that repeats throttled calls by itself makes each try several.
//   - Throttling, contention, a lost connection and missing permission are retried until the action's own
//     end: a verdict that is not delivered is a verdict left to the hook's default.
//   - States and metadata values this package does not know are "not ours", never an error.
//
// Caveats. The global timeout is counted from the earliest moment the wait can have begun (Options.Began;
// at a first boot, the instance's launch): the deadline errs on the early side. A wait that would be over by that
// count began later, and is counted from when it was found. A verdict that is denied (the role lacks the permission)
// is held for some minutes only; then heartbeats end, and the hook's timeout decides. All instances of a group share
// its IAM resource, so this package could complete a sibling's action; it only ever sends its own instance
// id.
package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"usher/agent/instance"
	"usher/agent/retry"
)

// API is the subset of *autoscaling.Client that this package calls.
type API interface {
	DescribeAutoScalingInstances(context.Context, *autoscaling.DescribeAutoScalingInstancesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeAutoScalingInstancesOutput, error)
	DescribeLifecycleHooks(context.Context, *autoscaling.DescribeLifecycleHooksInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHooksOutput, error)
	RecordLifecycleActionHeartbeat(context.Context, *autoscaling.RecordLifecycleActionHeartbeatInput, ...func(*autoscaling.Options)) (*autoscaling.RecordLifecycleActionHeartbeatOutput, error)
	CompleteLifecycleAction(context.Context, *autoscaling.CompleteLifecycleActionInput, ...func(*autoscaling.Options)) (*autoscaling.CompleteLifecycleActionOutput, error)
}

// Transitions, as the service writes them in a hook: with the prefix (the documented values of
// LifecycleHook.LifecycleTransition, and of DescribeLifecycleHookTypes).
const (
	Launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	Terminating = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// Kind is what was found.
type Kind int

const (
	Unknown    Kind = iota // not known yet: metadata says nothing, or the API did not answer
	Action                 // our hook's action is there, or will be when the wait state is reached
	NoAction               // in a group, and nothing of this transition to complete
	Standalone             // in no group
	Leaving                // terminating, detached or in standby: nothing is to be started
)

// Options are what the configuration and the caller decide.
type Options struct {
	Transition string         // Launching or Terminating
	Hook       string         // the hook's name; "" for the only one
	NewIn      string         // the group that a new instance is in, as its tag says; "": it is not new, or Auto Scaling is to say
	Began      time.Time      // when the wait began at the earliest; zero: when it was found
	Grace      time.Duration  // how long after its launch an instance without a target state may get one; 0: DefaultGrace
	Notify     func(Event)    // what happened in the background, for the journal; may be nil; may be called concurrently
	Ahead      func()         // called by Find when metadata says that the instance is not on its way out, before Auto Scaling is asked; may be nil
	Limiter    *retry.Limiter // which the caller's other calls pass, too; nil: there are none
	Alive      func()         // called whenever this package has done something; may be nil
}

// Event is one thing that happened while the action was looked for, held or completed.
type Event struct {
	Kind  What
	State string        // lifecycle state, when known
	Err   error         // of a call that failed
	Next  time.Duration // until the next try
	Left  time.Duration // until something ends
}

// What an Event is about.
type What string

const (
	Waiting         What = "waiting"          // the wait state is confirmed: heartbeats begin
	Presumed        What = "presumed"         // it is not, because calls are throttled: heartbeats begin all the same
	Confirmed       What = "confirmed"        // what was presumed was said by Auto Scaling
	Retrying        What = "retrying"         // a call failed and will be repeated
	HeartbeatFailed What = "heartbeat failed" // the action may time out if this goes on
	Lenient         What = "lenient"          // the hook, State, has the default result CONTINUE
	Denied          What = "denied"           // the verdict is not allowed; Left is until the heartbeats end
	Silent          What = "silent"           // the verdict is still not allowed: heartbeats end now, the hook's timeout decides
	Gone            What = "gone"             // Auto Scaling no longer waits for us
	UnknownState    What = "unfamiliar"       // a lifecycle state this version does not know
)

// Launch is the action of this instance, or the lack of one.
type Launch struct {
	api  API
	gate TargetState
	me   instance.Identity
	opt  Options

	mu             sync.Mutex // guards what follows
	kind           Kind
	state          string // last lifecycle state seen
	group          string
	target         string    // of metadata, last seen
	found          time.Time // when the action was found
	lateSince      time.Time // since when Auto Scaling's API is behind metadata
	hook           types.LifecycleHook
	others         []string // every hook that the group was seen to have, as "NAME of TRANSITION"
	err            error    // a refusal: the hook cannot be chosen
	presumed       bool     // state is what follows from metadata, and Auto Scaling has not said so yet
	sendHeartbeats bool     // a heartbeat was accepted: the action is ours and active

	failed error // why Find could not find out

	seen   position // of check: of an action of which only the hook is still to be found out
	listed hookList // of check: what was told last

	lastHeartbeat time.Time     // of Start's goroutine: when the action was last known to be held
	inactiveSince time.Time     // of Start's goroutine: since when it is said not to be; zero while it is held
	known         chan struct{} // closed when kind is not Unknown any more, or err is set
	waiting       chan struct{} // closed when the wait state is confirmed or presumed, or passed
	stop          context.CancelFunc
	watching      sync.WaitGroup // of Start's other goroutine, which asks whether the instance is being terminated
	finished      chan struct{}  // closed when Start's goroutine has ended
	cancelWork    context.CancelCauseFunc
}

// TargetState is instance metadata's target lifecycle state: "" when it has none.
type TargetState interface {
	TargetLifecycleState(context.Context) (string, error)
}

// Pauses. Half of each is random: a fleet is launched in one moment.
var (
	// gateBackoff: metadata is throttled per instance; 1 to 5 s is harmless.
	gateBackoff = retry.Backoff{Min: 500 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.5}
	// describeBackoff: the API's budget is shared by the account. The operating system is usually up before Pending:Wait
	// is reached, which takes seconds.
	describeBackoff = retry.Backoff{Min: 2 * time.Second, Max: 15 * time.Second, Jitter: 0.5}
	// callBackoff is between tries of a call that failed, unless it was throttled.
	callBackoff = retry.Backoff{Min: 500 * time.Millisecond, Max: 15 * time.Second, Jitter: 0.5}
)

// Durations and limits.
const (
	// DefaultGrace: a brand-new instance of a group can be without a target state for some seconds; a
	// standalone one is without it for ever. Nothing but the end of a deployment waits for it.
	DefaultGrace = 45 * time.Second
	// minGrace is for an instance that is older than that: one answer without a state may be a bad moment
	// of metadata, several are none.
	minGrace = 3 * time.Second
	// beatFraction of the hook's heartbeat timeout is between heartbeats: two may be lost.
	beatFraction = 3
	// throttledBeatFraction is that where the request budget is short.
	throttledBeatFraction = 2
	// beatMax bounds that for hooks with hours of timeout, so that a lost action is noticed.
	beatMax = 5 * time.Minute
	// raceTimeout: how long "no active action" in a wait state counts as too early rather than decided.
	raceTimeout = 20 * time.Second
	// heldTimeout is that for an action that was active a moment ago: it only bridges an inconsistent answer.
	heldTimeout = 3 * time.Second
	// lateTimeout: how long Auto Scaling's API may be behind metadata. It is seconds; then what it says counts.
	lateTimeout = 2 * time.Minute
	// globalTimeoutDefault is Auto Scaling's own upper limit, for a hook that does not say.
	globalTimeoutDefault = 48 * time.Hour
	// verdictReserve of the global timeout, at most verdictReserveMax, is kept for rolling back and for
	// delivering the verdict, so that it is ours and not the hook's default.
	verdictReserve, verdictReserveMax = 10, 5 * time.Minute
	// activeWindow: how long "no active action" counts as too early for an agent that has completed one in
	// this boot, and only has to tell another from the same.
	activeWindow = 5 * time.Second
	// leastDelivery: a verdict that is late is still tried for so long; the clocks may differ.
	leastDelivery = time.Minute
	// deniedMost is how long heartbeats hold a launch whose verdict is not allowed: a policy is corrected in that time by
	// somebody who reads of it, or not before the hook's global timeout, which may be days away. With a short hook it is
	// deniedBeats of its heartbeat timeouts. Then the hook's own timeout decides, with its default result.
	deniedMost  = 10 * time.Minute
	deniedBeats = 2
	// stopGrace: a service being stopped still gets a verdict out that it has.
	stopGrace = 10 * time.Second
	// jitter keeps a fleet that booted together from calling together.
	jitter = 0.15
)

// ErrDeadline ends the work context when the action's global timeout comes near.
var ErrDeadline = errors.New("the lifecycle hook's global timeout is near: the deployment took too long")

// ErrTerminating ends the work context when Auto Scaling has given the instance up.
var ErrTerminating = errors.New("this instance is being terminated by Auto Scaling")

// Find makes one pass over metadata and Auto Scaling. It does not wait for a wait state, and an answer
// that cannot be had now is not an error: Start goes on looking. An error is a refusal that no retry will
// change, such as two hooks to choose from.
func Find(ctx context.Context, api API, gate TargetState, me instance.Identity, opt Options) (*Launch, error) {
	if opt.Grace == 0 {
		opt.Grace = DefaultGrace
	}
	if opt.Limiter == nil {
		opt.Limiter = new(retry.Limiter)
	}
	l := &Launch{api: api, gate: gate, me: me, opt: opt, known: make(chan struct{}), waiting: make(chan struct{})}
	l.failed = l.check(ctx) // told by Start, which tries again
	l.opt.Ahead = nil
	return l, l.err
}

// Kind is what is known now.
func (l *Launch) Kind() Kind { l.mu.Lock(); defer l.mu.Unlock(); return l.kind }

// State is the lifecycle state last seen, "" before the first.
func (l *Launch) State() string { l.mu.Lock(); defer l.mu.Unlock(); return l.state }

// Group is the Auto Scaling group's name, "" when not known.
func (l *Launch) Group() string { l.mu.Lock(); defer l.mu.Unlock(); return l.group }

// Target is metadata's target lifecycle state as it was seen last, "" when it had none.
func (l *Launch) Target() string { l.mu.Lock(); defer l.mu.Unlock(); return l.target }

// Hook is the lifecycle hook's name, "" without an action.
func (l *Launch) Hook() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return aws.ToString(l.hook.LifecycleHookName)
}

// Unclaimed says that Auto Scaling waits for this instance while the group has no hook of usher's: the wait is
// for somebody else, or a hook is missing. hooks are those that the group has, as "NAME of TRANSITION".
func (l *Launch) Unclaimed() (hooks []string, unclaimed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.others, l.kind == NoAction && l.err == nil && l.inWait(l.state)
}

// Presumed says that State is what follows from metadata, and that Auto Scaling has not said so yet.
func (l *Launch) Presumed() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.presumed }

// HeartbeatTimeout is the hook's.
func (l *Launch) HeartbeatTimeout() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(aws.ToInt32(l.hook.HeartbeatTimeout)) * time.Second
}

// Known waits until the kind is known, or ctx ends. It needs Start to be running.
func (l *Launch) Known(ctx context.Context) (Kind, error) {
	select {
	case <-l.known:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.kind, l.err
	case <-ctx.Done():
		return Unknown, context.Cause(ctx)
	}
}

func (l *Launch) tell(n Event) {
	if l.opt.Notify != nil {
		l.opt.Notify(n)
	}
}

func (l *Launch) alive() {
	if l.opt.Alive != nil {
		l.opt.Alive()
	}
}
