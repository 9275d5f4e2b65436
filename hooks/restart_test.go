package hooks_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"usher/hooks"
)

// A service that is started where nothing stops it is pointed out, with what to write.
func TestStartWithoutStop(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "start.sh")
	const script = `#!/bin/bash
set -e
systemctl start shop.service
sudo systemctl --no-block start shop worker
service nginx start
/etc/init.d/tomcat start
systemctl restart other
systemctl daemon-reload
if ! systemctl is-active shop; then systemctl start shop; fi
echo systemctl start nothing
`
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	start := hooks.Script{Event: hooks.ApplicationStart, Location: "start.sh", File: file}
	var got []string
	for _, p := range hooks.StartWithoutStop([]hooks.Script{start}) {
		if !p.Warning {
			t.Errorf("not a warning: %s", p)
		}
		got = append(got, p.String())
	}
	const none, write = "` does nothing while the application runs, and no ApplicationStop script stops it: the release before it would go on serving. Write `", "`"
	want := []string{
		"start.sh:3:1: warning: `systemctl start shop.service" + none + "systemctl restart shop.service" + write,
		"start.sh:4:1: warning: `systemctl --no-block start shop worker" + none + "systemctl --no-block restart shop worker" + write,
		"start.sh:5:1: warning: `service nginx start" + none + "service nginx restart" + write,
		"start.sh:6:1: warning: `/etc/init.d/tomcat start" + none + "/etc/init.d/tomcat restart" + write,
		"start.sh:9:37: warning: `systemctl start shop" + none + "systemctl restart shop" + write,
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%q\nwant\n%q", got, want)
	}
	stop := hooks.Script{Event: hooks.ApplicationStop, Location: "stop.sh", File: file}
	if found := hooks.StartWithoutStop([]hooks.Script{stop, start}); len(found) > 0 {
		t.Errorf("with an ApplicationStop script: %v", found)
	}
	other := hooks.Script{Event: hooks.AfterInstall, Location: "start.sh", File: file}
	if found := hooks.StartWithoutStop([]hooks.Script{other}); len(found) > 0 {
		t.Errorf("in another event: %v", found)
	}
}
