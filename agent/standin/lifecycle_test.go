package standin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The lifecycle as pictures: what happens to one instance, and the states it passes through with the
// time of each. The steps are
//
//	launch, launch warm     into the group
//	+50s                    time passes
//	CONTINUE h, ABANDON h   CompleteLifecycleAction for hook h
//	beat h                  RecordLifecycleActionHeartbeat for hook h
//	... !text               and the call is refused with that text
//
// and the methods of Instance by name.
var lifecycles = []struct {
	name  string
	hooks []Hook
	steps string
	want  string
}{
	{
		name:  "without a hook nothing holds a launch",
		steps: "launch",
		want:  "0s Pending, 0s InService",
	},
	{
		name:  "a hook holds it until it is answered",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch, +40s, CONTINUE deploy",
		want:  "0s Pending, 0s Pending:Wait, 40s Pending:Proceed, 40s InService",
	},
	{
		name:  "a second answer is too late",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch, CONTINUE deploy, CONTINUE deploy !No active Lifecycle Action found with instance ID",
		want:  "0s Pending, 0s Pending:Wait, 0s Pending:Proceed, 0s InService",
	},
	{
		name:  "an answer before the wait is too early",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch held, CONTINUE deploy !No active Lifecycle Action found with instance ID, +5s, Release, CONTINUE deploy",
		want:  "0s Pending, 5s Pending:Wait, 5s Pending:Proceed, 5s InService",
	},
	{
		name:  "every hook must be answered",
		hooks: []Hook{{Name: "deploy"}, {Name: "register"}},
		steps: "launch, +1s, CONTINUE register, +1s, CONTINUE deploy",
		want:  "0s Pending, 0s Pending:Wait, 2s Pending:Proceed, 2s InService",
	},
	{
		name:  "one ABANDON is enough",
		hooks: []Hook{{Name: "deploy"}, {Name: "register"}},
		steps: "launch, +1s, ABANDON deploy, CONTINUE register !No active Lifecycle Action",
		want:  "0s Pending, 0s Pending:Wait, 1s Terminating, 1s Terminated",
	},
	{
		name:  "no answer counts as ABANDON",
		hooks: []Hook{{Name: "deploy", HeartbeatTimeout: 60 * time.Second}},
		steps: "launch, +60s",
		want:  "0s Pending, 0s Pending:Wait, 60s Terminating, 60s Terminated",
	},
	{
		name:  "unless the hook's default is CONTINUE",
		hooks: []Hook{{Name: "deploy", HeartbeatTimeout: 60 * time.Second, DefaultResult: Continue}},
		steps: "launch, +60s, beat deploy !No active Lifecycle Action",
		want:  "0s Pending, 0s Pending:Wait, 60s Pending:Proceed, 60s InService",
	},
	{
		name:  "a heartbeat restarts the timer in full",
		hooks: []Hook{{Name: "deploy", HeartbeatTimeout: 60 * time.Second}},
		steps: "launch, +50s, beat deploy, +59s, beat deploy, +60s",
		want:  "0s Pending, 0s Pending:Wait, 169s Terminating, 169s Terminated",
	},
	{
		name:  "no heartbeat extends the global timeout",
		hooks: []Hook{{Name: "deploy", HeartbeatTimeout: 60 * time.Second, GlobalTimeout: 100 * time.Second}},
		steps: "launch, +50s, beat deploy, +40s, beat deploy, +10s",
		want:  "0s Pending, 0s Pending:Wait, 100s Terminating, 100s Terminated",
	},
	{
		name:  "which is a hundred heartbeats",
		hooks: []Hook{{Name: "deploy", HeartbeatTimeout: 30 * time.Second}},
		steps: "launch" + strings.Repeat(", +25s, beat deploy", 119) + ", +25s",
		want:  "0s Pending, 0s Pending:Wait, 3000s Terminating, 3000s Terminated",
	},
	{
		name:  "termination hooks hold a scale-in",
		hooks: []Hook{{Name: "drain", Transition: OnTerminate}},
		steps: "launch, +1s, Terminate, CONTINUE deploy !No active Lifecycle Action, +5s, CONTINUE drain",
		want:  "0s Pending, 0s InService, 1s Terminating, 1s Terminating:Wait, 6s Terminating:Proceed, 6s Terminated",
	},
	{
		name:  "ABANDON of a termination skips the other hooks",
		hooks: []Hook{{Name: "drain", Transition: OnTerminate}, {Name: "save", Transition: OnTerminate}},
		steps: "launch, Terminate, +1s, ABANDON drain",
		want:  "0s Pending, 0s InService, 0s Terminating, 0s Terminating:Wait, 1s Terminating:Proceed, 1s Terminated",
	},
	{
		name:  "an abandoned launch runs termination hooks too",
		hooks: []Hook{{Name: "deploy"}, {Name: "drain", Transition: OnTerminate}},
		steps: "launch, ABANDON deploy, +1s, CONTINUE drain",
		want:  "0s Pending, 0s Pending:Wait, 0s Terminating, 0s Terminating:Wait, 1s Terminating:Proceed, 1s Terminated",
	},
	{
		name:  "a launch can be scaled in while it waits",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch, +1s, Terminate, CONTINUE deploy !No active Lifecycle Action",
		want:  "0s Pending, 0s Pending:Wait, 1s Terminating, 1s Terminated",
	},
	{
		name:  "a launch hook fires twice for a warm instance",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch warm, +10s, CONTINUE deploy, +1h, StartFromPool, +2s, CONTINUE deploy",
		want: "0s Warmed:Pending, 0s Warmed:Pending:Wait, 10s Warmed:Pending:Proceed, 10s Warmed:Stopped, " +
			"3610s Pending, 3610s Pending:Wait, 3612s Pending:Proceed, 3612s InService",
	},
	{
		name:  "a warm instance can fail",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch warm, ABANDON deploy",
		want:  "0s Warmed:Pending, 0s Warmed:Pending:Wait, 0s Warmed:Terminating, 0s Warmed:Terminated",
	},
	{
		name:  "back in the pool it waits for the termination hook",
		hooks: []Hook{{Name: "deploy"}, {Name: "drain", Transition: OnTerminate}},
		steps: "launch, CONTINUE deploy, ReturnToPool, CONTINUE deploy !No active Lifecycle Action, CONTINUE drain",
		want: "0s Pending, 0s Pending:Wait, 0s Pending:Proceed, 0s InService, " +
			"0s Warmed:Pending, 0s Warmed:Pending:Wait, 0s Warmed:Pending:Proceed, 0s Warmed:Stopped",
	},
	{
		name:  "a new root volume: a termination hook before, no launch hook after",
		hooks: []Hook{{Name: "deploy"}, {Name: "drain", Transition: OnTerminate}},
		steps: "launch, CONTINUE deploy, ReplaceRootVolume, CONTINUE drain, CONTINUE deploy !No active Lifecycle Action, ReturnToService",
		want: "0s Pending, 0s Pending:Wait, 0s Pending:Proceed, 0s InService, 0s ReplacingRootVolume, 0s ReplacingRootVolume:Wait, " +
			"0s ReplacingRootVolume:Proceed, 0s RootVolumeReplaced, 0s InService",
	},
	{
		name:  "standby and back fires no hook",
		hooks: []Hook{{Name: "deploy"}},
		steps: "launch, CONTINUE deploy, EnterStandby, ReturnToService",
		want:  "0s Pending, 0s Pending:Wait, 0s Pending:Proceed, 0s InService, 0s EnteringStandby, 0s Standby, 0s Pending, 0s InService",
	},
	{
		name:  "nor does leaving the group",
		hooks: []Hook{{Name: "drain", Transition: OnTerminate}},
		steps: "launch, Detach",
		want:  "0s Pending, 0s InService, 0s Detaching, 0s Detached",
	},
}

