package packaging_test

import (
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
	"usher/systemd/box"
)

// The .rpm, installed by the real rpm. The machine is the one that the .deb is for: what is tried is what rpm makes
// of the package and how it calls its scripts, and not the systemd or the SELinux policy of a distribution with rpm.

var rpmImage = &box.Image{Name: "rpm", Install: func(b *box.Box) {
	built, _ := packages()
	b.Copy(built.rpm, "/root/usher.rpm")
	b.Copy(built.nextRPM, "/root/next.rpm")
	b.Run("rpm", "--install", "--nodeps", "/root/usher.rpm") // its database knows nothing of what dpkg installed
	prepare(b)
}}

func TestTheRPM(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	s.image = rpmImage
	m := s.launch()
	m.ends(standin.Continue, "1")
	s.expect("usher after its installation", m.Run("cat", "/root/installed"), "inactive\nenabled\nno state")

	// An upgrade replaces the agent that runs, and keeps what was configured.
	before := m.Run("systemctl", "show", "--property=MainPID", "usher.service")
	m.Run("rpm", "--upgrade", "--nodeps", "/root/next.rpm")
	m.WaitFor("systemctl", "is-active", "--quiet", "usher.service")
	if after := m.Run("systemctl", "show", "--property=MainPID", "usher.service"); after == before {
		t.Errorf("the old agent still runs after an upgrade: %s", after)
	}
	m.WaitForEntry(m.ThisBoot(), message(systemd.MessageNoLaunch))
	s.expect("enabled after an upgrade", m.Run("systemctl", "is-enabled", "usher.service"), "enabled")
	s.expect("the configuration", strings.Split(m.Run("cat", "/etc/usher/agent.yml"), "\n")[0], "application: shop")

	// A downgrade does, too. What an operator has switched off stays off.
	m.Run("systemctl", "disable", "--quiet", "usher.service")
	m.Run("rpm", "--upgrade", "--oldpackage", "--nodeps", "/root/usher.rpm")
	m.WaitForEntries(3, message(systemd.MessageStarted))
	s.expect("enabled after a downgrade", strings.TrimSpace(m.Exec("systemctl", "is-enabled", "usher.service").Stdout), "disabled")
	s.expect("the version", strings.Fields(m.Run("usher", "version"))[1], "1.2.3")

	// Removed, it leaves the application and the record.
	m.Run("rpm", "--erase", "usher")
	s.expect("the service", m.Exec("systemctl", "is-active", "usher.service").Stdout, "inactive\n")
	s.expect("the unit", m.Exec("systemctl", "is-enabled", "usher.service").Stdout, "")
	s.expect("live", m.Run("cat", "/opt/app/VERSION"), "1")
	m.Run("test", "-s", "/var/lib/usher/record.jsonl")
	m.WaitRunning()

	m.Run("rpm", "--install", "--nodeps", "/root/next.rpm")
	s.expect("installed again", m.Run("systemctl", "is-enabled", "usher.service"), "enabled")
	s.expect("started again", m.Exec("systemctl", "is-active", "usher.service").Stdout, "inactive\n")
	s.expect("live then", m.Run("cat", "/opt/app/VERSION"), "1")
}
