package packaging_test

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usher/agent/standin"
	"usher/systemd"
)

// The agent's unit is a sandbox, which no revision may notice.

// outsideAppspec installs all over the machine, with all that may be said of a file.
const outsideAppspec = `version: 0.0
os: linux
files:
  - {source: /VERSION, destination: /opt/app}
  - {source: /bin/tool, destination: /opt/app/bin}
  - {source: /bin/tool, destination: /usr/local/bin}
  - {source: /bin/tool, destination: /usr/lib/shop}
  - {source: /etc, destination: /etc/shop}
  - {source: /etc/shop.conf, destination: /home/shop}
  - {source: /etc/shop.conf, destination: /root/shop}
  - {source: /etc/shop.conf, destination: /var/lib/shop/deep/er}
  - {source: /etc/shop.conf, destination: /srv/shop}
  - {source: /etc/shop.conf, destination: /data/shop}
  - {source: /etc/shop.conf, destination: /tmp/shop}
file_exists_behavior: OVERWRITE
permissions:
  - {object: /opt/app/bin, pattern: tool, owner: daemon, group: mail, mode: 4755, type: [file]}
  - {object: /usr/local/bin, pattern: tool, owner: root, group: mail, mode: 2755, type: [file]}
  - {object: /usr/lib/shop, pattern: "**", owner: daemon, mode: 6750, type: [file]}
  - {object: /etc/shop, pattern: "**", owner: daemon, group: mail, mode: 640, acls: ["u:www-data:rw", "g:games:r"], type: [file]}
  - {object: /etc/shop, pattern: "**", owner: daemon, mode: 2750, acls: ["d:u:www-data:rwx", "u:www-data:rx"], type: [directory]}
  - {object: /home/shop, pattern: "**", owner: mail, group: mail, mode: 600, type: [file]}
hooks:
  BeforeInstall:
    - {location: before.sh}
  AfterInstall:
    - {location: after.sh, runas: www-data}
`

// outside is the revision. Its scripts do what a sandbox would forbid them.
func outside() files {
	return files{
		"appspec.yml": outsideAppspec, "VERSION": "1\n", "bin/tool": "#!/bin/sh\necho a tool\n",
		"etc/shop.conf": "port = 80\n", "etc/conf.d/more.conf": "more = yes\n",
		// A file of somebody else's in a directory of somebody else's, which the revision replaces.
		"before.sh": `#!/bin/sh
set -eu
mkdir -p /home/shop
echo 'port = 1' >/home/shop/shop.conf
chown -R mail:mail /home/shop
chmod 0500 /home/shop
mount -t tmpfs -o mode=0755 tmpfs /mnt
unshare --mount true
hostname "$(hostname)"
`,
		"after.sh": `#!/bin/sh
set -eu
echo "as $(id -un):$(id -gn) with $(id -Gn)"
cat /etc/shop/shop.conf /tmp/shop/shop.conf
echo "$(grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status | tr -s '\t\n' '  ')"
`,
	}
}

