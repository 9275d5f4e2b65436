package packaging_test

import (
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
)

// Servers in service that CodeDeploy brings another revision: on a booted machine, with its scripts in units.

// serving is a machine that is in service on version 1, of a deployment group that CodeDeploy deploys to.
func (s *shop) serving() *machine {
	s.Helper()
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	m.Run("rm", "/var/lib/shop/trace")
	return m
}

// begin begins a deployment of a revision.
func (s *shop) begin(name string, f files) (id string) {
	s.Helper()
	id, err := s.cloud.Deploy("shop", "production", s.upload(name, f))
	s.must(err)
	return id
}

// deployed waits for the end of a deployment, and checks what must hold on the machine then.
func (m *machine) deployed(id, status, version string) {
	m.s.Helper()
	m.s.limit()
	got, err := m.s.cloud.WaitForDeployment(m.s.ctx, id)
	m.s.must(err)
	m.s.expect("deployment", got, status)
	for _, c := range m.s.cloud.HostCommands() {
		if c.DeploymentID == id && c.Completed > 1 {
			m.s.Errorf("CodeDeploy was told %d times how %s ended", c.Completed, c.Name)
		}
	}
	m.s.expect("live", m.Run("cat", m.s.link+"/VERSION"), version)
	m.s.expect("failed units", m.Run("systemctl", "list-units", "--failed", "--quiet", "--plain"), "")
	m.WaitRunning()
}

// updated is what the scripts write when version 2 takes the place of version 1.
var updated = lines("ApplicationStop 1 live=1", "BeforeInstall 2 live=1", "AfterInstall 2 live=1", "ApplicationStart 2 live=2", "ValidateService 2 live=2")

func TestADeploymentToABootedServer(t *testing.T) {
	s := newShop(t)
	m := s.serving()
	id := s.begin("shop-2", app("2"))
	m.deployed(id, "Succeeded", "2")
	s.expect("scripts", m.trace(), updated)
	out := m.Journal("LIFECYCLE_EVENT=AfterInstall", "DEPLOYMENT_ID="+id)
	if len(out) == 0 {
		t.Error("the deployment's id is on no line of the journal")
	}
	s.expect("usher", m.Run("systemctl", "show", "--property=ActiveState,NRestarts", "usher.service"), "NRestarts=0\nActiveState=active")
	all := s.cloud.HostCommands()
	t.Logf("seven events, all calls included: %s", all[len(all)-1].Ended.Sub(all[0].Sent))

	id = s.begin("shop-3", app("3").with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho 'the page is empty' >&2\nexit 3\n"}))
	m.deployed(id, "Failed", "2")
	all = s.cloud.HostCommands()
	last := all[len(all)-1]
	s.expect("what CodeDeploy was told", last.Name+" "+last.Diagnostics.Script+": "+last.Diagnostics.Log, "ValidateService scripts/validate.sh: the page is empty")
}

// In the middle of an event the agent is restarted, or the whole machine: the event is finished, once, and
// CodeDeploy sees nothing of it.
func TestADeploymentIsCutOff(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(m *machine)
		begins int // of the script that is in its middle
	}{
		{"systemctl restart", func(m *machine) {
			m.Run("systemctl", "restart", "usher.service")
			m.WaitForEntry(message(systemd.MessageResumed))
		}, 1},
		{"reboot", func(m *machine) { m.Reboot(); m.WaitForEntry(message(systemd.MessageResumed), m.ThisBoot()) }, 2},
		{"power cut", func(m *machine) {
			m.PowerCut()
			m.Boot()
			m.WaitForEntry(message(systemd.MessageResumed), m.ThisBoot())
		}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			m := s.serving()
			id := s.begin("shop-2", app("2").with(files{"scripts/after.sh": waits}))
			inTheMiddleOf("AfterInstall")(m)
			c.do(m)
			m.Run("touch", "/run/go-on")
			m.deployed(id, "Succeeded", "2")
			if begins := strings.Count(m.trace(), "AfterInstall begun"); begins != c.begins {
				t.Errorf("the script began %d times", begins)
			}
			if ends := strings.Count(m.trace(), "AfterInstall ended"); ends != 1 {
				t.Errorf("the script ended %d times", ends)
			}
		})
	}
}

