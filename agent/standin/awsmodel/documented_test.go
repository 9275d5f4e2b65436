package awsmodel

import (
	"slices"
	"strings"
	"testing"
)

// What the makers document is found in their text, in both forms of it.
func TestDocumentedValues(t *testing.T) {
	m := Of(t, "autoscaling")
	for _, c := range []struct{ shape, member, some, none string }{
		{"LifecycleHook", "LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING", "EC2_INSTANCE_TERMINATING"},
		{"PutLifecycleHookType", "LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING", "EC2_INSTANCE_TERMINATING"},
		{"LifecycleHook", "DefaultResult", "ABANDON", "ABANDONED"},
		{"AutoScalingInstanceDetails", "LifecycleState", "Warmed:Pending:Proceed", "Waiting"},
		{"AutoScalingInstanceDetails", "LifecycleState", "ReplacingRootVolume:Wait", ""}, // the SDK's, newer than botocore
		{"AutoScalingGroup", "HealthCheckType", "ELB", "and"},
	} {
		got := m.Values(c.shape, c.member)
		if !slices.Contains(got, c.some) || slices.Contains(got, c.none) {
			t.Errorf("%s.%s: %s", c.shape, c.member, strings.Join(got, " | "))
		}
	}
	if got := m.Values("LifecycleHook", "LifecycleHookName"); got != nil {
		t.Errorf("a name has the values %q", got)
	}
	if got := m.Values("PutScheduledUpdateGroupActionType", "TimeZone"); got != nil {
		t.Errorf("a time zone has the values %q", got)
	}
	all := 0
	for name, s := range m.Shapes {
		for member := range s.Members {
			if values := m.Values(name, member); values != nil {
				all++
				t.Logf("%s.%s: %s", name, member, strings.Join(values, " | "))
			}
		}
	}
	if all < 15 {
		t.Errorf("only %d members with documented values were found", all)
	}
}
