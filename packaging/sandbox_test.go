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

// picture is what the revision's places look like: a line for each path, with its owner, mode and ACLs.
func (m *machine) picture() string {
	m.s.Helper()
	listed := m.Run("find", "/opt/app/", "/usr/local/bin", "/usr/lib/shop", "/etc/shop", "/home/shop", "/root/shop", "/var/lib/shop",
		"/srv/shop", "/data", "/tmp/shop", "-printf", `%p %y %m %u:%g\n`)
	var all []string
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
	s.publish("shop-1", outside())
	plain, packaged := s.machine(), s.machine()
	plain.Write("/etc/systemd/system/usher.service", withoutSandbox(t, string(shipped)), 0o644)
	s.must(os.RemoveAll(filepath.Join(plain.Root(), "/etc/systemd/system/usher.service.d"))) // of no use without a /proc of its own
	for _, m := range []*machine{plain, packaged} {
		m.Boot()
		m.ends(standin.Continue, "1")
	}
	s.expect("files under the packaged unit, against one without a sandbox", packaged.picture(), plain.picture())
	for _, want := range []string{"/opt/app/bin/tool f 4755 daemon:mail", "/usr/lib/shop/tool f 6750 daemon:", "/etc/shop/conf.d/more.conf f 660 daemon:mail 0200",
		"/home/shop/shop.conf f 600 mail:mail", "/data/shop/shop.conf f 755 root:root", "/tmp/shop/shop.conf f 755 root:root"} {
		if !strings.Contains(packaged.picture(), want) {
			t.Errorf("there is no %q in\n%s", want, packaged.picture())
		}
	}
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

// The tighter sandbox, for revisions that keep to their own place; and what it says to one that does not.
func TestTheStrictSandbox(t *testing.T) {
	strict := func(s *shop) *machine {
		m := s.machine()
		const shipped, dropIn = "/usr/share/usher/sandbox-strict.conf", "/etc/systemd/system/usher.service.d/sandbox-strict.conf"
		text, err := os.ReadFile(filepath.Join(m.Root(), shipped))
		s.must(err)
		m.Write(dropIn, string(text), 0o644)
		m.Boot()
		return m
	}
	t.Run("a revision below the link", func(t *testing.T) {
		s := newShop(t)
		s.publish("shop-1", app("1"))
		m := strict(s)
		m.ends(standin.Continue, "1")
		s.expect("its verdict", m.Run("systemctl", "show", "--property=ProtectSystem,NRestarts", "usher.service"), "NRestarts=0\nProtectSystem=strict")
	})
	t.Run("one that installs elsewhere", func(t *testing.T) {
		s := newShop(t)
		s.publish("shop-1", app("1").with(files{"appspec.yml": strings.Replace(app("1")["appspec.yml"], "files:\n",
			"files:\n  - {source: /VERSION, destination: /etc/shop}\n", 1)}))
		m := strict(s)
		m.ends(standin.Abandon, "base")
		if failed := m.WaitForEntry(message(systemd.MessageDeploymentFailed)).Message; !strings.Contains(failed, "/etc/shop") || !strings.Contains(failed, "read-only") {
			t.Errorf("the reason does not name the place: %s", failed)
		}
	})
}