func TestLifecycle(t *testing.T) {
	for _, l := range lifecycles {
		t.Run(l.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := bare(Group{Name: "web", NoReplacement: true}, l.hooks...)
				defer c.fleet.close()
				began := time.Now()
				var inst *Instance
				for step := range strings.SplitSeq(l.steps, ", ") {
					if strings.HasPrefix(step, "launch") {
						inst = c.Launch("web", LaunchOptions{WarmPool: step == "launch warm", HoldPending: step == "launch held"})
						continue
					}
					do(t, c, inst, step)
				}
				var got []string
				for _, tr := range inst.History() {
					got = append(got, fmt.Sprintf("%ds %s", int(tr.At.Sub(began).Seconds()), tr.State))
				}
				if strings.Join(got, ", ") != l.want {
					t.Errorf("after %s\n got %s\nwant %s", l.steps, strings.Join(got, ", "), l.want)
				}
			})
		})
	}
}

// bare is a Cloud with no sockets: a group and its hooks.
func bare(g Group, hooks ...Hook) *Cloud {
	c := &Cloud{fleet: newFleet(region)}
	c.CreateGroup(g)
	for _, h := range hooks {
		c.PutHook(g.Name, h)
	}
	return c
}

// do takes one step of a lifecycle's picture.
func do(t *testing.T, c *Cloud, inst *Instance, step string) {
	t.Helper()
	step, refused, _ := strings.Cut(step, " !")
	verb, hook, _ := strings.Cut(step, " ")
	params := map[string]string{"AutoScalingGroupName": "web", "LifecycleHookName": hook, "InstanceId": inst.ID, "LifecycleActionResult": verb}
	var bad *apiError
	switch verb {
	case Continue, Abandon:
		_, bad = completeLifecycleAction(c, request{params: params})
	case "beat":
		_, bad = recordLifecycleActionHeartbeat(c, request{params: params})
	default:
		if d, err := time.ParseDuration(strings.TrimPrefix(verb, "+")); err == nil {
			time.Sleep(d) // in a bubble: the clock is the test's
			synctest.Wait()
			return
		}
		map[string]func(){
			"Release": inst.Release, "Terminate": inst.Terminate, "StartFromPool": inst.StartFromPool,
			"ReturnToPool": inst.ReturnToPool, "ReplaceRootVolume": inst.ReplaceRootVolume,
			"EnterStandby": inst.EnterStandby, "ReturnToService": inst.ReturnToService, "Detach": inst.Detach,
		}[verb]()
	}
	switch {
	case bad == nil && refused != "":
		t.Errorf("%s was not refused", step)
	case bad != nil && (refused == "" || bad.code != "ValidationError" || !strings.HasPrefix(bad.message, refused)):
		t.Errorf("%s was refused with %s: %s", step, bad.code, bad.message)
	}
}

func TestAFailedLaunchIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bare(Group{Name: "web"}, Hook{Name: "deploy", HeartbeatTimeout: 10 * time.Second})
		defer c.fleet.close()
		began := time.Now()
		first := c.Launch("web", LaunchOptions{})
		time.Sleep(time.Minute)
		synctest.Wait()
		// Each fails after its 10 s; from the second failure in a row on, Auto Scaling holds back.
		var launched []string
		for _, inst := range c.Instances() {
			launched = append(launched, inst.History()[0].At.Sub(began).String())
		}
		want := []string{"0s", "10s", "20.25s", "30.75s", "41.75s", "53.75s"}
		if !slices.Equal(launched, want) {
			t.Errorf("launches at %v, want %v", launched, want)
		}
		next, err := first.Replacement(t.Context())
		if err != nil || next != c.Instances()[1] {
			t.Errorf("replacement %v, %v", next, err)
		}
		if err := first.WaitFor(t.Context(), InService); err == nil || !strings.Contains(err.Error(), "Pending:Wait -> Terminating -> Terminated") && !strings.Contains(err.Error(), "ended as") {
			t.Errorf("waiting for a dead instance: %v", err)
		}
		answers := first.Answers()
		if len(answers) != 1 || !answers[0].TimedOut || answers[0].Result != Abandon {
			t.Errorf("answers %+v", answers)
		}
	})
}

// legal is every step an instance may take.
var legal = map[State][]State{
	Pending:               {PendingWait, InService, Terminating},
	PendingWait:           {PendingProceed, Terminating},
	PendingProceed:        {InService},
	InService:             {Terminating, WarmedPending},
	Terminating:           {TerminatingWait, Terminated},
	TerminatingWait:       {TerminatingProceed},
	TerminatingProceed:    {Terminated},
	WarmedPending:         {WarmedPendingWait, WarmedStopped, WarmedTerminating},
	WarmedPendingWait:     {WarmedPendingProceed, WarmedTerminating},
	WarmedPendingProceed:  {WarmedStopped},
	WarmedStopped:         {Pending, WarmedTerminating},
	WarmedTerminating:     {WarmedTerminatingWait, WarmedTerminated},
	WarmedTerminatingWait: {WarmedTerminatingProceed}, WarmedTerminatingProceed: {WarmedTerminated},
}

