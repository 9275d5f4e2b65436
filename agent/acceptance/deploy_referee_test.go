package acceptance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"usher/agent/standin"
)

// A second agent as referee: hooks/example runs, not a byte of it changed, under usher and under the rules of AWS's own
// CodeDeploy agent. AWS's agent (Ruby) is in no registry of Debian, npm or Go modules, so the referee is ours, made from
// what that agent was seen to do (1.8.1): the layout of its deployment root, its order of events and which revision's scripts
// run in each, the files section over an existing /opt/app, the environment, the working directory /, and no -e.

// referee is a server with AWS's agent. Its /opt is a directory of the test, mounted there for the scripts alone.
type referee struct {
	*testing.T
	root, opt string
	last      string   // archive of the last revision that was installed
	installed []string // files that the next Install removes first
	deployed  int
}

// mounted is a command run where opt is mounted over /opt.
func mounted(ctx context.Context, opt string, argv ...string) *exec.Cmd {
	args := []string{"--mount"}
	if os.Geteuid() != 0 {
		args = append(args, "--map-root-user")
	}
	return exec.CommandContext(ctx, "unshare", append(append(args, "sh", "-c", `mount --bind "$0" /opt && exec "$@"`, opt), argv...)...)
}

// needMount skips the test where nobody may mount.
func needMount(t *testing.T) {
	t.Helper()
	if out, err := mounted(t.Context(), t.TempDir(), "true").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("cannot mount: %v\n%s", err, out)
		}
		t.Skipf("cannot mount: %v: %s", err, out)
	}
}

// spec is what the referee reads of an appspec.
type spec struct {
	Files []struct{ Source, Destination string }
	Hooks map[string][]struct {
		Location string
		Timeout  int
	}
}

// deploy deploys a revision. What a script prints is returned, and the first failure.
func (r *referee) deploy(revision files) (said string, err error) {
	r.deployed++
	id := fmt.Sprintf("d-REFEREE%02d", r.deployed)
	archive := filepath.Join(r.root, "6f1c3a9e-group", id, "deployment-archive")
	for name, content := range revision {
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		at := filepath.Join(archive, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), mode)); err != nil {
			r.Fatal(err)
		}
	}
	for _, event := range []string{"ApplicationStop", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"} {
		from := archive
		if event == "ApplicationStop" { // of the last revision that was installed; nothing when there is none
			if from = r.last; from == "" {
				continue
			}
		}
		var todo spec
		text, err := os.ReadFile(filepath.Join(from, "appspec.yml"))
		if err == nil {
			err = yaml.Unmarshal(text, &todo)
		}
		if err != nil {
			r.Fatal(err)
		}
		if event == "Install" {
			if err := r.install(archive, todo); err != nil {
				return said, err
			}
			r.last = archive
			continue
		}
		for _, script := range todo.Hooks[event] {
			ctx, cancel := context.WithTimeout(r.Context(), time.Duration(script.Timeout)*time.Second)
			cmd := mounted(ctx, r.opt, filepath.Join(from, script.Location))
			cmd.Dir = "/"
			cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C", "LIFECYCLE_EVENT=" + event, "DEPLOYMENT_ID=" + id, "APPLICATION_NAME=shop", "DEPLOYMENT_GROUP_NAME=production",
				"DEPLOYMENT_GROUP_ID=6f1c3a9e-group", "BUNDLE_BUCKET=revisions", "BUNDLE_KEY=shop.tgz", "BUNDLE_ETAG=0123"}
			out, err := cmd.CombinedOutput()
			cancel()
			said += string(out)
			if err != nil {
				return said, fmt.Errorf("%s: %s: %w", event, script.Location, err)
			}
		}
	}
	return said, nil
}

