package packaging_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/systemd"
)

// A failed instance that is kept for a person to look at. It is kept for longer than Auto Scaling waits without a
// heartbeat, over a restart of the agent too, and for no longer than was asked for.
func TestAFailedInstanceIsHeld(t *testing.T) {
	const heartbeat, hold = 24 * time.Second, 40 * time.Second
	s := newShop(t)
	s.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: heartbeat})
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho it breaks\nfalse\n"}))
	m := s.machine()
	m.Write("/etc/usher/agent.yml", fmt.Sprintf("application: shop\ndeployment_group: production\non_failure: hold\nhold_timeout: %s\n", hold), 0o644)
	m.Boot()
	m.WaitForEntry(message(systemd.MessageHeld))
	s.expect("the state in the hold", string(m.server.State()), string(standin.PendingWait))
	m.WaitRunning()
	s.expect("live in the hold", m.Run("cat", "/opt/app/VERSION"), "base")

	// The successor keeps it, and until the same time.
	m.Run("systemctl", "restart", "usher.service")
	held := m.WaitForEntries(2, message(systemd.MessageHeld))
	clock := regexp.MustCompile(`until [0-9:]{8} `)
	s.expect("held by the successor", clock.FindString(held[1].Message), clock.FindString(held[0].Message))
	s.expect("the state after the restart", string(m.server.State()), string(standin.PendingWait))

	m.ends(standin.Abandon, "base")
	kept := m.WaitForEntry(message(systemd.MessageCompleted)).Time.Sub(m.WaitForEntry(message(systemd.MessageDeploymentFailed)).Time)
	if kept < hold-time.Second { // the end of the deployment is recorded a moment before it is said
		t.Errorf("it was kept for %s, not %s", kept, hold)
	}
	if beats := len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat")); beats < int(hold/heartbeat) {
		t.Errorf("%d heartbeats in %s", beats, kept)
	}
	m.said("AfterInstall script scripts/after.sh failed", "kept until", "kept until", "with ABANDON")
}
