package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/systemd"
)

// An image whose application is elsewhere than in /opt: the service's sandbox and its wait for volumes come with it.
func TestBakeWritesTheServicesPaths(t *testing.T) {
	i := newImageTree(t)
	dropIn := filepath.Join(i.root, systemd.PathsDropIn)
	i.write("etc/usher/agent.yml", "application: shop\nlink: /srv/shop/current\nbase: /srv/shop/base\nreleases: /srv/shop/releases\n")
	i.write("srv/shop/base/VERSION", "base")
	i.link("/srv/shop/base", "srv/shop/current")

	got := i.bake("--check")
	if want := "problem  unit paths   agent.yml has paths of its own, and no drop-in of usher.service says RequiresMountsFor=/srv/shop/current /srv/shop/base /srv/shop/releases " +
		"and ReadWritePaths=/srv/shop"; got.code != 1 || !strings.Contains(got.stdout, want) {
		t.Fatalf("before: exit %d, without %q\n%s", got.code, want, got.stdout)
	}
	if _, err := os.Lstat(dropIn); err == nil {
		t.Error("--check has written the drop-in")
	}
	got = i.bake()
	if got.code != 0 || !strings.Contains(got.stdout, "wrote "+systemd.PathsDropIn+"\n") || !strings.Contains(got.stdout, "ok       unit paths") {
		t.Fatalf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	text, err := os.ReadFile(dropIn)
	i.must(err)
	_, lines, _ := strings.Cut(string(text), "\n")
	if want := "[Unit]\nRequiresMountsFor=/srv/shop/current /srv/shop/base /srv/shop/releases\n[Service]\nReadWritePaths=-/srv/shop\n"; lines != want {
		t.Errorf("the drop-in:\n%s\nwant\n%s", lines, want)
	}
	if again := i.bake(); again.code != 0 || strings.Contains(again.stdout, "wrote ") {
		t.Errorf("a second bake: exit %d\n%s", again.code, again.stdout)
	}

	// Another drop-in of the builder's is as good, and one that is no longer needed goes.
	i.must(os.Rename(dropIn, filepath.Join(filepath.Dir(dropIn), "mine.conf")))
	if got := i.bake("--check"); got.code != 0 {
		t.Errorf("with a drop-in of another name: exit %d\n%s", got.code, got.stdout)
	}
	i.must(os.Rename(filepath.Join(filepath.Dir(dropIn), "mine.conf"), dropIn))
	i.write("etc/usher/agent.yml", "application: shop\n")
	if got := i.bake(); got.code != 0 {
		t.Errorf("back in /opt: exit %d\n%s", got.code, got.stdout)
	}
	if _, err := os.Lstat(dropIn); err == nil {
		t.Error("the drop-in for /srv is still there")
	}
}
