package acceptance

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"usher/hooks"
)

// `usher migrate`: a repository that CodeDeploy's agent deploys today.

// codeDeploys is such a repository: its scripts go on after a failure, and its application is not in /opt/app.
var codeDeploys = files{
	"appspec.yml": `version: 0.0
os: linux
files:
  - source: /web
    destination: /srv/shop/web
  - source: /bin
    destination: /srv/shop/bin
  - source: /shop.service
    destination: /etc/systemd/system
permissions:
  - {object: /srv/shop/web, pattern: "**", owner: shopkeeper, mode: 0644, type: [file]}
hooks:
  ApplicationStop:
    - {location: scripts/stop.sh}
  BeforeInstall:
    - {location: scripts/clean.sh}
  AfterInstall:
    - {location: scripts/build.sh, runas: shopkeeper}
  ApplicationStart:
    - {location: scripts/start.sh}
  ValidateService:
    - {location: scripts/validate.rb}
`,
	"web/index.html":      "shop\n",
	"web/style.css":       "\n",
	"bin/shop":            "#!/bin/sh\n",
	"shop.service":        "[Service]\nExecStart=/srv/shop/bin/shop\nWorkingDirectory=/srv/shop.old\n",
	"scripts/stop.sh":     "#!/bin/bash\nsystemctl stop shop\n",
	"scripts/clean.sh":    "#!/bin/bash\nrm -rf /srv/shop\nPID=$(pgrep -f shop)\nif [ -n \"$PID\" ]; then kill $PID; fi\ntrue\n",
	"scripts/build.sh":    "#!/bin/bash\ncd /srv/shop/web\n$JAVA_HOME/bin/jar xf site.jar\nlocal_time=$(date)\n",
	"scripts/start.sh":    "#!/bin/bash\ncp /opt/codedeploy-agent/deployment-root/x/deployment-archive/a /tmp\nsystemctl start shop\n",
	"scripts/validate.rb": "#!/usr/bin/env ruby\n",
}

const migratePage = `Ends under -e: CodeDeploy's agent goes on there, usher (` + "`errexit: enforce`" + `) ends the script
  scripts/clean.sh:3:1: ` + "`pgrep -f shop` has status 1 when no such process runs, as on a new server, and -e ends the script: write `pgrep -f shop || true`" + `
  scripts/stop.sh:2:1: ` + "`systemctl stop shop` fails when the unit is not there, or does not run, and -e ends the script: write `systemctl stop shop || true`" + `

Runs differently
  appspec.yml: its scripts read JAVA_HOME, which nobody sets: CodeDeploy's agent hands on what /etc/profile sets
  appspec.yml:11:5: its mode is the one that is written, 0644: CodeDeploy's agent, to which 0644 is a number in octal, sets 0420
  appspec.yml:14:7: a script of ApplicationStop that fails is a warning, and the deployment goes on
  appspec.yml:18:7: runas shopkeeper is no ` + "`su`" + `: limits of /etc/security/limits.conf and variables of /etc/environment are not there
  scripts/start.sh:2:4: the unpacked revision is not below /opt/codedeploy-agent here: it is the working directory in every event; leave the path out, or write $PWD

Destinations, with link: /opt/app
  /srv/shop/web            2 files    replaced in place, file by file
  /srv/shop/bin            1 file     replaced in place, file by file
  /etc/systemd/system      1 file     replaced in place, file by file
  With ` + "`link: /srv/shop`" + ` in agent.yml 3 of 4 files are switched, and /srv/shop is a link in the image (to the base)
    then scripts/build.sh:2:1: warning: in AfterInstall /srv/shop leads this script alone to the new release, and not in usher rehearse: write $USHER_RELEASE_DIR, which is that everywhere
    then scripts/clean.sh:2:1: ` + "`rm -rf /srv/shop` fails: /srv/shop is a link, which stays where it is: leave it out, a release directory is new each time" + `
  Or write /opt/app for /srv/shop in 6 lines: appspec.yml:5, appspec.yml:7, appspec.yml:11, scripts/build.sh:2, scripts/clean.sh:2, shop.service:2

The server must have, from its image or by BeforeInstall
  users: shopkeeper
  interpreters: ruby
  variables that nobody sets: JAVA_HOME

Steps
  1. Try it on a machine like a server: ` + "`usher rehearse --errexit report --link /srv/shop PATH`" + `.
  2. In the image: what the server must have; ` + "`link: /srv/shop` and `errexit: report`" + ` in agent.yml; usher in the place of CodeDeploy's agent; ` + "`usher bake`" + `.
  3. One server: launch it, ` + "`usher deploy`" + `, and read what its journal warns of.
  4. After a week without a warning of errexit: ` + "`errexit: enforce`" + `, which is the default.
  5. Let the deployment group select its servers by tag, and its Auto Scaling groups go: ` + "`usher doctor ENV`" + ` says what is left of CodeDeploy's hooks.
`

