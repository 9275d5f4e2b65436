package packaging_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/systemd"
)

// What a launch goes through when something it needs is not there, or not yet.

// outage is how long a real outage lasts here, counted from when usher has noticed it. It is many times what
// usher waits between two tries at first.
const outage = 3 * time.Second

// lateMetadata is how long metadata stays away at a boot: until usher's pauses between two tries are at their longest.
const lateMetadata = 30 * time.Second

// lasts waits for the end of an outage.
func (s *shop) lasts(outage time.Duration) {
	s.Helper()
	select {
	case <-time.After(outage):
	case <-s.ctx.Done():
		s.Fatal(s.ctx.Err())
	}
}

// Metadata is often not there when a machine begins to boot. That is waited for, and is no failure.
func TestMetadataComesLate(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	m := s.machine()
	m.MetadataDown()
	m.Boot()
	m.WaitForEntry(message(systemd.MessageMetadataWaiting))
	m.WaitRunning() // the boot goes on without it
	s.lasts(lateMetadata)
	m.MetadataUp()
	m.ends(standin.Continue, "1")
	m.said("waiting for instance metadata", "usher 1.2.3 on "+m.server.ID, "with CONTINUE")
	if waits := m.Journal(message(systemd.MessageMetadataWaiting)); len(waits) > 10 {
		t.Errorf("usher said %d times that it waits", len(waits))
	}
}

// The whole network goes away in the middle of a script and comes back.
func TestNetworkGoesAway(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho waiting for the network to go\nwhile [ ! -e /run/gone ]; do sleep 0.1; done\n"}))
	m := s.launch()
	m.WaitForEntry("HOOK_OUTPUT=true", "HOOK_SCRIPT=scripts/after.sh")
	m.NetworkDown()
	m.Run("touch", "/run/gone")
	m.WaitForEntry(message(systemd.MessageDeploymentSucceeded)) // a deployment needs nobody once the bundle is here
	s.lasts(outage)
	m.NetworkUp()
	m.ends(standin.Continue, "1")
}

func TestS3IsDown(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	for _, op := range []string{"HeadObject", "GetObject"} {
		s.cloud.Fail(op, -1, slowDown)
	}
	m := s.launch()
	if _, err := s.cloud.WaitForCalls(s.ctx, "HeadObject", 2); err != nil {
		t.Fatal(err)
	}
	s.lasts(outage)
	s.cloud.Heal("*")
	m.ends(standin.Continue, "1")
	m.said("DownloadBundle finished", "with CONTINUE")
}

// S3 stays away for longer than retry_timeout: another instance would meet the same, but the one that is
// replaced does not stay half-made.
func TestS3StaysDown(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	s.cloud.Fail("HeadObject", -1, slowDown)
	m := s.machine()
	m.Write("/etc/usher/agent.yml", "application: shop\ndeployment_group: production\nretry_timeout: 3s\n", 0o644)
	m.Boot()
	m.ends(standin.Abandon, "base")
	m.said("DownloadBundle failed", "with ABANDON")
	if !strings.Contains(m.Console(), "DownloadBundle") {
		t.Errorf("the console does not have the reason:\n%s", m.Console())
	}
}

// An account whose calls are used up by somebody else. usher waits after each for at most a tenth of its
// patience, which leaves tries enough for all calls: a budget that is spent does not come back by asking.
func TestThrottledCalls(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	for _, op := range []string{"DescribeAutoScalingInstances", "DescribeLifecycleHooks", "GetDeploymentGroup", "CompleteLifecycleAction"} {
		s.cloud.Fail(op, 4, throttled)
	}
	m := s.machine()
	m.Write("/etc/usher/agent.yml", "application: shop\ndeployment_group: production\nretry_timeout: 30s\n", 0o644)
	m.Boot()
	m.ends(standin.Continue, "1")
	if n := len(m.Journal(message(systemd.MessageRetrying))); n == 0 {
		t.Error("nobody is told that calls were throttled")
	}
}

// No room for a release, seen before the download or met while unpacking: nothing is half-made, and the reason
// says what is full.
func TestDiskFull(t *testing.T) {
	for size, change := range map[string]files{
		"1m":  nil,
		"72m": {"large": strings.Repeat(fmt.Sprintf("%063d\n", 7), 400<<10)}, // 25 MiB, little as a zip
	} {
		t.Run(size, func(t *testing.T) {
			s := newShop(t)
			s.publish("shop-1", app("1").with(change))
			m := s.launch("--tmpfs=/opt/app-releases:size=" + size + ",mode=0755")
			m.ends(standin.Abandon, "base")
			m.said("DownloadBundle failed", "with ABANDON")
			failed := m.WaitForEntry(message(systemd.MessageDeploymentFailed))
			if !strings.Contains(failed.Message, "/opt/app-releases") || !strings.Contains(failed.Message, "full") {
				t.Errorf("the reason does not say what is full: %s", failed.Message)
			}
			s.expect("what is left of it", m.Run("find", "/opt/app-releases", "-mindepth", "1"), "")
		})
	}
}

// A script that hangs is stopped at its own timeout, with everything it started.
func TestAHookThatHangs(t *testing.T) {
	s := newShop(t)
	spec := strings.Replace(app("1")["appspec.yml"], "{location: scripts/after.sh}", "{location: scripts/after.sh, timeout: 2}", 1)
	s.publish("shop-1", app("1").with(files{"appspec.yml": spec,
		"scripts/after.sh": "#!/bin/sh\nset -e\necho waiting for something that does not come\nsleep 1234 &\nsleep 1234\n"}))
	m := s.launch()
	m.ends(standin.Abandon, "base")
	m.said("did not finish within its timeout of 2s", "with ABANDON")
	s.expect("what it left", m.Exec("sh", "-c", "grep --files-with-matches --no-messages --line-regexp sleep /proc/[0-9]*/comm").Stdout, "")
}
