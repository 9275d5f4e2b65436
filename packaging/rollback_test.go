package packaging_test

import (
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
)

// What users get after a rollback, on a booted machine: a web server that tells the version it read at its start.

const webScript = `#!/usr/bin/perl
use strict; use IO::Socket::INET;
open my $f, "<", "/opt/app/VERSION" or die; my $v = <$f>;
my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 8, ReuseAddr => 1) or die "cannot listen: $!\n";
while (my $c = $s->accept) { my $l = <$c>; print $c "HTTP/1.0 200 OK\r\n\r\n$v"; close $c }
`

// served is what the web server answers.
func (m *machine) served() string {
	m.s.Helper()
	return strings.TrimSpace(m.Exec("curl", "--silent", "--max-time", "5", "http://127.0.0.1:8080/").Stdout)
}

func TestWhatServesAfterARollback(t *testing.T) {
	for _, c := range []struct{ name, start, stop, left string }{
		{"a unit that is started", "systemctl start web.service", "systemctl stop web.service", ""},
		{"a daemon in the hook's own unit, which nothing stops", "nohup perl /opt/app/web.pl >/dev/null 2>&1 </dev/null &", ":", "perl (pid "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShop(t)
			web := func(version string) files {
				// The way of many: what runs is ended before the next is started, by the next one's script.
				before := "#!/bin/bash\nset -e\n"
				if c.left != "" && version == "2" {
					before += "for p in /proc/[0-9]*; do if grep -qs web.pl $p/cmdline; then kill ${p#/proc/}; fi; done\n"
				}
				return app(version).with(files{"web.pl": webScript, "scripts/before.sh": before,
					"scripts/start.sh": "#!/bin/bash\nset -e\n" + c.start + "\n", "scripts/stop.sh": "#!/bin/bash\nset -e\n" + c.stop + "\n",
					"scripts/validate.sh": "#!/bin/bash\nset -e\ntest \"$(curl --silent --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/)\" = " + version + "\n"})
			}
			s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
			s.publish("shop-1", web("1"))
			m := s.machine()
			m.Write("/etc/systemd/system/web.service", "[Service]\nExecStart=/usr/bin/perl /opt/app/web.pl\n", 0o644)
			m.Boot()
			m.ends(standin.Continue, "1")
			s.expect("served after the launch", m.served(), "1")

			bad := web("2")
			bad["scripts/validate.sh"] += "echo 'the orders page is empty' >&2\nexit 1\n"
			id := s.begin("shop-2", bad)
			m.deployed(id, "Failed", "1")
			s.expect("served after the rollback", m.served(), "1")
			said := ""
			for _, e := range m.Journal(message(systemd.MessageScriptLeftovers), "DEPLOYMENT_ID="+id, "LIFECYCLE_EVENT=Rollback") {
				said += e.Message + "\n"
			}
			if want := "was left running by the failed release, and is ended"; c.left != "" && !(strings.Contains(said, c.left) && strings.Contains(said, want)) {
				t.Errorf("of what was left running the journal says %q", said)
			}
		})
	}
}