func TestMigrate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range codeDeploys {
		writeIn(t, filepath.Join(dir, "shop", name), content)
	}
	writeIn(t, filepath.Join(dir, "shop.tgz"), string(tarred(t, codeDeploys)))
	for _, c := range []struct {
		name, in, path string
		args           []string
	}{
		{"a folder", dir, "shop", []string{"migrate", "shop"}},
		{"an archive", dir, "shop.tgz", []string{"migrate", "shop.tgz"}},
		{"the working directory", filepath.Join(dir, "shop"), ".", []string{"migrate"}},
	} {
		want := strings.Replace(migratePage, "PATH", c.path, 1)
		if got := usher(t, c.in, c.args); got.code != 0 || got.stdout != want || got.stderr != "" {
			t.Errorf("%s: exit %d, stderr %q\n got: %s\nwant: %s", c.name, got.code, got.stderr, got.stdout, want)
		}
	}

	// With that link: what cannot work is refused now, as check says too.
	got := usher(t, dir, []string{"migrate", "--link", "/srv/shop", "shop"})
	for _, want := range []string{"Refused: not deployed until it is corrected\n  scripts/clean.sh:2:1: `rm -rf /srv/shop` fails: /srv/shop is a link",
		"  /srv/shop/web            2 files    switched, all at once\n", "  Write /srv/shop for /etc/systemd/system in 1 line: appspec.yml:9\n",
		"  1. Correct what is refused: `usher check` then says ok.\n"} {
		if got.code != 1 || !strings.Contains(got.stdout, want) {
			t.Errorf("with --link: exit %d, no %q in\n%s%s", got.code, want, got.stdout, got.stderr)
		}
	}
	if got := usher(t, dir, []string{"check", "--link", "/srv/shop", "shop"}); got.code != 1 || !strings.Contains(got.stdout, "scripts/clean.sh:2:1: `rm -rf /srv/shop` fails") {
		t.Errorf("check --link: exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// What migrate says is what check says: no problem of the one is missing in the other.
func TestMigrateFindsWhatCheckFinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, f := range map[string]files{"shop": codeDeploys, "flawed": flawed, "sound": sound} {
		for file, content := range f {
			writeIn(t, filepath.Join(dir, name, file), content)
		}
		var checked struct{ Problems []hooks.Problem }
		var moved struct{ Refused, Ends, Differs []hooks.Problem }
		for args, into := range map[string]any{"check --json " + name: &checked, "migrate --json " + name: &moved} {
			if err := json.Unmarshal([]byte(usher(t, dir, strings.Fields(args)).stdout), into); err != nil {
				t.Fatalf("%s: %v", args, err)
			}
		}
		of := map[bool]map[hooks.Problem]bool{true: {}, false: {}}
		for _, p := range checked.Problems {
			if p.Kind == "" {
				t.Errorf("%s: no kind: %s", name, p)
			}
			switch {
			case !p.Warning, p.Kind == hooks.KindErrexit, p.Kind == hooks.KindLive, p.Kind == hooks.KindAgentPath, p.Kind == hooks.KindRestart:
				of[true][p] = true
			}
		}
		for _, list := range [][]hooks.Problem{moved.Refused, moved.Ends, moved.Differs} {
			for _, p := range list {
				if p.Kind != "" {
					of[false][p] = true
				}
			}
		}
		for _, has := range []bool{true, false} {
			for p := range of[has] {
				if !of[!has][p] {
					t.Errorf("%s: only one of check and migrate says: %s", name, p)
				}
			}
		}
	}
}

// Where no link can be, and where all is switched already.
func TestMigrateLinks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, destination, want string }{
		{"the default", "/opt/app", "  /opt/app                 3 files    switched, all at once\n\n"},
		{"below it", "/opt/app/web", "  /opt/app/web             3 files    switched, all at once\n\n"},
		{"what people have", "/var/www/app", "  With `link: /var/www/app` in agent.yml 3 of 3 files"},
		{"the web server's own", "/var/www/html", "  With `link: /var/www/html` in agent.yml 3 of 3 files"},
		{"in a link's folder of its own", "/srv/shop/current", "  With `link: /srv/shop/current` in agent.yml 3 of 3 files"},
		{"a user's home", "/home/ubuntu/shop", "in place, file by file\n  Write /opt/app for /home/ubuntu/shop in 1 line: appspec.yml:4\n"},
		{"directly below /", "/app", "in place, file by file\n  Write /opt/app for /app in 1 line: appspec.yml:4\n"},
		{"the whole machine", "/", "in place, file by file\n\n"},
		{"the system's", "/etc/shop", "in place, file by file\n  Write /opt/app for /etc/shop in 1 line: appspec.yml:4\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			spec := "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: DEST}\nhooks:\n  ValidateService:\n    - {location: scripts/validate.sh}\n"
			for name, content := range (files{"appspec.yml": strings.Replace(spec, "DEST", c.destination, 1), "VERSION": "1\n", "scripts/validate.sh": "#!/bin/sh\nset -e\ntrue\n"}) {
				writeIn(t, filepath.Join(dir, name), content)
			}
			if got := usher(t, dir, []string{"migrate"}); got.code != 0 || !strings.Contains(got.stdout, c.want) {
				t.Errorf("exit %d, no %q in\n%s%s", got.code, c.want, got.stdout, got.stderr)
			}
		})
	}
}

