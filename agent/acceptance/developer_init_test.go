package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/agent/standin"
)

// `usher init`: from a repository that nobody has deployed to one that is deployed.

// repository begins another repository, called name, and works in it from now on.
func (h *shop) repository(name string, f files) {
	h.Helper()
	h.repo = h.path(name)
	h.must(os.RemoveAll(h.repo))
	h.git("init", "--quiet", "--initial-branch=main", h.repo)
	for file, text := range f {
		h.write(name+"/"+file, text)
	}
}

// content is a file of the repository, "" when it is not there.
func (h *shop) content(name string) string {
	text, _ := os.ReadFile(filepath.Join(h.repo, name))
	return string(text)
}

// offline is a developer who is signed in to no account.
func offline(c *exec.Cmd) {
	c.Env = slices.DeleteFunc(c.Env, func(v string) bool {
		return strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") || strings.HasPrefix(v, "AWS_SECRET_ACCESS_KEY=")
	})
	c.Env = append(c.Env, "AWS_EC2_METADATA_DISABLED=true")
}

// What init writes for each kind of application is what usher check has nothing to say of, in shells that can read it.
func TestInitKnowsKinds(t *testing.T) {
	h := newShop(t, 0, production())
	for _, c := range []struct {
		name  string
		files files
		kind  string
		has   map[string]string // what stands in which file
		says  string
	}{
		{"rails", files{"Gemfile": "gem 'puma'\n", "config.ru": "", "config/application.rb": "", "app/assets/a.css": "", "package.json": "{}"}, "ruby", map[string]string{
			"deploy/run.sh": `exec bundle exec puma --port "$PORT"`, "deploy/build.sh": "assets:precompile", "deploy/rails.service": "Environment=RAILS_ENV=production\n"}, "Gemfile"},
		{"tools", files{"Gemfile": "gem 'fastlane'\n", "requirements.txt": "mkdocs\n", "package.json": `{"main": "lib/main.js", "scripts": {"build": "tsc"}}`, "lib/main.js": "", "package-lock.json": "{}"}, "node", map[string]string{
			"deploy/run.sh": "exec node lib/main.js", "deploy/build.sh": "npm ci --no-audit --no-fund\nnpm run build\nnpm prune --omit=dev"}, "package.json"},
		{"yarned", files{"package.json": `{"scripts": {"start": "node ."}}`, "yarn.lock": "", "Dockerfile": "FROM node\n"}, "node", map[string]string{"deploy/run.sh": "exec yarn start", "deploy/build.sh": "yarn install --frozen-lockfile"}, "package.json"},
		{"nothing-says-how", files{"package.json": "not JSON"}, "node", map[string]string{"deploy/run.sh": "exit 1"}, "deploy/run.sh: how the application is started"},
		{"django", files{"manage.py": "", "site/wsgi.py": "", "requirements.txt": "django\ngunicorn\n", "package.json": "{}"}, "python", map[string]string{
			"deploy/run.sh": "export PATH=\"$PWD/.venv/bin:$PATH\"\nexec gunicorn --bind \"0.0.0.0:$PORT\" site.wsgi", "deploy/build.sh": "python3 -m venv .venv"}, "requirements.txt"},
		{"fast", files{"main.py": "", "pyproject.toml": "dependencies = ['uvicorn']\n", "Procfile": "worker: x\nweb: sleep 1 && uvicorn main:app\n"}, "python", map[string]string{"deploy/run.sh": "\nsleep 1 && uvicorn main:app\n"}, "pyproject.toml"},
		{"gopher", files{"go.mod": "module gopher\n", "cmd/web/main.go": "package main\nfunc main() {}\n"}, "go", map[string]string{"usher.yml": "go build -trimpath -o .usher/bundle/gopher ./cmd/web\n", "deploy/run.sh": "exec ./gopher"}, "go.mod"},
		{"laravel", files{"composer.json": "{}", "package.json": "{}"}, "php", map[string]string{"deploy/validate.sh": "port=80\n", "deploy/start.sh": "try-reload-or-restart 'php*fpm.service'"}, "composer.json"},
		{"composed", files{"compose.yaml": "services:\n  web:\n    ports:\n      - \"127.0.0.1:8081:80\"\n"}, "compose", map[string]string{"deploy/validate.sh": "port=8081\n", "deploy/build.sh": "docker compose --project-name composed build"}, "compose.yaml"},
		{"composed-quietly", files{"docker-compose.yml": "services: {}\n"}, "compose", map[string]string{"deploy/validate.sh": "ps --quiet --status running"}, "docker-compose.yml"},
		{"boxed", files{"Dockerfile": "FROM scratch\nEXPOSE 3000/tcp\n"}, "docker", map[string]string{"deploy/start.sh": `--publish 8080:3000 "boxed:${app##*/}"`, "deploy/build.sh": `--tag "boxed:${app##*/}" .`}, "Dockerfile"},
		{"script", files{"Procfile": "web: perl web.pl\n", "Dockerfile": "FROM scratch\n"}, "procfile", map[string]string{"deploy/run.sh": "exec perl web.pl\n"}, "Procfile"},
		{"pages", files{"public/index.html": "<h1>pages</h1>"}, "static", map[string]string{"deploy/validate.sh": "$app/public/index.html"}, "public/index.html"},
		{"with-a-unit", files{"Makefile": "", "systemd/shop.service": "[Service]\nExecStart=/opt/app/shop\n"}, "other", map[string]string{
			"deploy/start.sh": `install -m 0644 "${0%/*}/../systemd/shop.service" /etc/systemd/system/shop.service`, "deploy/validate.sh": "is-active --quiet shop.service"}, "systemd/shop.service"},
		{"something", files{"Makefile": ""}, "other", map[string]string{"deploy/validate.sh": "$app/appspec.yml"}, "nothing here says what kind"},
		{"taken", files{"package.json": "{}", "server.js": "", "deploy/run.sh": "theirs"}, "node", map[string]string{"deploy/run.sh": "theirs", "usher/run.sh": "exec node server.js", "appspec.yml": "location: usher/start.sh"}, "wrote usher/run.sh"},
		{"My App_2", files{"server.js": "", "package.json": "{}"}, "node", map[string]string{"deploy/my-app-2.service": "StateDirectory=my-app-2", "usher.yml": `application: "My App_2"`}, "wrote deploy/my-app-2.service"},
	} {
		h.repository(c.name, c.files)
		got := h.types("init", offline).ends()
		h.ended(got, 0, c.says, "the AWS account was not looked at: cannot determine your AWS identity", "usher.yml: the bucket of production", "usher check --strict .", "usher deploy --dry-run production HEAD")
		for name, want := range c.has {
			if !strings.Contains(h.content(name), want) {
				t.Errorf("%s: %s has not %q:\n%s", c.name, name, want, h.content(name))
			}
		}
		got = h.usher("check --strict .")
		h.ended(got, 0)
		scripts, err := filepath.Glob(filepath.Join(h.repo, "*", "*.sh"))
		h.must(err)
		for _, script := range scripts {
			text, err := os.ReadFile(script)
			h.must(err)
			if strings.Contains(string(text), "@") {
				t.Errorf("%s: %s has something left to replace:\n%s", c.name, script, text)
			}
			if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", c.name, err, out)
			}
		}
		// What is not known is refused at its line, and is not guessed.
		h.ended(h.usher("deploy --dry-run production HEAD"), 2, "usher.yml:", "is missing: give the")
	}
	h.repository("boxed", files{"Dockerfile": "FROM scratch\n", "package.json": "{}"})
	h.ended(h.types("init --dry-run --kind docker", offline).ends(), 0, "docker build", "A dry run: nothing was written.")
	h.expect("files", strings.Join(slices.Sorted(slices.Values(h.names())), " "), "Dockerfile package.json")
	h.ended(h.types("init --kind go", offline).ends(), 2, "nothing here is of kind go")
	h.ended(h.types("init --kind cobol", offline).ends(), 2, "must be one of ruby, go, php, python, node, procfile, compose, docker, static, other")
	h.must(os.RemoveAll(filepath.Join(h.repo, ".git")))
	h.ended(h.types("init", offline).ends(), 2, "cannot use", "not a git repository")
}