// Whatever happens to a group, in whatever order, its instances keep to the lifecycle.
func TestAnyOrderOfEventsKeepsTheLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noDeadline := struct{ rapid.TB }{t} // a bubble's clock has nothing to do with the test's deadline
		rapid.Check(noDeadline, func(rt *rapid.T) {
			c := bare(Group{Name: "web"}, Hook{Name: "a", HeartbeatTimeout: 40 * time.Second}, Hook{Name: "b", HeartbeatTimeout: 90 * time.Second, DefaultResult: Continue, GlobalTimeout: 2 * time.Minute})
			defer c.fleet.close()
			if rapid.Bool().Draw(rt, "termination hook") {
				c.PutHook("web", Hook{Name: "drain", Transition: OnTerminate, HeartbeatTimeout: 30 * time.Second})
			}
			c.Launch("web", LaunchOptions{})
			pick := func() *Instance { return rapid.SampledFrom(c.Instances()).Draw(rt, "instance") }
			call := func(op operation, result string) {
				op(c, request{params: map[string]string{"AutoScalingGroupName": "web", "InstanceId": pick().ID,
					"LifecycleHookName": rapid.SampledFrom([]string{"a", "b", "drain"}).Draw(rt, "hook"), "LifecycleActionResult": result}})
			}
			rt.Repeat(map[string]func(*rapid.T){
				"launch":    func(*rapid.T) { c.Launch("web", LaunchOptions{WarmPool: rapid.Bool().Draw(rt, "warm")}) },
				"continue":  func(*rapid.T) { call(completeLifecycleAction, Continue) },
				"abandon":   func(*rapid.T) { call(completeLifecycleAction, Abandon) },
				"beat":      func(*rapid.T) { call(recordLifecycleActionHeartbeat, "") },
				"terminate": func(*rapid.T) { pick().Terminate() },
				"start": func(*rapid.T) {
					if inst := pick(); inst.State() == WarmedStopped {
						inst.StartFromPool()
					}
				},
				"reuse": func(*rapid.T) {
					if inst := pick(); inst.State() == InService {
						inst.ReturnToPool()
					}
				},
				"time": func(*rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 60).Draw(rt, "seconds")) * time.Second)
					synctest.Wait()
				},
				"": func(rt *rapid.T) { keepsTheLifecycle(rt, c) },
			})
		})
	})
}

func keepsTheLifecycle(rt *rapid.T, c *Cloud) {
	for _, inst := range c.Instances() {
		states := inst.States()
		for n := 1; n < len(states); n++ {
			if !slices.Contains(legal[states[n-1]], states[n]) {
				rt.Fatalf("%s went from %s to %s", inst.ID, states[n-1], states[n])
			}
		}
		actions := inst.Actions()
		if waits := strings.HasSuffix(string(inst.State()), ":Wait"); waits != (len(actions) > 0) {
			rt.Fatalf("%s is %s with %d actions", inst.ID, inst.State(), len(actions))
		}
		for _, a := range actions {
			if a.Deadline.After(a.Global) || !a.Deadline.After(time.Now()) {
				rt.Fatalf("%s: action of hook %s ends %s, global %s, now %s", inst.ID, a.Hook, a.Deadline, a.Global, time.Now())
			}
		}
		abandoned := slices.ContainsFunc(inst.Answers(), func(a Answer) bool { return a.Transition == OnLaunch && a.Result == Abandon })
		if abandoned && inst.State() == InService {
			rt.Fatalf("%s is in service though its launch was abandoned", inst.ID)
		}
		inst.fleet.mu.Lock()
		if inst.replacement != nil && !abandoned {
			rt.Fatalf("%s was replaced though its launch did not fail", inst.ID)
		}
		inst.fleet.mu.Unlock()
	}
}

func TestTargetLifecycleState(t *testing.T) {
	for s, want := range map[State]string{
		"": "", Pending: "InService", PendingWait: "InService", PendingProceed: "InService", InService: "InService",
		Terminating: "Terminated", TerminatingWait: "Terminated", TerminatingProceed: "Terminated", TerminatingRetained: "Terminated", Terminated: "Terminated",
		WarmedPending: "Warmed:Stopped", WarmedPendingWait: "Warmed:Stopped", WarmedPendingProceed: "Warmed:Stopped",
		WarmedStopped: "Warmed:Stopped", WarmedRunning: "Warmed:Running", WarmedHibernated: "Warmed:Hibernated",
		WarmedTerminating: "Warmed:Terminated", WarmedTerminatingWait: "Warmed:Terminated", WarmedTerminated: "Warmed:Terminated",
		Standby: "Standby", EnteringStandby: "Standby", Detaching: "Detached", Detached: "Detached", RootReplaced: "InService",
	} {
		if got := targetState(s, WarmedStopped); got != want {
			t.Errorf("while %q: %q, want %q", s, got, want)
		}
	}
}
