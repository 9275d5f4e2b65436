package packaging_test

import (
	"strings"
	"testing"

	"usher/systemd"
	"usher/systemd/box"
)

// The package comes and goes on a server at work: the application does not notice.

// reads is a unit that reads the application through the link, again and again, and notes what it saw when that
// changes.
const reads = `while :; do
  now=$(cat /opt/app/VERSION 2>&1) || now="cannot read: $now"
  [ "$now" = "${last-}" ] || echo "$now"
  last=$now
  sleep 0.02
done >/root/read
`

func TestUpgradeDowngradeRemovePurge(t *testing.T) {
	s := newShop(t)
	m := s.serving()
	built, _ := packages()
	m.Copy(built.nextDEB, "/root/next.deb")
	m.Write("/root/reads.sh", reads, 0o755)
	m.Run("systemd-run", "--quiet", "--unit=reads", "sh", "/root/reads.sh")
	m.Run("sh", "-c", "echo 'keep_releases: 5' >>/etc/usher/agent.yml; mkdir /etc/usher/hooks.d/AfterInstall; echo '# ours' >/etc/usher/hooks.d/README")
	configuration := m.Run("cat", "/etc/usher/agent.yml")
	record := m.Run("cat", "/var/lib/usher/record.jsonl")
	// kept checks what no change of packages may touch.
	kept := func(when, version string) {
		t.Helper()
		s.expect("live "+when, m.Run("cat", "/opt/app/VERSION"), version)
		s.expect("the configuration "+when, m.Run("cat", "/etc/usher/agent.yml"), configuration)
		if now := m.Run("cat", "/var/lib/usher/record.jsonl"); !strings.HasPrefix(now, record) {
			t.Errorf("the record %s does not begin with what it was:\n%s", when, now)
		}
	}
	_, rest, _ := strings.Cut(m.WaitForEntry(message(systemd.MessageStarted)).Message, "usher 1.2.3 ")
	runs := func(version string) string { return "MESSAGE=usher " + version + " " + rest }

	// An upgrade in the middle of a deployment: the new agent takes it up, and finishes it.
	id := s.begin("shop-2", app("2").with(files{"scripts/after.sh": waits}))
	inTheMiddleOf("AfterInstall")(m)
	m.Run("dpkg", "--install", "/root/next.deb")
	m.WaitForEntry(runs("1.2.4"))
	m.WaitForEntry(message(systemd.MessageResumed))
	m.Run("touch", "/run/go-on")
	m.deployed(id, "Succeeded", "2")
	s.expect("ends of the script", m.Run("grep", "--count", "AfterInstall ended", "/var/lib/shop/trace"), "1")
	kept("after an upgrade", "2")

	// A downgrade: the old one works as before.
	m.Run("dpkg", "--install", "/root/usher.deb")
	m.WaitForEntries(2, runs("1.2.3"))
	m.deployed(s.begin("shop-3", app("3")), "Succeeded", "3")
	kept("after a downgrade", "3")

	// What an operator has switched off stays off.
	m.Run("systemctl", "disable", "--quiet", "--now", "usher.service")
	m.Run("dpkg", "--install", "/root/next.deb")
	s.expect("enabled", strings.TrimSpace(m.Exec("systemctl", "is-enabled", "usher.service").Stdout), "disabled")
	s.expect("started", strings.TrimSpace(m.Exec("systemctl", "is-active", "usher.service").Stdout), "inactive")
	m.Run("systemctl", "enable", "--quiet", "--now", "usher.service")
	m.WaitForEntries(2, runs("1.2.4"))

	m.Run("dpkg", "--remove", "usher")
	s.expect("started after a removal", strings.TrimSpace(m.Exec("systemctl", "is-active", "usher.service").Stdout), "inactive")
	s.expect("to be started after a removal", m.Exec("systemctl", "is-enabled", "usher.service").Stdout, "")
	kept("after a removal", "3")

	// Installed again it is as it was when it was installed first: enabled, and not started.
	m.Run("dpkg", "--install", "/root/next.deb")
	s.expect("enabled again", m.Run("systemctl", "is-enabled", "usher.service"), "enabled")
	s.expect("started again", strings.TrimSpace(m.Exec("systemctl", "is-active", "usher.service").Stdout), "inactive")
	kept("after it was installed again", "3")
	m.Run("systemctl", "start", "usher.service")
	m.WaitForEntries(3, runs("1.2.4"))
	m.deployed(s.begin("shop-4", app("4")), "Succeeded", "4")

	releases := m.Run("ls", "/opt/app-releases")
	m.Run("dpkg", "--purge", "usher")
	s.expect("what a purge leaves", m.Run("sh", "-c", "for f in /var/lib/usher /etc/usher/agent.yml /etc/default/usher "+
		"/etc/systemd/system/multi-user.target.wants/usher.service /etc/usher/hooks.d/README /opt/app-base/VERSION /opt/app/VERSION; do "+
		"if [ -e $f ] || [ -L $f ]; then echo $f; fi; done"), "/etc/usher/hooks.d/README\n/opt/app-base/VERSION\n/opt/app/VERSION")
	s.expect("releases after a purge", m.Run("ls", "/opt/app-releases"), releases)
	s.expect("live after a purge", m.Run("cat", "/opt/app/VERSION"), "4")
	m.WaitRunning()

	m.Run("dpkg", "--install", "/root/usher.deb")
	s.expect("after the purge it is", m.Run("systemctl", "is-enabled", "usher.service"), "enabled")
	s.expect("live then", m.Run("cat", "/opt/app/VERSION"), "4")

	m.Run("systemctl", "stop", "reads.service")
	s.expect("what was read through the link, all the time", m.Run("cat", "/root/read"), "1\n2\n3\n4")
}

// Where no systemd runs, as in the chroot in which some make their images, the package is installed as well.
func TestInstalledWithoutSystemd(t *testing.T) {
	t.Parallel()
	needPackages(t)
	built, _ := packages()
	b := (&box.Image{Name: "bare"}).Launch(t, box.Options{})
	b.Copy(built.deb, "/root/usher.deb")
	dpkg := func(args string) {
		t.Helper()
		b.Run("unshare", "--mount", "sh", "-ec", "mount -t tmpfs tmpfs /run; dpkg "+args)
	}
	look := func() string {
		return b.Run("sh", "-c", "readlink /etc/systemd/system/multi-user.target.wants/usher.service; readlink /opt/app; ls /usr/bin/usher; true")
	}
	dpkg("--install /root/usher.deb")
	expect(t, "installed", look(), "/lib/systemd/system/usher.service\n/opt/app-base\n/usr/bin/usher")
	expect(t, "explained", b.Run("sh", "-c", "journalctl --list-catalog "+systemd.MessageCompleted+" | cut -d : -f 1"), systemd.MessageCompleted+" usher")
	dpkg("--purge usher")
	expect(t, "purged", look(), "/opt/app-base")
	b.WaitRunning()
}
