package packaging_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/standin"
)

// begunWith is a repository with these files, and with what `usher init` adds to it.
func (s *shop) begunWith(f files) files {
	s.Helper()
	built, err := packages()
	s.must(err)
	dir := s.TempDir()
	for name, text := range f {
		s.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	usher := filepath.Join(s.TempDir(), "usher")
	for _, c := range []*exec.Cmd{
		exec.Command("sh", "-ec", `dpkg-deb --fsys-tarfile "$1" | tar -xO ./usr/bin/usher >"$2"; chmod 755 "$2"`, "sh", built.deb, usher),
		exec.Command("git", "init", "--quiet", dir), exec.Command(usher, "init", "--application", "shop"),
	} {
		c.Dir, c.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true"}
		if out, err := c.CombinedOutput(); err != nil {
			s.Fatalf("%v: %v\n%s", c.Args, err, out)
		}
	}
	all := files{}
	s.must(fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Name() == ".git":
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		all[name] = string(text)
		return err
	}))
	return all
}

// What `usher init` writes for a process runs it on a server: as a user of its own, the new one after a deployment, and the old one
// again after one that failed.
func TestWhatInitWritesRunsAnApplication(t *testing.T) {
	s := newShop(t)
	shop := s.begunWith(files{"VERSION": "1\n", "web.pl": webScript, "Procfile": "web: perl web.pl\n"})
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}})
	s.publish("shop-1", shop)
	m := s.launch()
	m.ends(standin.Continue, "1")
	s.expect("served after the launch", m.served(), "1")
	s.expect("its user is one for as long as it runs", m.Run("sh", "-c", "test $(stat -c %u /proc/$(systemctl show --value --property=MainPID shop.service)) -ge 61184 && echo so"), "so")

	m.deployed(s.begin("shop-2", shop.with(files{"VERSION": "2\n"})), "Succeeded", "2")
	s.expect("served after a deployment", m.served(), "2")

	bad := shop.with(files{"VERSION": "3\n", "web.pl": "die 'no orders'"})
	bad["deploy/validate.sh"] = strings.Replace(bad["deploy/validate.sh"], "seq 60", "seq 3", 1)
	m.deployed(s.begin("shop-3", bad), "Failed", "2")
	s.expect("served after the rollback", m.served(), "2")
	all := s.cloud.HostCommands()
	if last := all[len(all)-1]; !strings.Contains(last.Diagnostics.Log, "http://127.0.0.1:8080/ does not answer as it should: curl: (7)") || !strings.Contains(last.Diagnostics.Log, "no orders") {
		s.Errorf("what CodeDeploy was told: %s", last.Diagnostics.Log)
	}

	m.Reboot()
	m.WaitRunning()
	s.expect("served after a reboot", m.served(), "2")
}
