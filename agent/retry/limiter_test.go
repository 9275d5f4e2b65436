package retry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
)

var (
	errThrottled = &smithy.GenericAPIError{Code: "Throttling", Message: "Rate exceeded"}
	errDenied    = &smithy.GenericAPIError{Code: "AccessDenied"}
)

// pauses makes calls that are told what answers are, and returns how long each waited for its turn.
func pauses(t *testing.T, c *Limiter, answers ...error) (waited []time.Duration) {
	t.Helper()
	for _, answer := range answers {
		began := time.Now()
		err := c.Do(t.Context(), func() error {
			waited = append(waited, time.Since(began))
			return answer
		})
		if err != answer {
			t.Fatalf("a call that was told %v returned %v", answer, err)
		}
	}
	return waited
}

func TestPauses(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	repeated := func(err error, n int) (all []error) {
		for range n {
			all = append(all, err)
		}
		return all
	}
	for _, test := range []struct {
		name    string
		limiter *Limiter
		answers []error
		longest []time.Duration // before each call; at least half of it is waited
	}{
		{"nobody is throttled", new(Limiter), []error{nil, errDenied, nil}, []time.Duration{0, 0, 0}},
		{"a pause grows", new(Limiter), repeated(errThrottled, 6), []time.Duration{0, 5 * s, 6750 * ms, 9113 * ms, 12302 * ms, 16608 * ms}},
		{"one that is served leaves it", new(Limiter), []error{errThrottled, errThrottled, nil, nil, errThrottled, nil},
			[]time.Duration{0, 5 * s, 6750 * ms, 0, 0, 9113 * ms}},
		{"another failure leaves it", new(Limiter), []error{errThrottled, errDenied, errThrottled, nil}, []time.Duration{0, 5 * s, 0, 6750 * ms}},
		{"the default timeout", NewLimiter(10 * time.Minute), repeated(errThrottled, 6), []time.Duration{0, 5 * s, 6750 * ms, 9113 * ms, 12302 * ms, 16608 * ms}},
		{"a longer timeout", NewLimiter(time.Hour), repeated(errThrottled, 6), []time.Duration{0, 5 * s, 6750 * ms, 9113 * ms, 12302 * ms, 16608 * ms}},
		{"a tenth of a short timeout", NewLimiter(30 * s), repeated(errThrottled, 4), []time.Duration{0, 3 * s, 3 * s, 3 * s}},
		{"no timeout", NewLimiter(0), repeated(errThrottled, 3), []time.Duration{0, s, s}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := pauses(t, test.limiter, test.answers...)
				for i, longest := range test.longest {
					if got[i] < longest/2 || got[i] > longest {
						t.Errorf("the pauses before the calls were %v, want at most %v and at least half of it", got, test.longest)
						break
					}
				}
			})
		})
	}
}

// However often a call is throttled, a minute is the longest pause.
func TestTheLongestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := pauses(t, new(Limiter), slices.Repeat([]error{errThrottled}, 30)...)
		if longest, last := slices.Max(got), got[len(got)-1]; longest > time.Minute || last < time.Minute/2 {
			t.Errorf("the pauses were %v", got)
		}
	})
}

// Servers that were throttled in the same moment come back in different ones.
func TestPausesAreRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[time.Duration]bool{}
		for range 100 {
			seen[pauses(t, new(Limiter), errThrottled, nil)[1]] = true
		}
		if len(seen) < 90 {
			t.Errorf("100 servers paused for %d different times", len(seen))
		}
	})
}

// A quarter of the hook's heartbeat timeout is the longest pause from when it is known, also of the one under way.
func TestPausesOfAShortHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, slices.Repeat([]error{errThrottled}, 30)...)
		c.LimitTo(40 * time.Second)
		if left := c.Remaining(); left != 10*time.Second {
			t.Errorf("the pause under way lasts for %s", left)
		}
		if got := pauses(t, &c, errThrottled, nil)[1]; got < 5*time.Second || got > 10*time.Second {
			t.Errorf("the pause after it was %s", got)
		}
	})
}

// An agent serves for months: what was throttled long ago does not count.
func TestThrottlingIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, errThrottled, errThrottled, errThrottled, errThrottled, nil)
		if !c.Throttling() {
			t.Error("throttling is forgotten as soon as a call is served")
		}
		time.Sleep(resetAfter)
		if c.Throttling() {
			t.Errorf("throttling is remembered %s later", resetAfter)
		}
		if got := pauses(t, &c, errThrottled, nil)[1]; got > minThrottlePause {
			t.Errorf("the first pause long after it is %s", got)
		}
	})
}

