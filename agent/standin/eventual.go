package standin

import (
	"encoding/json"
	"slices"
	"time"
)

// What describing calls see while they are behind (Options.Eventual).

// shown is the state that describing calls see; ok is false while they do not see the instance at all, not yet or no
// longer. mu is held.
func (i *Instance) shown() (s State, ok bool) {
	seen := time.Now().Add(-i.fleet.behind)
	for _, t := range slices.Backward(i.history) {
		if !t.At.After(seen) {
			return t.State, !t.State.ended()
		}
	}
	return "", false
}

// oldHooks are the hooks of a group until a call changed them.
type oldHooks struct {
	until time.Time
	hooks []Hook
}

// changing keeps what the hooks of a group are before a call changes them; mu is held.
func (g *group) changing() {
	g.replaced = append(g.replaced, oldHooks{time.Now(), slices.Clone(g.hooks)})
}

// shownHooks are the hooks that describing calls see; mu is held.
func (f *fleet) shownHooks(g *group) []Hook {
	seen := time.Now().Add(-f.behind)
	for _, old := range g.replaced {
		if old.until.After(seen) {
			return old.hooks
		}
	}
	return g.hooks
}

// outcome is what a deployment group tells of its deployments.
type outcome struct {
	revision    json.RawMessage // the target revision; nil: none yet
	last, tried *deployment     // successful, attempted
}

// oldOutcome is an outcome until the engine changed it.
type oldOutcome struct {
	until time.Time
	outcome
}

// changing keeps what a group tells before the engine changes it; mu is held.
func (g *deploymentGroup) changing() {
	g.replaced = append(g.replaced, oldOutcome{time.Now(), g.outcome})
}

// shown is the outcome that describing calls see; mu is held.
func (d *deployments) shown(g *deploymentGroup) outcome {
	seen := time.Now().Add(-d.behind)
	for _, old := range g.replaced {
		if old.until.After(seen) {
			return old.outcome
		}
	}
	return g.outcome
}
