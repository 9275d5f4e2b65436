package packaging_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
	"usher/systemd/box"
)

// What is in the image, and what every instance of it has.

// The package leaves a machine that is ready to be made an image of: usher is enabled and has never run.
func TestTheImage(t *testing.T) {
	s := newShop(t)
	b := s.image.Launch(t, box.Options{})
	b.WaitRunning()
	s.expect("usher after its installation", b.Run("cat", "/root/installed"), "inactive\nenabled\nno state")
	s.expect("the link", b.Run("readlink", "/opt/app"), "/opt/app-base")
	s.expect("the version", strings.Fields(b.Run("usher", "version"))[1], "1.2.3")
	for _, unit := range []string{"usher.service", systemd.DeployedTarget} {
		s.expect("systemd-analyze verify "+unit, b.Run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/"+unit), "")
	}
}

// Two instances of one image, at the same time: each its own machine, launch and verdict.
func TestTwoInstances(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho \"for $INSTANCE_ID\"\n[ ! -e /etc/bad ]\n"}))
	good, bad := s.machine(), s.machine()
	bad.Write("/etc/bad", "", 0o644)
	good.Boot()
	bad.Boot()
	good.ends(standin.Continue, "1")
	bad.ends(standin.Abandon, "base")
	if a, b := good.Run("cat", "/etc/machine-id"), bad.Run("cat", "/etc/machine-id"); a == b || len(a) != 32 {
		t.Errorf("machine ids %q and %q", a, b)
	}
	for _, m := range []*machine{good, bad} {
		s.expect("whose script it was", m.WaitForEntry("SYSLOG_IDENTIFIER=usher", "HOOK_SCRIPT=scripts/after.sh", "HOOK_OUTPUT=true").Message, "for "+m.server.ID)
	}
	s.expect("complete calls", fmt.Sprint(len(s.cloud.CallsOf("CompleteLifecycleAction"))), "2")
}

// An image made from a machine on which usher had deployed. Its record is no instance's: a launch is a first
// launch.
func TestAnImageThatRanBefore(t *testing.T) {
	s := newShop(t)
	s.publish("shop-0", app("0"))
	s.image = &box.Image{Name: "ran-before", From: image, Install: func(b *box.Box) {
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		join(b, s.cloud, server)
		s.limit()
		s.must(server.WaitFor(s.ctx, standin.InService))
		b.WaitForEntry(message(systemd.MessageCompleted))
		b.Run("systemctl", "stop", "usher.service")
	}}
	s.image.New(t, box.Options{}) // bakes it
	s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	m.WaitForEntry(message(systemd.MessageRecordForeign))
	m.said("deployment d-", "with CONTINUE")
	for _, e := range m.Journal(message(systemd.MessageResumed)) {
		t.Errorf("it went on with what another machine began: %s", e.Message)
	}
}

// journalctl -x explains usher's messages.
func TestTheJournalIsExplained(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho no\nfalse\n"}))
	m := s.launch()
	m.ends(standin.Abandon, "base")
	said := m.Run("journalctl", "--catalog", "--no-pager", "--unit=usher.service")
	for _, want := range []string{
		"Subject: usher runs on instance " + m.server.ID,
		"Subject: A launch of Auto Scaling group web",
		"Subject: Launch completed with ABANDON",
		"aws ec2 get-console-output --latest --instance-id " + m.server.ID,
		"Correct the revision, try it with \"usher rehearse\"",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("journalctl -x -u usher does not say %q", want)
		}
	}
	if strings.Contains(said, "░░ @") || t.Failed() {
		t.Log(said)
	}
}

// What waits for a release starts when there is a good one, and not before.
func TestWhatWaitsForARelease(t *testing.T) {
	worker := `[Unit]
After=usher-deployed.target
[Service]
ExecStart=/bin/sh -c 'echo "works with $(cat /opt/app/VERSION)"; exec sleep infinity'
[Install]
WantedBy=usher-deployed.target
`
	prepared := func(s *shop) *machine {
		m := s.machine()
		m.Write("/etc/systemd/system/worker.service", worker, 0o644)
		s.must(os.MkdirAll(m.Root()+"/etc/systemd/system/usher-deployed.target.wants", 0o755))
		s.must(os.Symlink("../worker.service", m.Root()+"/etc/systemd/system/usher-deployed.target.wants/worker.service"))
		m.Boot()
		return m
	}
	t.Run("a good one", func(t *testing.T) {
		s := newShop(t)
		s.publish("shop-1", app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\n! systemctl is-active --quiet worker.service\n"}))
		m := prepared(s)
		m.ends(standin.Continue, "1")
		s.expect("the worker", m.WaitForEntry("_SYSTEMD_UNIT=worker.service").Message, "works with 1")
		m.Reboot() // nothing is deployed, and the release is still good
		m.WaitForEntry("_SYSTEMD_UNIT=worker.service", m.ThisBoot())
		m.ends(standin.Continue, "1")
	})
	t.Run("a bad one", func(t *testing.T) {
		s := newShop(t)
		s.publish("shop-1", app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\nfalse\n"}))
		m := prepared(s)
		m.ends(standin.Abandon, "base")
		s.expect("the worker", m.Exec("systemctl", "is-active", "worker.service").Stdout, "inactive\n")
		s.expect("the target", m.Exec("systemctl", "is-active", systemd.DeployedTarget).Stdout, "inactive\n")
	})
}