// Scripts of a team that comes from CodeDeploy's agent name the destination in AfterInstall, and find the new release there:
// root's, and those of another user. The machine finds what is live, and so does a service that they start; it is as it was, byte
// for byte, also when the deployment fails.
func TestAfterInstallFindsTheNewReleaseAtTheLink(t *testing.T) {
	s := newShop(t)
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	const root = `#!/bin/bash
set -e
test "$(cat /opt/app/VERSION)" = "$1"
test "$(readlink -f /opt/app)" = "$USHER_RELEASE_DIR"
rm -rf /opt/app/www/*
cd /opt/app && pwd -P >where
echo built >/opt/app/www/built
systemd-run --quiet --wait --pipe cat /opt/app/VERSION >service
mkdir -p /opt/beside
chown -R daemon /opt/app/
`
	const user = "#!/bin/bash\nset -e\ncd /opt/app\necho \"$(id -un) $(umask)\" >user\n"
	version := func(n string) files {
		f := app(n)
		f["appspec.yml"] = strings.Replace(f["appspec.yml"], "{location: scripts/after.sh}", "{location: scripts/after.sh}, {location: scripts/user.sh, runas: daemon}", 1)
		return f.with(files{"www/index.html": "page " + n + "\n", "scripts/after.sh": strings.Replace(root, "$1", n, 1), "scripts/user.sh": user})
	}
	const sum = "cd /opt/app/ && find . -printf '%P %y %m %u %T@\\n' -type f -exec sha256sum {} + | sort"
	const seen = "cd /opt/app/ && ls www && cat where service user && stat -c '%U %n' . VERSION www/built user"
	s.publish("shop-1", version("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")
	built := func(live, was string) {
		t.Helper()
		dir := m.Run("readlink", "/opt/app")
		s.expect("what the scripts of "+live+" made", m.Run("sh", "-c", seen), strings.Join([]string{"built", dir, was, "daemon 0022", "daemon .", "daemon VERSION", "daemon www/built", "daemon user"}, "\n"))
	}
	built("1", "base")
	s.expect("the base", m.Run("sh", "-c", "cd /opt/app-base && find . -type f -exec cat {} + && ls -d /opt/beside"), "base\n/opt/beside")
	before := m.Run("sh", "-c", sum)
	m.deployed(s.begin("shop-2", version("2").with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho no\nexit 3\n"})), "Failed", "1")
	s.expect("what is live after a deployment that failed", m.Run("sh", "-c", sum), before)
	m.deployed(s.begin("shop-3", version("3")), "Succeeded", "3")
	built("3", "1")
	m.Run("usher", "rollback")
	s.expect("what is live after usher rollback", m.Run("sh", "-c", sum), before)
}

// Scripts of such a team prepare the destination in BeforeInstall: they empty it, make folders, put a configuration there. They
// find it empty, as on a new server, each time; what they leave comes into the release, and what is live is as it was.
func TestBeforeInstallFindsNothingAtTheLink(t *testing.T) {
	s := newShop(t)
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	const prepares = `#!/bin/bash
set -e
test "$(cat "$USHER_PREVIOUS_RELEASE/VERSION")" = "$(cat /proc/1/root/opt/app/VERSION)"
rm -rf /opt/app/*
if [ ! -d /opt/app/logs ]; then mkdir -p /opt/app/logs && chown daemon /opt/app/logs && chmod 2770 /opt/app/logs; fi
cp VERSION /opt/app/.env
echo early >/opt/app/VERSION
`
	version := func(n, permissions string) files {
		f := app(n).with(files{"scripts/before.sh": prepares})
		f["appspec.yml"] = strings.Replace(f["appspec.yml"], "hooks:\n", permissions+"hooks:\n", 1)
		return f
	}
	const copied = "permissions: [{object: /opt/app, pattern: VERSION, owner: daemon, type: [file]}]\n"
	const sum = "cd /opt/app/ && find . -printf '%P %y %m %u %T@\\n' -type f -exec sha256sum {} + | sort"
	const seen = "cd /opt/app/ && stat -c '%A %U %n' logs && cat .env VERSION && ls -d /opt/app-releases/*.early 2>/dev/null || true"
	s.publish("shop-1", version("1", ""))
	m := s.launch()
	m.ends(standin.Continue, "1")
	s.expect("what the first release has", m.Run("sh", "-c", seen), "drwxrws--- daemon logs\n1\n1")
	s.expect("the base", m.Run("sh", "-c", "cd /opt/app-base && find . -type f -exec cat {} +"), "base")
	before := m.Run("sh", "-c", sum)
	m.deployed(s.begin("shop-2", version("2", copied).with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho no\nexit 3\n"})), "Failed", "1")
	s.expect("what is live after a deployment that failed", m.Run("sh", "-c", sum), before)
	m.deployed(s.begin("shop-3", version("3", copied)), "Succeeded", "3")
	s.expect("what the third has", m.Run("sh", "-c", seen), "drwxrws--- daemon logs\n3\n3")
	m.said("/opt/app/VERSION of BeforeInstall is not taken: the release has one of that name")
	m.Run("usher", "rollback")
	s.expect("what is live after usher rollback", m.Run("sh", "-c", sum), before)
}

// A script that empties what is live before the flip, by a path that no check sees through, fails on it: the base of a first
// launch and the release that serves stay as they were, byte for byte, and a mount is the machine's all the same.
func TestAScriptCannotTouchWhatIsLive(t *testing.T) {
	s := newShop(t)
	const empties = "#!/bin/bash\nset -e\nat=$USHER_PREVIOUS_RELEASE\nrm --recursive --force \"$at\"/*\n"
	const sum = "cd /opt/app/ && find . -printf '%P %y %m %u %T@\\n' -type f -exec sha256sum {} + | sort"
	s.publish("shop-1", app("1").with(files{"scripts/before.sh": empties}))
	m := s.machine()
	m.Write("/opt/app-base/www/index.html", "base\n", 0o644)
	m.Boot()
	m.ends(standin.Abandon, "base")
	s.expect("the base's page", m.Run("cat", "/opt/app-base/www/index.html"), "base")
	m.said("Read-only file system")

	s = &shop{T: t, cloud: s.cloud, image: image, link: s.link, ctx: s.ctx}
	s.publish("shop-2", app("2").with(files{"scripts/after.sh": "#!/bin/bash\nset -e\nmkdir -p /mnt/data\nmount -t tmpfs tmpfs /mnt/data\necho mounted >/mnt/data/file\necho built >\"$USHER_RELEASE_DIR/built\"\n"}))
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	m = s.launch()
	m.ends(standin.Continue, "2")
	s.expect("a mount of a script", m.Run("cat", "/mnt/data/file", "/opt/app/built"), "mounted\nbuilt")
	before := m.Run("sh", "-c", sum)
	for _, event := range []string{"before", "after"} {
		m.deployed(s.begin("shop-3-"+event, app("3").with(files{"scripts/" + event + ".sh": empties})), "Failed", "2")
		s.expect("what is live after "+event, m.Run("sh", "-c", sum), before)
	}
}
