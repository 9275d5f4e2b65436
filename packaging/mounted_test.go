package packaging_test

import (
	"fmt"
	"strings"
	"testing"

	"usher/agent/standin"
)

// A shared volume of uploads is mounted below the application's path by ApplicationStart, and stays when the release
// is replaced. Prune leaves that release, names the mount, and the volume has all it had.
func TestAVolumeIsMountedInARelease(t *testing.T) {
	s := newShop(t)
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	version := func(n string) files {
		return app(n).with(files{"scripts/start.sh": "#!/bin/bash\nset -e\nmkdir -p /opt/app/uploads\nmount --bind /srv/shared /opt/app/uploads\n"})
	}
	s.publish("shop-1", version("1"))
	m := s.machine()
	m.Write("/srv/shared/customers/invoice.pdf", "precious\n", 0o644)
	m.Boot()
	m.ends(standin.Continue, "1")
	for n := 2; n <= 5; n++ { // keep_releases is 3
		m.deployed(s.begin(fmt.Sprintf("shop-%d", n), version(fmt.Sprint(n))), "Succeeded", fmt.Sprint(n))
	}
	m.said("/uploads, which is not removed with it. Unmount it (umount /opt/app-releases/shop-1-") // of the fourth: the loop has gone on since
	if got := m.Run("cat", "/srv/shared/customers/invoice.pdf"); got != "precious" {
		t.Errorf("the shared file says %q", got)
	}
	if got := m.Run("sh", "-c", "cat /opt/app-releases/shop-1-????????/VERSION /opt/app-releases/shop-1-????????/uploads/customers/invoice.pdf"); got != "1\nprecious" {
		t.Errorf("the release with the mount holds %q", got)
	}
	m.Run("sh", "-c", "umount /opt/app-releases/*/uploads") // it goes with the next
	for n := 6; n <= 7; n++ {
		m.deployed(s.begin(fmt.Sprintf("shop-%d", n), app(fmt.Sprint(n))), "Succeeded", fmt.Sprint(n))
	}
	m.said("removed old releases: ")
	if left := m.Run("sh", "-c", "ls -d /opt/app-releases/shop-1-* /opt/app-releases/.removing-* 2>/dev/null || true"); strings.TrimSpace(left) != "" {
		t.Errorf("left: %s", left)
	}
}
