package packaging_test

import (
	"fmt"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/systemd"
)

// A launch that is cut off, by a power cut or an orderly reboot, at every point. After the next boot it ends
// as it would have, and Auto Scaling hears of it once.

// point is where a launch is cut off. It is definite: what stands there goes on only after the cut.
type point struct {
	name    string
	change  files                                    // in the revision
	block   func(c *standin.Cloud)                   // what stops the launch there
	reached func(m *machine)                         // returns once it stands there; nil: at once
	unblock func(c *standin.Cloud)                   // after the cut
	verdict string                                   // "" is CONTINUE
	check   func(s *shop, m *machine, ending string) // more that must hold
}

// once is a script that stands still in its middle, the first time it is run on a machine.
func once(event string) string {
	return fmt.Sprintf(`#!/bin/sh
set -eu
mkdir -p /var/lib/shop
if [ ! -e /var/lib/shop/%[1]s ]; then
  touch /var/lib/shop/%[1]s
  echo "%[1]s begun" >>/var/lib/shop/trace
  echo "in the middle of %[1]s"
  exec sleep infinity
fi
echo "%[1]s again" >>/var/lib/shop/trace
`, event)
}

func inTheMiddleOf(event string) func(m *machine) {
	return func(m *machine) { m.WaitForEntry("HOOK_OUTPUT=true", "MESSAGE=in the middle of "+event) }
}

func logged(id string) func(m *machine) {
	return func(m *machine) { m.WaitForEntry(message(id)) }
}

// fails makes a call of AWS fail for ever.
func fails(op string, f standin.Fault) func(c *standin.Cloud) {
	return func(c *standin.Cloud) { c.Fail(op, -1, f) }
}

func heals(op string) func(c *standin.Cloud) { return func(c *standin.Cloud) { c.Heal(op) } }

var (
	throttled = standin.Fault{Code: "Throttling", Message: "Rate exceeded"}
	slowDown  = standin.Fault{Status: 503, Code: "SlowDown", Message: "Please reduce your request rate."}
)

// baseAppspec gives the base application an ApplicationStart, for a rollback to run.
const baseAppspec = "version: 0.0\nos: linux\nhooks:\n  ApplicationStart: [{location: scripts/start.sh}]\n"

