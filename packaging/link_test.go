package packaging_test

import (
	"strings"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
	"usher/systemd/box"
)

// Applications that are not in /opt: the link is where they are, and the drop-in of the service is what `usher bake` writes.

// elsewhere are such places, each with an image.
var elsewhere = []struct {
	name, config string
	link, base   string
	image        *box.Image
}{
	{name: "a folder that was the application's", config: "link: /var/www/app\n", link: "/var/www/app", base: "/opt/app-base"},
	{name: "all of it on a volume", config: "link: /srv/shop/current\nbase: /srv/shop/base\nreleases: /srv/shop/releases\n", link: "/srv/shop/current", base: "/srv/shop/base"},
}

func init() {
	for i := range elsewhere {
		e := &elsewhere[i]
		e.image = &box.Image{Name: "link-" + strings.ReplaceAll(strings.Trim(e.link, "/"), "/", "-"), Install: func(b *box.Box) {
			built, _ := packages()
			b.Copy(built.deb, "/root/usher.deb")
			b.Run("dpkg", "--install", "/root/usher.deb")
			b.Write("/etc/usher/agent.yml", "application: shop\ndeployment_group: production\n"+e.config, 0o644)
			// The image is one that was made for CodeDeploy's agent: the application is a folder.
			b.Write(e.link+"/VERSION", "base\n", 0o644)
			said := b.Exec("usher", "bake").Stdout
			_, typed, ok := strings.Cut(said, "when baking the image: ")
			if !ok {
				b.Run("sh", "-c", `echo "$0" >&2; exit 1`, "usher bake does not say how a folder becomes the link:\n"+said)
			}
			typed, _, _ = strings.Cut(typed, "\n")
			b.Run("sh", "-ec", typed)
			b.Run("usher", "bake")
			meetStandin(b)
		}}
	}
}

// at is a revision whose application is at another path.
func (f files) at(link string) files {
	all := files{}
	for name, text := range f {
		all[name] = strings.ReplaceAll(text, "/opt/app", link)
	}
	return all
}

func TestALinkElsewhere(t *testing.T) {
	for _, e := range elsewhere {
		t.Run(e.name, func(t *testing.T) {
			s := newShop(t)
			s.image, s.link = e.image, e.link
			s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
			s.publish("shop-1", app("1").at(e.link))
			m := s.launch()
			m.ends(standin.Continue, "1")
			s.expect("the launch's scripts", m.trace(), lines("BeforeInstall 1 live=base", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1"))
			if unit := m.Run("systemctl", "cat", "usher.service"); !strings.Contains(unit, "# "+systemd.PathsDropIn+"\n") {
				t.Errorf("the service has no drop-in of usher bake's:\n%s", unit)
			}
			s.expect("the base", m.Run("cat", e.base+"/VERSION"), "base")

			m.Run("rm", "/var/lib/shop/trace")
			m.deployed(s.begin("shop-2", app("2").at(e.link)), "Succeeded", "2")
			s.expect("the deployment's scripts", m.trace(), updated)

			// Back by itself, and by an operator.
			m.deployed(s.begin("shop-3", app("3").at(e.link).with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho no\nexit 3\n"})), "Failed", "2")
			m.Run("usher", "rollback")
			s.expect("after usher rollback", m.Run("cat", e.link+"/VERSION"), "1")

			// What is live is safe from scripts there too, and nothing was placed by a unit of its own.
			m.deployed(s.begin("shop-4", app("4").at(e.link).with(files{"scripts/before.sh": "#!/bin/bash\nset -e\ntest -z \"$(ls -A " + e.link + ")\"\nrm -rf \"$USHER_PREVIOUS_RELEASE\"/*\n"})), "Failed", "1")
			m.said("Read-only file system")
			if placed := strings.Join(m.placements(), " "); strings.Contains(placed, "Install") || strings.Contains(placed, "Rollback") {
				t.Errorf("units placed files: %s", placed)
			}

			m.Reboot()
			m.ends(standin.Continue, "1")
			doctor := m.Exec("usher", "doctor").Stdout
			for _, want := range []string{"ok       unit paths ", "ok       link         " + e.link + " -> "} {
				if !strings.Contains(doctor, want) {
					t.Errorf("doctor does not say %q:\n%s", want, doctor)
				}
			}
		})
	}
}