// picture is what the revision's places look like: a line for each path, with its owner, mode and ACLs, and then
// the content of its files.
func (m *machine) picture() string {
	m.s.Helper()
	const places = "/opt/app/ /usr/local/bin /usr/lib/shop /etc/shop /home/shop /root/shop /var/lib/shop /srv/shop /data /tmp/shop"
	listed := m.Run("sh", "-c", "find "+places+` -printf '%p %y %m %u:%g\n' 2>/dev/null || true`) // a release takes its folders with it
	all := []string{m.Run("sh", "-c", "find "+places+" -type f -exec grep -H '' {} + 2>/dev/null || true")}
	for line := range strings.Lines(listed) {
		line = strings.TrimSpace(line)
		path, _, _ := strings.Cut(line, " ")
		for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
			line += m.attribute(path, name)
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

// attribute is an extended attribute of a file on the machine's disk, "" when it has none.
func (m *machine) attribute(path, name string) string {
	m.s.Helper()
	if strings.HasPrefix(path, "/opt/app/") || strings.HasPrefix(path, "/tmp/") {
		return "" // reached by a link, or on no disk
	}
	value := make([]byte, 1<<10)
	n, err := unix.Lgetxattr(filepath.Join(m.Root(), path), name, value)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	m.s.must(err)
	return " " + hex.EncodeToString(value[:n])
}

// withoutSandbox takes the sandbox out of a unit.
func withoutSandbox(t *testing.T, unit string) string {
	t.Helper()
	plain := regexp.MustCompile(`(?s)# --- The sandbox.*\[Install\]`).ReplaceAllString(unit, "[Install]")
	if plain == unit {
		t.Fatal("the unit's sandbox was not found")
	}
	return plain
}

func TestNoRevisionNoticesTheSandbox(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(house, "systemd", "usher.service"))
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(t)
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}, Config: "CodeDeployDefault.AllAtOnce"})
	s.publish("shop-1", outside())
	plain, packaged := s.machine(), s.machine()
	plain.Write("/etc/systemd/system/usher.service", withoutSandbox(t, string(shipped)), 0o644)
	s.must(os.RemoveAll(filepath.Join(plain.Root(), "/etc/systemd/system/usher.service.d"))) // of no use without a /proc of its own
	same := func(when string) {
		t.Helper()
		s.expect(when+": files under the packaged unit, against one without a sandbox", packaged.picture(), plain.picture())
	}
	holds := func(lines ...string) {
		t.Helper()
		for _, want := range lines {
			if !strings.Contains(packaged.picture(), want) {
				t.Errorf("there is no %q in\n%s", want, packaged.picture())
			}
		}
	}
	for _, m := range []*machine{plain, packaged} {
		m.Boot()
		m.ends(standin.Continue, "1")
	}
	same("launched")
	holds("/opt/app/bin/tool f 4755 daemon:mail", "/usr/lib/shop/tool f 6750 daemon:", "/etc/shop/conf.d/more.conf f 660 daemon:mail 0200",
		"/home/shop/shop.conf f 600 mail:mail", "/data/shop/shop.conf f 755 root:root", "/tmp/shop/shop.conf f 755 root:root")

	// The next has some files no more and others anew, and finds one of somebody else's, which it leaves alone.
	next := outside().with(files{"VERSION": "2\n", "etc/shop.conf": "port = 81\n", "etc/conf.d/new.conf": "new = yes\n",
		"after.sh": "#!/bin/sh\nset -e\n", "before.sh": "#!/bin/sh\nset -e\nmkdir -p /tmp/shop/conf.d\necho somebody >/tmp/shop/conf.d/new.conf\n",
		"appspec.yml": strings.NewReplacer("  - {source: /etc/shop.conf, destination: /root/shop}\n", "", "  - {source: /etc/shop.conf, destination: /tmp/shop}\n",
			"  - {source: /etc, destination: /tmp/shop}\n", "OVERWRITE", "RETAIN").Replace(outsideAppspec)})
	delete(next, "etc/conf.d/more.conf")
	id := s.begin("shop-2", next)
	for _, m := range []*machine{plain, packaged} {
		m.deployed(id, "Succeeded", "2")
	}
	same("deployed to")
	holds("/tmp/shop/conf.d/new.conf:somebody", "/etc/shop/conf.d/new.conf:new = yes", "/home/shop/shop.conf:port = 81")

	// And the one after that fails.
	id = s.begin("shop-3", next.with(files{"VERSION": "3\n", "etc/shop.conf": "port = 82\n", "etc/conf.d/newer.conf": "newer = yes\n", "after.sh": "#!/bin/sh\nset -e\nfalse\n"}))
	for _, m := range []*machine{plain, packaged} {
		m.deployed(id, "Failed", "2")
		m.WaitForEntry(message(systemd.MessageDeploymentFailed))
	}
	same("after a deployment that failed")
	// What the first release alone had went when the second was installed.
	if gone := packaged.Exec("ls", "/root/shop/shop.conf", "/etc/shop/conf.d/more.conf").Stdout; gone != "" {
		t.Errorf("only the first release has, and the machine still has:\n%s", gone)
	}
	holds("/etc/shop/conf.d/new.conf:new = yes", "/home/shop/shop.conf:port = 81", "/usr/local/bin/tool f 2755 root:mail", "/opt/app/bin/tool f 4755 daemon:mail")
	s.expect("placements", strings.Join(packaged.placements(), " "), "Install Install Install Rollback")
	s.expect("placements without a sandbox", strings.Join(plain.placements(), " "), "")

	said := func(m *machine) string {
		var lines []string
		for _, e := range m.Journal("HOOK_OUTPUT=true") {
			lines = append(lines, e.Message)
		}
		return strings.Join(lines, "\n")
	}
	s.expect("what scripts see", said(packaged), said(plain))
	if !strings.Contains(said(packaged), "as www-data:www-data") || !strings.Contains(said(packaged), "NoNewPrivs: 0 Seccomp: ") {
		t.Errorf("a script said:\n%s", said(packaged))
	}

	// And the agent itself is confined.
	status := packaged.Run("sh", "-c", "cat /proc/$(systemctl show --value --property=MainPID usher.service)/status")
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t000000000000001b"} {
		if !strings.Contains(status, want) {
			t.Errorf("the agent's process has no %q:\n%s", want, status)
		}
	}
}