// points are all a launch can stand at, in its order.
var points = []point{
	{name: "before usher is started"},
	{name: "waiting for metadata", reached: func(m *machine) {
		m.WaitForEntry(message(systemd.MessageMetadataWaiting))
	}},
	{name: "looking for the launch", block: fails("DescribeAutoScalingInstances", throttled), reached: logged(systemd.MessageRetrying),
		unblock: heals("DescribeAutoScalingInstances")},
	{name: "asking for the revision", block: fails("GetDeploymentGroup", throttled), reached: logged(systemd.MessageRetrying),
		unblock: heals("GetDeploymentGroup")},
	{name: "downloading", block: fails("GetObject", slowDown), reached: func(m *machine) {
		// The SDK tries three times what is asked ahead, before there is a deployment; the next is of the download.
		if _, err := m.s.cloud.WaitForCalls(m.s.ctx, "GetObject", 4); err != nil {
			m.s.Fatal(err)
		}
	}, unblock: heals("GetObject")},
	{name: "in BeforeInstall", change: files{"scripts/before.sh": once("BeforeInstall")}, reached: inTheMiddleOf("BeforeInstall"),
		check: ranAgain("BeforeInstall begun", "BeforeInstall again", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1")},
	{name: "in AfterInstall", change: files{"scripts/after.sh": once("AfterInstall")}, reached: inTheMiddleOf("AfterInstall"),
		check: ranAgain("BeforeInstall 1 live=base", "AfterInstall begun", "BeforeInstall 1 live=base", "AfterInstall again", "ApplicationStart 1 live=1", "ValidateService 1 live=1")},
	{name: "in ApplicationStart", change: files{"scripts/start.sh": once("ApplicationStart")}, reached: inTheMiddleOf("ApplicationStart")},
	{name: "in ValidateService", change: files{"scripts/validate.sh": once("ValidateService")}, reached: inTheMiddleOf("ValidateService")},
	{name: "about to say CONTINUE", block: fails("CompleteLifecycleAction", throttled), reached: logged(systemd.MessageRetrying),
		unblock: heals("CompleteLifecycleAction")},
	{name: "after CONTINUE, not knowing it", block: fails("CompleteLifecycleAction", standin.Fault{AfterEffect: true, DropConnection: true}),
		reached: func(m *machine) {
			if err := m.server.WaitFor(m.s.ctx, standin.InService); err != nil {
				m.s.Fatal(err)
			}
		}, unblock: heals("CompleteLifecycleAction")},
	{name: "in service", reached: logged(systemd.MessageCompleted)},
	{name: "after a script failed", change: files{"scripts/after.sh": "#!/bin/sh\nset -e\necho it breaks\nfalse\n"},
		block: fails("CompleteLifecycleAction", throttled), reached: logged(systemd.MessageRetrying), unblock: heals("CompleteLifecycleAction"),
		verdict: standin.Abandon},
	{name: "in the rollback", change: files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho it breaks\nfalse\n"},
		reached: inTheMiddleOf("base"), verdict: standin.Abandon},
	{name: "after ABANDON", change: files{"scripts/before.sh": "#!/bin/sh\nset -e\nfalse\n"}, reached: logged(systemd.MessageCompleted),
		verdict: standin.Abandon},
}

// ranAgain: the scripts wrote these lines, and usher said that it began again.
func ranAgain(trace ...string) func(*shop, *machine, string) {
	return func(s *shop, m *machine, _ string) {
		s.expect("scripts", m.trace(), lines(trace...))
		m.said("deployment d-", "the server was restarted in a deployment of release ", "deployment d-", "with CONTINUE")
	}
}

// endings are how a machine may be cut off.
var endings = []struct {
	name string
	end  func(m *machine)
}{
	{"power cut", func(m *machine) { m.PowerCut() }},
	{"reboot", func(m *machine) { m.PowerOff() }}, // and Boot: a reboot in whose middle AWS can be healed
}

func TestALaunchThatIsCutOff(t *testing.T) {
	for _, p := range points {
		for _, e := range endings {
			if p.reached == nil && e.name != "power cut" {
				continue // a systemd that has hardly begun does not listen to whoever wants it to end
			}
			t.Run(p.name+", "+e.name, func(t *testing.T) {
				s := newShop(t)
				s.publish("shop-1", app("1").with(p.change))
				if p.block != nil {
					p.block(s.cloud)
				}
				m := s.machine()
				m.Write("/opt/app-base/appspec.yml", baseAppspec, 0o644)
				m.Write("/opt/app-base/scripts/start.sh", once("base"), 0o755)
				waiting := p.name == "waiting for metadata"
				if waiting {
					m.MetadataDown()
				}
				m.Boot()
				if p.reached != nil {
					p.reached(m)
				}
				e.end(m)
				if waiting {
					m.MetadataUp()
				}
				if p.unblock != nil {
					p.unblock(s.cloud)
				}
				m.Boot()
				verdict, version := standin.Continue, "1"
				if p.verdict != "" {
					verdict, version = p.verdict, "base"
				}
				m.ends(verdict, version)
				if p.check != nil {
					p.check(s, m, e.name)
				}
			})
		}
	}
}

// A machine that loses its power again and again, a little later each time, gets there when it is let.
func TestPowerCutsAgainAndAgain(t *testing.T) {
	s := newShop(t)
	scripts := files{}
	for file, event := range map[string]string{"before": "BeforeInstall", "after": "AfterInstall", "start": "ApplicationStart", "validate": "ValidateService"} {
		scripts["scripts/"+file+".sh"] = once(event)
	}
	s.publish("shop-1", app("1").with(scripts))
	m := s.launch()
	for _, event := range []string{"BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"} {
		inTheMiddleOf(event)(m)
		m.PowerCut()
		m.Boot()
	}
	m.ends(standin.Continue, "1")
	s.expect("scripts", m.trace(), lines("BeforeInstall begun",
		"BeforeInstall again", "AfterInstall begun",
		"BeforeInstall again", "AfterInstall again", "ApplicationStart begun",
		"BeforeInstall again", "AfterInstall again", "ApplicationStart again", "ValidateService begun",
		"BeforeInstall again", "AfterInstall again", "ApplicationStart again", "ValidateService again"))
}

// An instance of a good launch that is stopped and started again stays what it is: in service, with its
// release, and nothing more to say to Auto Scaling.
func TestStoppedAndStarted(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	began := time.Now()
	m.PowerOff()
	m.Boot()
	m.ends(standin.Continue, "1")
	m.WaitFor("systemctl", "is-active", "--quiet", systemd.DeployedTarget)
	t.Logf("from off to good again: %s", time.Since(began).Round(time.Millisecond))
	s.expect("scripts", m.trace(), lines("BeforeInstall 1 live=base", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1"))
}
