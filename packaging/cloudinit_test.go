package packaging_test

import (
	"strconv"
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd/box"
)

// cloudImage is the image with the distribution's own cloud-init, and without usher's configuration: that comes with
// an instance's user data.
var cloudImage = &box.Image{Name: "cloud", Packages: []string{"cloud-init"}, Install: func(b *box.Box) {
	image.Install(b)
	b.Run("rm", "/etc/usher/agent.yml")
}}

// userData configures usher, and leaves a trace of the last stage.
const userData = `#cloud-config
write_files:
  - path: /etc/usher/agent.yml
    content: |
      application: shop
      deployment_group: production
runcmd:
  - systemctl show --value --property=ActiveState usher.service >/root/final
`

// Beside cloud-init's real units: usher starts with what user data has configured, and cloud-init's last stage does
// not wait for a deployment. systemd drops nobody's start job to break a cycle.
func TestBesideCloudInit(t *testing.T) {
	s := newShop(t)
	s.image = cloudImage
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": waits}))
	m := s.machine()
	// A data source on the disk; that of EC2 would ask the stand-in for far more than usher does.
	m.Write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: "+m.server.ID+"\n", 0o644)
	m.Write("/var/lib/cloud/seed/nocloud/user-data", userData, 0o644)
	m.Write("/etc/cloud/cloud.cfg.d/90-box.cfg", "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: C.UTF-8\n", 0o644)
	m.Boot()
	inTheMiddleOf("AfterInstall")(m)
	m.WaitFor("systemctl", "is-active", "--quiet", "cloud-init.target") // all of cloud-init, while the deployment goes on
	s.expect("usher, when cloud-init's last stage ran", m.Run("cat", "/root/final"), "active")
	m.Run("touch", "/run/go-on")
	m.ends(standin.Continue, "1")

	when := func(unit, property string) int {
		t.Helper()
		text := m.Run("systemctl", "show", "--value", "--property="+property, unit)
		usec, err := strconv.Atoi(text)
		if err != nil || usec == 0 {
			t.Fatalf("%s of %s is %q", property, unit, text)
		}
		return usec
	}
	started := when("usher.service", "ExecMainStartTimestampMonotonic")
	if written := when(firstStage(m), "ExecMainExitTimestampMonotonic"); written > started {
		t.Errorf("usher was started %d µs before the stage of cloud-init that writes its configuration had ended", written-started)
	}
	if final := when("cloud-final.service", "ExecMainStartTimestampMonotonic"); final < started {
		t.Errorf("cloud-final.service was started %d µs before usher", started-final)
	}
	for _, e := range m.Journal("_PID=1") {
		if strings.Contains(e.Message, "ordering cycle") || strings.Contains(e.Message, "deleted to break") {
			t.Error(e.Message)
		}
	}
}

// firstStage is the stage of cloud-init that writes files: it has had another name since 24.3.
func firstStage(m *machine) string {
	if m.Exec("systemctl", "cat", "cloud-init-network.service").Stdout != "" {
		return "cloud-init-network.service"
	}
	return "cloud-init.service"
}
