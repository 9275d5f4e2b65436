package packaging_test

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// `usher doctor` on a booted server: all is well, and then not.
func TestDoctor(t *testing.T) {
	s := newShop(t, standin.Options{LongPoll: 100 * time.Millisecond})
	s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	said := m.Run("usher", "doctor")
	for _, want := range []string{
		", and the unit needs 249\n", "ok       unit         usher.service is enabled\n", "ok       service      usher.service runs\n", "ok       ordering     usher.service waits for nothing that waits for it\n",
		"ok       other agent  none is enabled\n", "ok       catalog      journalctl -x explains usher's messages\n",
		"ok       link         /opt/app -> /opt/app-releases/shop-1-", "ok       record       the last deployment (d-",
		"ok       metadata     " + m.server.ID, "ok       hook         hook usher-launch of group web: ABANDON, heartbeat timeout 5m0s\n",
		"ok       permission   CompleteLifecycleAction is allowed\n", "ok       disk         /opt/app-releases has ", "\n0 problems, ",
	} {
		if !strings.Contains(said+"\n", want) {
			t.Errorf("it does not say %q", want)
		}
	}
	m.Run("sh", "-c", "printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/codedeploy-agent.service && systemctl daemon-reload && systemctl start codedeploy-agent")
	m.Run("systemctl", "disable", "--now", "usher.service")
	broken := m.Exec("usher", "doctor")
	for _, want := range []string{
		"problem  unit         usher.service is not enabled: no boot starts it: systemctl enable usher.service\n",
		"problem  service      usher.service does not run (inactive, dead): systemctl start usher; journalctl -u usher says why it stopped\n",
		"problem  other agent  codedeploy-agent.service runs: both would deploy, or answer for, the same server: systemctl disable --now codedeploy-agent.service\n",
		"\n3 problems, ",
	} {
		if !strings.Contains(broken.Stdout, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if broken.Code != 1 {
		t.Errorf("exit code %d", broken.Code)
	}
	if t.Failed() {
		t.Logf("well:\n%s\nbroken:\n%s%s", said, broken.Stdout, broken.Stderr)
	}
}
