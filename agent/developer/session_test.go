package developer

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"usher/agent/cli"
	"usher/agent/rollout"
)

// After a Ctrl-C an error is of that, whatever it says, but for those that know better what was started.
func TestWhatACtrlCMakesOfAnError(t *testing.T) {
	interrupted, stop := context.WithCancel(t.Context())
	stop()
	for err, want := range map[error]int{
		cli.UsageError{Err: errors.New("the build was killed")}:                 cli.ExitInterrupted,
		errors.New("cannot pack the commit"):                                    cli.ExitInterrupted,
		fmt.Errorf("no answer; %w", rollout.ErrMayHaveBegun):                    cli.ExitFailed,
		ExitError{cli.ExitRunning, rollout.EndedRunning, "it goes on"}:          cli.ExitRunning,
		rollout.InProgressError{Deployment: "d-ABCDEFGHI", Group: "production"}: cli.ExitBusy,
	} {
		if code, _, message := (&Session{}).exitOf(interrupted, err); code != want {
			t.Errorf("%v: exit code %d and not %d: %s", err, code, want, message)
		}
	}
}
