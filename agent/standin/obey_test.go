package standin

import (
	"context"
	"strings"
	"sync"
	"testing"
)

// Outcome is what an agent of a test makes of an event.
type Outcome string

// What an agent can make of an event.
const (
	Succeeds Outcome = "succeeds"
	Fails    Outcome = "fails"
	Noop     Outcome = "noop"  // it has nothing to do, says so, and completes nothing
	Hangs    Outcome = "hangs" // acknowledged, and never heard of again
)

// Obey is an agent on an instance, from now until the test ends: it takes the engine's commands, without the
// wire, and do says what becomes of each. An agent that hangs takes the next command none the less.
func Obey(t testing.TB, c *Cloud, inst *Instance, do func(event string) Outcome) {
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			h, changed := c.deploys.next(inst.ID)
			if h != nil {
				if bad := c.obey(inst, h, do); bad != nil {
					t.Errorf("%s of %s was refused: %s", h.name, inst.ID, bad.message)
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		stop()
		ended.Wait()
	})
}

// obey carries one command out.
func (c *Cloud) obey(inst *Instance, h *hostCommand, do func(event string) Outcome) *apiError {
	spec, _, bad := c.deploys.specification(h.execution, inst.ID)
	if bad != nil {
		return bad
	}
	if !strings.Contains(string(spec), `"DeploymentId":"`+h.deployment+`"`) {
		return &apiError{message: "its specification is another's: " + string(spec)}
	}
	outcome := Succeeds
	if do != nil {
		outcome = do(h.name)
	}
	status, bad := c.deploys.acknowledge(inst.ID, h.id, outcome == Noop)
	if bad != nil || status != commandInProgress || outcome == Hangs {
		return bad
	}
	if outcome == Fails {
		return c.deploys.complete(inst.ID, h.id, commandFailed, diagnosis{4, "scripts/" + h.name, "failed with exit code 1", "line one\nline two\n"})
	}
	return c.deploys.complete(inst.ID, h.id, commandSucceeded, diagnosis{Message: "Succeeded"})
}
