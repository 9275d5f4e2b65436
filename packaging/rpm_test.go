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
	deb := s.image.Launch(t, box.Options{})
	s.image = rpmImage
	m := s.launch()
	m.ends(standin.Continue, "1")
	s.expect("usher after its installation", m.Run("cat", "/root/installed"), "inactive\nenabled\nno state")

	// The two packages are the same: files, modes, owners, contents.
	list := func(b *box.Box, command ...string) string {
		t.Helper()
		var own []string // dpkg tells of all directories above, and of what it notes on its own
		for _, path := range strings.Fields(b.Run(command...)) {
			if strings.Contains(path, "usher") && !strings.HasPrefix(path, "/usr/share/doc/") || path == "/opt/app-base" {
				own = append(own, path)
			}
		}
		return b.Run(append([]string{"sh", "-c", `stat --format '%n %A %U:%G' "$@" | sort; for f; do [ -d "$f" ] || [ "$f" = /etc/usher/agent.yml ] || sha256sum "$f"; done | sort`,
			"sh"}, own...)...)
	}
	inRPM := list(m.Box, "rpm", "--query", "--list", "usher")
	s.expect("the files of the .rpm, against those of the .deb", inRPM, list(deb, "dpkg", "--listfiles", "usher"))
	if !strings.Contains(inRPM, "/usr/bin/usher -rwxr-xr-x root:root") {
		t.Errorf("no program in\n%s", inRPM)
	}

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

	// Removed, it leaves the application and the record.
	m.Run("rpm", "--erase", "usher")
	s.expect("the service", m.Exec("systemctl", "is-active", "usher.service").Stdout, "inactive\n")
	s.expect("the unit", m.Exec("systemctl", "is-enabled", "usher.service").Stdout, "")
	s.expect("live", m.Run("cat", "/opt/app/VERSION"), "1")
	m.Run("test", "-s", "/var/lib/usher/record.jsonl")
	m.WaitRunning()
}
