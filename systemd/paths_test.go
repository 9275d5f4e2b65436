package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestPathsOf(t *testing.T) {
	for _, c := range []struct {
		name                        string
		link, base, releases, state string
		mounts, writable            string
	}{
		{"the defaults", "/opt/app", "/opt/app-base", "/opt/app-releases", "/var/lib/usher", "", ""},
		{"another link", "/var/www/app", "/opt/app-base", "/opt/app-releases", "/var/lib/usher", "/var/www/app", "/var/www"},
		{"all of them", "/srv/shop/current", "/srv/shop/base", "/srv/shop/releases", "/srv/state", "/srv/shop/current /srv/shop/base /srv/shop/releases /srv/state", "/srv/shop /srv/state"},
		{"deeper in what is writable", "/opt/shop/app", "/opt/shop/base", "/opt/shop/releases", "/var/lib/usher/shop", "/opt/shop/app /opt/shop/base /opt/shop/releases /var/lib/usher/shop", ""},
	} {
		p := PathsOf(c.link, c.base, c.releases, c.state)
		if got := strings.Join(p.Mounts, " "); got != c.mounts {
			t.Errorf("%s: mounts %q, want %q", c.name, got, c.mounts)
		}
		if got := strings.Join(p.Writable, " "); got != c.writable {
			t.Errorf("%s: writable %q, want %q", c.name, got, c.writable)
		}
	}
}

// What is written is read again as it was, and systemd takes it.
func TestPathsAreQuoted(t *testing.T) {
	odd := []string{"/srv/with space", "/srv/100%", `/srv/a"b\c`, "/srv/plain"}
	if got := words(quoted("-", odd)); !reflect.DeepEqual(got, odd) {
		t.Errorf("%q, want %q", got, odd)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "usher.service")
	unit := PathsOf("/srv/with space/100%", "/opt/app-base", "/opt/app-releases", "/var/lib/usher").String()
	if err := os.WriteFile(file, []byte(strings.Replace(unit, "[Service]\n", "[Service]\nExecStart=/bin/true\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(out), "usher.service:") {
		t.Errorf("%v\n%s\n%s", err, out, unit)
	}
}