// A failed deployment puts back what was outside the link, from within the sandbox as well.
func TestWhatWasOutsideIsPutBack(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", outside().with(files{"after.sh": "#!/bin/sh\nset -e\necho no\nfalse\n"}))
	m := s.machine()
	m.Write("/usr/local/bin/tool", "the image's\n", 0o711|os.ModeSetuid)
	m.Boot()
	m.ends(standin.Abandon, "base")
	s.expect("a file that was replaced", m.Run("sh", "-c", "stat -c %a /usr/local/bin/tool; cat /usr/local/bin/tool"), "4711\nthe image's")
	s.expect("a file that was added", m.Exec("ls", "/etc/shop", "/data", "/srv/shop", "/usr/lib/shop").Stdout, "")
}

// Scripts that were the agent's children would be in its sandbox. They are not run there: usher says so.
func TestNoScriptsInTheSandbox(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1"))
	m := s.machine()
	m.Write("/etc/systemd/system/usher.service.d/processes.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/usher run -runner processes\nRestart=no\n", 0o644)
	m.Boot()
	m.WaitFor("systemctl", "is-failed", "--quiet", "usher.service")
	m.said("the sandbox of usher.service would confine them")
	s.expect("scripts that ran", m.trace(), "")
}

// The sandbox knows the places of agent.yml's defaults. Where the agent has others, it says what the drop-in must
// name; and what stays in its place takes no unit of its own.
func TestOtherPlaces(t *testing.T) {
	for _, c := range []struct{ name, dropIn, verdict string }{
		{"not in the sandbox", "", standin.Abandon},
		{"in a drop-in", "[Service]\nReadWritePaths=/srv\n", standin.Continue},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			s.publish("shop-1", app("1").with(files{"appspec.yml": strings.ReplaceAll(app("1")["appspec.yml"], "/opt/app", "/srv/app")}))
			m := s.machine()
			m.Write("/etc/usher/agent.yml", "application: shop\ndeployment_group: production\nlink: /srv/app\nreleases: /srv/app-releases\n", 0o644)
			m.Write("/etc/systemd/system/usher.service.d/override.conf", c.dropIn, 0o644)
			m.Boot()
			m.ends(c.verdict, "base") // of /opt/app
			s.expect("placements", strings.Join(m.placements(), " "), "")
			if c.verdict == standin.Continue {
				s.expect("live", m.Run("cat", "/srv/app/VERSION"), "1")
				return
			}
			if failed := m.WaitForEntry(message(systemd.MessageFailed)).Message; !strings.Contains(failed, "cannot write to /srv: ") ||
				!strings.Contains(failed, "ReadWritePaths=/srv ") {
				t.Errorf("the reason does not say what to do: %s", failed)
			}
			s.expect("scripts that ran", m.trace(), "")
		})
	}
}

