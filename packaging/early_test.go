package packaging_test

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// lateConfig stands for a cloud-config.service whose modules take long: packages, keys, a file system that is made.
const lateConfig = `[Unit]
After=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'until test -e /run/go-on; do sleep 0.2; done'
`

// The hook's timeout does not wait for cloud-init: heartbeats hold the launch while its stages go on, and the
// deployment, with its download and every script, comes after them. CodeDeploy and S3 are asked once ahead of it, beside Auto Scaling: an
// answer that got old meanwhile is not used.
func TestHeartbeatsBeforeTheMachineIsReady(t *testing.T) {
	s := newShop(t)
	s.cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 15 * time.Second})
	s.publish("shop-1", app("1"))
	m := s.machine()
	m.Write("/etc/systemd/system/cloud-config.service", lateConfig, 0o644)
	m.Write("/etc/systemd/system/multi-user.target.d/cloud.conf", "[Unit]\nWants=cloud-config.service\n", 0o644)
	m.Boot()
	_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", 3) // one each 5 s
	s.must(err)
	s.expect("the state meanwhile", string(m.server.State()), string(standin.PendingWait))
	s.expect("CodeDeploy was asked", strings.Repeat("x", len(s.cloud.CallsOf("GetDeploymentGroup"))), "x")
	s.expect("S3 was asked for the bundle", strings.Repeat("x", len(s.cloud.CallsOf("GetObject"))), "x")
	s.expect("scripts that ran", m.trace(), "")
	m.Run("touch", "/run/go-on")
	m.ends(standin.Continue, "1")
	m.said("a deployment waits for cloud-config.service", "with CONTINUE")
	for _, e := range m.Journal("_PID=1") {
		if strings.Contains(e.Message, "ordering cycle") || strings.Contains(e.Message, "deleted to break") {
			t.Error(e.Message)
		}
	}
}
