package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"

	"usher/agent/retry"
)

// leavingEvery is how often metadata is asked, while work is under way, whether the instance is being terminated. It is
// a request on the instance itself, and what runs by then is of no use to anybody.
const leavingEvery = 3 * time.Second

// WhileStaying is a context for work on this instance: it ends with [ErrLeaving], some seconds after metadata says that
// Auto Scaling terminates the instance. Call done when the work has ended; it waits for the last question.
func WhileStaying(ctx context.Context, gate TargetState) (work context.Context, done func()) {
	work, cancelWork := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		untilLeaving(work, gate, cancelWork)
	}()
	return work, func() {
		cancelWork(context.Canceled)
		<-ended
	}
}

// untilLeaving asks until ctx ends, and calls cut when the instance is being terminated. Metadata that does not answer
// says nothing.
func untilLeaving(ctx context.Context, gate TargetState, cancelWork context.CancelCauseFunc) {
	for retry.Pause(ctx, leavingEvery/2+rand.N(leavingEvery/2)) {
		target, err := gate.TargetLifecycleState(ctx)
		if err == nil && (target == "Terminated" || target == "Warmed:Terminated") {
			cancelWork(ErrLeaving)
			return
		}
	}
}
