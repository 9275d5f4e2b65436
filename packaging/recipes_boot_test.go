package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"usher/agent/standin"
	"usher/systemd"
	"usher/systemd/box"
)

// The recipes at work: the images that provision.sh makes, booted as servers of both roles.

// recipeArchives are the two files that the Image Builder component's first lines say how to make. The base is the
// sample application at another version than any that is deployed.
var recipeArchives = sync.OnceValues(func() (files struct{ recipe, base string }, err error) {
	files.recipe, files.base = filepath.Join(work, "recipe.tar.gz"), filepath.Join(work, "base.tar.gz")
	base := filepath.Join(work, "base")
	if err = os.CopyFS(base, os.DirFS(filepath.Join(house, "packaging/image/sample"))); err == nil {
		err = os.WriteFile(filepath.Join(base, "VERSION"), []byte("base\n"), 0o644)
	}
	if err != nil {
		return files, err
	}
	for _, args := range [][]string{
		{"--file", files.recipe, "--directory", filepath.Join(house, "packaging/image"), "provision.sh", "roles"},
		{"--file", files.base, "--directory", base, "."},
	} {
		if out, err := exec.Command("tar", append([]string{"--create", "--gzip"}, args...)...).CombinedOutput(); err != nil {
			return files, fmt.Errorf("cannot make an archive: %w\n%s", err, out)
		}
	}
	return files, nil
})

// roleImages are the images of the roles, each by provision.sh alone, on a machine with cloud-init as AWS's have it.
var roleImages = map[string]*box.Image{"app": roleImage("app"), "job": roleImage("job")}

func roleImage(role string) *box.Image {
	return &box.Image{Name: "role-" + role, Packages: cloudImage.Packages, Install: func(b *box.Box) {
		built, _ := packages()
		archives, err := recipeArchives()
		if err != nil {
			b.Run("sh", "-c", `echo "$0" >&2; exit 1`, err.Error()) // ends the test
		}
		b.Copy(archives.recipe, "/root/image/recipe.tar.gz")
		b.Copy(archives.base, "/root/image/base.tar.gz")
		b.Copy(built.deb, "/root/image/usher.deb")
		b.Run("tar", "--extract", "--file", "/root/image/recipe.tar.gz", "--directory", "/root/image")
		provision := []string{"bash", "/root/image/provision.sh", role, "/root/image/usher.deb", "/root/image/base.tar.gz"}
		// What usher bake refuses ends the script, and with it the image; then it is run again.
		if refused := b.Exec(append(provision, "-clean", "the-kitchen")...); refused.Code != 2 {
			b.Run("sh", "-c", `echo "$0" >&2; exit 1`, fmt.Sprintf("provision.sh ended with %d, and not with what usher bake did:\n%s", refused.Code, refused.Stderr))
		}
		b.Run(provision...)
		b.Run("rm", "-r", "/root/image")
		meetStandin(b)
	}}
}

// meetStandin is what makes a machine one of this test's: where AWS is, and the id of the box's boot for a unit that has
// a /proc of its own, see systemd/box/base.sh. A later systemd (257) brings that id there itself, and cannot put another over it.
func meetStandin(b *box.Box) {
	b.Write("/etc/systemd/system/usher.service.d/box.conf", "[Service]\nBindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id\n", 0o644)
	b.Run("sh", "-ec", "id=/proc/sys/kernel/random/boot_id; own=$(systemd-run --quiet --wait --pipe --property=ProtectProc=invisible cat $id); "+
		`if [ "$own" = "$(cat $id)" ]; then rm /etc/systemd/system/usher.service.d/box.conf; fi`)
	b.Write("/etc/default/usher", "AWS_ENDPOINT_URL=http://"+awsAddress+"\nAWS_ENDPOINT_URL_S3=http://"+s3Address+"\n", 0o644)
}