// install removes what the last Install brought and copies what the files section says: the contents of a directory, or
// a file under its own name. A file that is there already is an error (file_exists_behavior DISALLOW).
func (r *referee) install(archive string, todo spec) error {
	for _, file := range r.installed {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	r.installed = nil
	for _, f := range todo.Files {
		from := filepath.Join(archive, f.Source)
		below, ok := strings.CutPrefix(f.Destination, "/opt")
		if !ok {
			r.Fatalf("the referee installs below /opt only, and not to %s", f.Destination)
		}
		to := r.opt + below
		err := filepath.WalkDir(from, func(at string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			name := strings.TrimPrefix(at, from)
			if name == "" {
				name = "/" + filepath.Base(at)
			}
			if _, err := os.Lstat(to + name); err == nil {
				return fmt.Errorf("the file %s exists already", to+name)
			}
			content, err := os.ReadFile(at)
			if err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(to+name), 0o755), os.WriteFile(to+name, content, 0o644))
			}
			r.installed = append(r.installed, to+name)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// exampleDir is found before any test: the S3 server moves the process into a directory of its own.
var exampleDir, _ = filepath.Abs("../../hooks/example")

// example is hooks/example as it is.
func example(t *testing.T) files {
	t.Helper()
	f, root := files{}, exampleDir
	err := filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(at)
		f[strings.TrimPrefix(at, root+"/")] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestExampleUnderTheOtherAgent(t *testing.T) {
	t.Parallel()
	needMount(t)
	r := &referee{T: t, root: t.TempDir(), opt: t.TempDir()}
	page := func(want ...string) {
		t.Helper()
		html, err := os.ReadFile(filepath.Join(r.opt, "app/www/index.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(html), w) {
				t.Errorf("the page does not say %s:\n%s", w, html)
			}
		}
	}
	first := example(t)
	for n, c := range []struct {
		version string
		said    string
	}{
		{"1.0.0", "preparing version 1.0.0 for shop\nrendered www/index.html of app\nstarted\nthe page shows release app\n"},
		{"1.1.0", "stopped\npreparing version 1.1.0 for shop\nrendered www/index.html of app\nstarted\nthe page shows release app\n"},
	} {
		said, err := r.deploy(first.with(files{"VERSION": c.version + "\n"}))
		if err != nil || said != c.said {
			t.Fatalf("%s: %v; the scripts said\n%s", c.version, err, said)
		}
		page("<h1>shop "+c.version+"</h1>", fmt.Sprintf("<dd>d-REFEREE%02d</dd>", n+1))
	}
	// A command that fails in the middle ends a script here too, though nobody gives it -e.
	said, err := r.deploy(first.with(files{"VERSION": "-"}))
	if err == nil || !strings.Contains(err.Error(), "BeforeInstall: scripts/prepare.sh: exit status 1") || strings.Contains(said, "preparing") {
		t.Errorf("without VERSION: %v; the scripts said\n%s", err, said)
	}
}

// The same bytes under usher, with /opt where it is on a server.
func TestExampleUnderUsher(t *testing.T) {
	needMount(t)
	s := newStage(t)
	s.config["link"], s.config["base"], s.config["releases"] = "/opt/app", "/opt/app-base", "/opt/app-releases"
	s.must(errors.Join(os.Remove(s.path("opt/app")), os.Symlink("/opt/app-base", s.path("opt/app"))))
	run := mounted(s.ctx, s.path("opt"), s.binary).Args
	quoted := make([]string, len(run))
	for i, word := range run {
		quoted[i] = "'" + word + "'"
	}
	s.write("usher", "#!/bin/sh\nexec "+strings.Join(quoted, " ")+` "$@"`+"\n")
	s.binary = s.path("usher")
	s.publish("example", example(t))
	server, r, code := s.launch()
	s.expect("exit code", itoa(code), "0")
	s.waitFor(server, standin.InService)
	s.said(r, "preparing version 1.0.0 for shop", "rendered www/index.html of example-", "the page shows release example-")
	pages, err := filepath.Glob(s.path("opt/app-releases/*/www/index.html"))
	s.must(err)
	pages = slices.DeleteFunc(pages, func(p string) bool {
		html, err := os.ReadFile(p)
		return err != nil || strings.Contains(p, ".scripts/") || !strings.Contains(string(html), "<h1>shop 1.0.0</h1>")
	})
	s.expect("pages", itoa(len(pages)), "1")
}
