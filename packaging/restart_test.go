package packaging_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/systemd"
)

// The agent alone goes away and comes back, in the middle of a script. The script does not notice: it is run
// once, to its end, and its end counts.

// waits is a script that says when it is in its middle, and goes on when somebody lets it.
const waits = `#!/bin/sh
set -eu
mkdir -p /var/lib/shop
echo "AfterInstall begun" >>/var/lib/shop/trace
echo "in the middle of AfterInstall"
while [ ! -e /run/go-on ]; do sleep 0.1; done
echo "AfterInstall ended" >>/var/lib/shop/trace
`

func TestTheAgentIsRestartedInAScript(t *testing.T) {
	goOn := func(m *machine) { m.Run("touch", "/run/go-on") }
	resumed := func(m *machine) { m.WaitForEntry(message(systemd.MessageResumed)) }
	for _, c := range []struct {
		name string
		do   func(m *machine)
	}{
		{"systemctl restart", func(m *machine) { m.Run("systemctl", "restart", "usher.service"); resumed(m); goOn(m) }},
		{"killed", func(m *machine) {
			m.Run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "usher.service")
			resumed(m)
			goOn(m)
		}},
		{"again and again", func(m *machine) {
			for n := 1; n <= 3; n++ {
				m.Run("systemctl", "restart", "usher.service")
				m.WaitForEntries(n, message(systemd.MessageResumed))
			}
			goOn(m)
		}},
		{"stopped, the script ends, started", func(m *machine) {
			m.Run("systemctl", "stop", "usher.service")
			goOn(m)
			m.WaitFor("grep", "--quiet", "ended", "/var/lib/shop/trace")
			m.Run("systemctl", "start", "usher.service")
		}},
		{"an upgrade", func(m *machine) { m.Run("dpkg", "--install", "/root/usher.deb"); resumed(m); goOn(m) }},
		{"hung", func(m *machine) { // the watchdog finds it
			m.Run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", "usher.service")
			resumed(m)
			goOn(m)
			if len(m.Journal("_SYSTEMD_UNIT=usher.service", "MESSAGE=SIGABRT: abort")) == 0 {
				t.Error("what the agent was doing when it hung is not in the journal")
			}
		}},
		{"crashed", func(m *machine) { // as after a panic: the Go runtime says where it was, and ends
			m.Run("systemctl", "kill", "--signal=QUIT", "--kill-whom=main", "usher.service")
			resumed(m)
			goOn(m)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			s.publish("shop-1", app("1").with(files{"scripts/after.sh": waits}))
			m := s.machine()
			// A third of what is shipped, and still more than the agent's own loops need: nobody waits a minute.
			m.Write("/etc/systemd/system/usher.service.d/test.conf", "[Service]\nWatchdogSec=20s\n", 0o644)
			m.Boot()
			inTheMiddleOf("AfterInstall")(m)
			c.do(m)
			m.ends(standin.Continue, "1")
			s.expect("scripts", m.trace(), lines("BeforeInstall 1 live=base", "AfterInstall begun", "AfterInstall ended",
				"ApplicationStart 1 live=1", "ValidateService 1 live=1"))
		})
	}
}

// The root volume is replaced: the same instance, with an empty disk, which no hook waits for. It gets the
// group's revision, and Auto Scaling is told nothing.
func TestRootVolumeReplaced(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	m.PowerOff()
	m.server.ReplaceRootVolume()
	next := s.hardware(m.server)
	next.Boot()
	next.WaitForEntry(message(systemd.MessageDeploymentSucceeded))
	m.server.ReturnToService()
	next.ends(standin.Continue, "1") // the answer is the one of before
	s.expect("complete calls", fmt.Sprint(len(s.cloud.CallsOf("CompleteLifecycleAction"))), "1")
}

// Prepared in a warm pool, switched off there, and switched on for its users: two launches, two answers.
func TestWarmPool(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	m := s.hardware(s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true}))
	m.Boot()
	s.must(m.server.WaitFor(s.ctx, standin.WarmedStopped))
	m.WaitForEntry(message(systemd.MessageCompleted))
	m.PowerOff()
	m.server.StartFromPool()
	m.Boot()
	s.must(m.server.WaitFor(s.ctx, standin.InService))
	m.WaitForEntry(message(systemd.MessageCompleted), m.ThisBoot())
	m.WaitForEntry(message(systemd.MessageRevisionChecked))
	m.WaitRunning()
	s.expect("live", m.Run("cat", "/opt/app/VERSION"), "1")
	s.expect("complete calls", fmt.Sprint(len(s.cloud.CallsOf("CompleteLifecycleAction"))), "2")
	s.expect("scripts", m.trace(), lines("BeforeInstall 1 live=base", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1",
		"ApplicationStart 1 live=1", "ValidateService 1 live=1"))
}

// The sample revision of hooks/example, and where the time of its launch goes.
func TestTheExample(t *testing.T) {
	s := newShop(t)
	example, sample := filepath.Join(house, "hooks", "example"), files{}
	s.must(filepath.Walk(example, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		sample[strings.TrimPrefix(path, example+"/")] = string(text)
		return err
	}))
	s.publish("example", sample)
	m := s.launch()
	m.ends(standin.Continue, strings.TrimSpace(sample["VERSION"]))
	started := m.WaitForEntry("MESSAGE=Starting usher.service - usher, deployment agent for EC2 Auto Scaling launches...")
	ended := m.WaitForEntry(message(systemd.MessageCompleted))
	all := ended.Time.Sub(started.Time)
	t.Logf("from the start of the agent to CONTINUE: %s", all.Round(time.Millisecond))
	rest := all
	row := func(what string, d time.Duration) {
		t.Logf("%34s %6s  %2d %%", what, d.Round(time.Millisecond), d*100/all)
		rest -= d
	}
	row("systemd starts usher", m.WaitForEntry("MESSAGE=Started usher.service - usher, deployment agent for EC2 Auto Scaling launches.").Time.Sub(started.Time))
	for _, e := range m.Journal("SYSLOG_IDENTIFIER=usher") {
		var usec int64
		if _, err := fmt.Sscan(e.Fields["DURATION_USEC"], &usec); err == nil {
			row(e.Fields["LIFECYCLE_EVENT"], time.Duration(usec)*time.Microsecond)
		}
	}
	row("metadata, AWS's other calls, record", rest)
	if all > 10*time.Second {
		t.Errorf("a launch that takes %s", all)
	}
}