// names are the names at the top of the repository.
func (h *shop) names() (names []string) {
	h.Helper()
	entries, err := os.ReadDir(h.repo)
	h.must(err)
	for _, e := range entries {
		if e.Name() != ".git" {
			names = append(names, e.Name())
		}
	}
	return names
}

// With an account, the file is complete, and what it says next works as it stands: the pages are served.
func TestInitAndDeploy(t *testing.T) {
	h := newShop(t, 1, production())
	h.write("shop/usher.yml", strings.ReplaceAll(h.content("usher.yml"), "region:", "prefix: revisions\n    region:"))
	h.ended(h.usher("deploy production"), 0)
	h.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "shop-Staging EU"})
	h.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "other", Name: "production"})

	h.repository("shop-pages", files{"index.html": "<h1>shop</h1>", "VERSION": "2"})
	link := h.servers[0].path("opt/app")
	h.ended(h.usher("init"), 0, "has no CodeDeploy application that is called like shop-pages: --application names another, of other, shop")
	h.must(os.Remove(filepath.Join(h.repo, "usher.yml")))
	h.ended(h.usher("init --application shoe"), 2, "there is no CodeDeploy application shoe in account 123456789012 and "+h.cloud.Region+": it has other, shop")
	h.must(os.Remove(filepath.Join(h.repo, "appspec.yml")))
	h.must(os.RemoveAll(filepath.Join(h.repo, "deploy")))
	h.ended(h.usher("init --application shop --link "+link), 0, "account 123456789012 has application shop in "+h.cloud.Region+", with 2 deployment groups", "usher.yml: the bucket of staging-eu",
		"git add appspec.yml deploy usher.yml && git commit", "usher deploy --dry-run production HEAD")
	want := "application: shop\nenvironments:\n  production:\n    deployment_group: production\n    bucket: BUCKET\n    prefix: revisions/\n    region: REGION\n    account: \"123456789012\"\n    link: LINK\n    confirm: true\n" +
		"  staging-eu:\n    deployment_group: \"shop-Staging EU\"\n    bucket: # the S3 bucket for the revisions, in that Region\n    region: REGION\n    account: \"123456789012\"\n    link: LINK\n"
	place := strings.NewReplacer("REGION", h.cloud.Region, "LINK", link, "BUCKET", h.cloud.Bucket)
	h.expect("usher.yml", h.content("usher.yml"), place.Replace(want))
	h.write("shop-pages/usher.yml", strings.Replace(h.content("usher.yml"), "bucket: #", "bucket: "+h.cloud.Bucket+" #", 1))

	h.ended(h.usher("check --strict --link "+link+" ."), 0)
	h.in("add", "appspec.yml", "deploy", "usher.yml", "index.html", "VERSION")
	h.in("commit", "--quiet", "--message", "Deploys")
	h.ended(h.usher("deploy --dry-run production HEAD"), 0, "A dry run")
	h.ended(h.usher("deploy --yes production HEAD"), 0, "production runs")
	page, err := os.ReadFile(filepath.Join(link, "index.html"))
	h.must(err)
	h.expect("page", string(page), "<h1>shop</h1>")

	// Once more: all is there.
	before := h.content("usher.yml") + h.content("appspec.yml") + h.content("deploy/validate.sh")
	h.ended(h.usher("init"), 0, "usher.yml is there, and stays as it is", "appspec.yml is there, and stays as it is: usher check finds 0 problems", "usher migrate")
	h.expect("files", h.content("usher.yml")+h.content("appspec.yml")+h.content("deploy/validate.sh"), before)
}