// placements are the units that were started for files outside the sandbox, in all boots.
func (m *machine) placements() (units []string) {
	for _, e := range m.Journal("JOB_TYPE=start") {
		if name, ok := strings.CutPrefix(e.Message, "Starting usher-files-"); ok {
			name, _, _ = strings.Cut(name, ".service ")
			units = append(units, name[strings.LastIndex(name, "-")+1:])
		}
	}
	return units
}

// A placement stands still in its middle: the unit that does it, and no other, finds at /etc/group a pipe that
// nobody writes to.
const standsStill = "[Service]\nBindReadOnlyPaths=-/run/group:/etc/group\n"

// The second of its files has a group. The first is somebody else's until then.
const placedAppspec = `version: 0.0
os: linux
files:
  - {source: /VERSION, destination: /opt/app}
  - {source: /a.conf, destination: /etc/shop}
  - {source: /b.conf, destination: /etc/shop}
file_exists_behavior: OVERWRITE
permissions:
  - {object: /etc/shop, pattern: b.conf, group: mail, type: [file]}
hooks:
  BeforeInstall:
    - {location: before.sh}
`

// A placement is cut off in its middle. It is gone on with, or begun again from what was there before, and in no case
// is half of it left.
func TestAPlacementIsCutOff(t *testing.T) {
	goOn := func(m *machine) { m.Run("sh", "-c", "cat /etc/group >/run/group") }
	again := func(m *machine) { m.WaitFor("test", "-p", "/run/group"); goOn(m) } // after a reboot it begins again, with BeforeInstall
	resumed := func(m *machine) { m.WaitForEntry(message(systemd.MessageResumed)) }
	const placed, before = "a.conf 1 root, b.conf 1 mail", "a.conf the image's root"
	for _, c := range []struct {
		name           string
		do             func(m *machine)
		verdict, files string
		placements     string
	}{
		{"power cut", func(m *machine) { m.PowerCut(); m.Boot(); again(m) }, standin.Continue, placed, "Install Install"},
		{"reboot", func(m *machine) { m.Reboot(); again(m) }, standin.Continue, placed, "Install Install"},
		{"systemctl restart", func(m *machine) { m.Run("systemctl", "restart", "usher.service"); resumed(m); goOn(m) }, standin.Continue, placed, "Install"},
		{"the agent is killed", func(m *machine) {
			m.Run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "usher.service")
			resumed(m)
			goOn(m)
		}, standin.Continue, placed, "Install"},
		{"stopped, it ends, started", func(m *machine) {
			m.Run("systemctl", "stop", "usher.service")
			goOn(m)
			m.WaitFor("test", "-e", "/run/usher/files-result.json")
			m.Run("systemctl", "start", "usher.service")
		}, standin.Continue, placed, "Install"},
		{"it is killed", func(m *machine) { m.Run("systemctl", "kill", "--signal=KILL", "usher-files-*.service") }, standin.Abandon, before, "Install Rollback"},
		{"it is stopped", func(m *machine) { m.Run("systemctl", "stop", "usher-files-*.service") }, standin.Abandon, before, "Install Rollback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			s.publish("shop-1", files{"appspec.yml": placedAppspec, "VERSION": "1\n", "a.conf": "1\n", "b.conf": "1\n",
				"before.sh": "#!/bin/sh\nset -e\nmkfifo /run/group\n"})
			m := s.machine()
			m.Write("/etc/systemd/system/usher-files-.service.d/test.conf", standsStill, 0o644)
			m.Write("/etc/shop/a.conf", "the image's\n", 0o644)
			m.Boot()
			m.WaitFor("grep", "--quiet", "1", "/etc/shop/a.conf")
			c.do(m)
			version := "1"
			if c.verdict == standin.Abandon {
				version = "base"
			}
			m.ends(c.verdict, version)
			s.expect("files", m.Run("sh", "-c", `cd /etc/shop; ls -A | while read f; do echo "$f $(cat $f) $(stat -c %G $f)"; done | paste -sd, | sed 's/,/, /g'`), c.files)
			s.expect("placements", strings.Join(m.placements(), " "), c.placements)
			if c.verdict == standin.Abandon {
				t.Log(m.WaitForEntry(message(systemd.MessageDeploymentFailed)).Message)
			}
		})
	}
}
