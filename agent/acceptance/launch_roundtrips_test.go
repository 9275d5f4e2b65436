package acceptance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// serviceTime is what every call to AWS takes here, but for those to metadata: long enough that two that are made side by side
// are seen to be, on a busy machine too.
const serviceTime = 300 * time.Millisecond

// chain is the longest series of calls of which each began when the one before had been answered.
func chain(calls []standin.Call) (longest []string) {
	best := make([][]string, len(calls))
	slices.SortFunc(calls, func(a, b standin.Call) int { return a.At.Compare(b.At) })
	for i, c := range calls {
		for j, before := range calls[:i] {
			if !c.At.Before(before.At.Add(before.Took)) && len(best[j]) > len(best[i]) {
				best[i] = best[j]
			}
		}
		best[i] = append(slices.Clone(best[i]), c.Op)
		if len(best[i]) > len(longest) {
			longest = best[i]
		}
	}
	return longest
}

// In AWS a call takes as long as the way there and back, so what counts is how many are made one after the other.
func TestRoundTripsOfALaunch(t *testing.T) {
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	s.cloud.Intercept(func(r standin.Request) *standin.Fault {
		if r.Service == "imds" {
			return nil
		}
		return &standin.Fault{Delay: serviceTime}
	})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	var calls []standin.Call
	for _, c := range s.cloud.Calls() {
		switch c.Op {
		case "RecordLifecycleActionHeartbeat", "PollHostCommand": // nothing waits for them
			continue
		}
		if c.InstanceID == server.ID && c.Service != "imds" {
			calls = append(calls, c)
		}
		if c.Op == "CompleteLifecycleAction" {
			break
		}
	}
	complete := slices.IndexFunc(calls, func(c standin.Call) bool { return c.Op == "CompleteLifecycleAction" })
	if complete < 0 {
		t.Fatal("the action was not completed")
	}
	got := chain(calls[:complete+1])
	t.Logf("one after the other: %s", strings.Join(got, ", "))
	if len(got) > 4 || got[len(got)-1] != "CompleteLifecycleAction" {
		t.Errorf("%d calls one after the other: %s", len(got), strings.Join(got, ", "))
	}
	for _, op := range []string{"GetDeploymentGroup", "HeadObject", "DescribeAutoScalingInstances", "DescribeLifecycleHooks", "GetObject"} {
		n := 0
		for _, c := range calls[:complete+1] {
			if c.Op == op {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d calls of %s, want 1", n, op)
		}
	}
}

// What is asked for ahead is not more than was asked before: a deployment that begins meanwhile is not missed, and a failure is
// that of who needed the answer.
func TestAskedAheadInVain(t *testing.T) {
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	s.cloud.Fail("GetDeploymentGroup", 1, standin.Fault{DropConnection: true})
	s.cloud.Fail("HeadObject", 1, standin.Fault{Status: 503, Code: "SlowDown"})
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	s.expect("live", s.live(), "1")
	s.expect("exit code", itoa(r.stop()), "0")
}