// In a part of a repository whose usher.yml is above, it says what that must say to deploy the part.
func TestInitInAPartOfARepository(t *testing.T) {
	h := newShop(t, 0, production())
	h.write("shop/services/pages/index.html", "")
	part := func(c *exec.Cmd) { c.Dir = filepath.Join(h.repo, "services", "pages") }
	above := filepath.Join(h.repo, "usher.yml")
	h.ended(h.types("init", part).ends(), 0, above+" is there, and stays as it is", above+": `path: services/pages`, so that this directory is deployed", "wrote appspec.yml")
	h.ended(h.usher("check --strict services/pages"), 0)
	h.environments("    path: services/pages\n")
	h.in("add", "--all")
	h.in("commit", "--quiet", "--message", "Pages")
	h.cloud.Launch("web", standin.LaunchOptions{})
	h.ended(h.usher("deploy --dry-run production HEAD"), 0, "3 files, valid")
	got := h.types("init", part).ends()
	h.ended(got, 0, "appspec.yml is there")
	if strings.Contains(got.stdout, "so that this directory is deployed") {
		t.Errorf("it says what is so already:\n%s", got.stdout)
	}
}

// Whoever may not look at the account is told so, and has the files.
func TestInitWithoutPermission(t *testing.T) {
	h := newShop(t, 0, production())
	h.cloud.Fail("ListApplications", -1, standin.Fault{Code: "AccessDeniedException", Message: "no"})
	h.repository("web", files{"index.html": ""})
	h.ended(h.usher("init"), 0, "the AWS account was not looked at: cannot list the CodeDeploy applications: your AWS identity is not authorized: allow codedeploy:ListApplications", "wrote usher.yml")
	if !strings.Contains(h.content("usher.yml"), "account: \"123456789012\"") {
		t.Errorf("usher.yml:\n%s", h.content("usher.yml"))
	}
}