// newFleet is an account with a group of each role in one deployment group, which their instances know by their tags.
func newFleet(t *testing.T) *shop {
	s := newShop(t)
	for role := range roleImages {
		s.cloud.CreateGroup(standin.Group{Name: role, NoReplacement: true, MetadataTags: true,
			Tags: map[string]string{"usher:application": "shop", "usher:deployment-group": "production", "usher:role": role}})
		s.cloud.PutHook(role, standin.Hook{Name: "usher-launch"})
	}
	return s
}

// of launches and boots an instance of a role, from the role's image.
func (s *shop) of(role string) *machine {
	s.Helper()
	m := &machine{roleImages[role].New(s.T, box.Options{Name: s.Name() + "-" + role}), s, s.cloud.Launch(role, standin.LaunchOptions{})}
	s.limit()
	join(m.Box, s.cloud, m.server)
	// cloud-init's data source is on the disk: that of EC2 would ask the stand-in for far more than usher does.
	m.Write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: "+m.server.ID+"\n", 0o644)
	m.Write("/var/lib/cloud/seed/nocloud/user-data", "#cloud-config\n", 0o644)
	m.Write("/etc/cloud/cloud.cfg.d/90-box.cfg", "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: C.UTF-8\n", 0o644)
	m.Boot()
	return m
}

// sample is the sample application as a revision.
func sample(t *testing.T, version string) files {
	t.Helper()
	dir, f := filepath.Join(house, "packaging/image/sample"), files{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		f[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f.with(files{"VERSION": version + "\n"})
}

// page is what the web server of a machine answers.
func (m *machine) page() string {
	return m.Run("curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:8080/")
}

// One revision, two roles: the web server runs on one machine, the worker on the other.
func TestRecipesTwoRoles(t *testing.T) {
	s := newFleet(t)
	s.publish("shop-2", sample(t, "2"))
	app, job := s.of("app"), s.of("job")
	app.ends(standin.Continue, "2")
	job.ends(standin.Continue, "2")

	// The one unit of the application that runs on a machine, and its state.
	running := func(m *machine) string {
		return strings.Join(strings.Fields(m.Run("systemctl", "list-units", "--plain", "--no-legend", "app-*.service")), " ")
	}
	s.expect("on the app server", running(app), "app-web.service loaded active running Web server of the sample application")
	s.expect("on the job server", running(job), "app-worker.service loaded active running Worker of the sample application")
	s.expect("the page", app.page(), "2")
	job.Run("sh", "-c", "echo resize >/var/lib/app-worker/jobs/one")
	job.WaitFor("test", "-e", "/var/lib/app-worker/finished/one")
	s.expect("the job", job.Run("cat", "/var/lib/app-worker/finished/one"), "one by version 2")

	// What the image has of its builder.
	if a, b := app.Run("cat", "/etc/machine-id"), job.Run("cat", "/etc/machine-id"); a == b || len(a) != 32 {
		t.Errorf("machine ids %q and %q", a, b)
	}

	// After a reboot nothing is deployed, and the application is there.
	app.Reboot()
	app.ends(standin.Continue, "2")
	app.WaitFor("curl", "--silent", "--fail", "http://127.0.0.1:8080/")
	s.expect("the page after a reboot", app.page(), "2")
}

// A web server that does not start keeps app servers out of service, and what was live before answers again. To job
// servers it does not matter.
func TestRecipesBrokenForOneRole(t *testing.T) {
	s := newFleet(t)
	s.publish("shop-3", sample(t, "3").with(files{"bin/web": "#!/bin/bash\nset -e\nexit 1\n"}))
	app, job := s.of("app"), s.of("job")
	if err := app.server.WaitFor(s.ctx, standin.Terminated); err != nil {
		t.Fatalf("the app server is %s: %v", app.server.State(), err)
	}
	app.WaitForEntry(app.ThisBoot(), message(systemd.MessageCompleted))
	app.said("ValidateService role hook /etc/usher/hooks.d/ValidateService/50-app-web failed", "with ABANDON")
	s.expect("live on the app server", app.Run("cat", "/opt/app/VERSION"), "base")
	app.WaitFor("curl", "--silent", "--fail", "http://127.0.0.1:8080/")
	s.expect("the page", app.page(), "base")

	job.ends(standin.Continue, "3")
}
