package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"

	"usher/agent/retry"
)

// terminatingInterval is how often metadata is asked, while work is under way, whether the instance is being terminated. It is
// a request on the instance itself, and what runs by then is of no use to anybody.
const terminatingInterval = 3 * time.Second

// WhileStaying is a context for work on this instance: it ends with [ErrTerminating], some seconds after metadata says that
// Auto Scaling terminates the instance. Call done when the work has ended; it waits for the last question.
func WhileStaying(ctx context.Context, gate TargetState) (work context.Context, done func()) {
	work, cancelWork := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		untilTerminating(work, gate, cancelWork)
	}()
	return work, func() {
		cancelWork(context.Canceled)
		<-ended
	}
}

// untilTerminating asks until ctx ends, and calls cut when the instance is being terminated. Metadata that does not answer
// says nothing.
func untilTerminating(ctx context.Context, gate TargetState, cancelWork context.CancelCauseFunc) {
	for retry.Pause(ctx, terminatingInterval/2+rand.N(terminatingInterval/2)) {
		target, err := gate.TargetLifecycleState(ctx)
		if err == nil && (target == "Terminated" || target == "Warmed:Terminated") {
			cancelWork(ErrTerminating)
			return
		}
	}
}