// A program that is built is deployed as what the build made.
func TestInitOfAProgramThatIsBuilt(t *testing.T) {
	h := newShop(t, 0, production())
	h.repository("shop", files{"go.mod": "module shop\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() {}\n"})
	h.cloud.Launch("web", standin.LaunchOptions{})
	h.ended(h.usher("init"), 0, "application shop", "usher.yml: the bucket of production")
	h.write("shop/usher.yml", strings.Replace(h.content("usher.yml"), "bucket: #", "bucket: "+h.cloud.Bucket+" #", 1))
	h.in("add", "--all")
	h.in("commit", "--quiet", "--message", "Deploys")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	h.must(err)
	h.environ = append(h.environ, "GOCACHE="+strings.TrimSpace(string(cache)), "GOFLAGS=-mod=mod")
	got := h.usher("deploy --dry-run production HEAD")
	h.ended(got, 0, "valid", "A dry run")
	if strings.Contains(got.stdout, "warning    files are changed") {
		t.Errorf("what was built is seen by git:\n%s", got.stdout)
	}
	for _, name := range []string{"shop", "appspec.yml", "deploy/run.sh"} {
		if h.content(".usher/bundle/"+name) == "" {
			t.Errorf("the bundle has no %s", name)
		}
	}
}

// The example's hooks, copied into an application, bring the application with them; and an appspec that does not is told.
func TestAnAppspecThatLeavesTheApplicationOut(t *testing.T) {
	h := newShop(t, 0, production())
	example := example(t)
	h.repository("web", example.with(files{"package.json": "{}", "server.js": "", "lib/a.js": "", "lib/b.js": ""}))
	h.ended(h.usher("check --strict ."), 0)
	spec := example["appspec.yml"]
	h.write("web/appspec.yml", strings.Replace(spec, "  - source: /\n    destination: /opt/app\n", "  - source: VERSION\n    destination: /opt/app\n  - source: www\n    destination: /opt/app/www\n", 1))
	got := h.usher("check .")
	h.ended(got, 0, "warning: files leaves the application out: package.json and all that belongs to it will not be in the release", "`source: /` with `destination: /opt/app` is all of the revision")
	h.write("web/appspec.yml", strings.Replace(spec, "source: /\n", "source: scripts\n", 1))
	h.must(os.Remove(filepath.Join(h.repo, "package.json")))
	h.ended(h.usher("check ."), 0, "warning: files leaves the application out: VERSION, lib, server.js, www will not be in the release")
	for source, meant := range map[string]files{
		"dist":     {"dist/a.js": "", "package.json": "{}", "src/a.js": "", "src/b.js": "", "src/c.js": ""},
		"shop":     {"shop/package.json": "{}", "package.json": "{}", "lib/a.js": "", "lib/b.js": "", "lib/c.js": ""},
		"web":      {"web/a.js": "", "web/b.js": "", "web/c.js": "", "package.json": "{}"},
		"shop.jar": {"shop.jar": "", "pom.xml": "", "src/a.java": "", "src/b.java": ""},
	} {
		h.repository("meant", meant.with(files{"README.md": "", "scripts/v.sh": "#!/bin/sh\nset -eu\ntrue\n",
			"appspec.yml": "version: 0.0\nos: linux\nfiles: [{source: " + source + ", destination: /opt/app}]\nhooks: {ValidateService: [{location: scripts/v.sh, timeout: 9}]}\n"}))
		h.must(os.Chmod(filepath.Join(h.repo, "scripts/v.sh"), 0o755))
		h.ended(h.usher("check --strict ."), 0)
	}
}
