package main

import (
	"context"
	"slices"
	"testing"
	"time"
)

// Fifty servers launched at once, in an account whose request budget the first of them spend: every one goes into
// service, nothing is called more often than it must be, and who is told to come later comes later.
func TestFiftyLaunchesUnderThrottling(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const servers = 50
	a, err := burst{servers: servers, rate: 20, burst: 10, heartbeat: 2 * time.Minute}.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range a.lost {
		t.Error(lost)
	}
	if described := a.ops["DescribeAutoScalingInstances"]; described > servers {
		t.Errorf("instances were described %d times, for %d launches, which need not be when calls are throttled", described, servers)
	}
	for _, op := range []string{"DescribeLifecycleHooks", "CompleteLifecycleAction", "GetDeploymentGroup"} {
		if a.ops[op] != servers {
			t.Errorf("%s was served %d times, for %d launches", op, a.ops[op], servers)
		}
	}
	if slices.Max(a.throttled) == 0 {
		t.Error("nothing was throttled: the budget was large enough")
	}
	// Three are needed. A launch that is throttled for the fourth time has been pausing for a quarter of a minute or longer.
	if median, most := median(a.calls), slices.Max(a.calls); median > 8 || most > 12 {
		t.Errorf("a launch made %v calls in the median, and %v at the most", median, most)
	}
	t.Logf("calls %v (throttled %v), at the most %v; the last CONTINUE after %s", median(a.calls), median(a.throttled), slices.Max(a.calls), a.last)
}
