//go:build linux && !developer

package hooks_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"usher/hooks"
)

// TestNotThereYet is what check says of scripts that take for granted what Install makes.
func TestNotThereYet(t *testing.T) {
	for _, c := range []struct {
		name, event, script string
		want                []string // line and command
	}{
		{"commands that need it", "BeforeInstall", "#!/bin/bash\ncd /srv/shop\nchown -R root:root /srv/shop/logs\ncp -r /srv/shop/uploads/* /tmp\nls /srv/shop\nfind /srv/shop/cache -delete\ntar czf /tmp/b.tgz /srv/shop\n. /srv/shop/env\nbash /srv/shop/stop.sh\n/srv/shop/bin/stop\ntouch /srv/shop/down\nsudo docker-compose -f /srv/shop/compose.yml down\nsed -i s/a/b/ /srv/shop/x\n",
			[]string{"2 cd /srv/shop", "3 chown -R root:root /srv/shop/logs", "4 cp -r /srv/shop/uploads/* /tmp", "5 ls /srv/shop", "6 find /srv/shop/cache -delete", "7 tar czf /tmp/b.tgz /srv/shop", "8 . /srv/shop/env", "9 bash /srv/shop/stop.sh", "10 /srv/shop/bin/stop", "11 touch /srv/shop/down", "12 docker-compose -f /srv/shop/compose.yml down", "13 sed -i s/a/b/ /srv/shop/x"}},
		{"a variable", "BeforeInstall", "#!/bin/bash\nAPP=/srv/shop\ncd \"$APP/current\"\n", []string{"3 cd /srv/shop/current"}},
		{"asked before", "BeforeInstall", "#!/bin/bash\nif [ -d /srv/shop ]; then cd /srv/shop; fi\n[ -e /srv/shop/x ] && cat /srv/shop/x\ncd /srv/shop || true\ncd /srv/shop && ls\nif cd /srv/shop; then :; fi\n! ls /srv/shop\n", nil},
		{"made before", "BeforeInstall", "#!/bin/bash\nmkdir -p /srv/shop/logs\ncd /srv/shop\n", nil},
		{"copied to before", "BeforeInstall", "#!/bin/bash\ncp -r /srv/old /srv/shop\ncd /srv/shop\n", nil},
		{"what fails without harm", "BeforeInstall", "#!/bin/bash\nrm -rf /srv/shop\necho /srv/shop\ntest -e /srv/shop || true\nln -s /srv/shop /srv/live || true\ncd /srv/shopping\ncd /srv\n", nil},
		{"its own way out", "BeforeInstall", "#!/bin/bash\nset +e\ncd /srv/shop\nset -e\ncd /srv/shop\n", []string{"5 cd /srv/shop"}},
		{"after Install", "AfterInstall", "#!/bin/bash\ncd /srv/shop\n", nil},
		{"places of the image", "BeforeInstall", "#!/bin/bash\ncd /etc/systemd/system\ncd /home/ubuntu\ncd /var/www/html\nls /opt/tomcat/webapps\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := revision(t, c.script, nil)
			s.Event = c.event
			destinations := []string{"/srv/shop/", "/etc/systemd/system", "/home/ubuntu", "/var/www/html", "/opt/tomcat/webapps"}
			var got []string
			for _, p := range hooks.NotThereYet([]hooks.Script{s}, destinations, hooks.Enforce) {
				command, _, ok := strings.Cut(p.Message, "` fails on a new server, where /srv/shop is not there before Install, and -e ends the script: write `if [ -e /srv/shop ]; then ...; fi`, or do it in AfterInstall")
				if !ok || !p.Warning || p.Kind != hooks.KindErrexit || p.File != "scripts/a.sh" {
					t.Errorf("%+v", p)
				}
				got = append(got, fmt.Sprint(p.Line, " ", strings.TrimPrefix(command, "`")))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if got := hooks.NotThereYet([]hooks.Script{s}, destinations, hooks.Off); got != nil {
				t.Errorf("off: %v", got)
			}
		})
	}
}

// What one script of BeforeInstall makes the next one finds.
func TestNotThereYetAfterAnotherScript(t *testing.T) {
	first, second := revision(t, "#!/bin/bash\ninstall -d /srv/shop\n", nil), revision(t, "#!/bin/bash\ncd /srv/shop\n", nil)
	first.Event, second.Event = hooks.BeforeInstall, hooks.BeforeInstall
	if got := hooks.NotThereYet([]hooks.Script{first, second}, []string{"/srv/shop"}, hooks.Enforce); got != nil {
		t.Error(got)
	}
	if got := hooks.NotThereYet([]hooks.Script{second, first}, []string{"/srv/shop"}, hooks.Enforce); len(got) != 1 {
		t.Error(got)
	}
}