// What one call is told holds for all, and the next to ask is one, not all at once.
func TestOneClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, errThrottled)
		left, began := c.Remaining(), time.Now()
		answers := []error{errThrottled, errThrottled, nil, nil, nil}
		var at []time.Duration // when each was asked; one at a time, or the race detector says so
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for err := error(errThrottled); err != nil; {
					err = c.Do(t.Context(), func() error {
						at = append(at, time.Since(began))
						answer := answers[len(at)-1]
						time.Sleep(time.Second)
						return answer
					})
				}
			})
		}
		all.Wait()
		if len(at) != len(answers) {
			t.Fatalf("asked at %v, want %d times", at, len(answers))
		}
		if at[0] != left || at[1]-at[0] < 4375*time.Millisecond || at[2]-at[1] < 5556*time.Millisecond {
			t.Errorf("asked at %v: the first pause was %s, and each after it longer", at, left)
		}
		if at[3]-at[2] != time.Second || at[4]-at[3] != time.Second {
			t.Errorf("asked at %v: after one that is served the next comes when it is answered", at)
		}
	})
}

// CodeDeploy is asked after Auto Scaling when both have waited: what Auto Scaling says holds for CodeDeploy.
func TestAutoScalingIsAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, errThrottled)
		var asked string
		var all sync.WaitGroup
		all.Go(func() {
			_ = c.DoAfter(t.Context(), CodeDeployDelay, func() error { asked += "CodeDeploy "; return nil })
		})
		all.Go(func() {
			time.Sleep(c.Remaining() + CodeDeployDelay/2) // it looks at metadata first
			for _, answer := range []error{errThrottled, nil} {
				_ = c.Do(t.Context(), func() error { asked += "Auto Scaling "; return answer })
			}
		})
		all.Wait()
		if asked != "Auto Scaling Auto Scaling CodeDeploy " {
			t.Errorf("asked were %s", asked)
		}
	})
}

// An Auto Scaling that throttles for an hour does not keep a deployment from being looked for.
func TestCodeDeployIsAskedAtLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewLimiter(time.Minute)
		pauses(t, c, errThrottled)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				Pause(ctx, c.Remaining()+CodeDeployDelay/2)
				_ = c.Do(ctx, func() error { return errThrottled })
			}
		}()
		began := time.Now()
		if err := c.DoAfter(t.Context(), CodeDeployDelay, func() error { return nil }); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 6*time.Second || took > 6*time.Second+6*time.Second+CodeDeployDelay {
			t.Errorf("CodeDeploy was asked after %s, with pauses of at most 6 s", took)
		}
		cancel()
	})
}

// Without throttling nobody waits for anybody.
func TestNoThrottling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		began := time.Now()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				_ = c.DoAfter(t.Context(), CodeDeployDelay, func() error { time.Sleep(time.Second); return nil })
			})
		}
		all.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("three calls of a second took %s", took)
		}
	})
}

// Heartbeats do not wait for the end of a pause. They make the next one longer, and not this one.
func TestHeartbeatsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, errThrottled)
		left := c.Remaining()
		c.Observe(errThrottled)
		c.Observe(errThrottled)
		if c.Remaining() != left {
			t.Errorf("a pause of %s became one of %s", left, c.Remaining())
		}
		if got := pauses(t, &c, errThrottled, nil)[1]; got < 6*time.Second || got > 12302*time.Millisecond {
			t.Errorf("the pause after it was %s", got)
		}
	})
}

// Who must end does not wait for the pause, nor for the call that another makes.
func TestCallEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		stopped := errors.New("the service is being stopped")
		ends := func(when string) {
			t.Helper()
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(stopped) })
			began := time.Now()
			err := c.DoAfter(ctx, CodeDeployDelay, func() error { t.Error("the call was made " + when); return nil })
			if took := time.Since(began); err != stopped || took != time.Second {
				t.Errorf("%s a call ended after %s: %v", when, took, err)
			}
		}
		pauses(t, &c, errThrottled)
		ends("in a pause")
		if err := c.DoAfter(t.Context(), CodeDeployDelay, func() error { ends("while another is made"); return nil }); err != nil {
			t.Error(err)
		}
		pauses(t, &c, nil) // who did not wait leaves nothing behind
	})
}

// A call that is not answered does not hold the others back for ever.
func TestATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Limiter
		pauses(t, &c, errThrottled)
		Pause(t.Context(), c.Remaining())
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = c.Do(t.Context(), func() error { <-ctx.Done(); return nil }) })
		synctest.Wait()
		began := time.Now()
		for range 2 { // and the turn of the second is its own
			if err := c.Do(t.Context(), func() error { return nil }); err != nil || time.Since(began) != maxTurn {
				t.Errorf("%v after %s behind a call that is never answered, want %s", err, time.Since(began), maxTurn)
			}
		}
		cancel()
		all.Wait()
	})
}

// A launch asks Auto Scaling and CodeDeploy at the same time. Both are throttled: that is one crowd, met once.
func TestLimiterCountsWhatWentTogetherOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		answer := make(chan struct{})
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() {
				_ = l.Do(t.Context(), func() error {
					<-answer
					return errThrottled
				})
			})
		}
		synctest.Wait()
		close(answer)
		calls.Wait()
		if l.window != minThrottlePause {
			t.Errorf("the longest next pause is counted from %s, want %s", l.window, minThrottlePause)
		}
		l.Observe(errThrottled) // a heartbeat's
		if want := time.Duration(float64(minThrottlePause) * growthFactor); l.window != want {
			t.Errorf("after a throttled heartbeat it is %s, want %s", l.window, want)
		}
	})
}