// What is no repository of CodeDeploy's: nothing is guessed, and nothing is left behind.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		f    files
		args []string
		code int
		want string
	}{
		{"nothing there", files{"x": ""}, []string{"migrate", "nowhere"}, 2, "usher migrate: cannot open the repository: stat nowhere: no such file or directory\n"},
		{"no appspec", files{"README": "x"}, []string{"migrate"}, 1, "usher migrate: appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle\n"},
		{"one level too deep", files{"deploy/appspec.yml": "version: 0.0\nos: linux\n"}, []string{"migrate"}, 1, "deploy/appspec.yml"},
		{"an appspec that is no YAML", files{"appspec.yml": "version: [\n"}, []string{"migrate"}, 1, "usher migrate: appspec.yml:"},
		{"a text", files{"notes.txt": "hello"}, []string{"migrate", "notes.txt"}, 1, "usher migrate: cannot use notes.txt as a bundle"},
		{"a link that cannot be", files{"appspec.yml": "version: 0.0\nos: linux\n"}, []string{"migrate", "--link", "srv/shop/"}, 2,
			"usher migrate: link is \"srv/shop/\": it must be an absolute path without . or .. or a slash at the end\n"},
		{"a link in the base", files{"appspec.yml": "version: 0.0\nos: linux\n"}, []string{"migrate", "--link=/opt/app-base/x"}, 2, "must not be in one another\n"},
		{"two", files{"x": ""}, []string{"migrate", "a", "b"}, 2, "usher migrate: too many arguments: expected [PATH], got a b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.f {
				writeIn(t, filepath.Join(dir, name), content)
			}
			got := usher(t, dir, c.args)
			if got.code != c.code || got.stdout != "" || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit %d, stdout %q, stderr %s\nwant %s", got.code, got.stdout, got.stderr, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "usher-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
