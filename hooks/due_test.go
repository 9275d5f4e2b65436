//go:build linux && !developer

package hooks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/hooks"
)

// scriptsOf are the scripts of a revision, in the order of its events: event -> location.
func scriptsOf(t *testing.T, files map[string]string, hook ...hooks.Script) (scripts []hooks.Script) {
	t.Helper()
	first := revision(t, "", files)
	for _, s := range hook {
		s.File, s.Dir = filepath.Join(first.Dir, s.Location), first.Dir
		scripts = append(scripts, s)
	}
	return scripts
}

// Users and interpreters that BeforeInstall brings are not refused before it, and looked for again when they are due.
func TestDue(t *testing.T) {
	bin := t.TempDir()
	files := map[string]string{"user.sh": "#!/bin/sh\nset -e\nuseradd shopper-of-usher\n", "who.sh": "#!/bin/sh\nset -e\ntrue\n",
		"build.js": "#!" + bin + "/shopnode\n"}
	before := hooks.Script{Event: hooks.BeforeInstall, Location: "user.sh"}
	after := []hooks.Script{{Event: hooks.ApplicationStop, Location: "who.sh", RunAs: "shopper-of-usher"}, {Event: hooks.AfterInstall, Location: "build.js"}}
	got := lines(hooks.Check(scriptsOf(t, files, after[0], before, after[1]), hooks.Enforce))
	want := []string{
		"user.sh:3:1: warning: `useradd shopper-of-usher` has status 9 when the user is there, as in the second deployment, and -e ends the script: write `id USER >/dev/null 2>&1 || useradd shopper-of-usher`",
		"build.js:1:1: warning: its interpreter " + bin + "/shopnode is not a program on this machine: BeforeInstall must have installed it by then, which is checked again",
		"who.sh: warning: runs as user shopper-of-usher, who is not on this machine: BeforeInstall must have created the user by then, which is checked again",
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), strings.TrimPrefix(w[strings.Index(w, ":"):], ":")) {
			t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
		}
	}
	if errors := hooks.Errors(hooks.Check(scriptsOf(t, files, after...), hooks.Enforce)); len(errors) != 2 {
		t.Errorf("without a BeforeInstall: %v", errors)
	}
	// The first script of BeforeInstall has nobody before it.
	first := before
	first.RunAs = "shopper-of-usher"
	if errors := hooks.Errors(hooks.Check(scriptsOf(t, files, first), hooks.Enforce)); len(errors) != 1 {
		t.Errorf("in the first BeforeInstall script: %v", errors)
	}
	due := scriptsOf(t, files, after...)
	if err := hooks.CheckDue(due); err == nil || !strings.Contains(err.Error(), "who.sh: runs as user shopper-of-usher") || !strings.Contains(err.Error(), "build.js:1:1: its interpreter") {
		t.Errorf("due: %v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "shopnode"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := hooks.CheckDue(due[1:]); err != nil {
		t.Errorf("due, and there: %v", err)
	}
}

// A script without a first line is run by the user's own shell.
func TestLoginShell(t *testing.T) {
	needs(t, "bash")
	s := revision(t, "source scripts/lib.sh\nif [[ $LIB == here ]]; then echo \"${BASH_VERSION:+bash} $0\"; fi\nfalse\necho never\n", map[string]string{"scripts/lib.sh": "LIB=here\n"})
	s.RunAs = "root"
	if os.Geteuid() != 0 || shellOfRoot(t) != "bash" {
		t.Skip("root's shell is not bash, or this is not root")
	}
	r, err := run(t, s, hooks.Enforce)
	if strings.Join(r.Tail, "\n") != "bash "+s.File || r.Errexit == nil || r.Errexit.Line != 3 {
		t.Errorf("%v: %q, %v", err, r.Tail, r.Errexit)
	}
	want := "scripts/a.sh:1:1: warning: has no first line `#!`, so the login shell of root runs it, as with CodeDeploy's agent: write #!/bin/bash, or whatever it is for"
	if got := hooks.CheckSource([]hooks.Script{s}, hooks.Enforce); len(got) != 1 || got[0].String() != want {
		t.Errorf("%v\nwant %s", got, want)
	}
	s.RunAs = ""
	if argv, err := hooks.Argv(s, hooks.Enforce); err != nil || fmt.Sprint(argv) != fmt.Sprint([]string{"/bin/sh", "-e", s.File}) {
		t.Errorf("without runas: %v, %v", argv, err)
	}
	s.RunAs = "nobody" // whose shell is nologin
	if argv, err := hooks.Argv(s, hooks.Enforce); err != nil || argv[0] != "/bin/sh" {
		t.Errorf("nobody: %v, %v", argv, err)
	}
}

func shellOfRoot(t *testing.T) string {
	t.Helper()
	login, err := hooks.Login("root")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(login[3])
}

// Before the flip the link is what is live.
func TestBeforeFlip(t *testing.T) {
	files := map[string]string{
		"clean.sh": "#!/bin/bash\nset -e\nAPP=/opt/app\nrm -rf /opt/app/*\nsudo chown -R shop: \"$APP\"\nfind ${APP}/tmp -name '*.pid' -delete\nrsync -a --delete www/ /opt/app/www/\nrm -rf /opt/app-old /srv/opt/app /opt/application\nrm -rf \"$USHER_RELEASE_DIR/tmp\"\necho /opt/app\nchown shop /etc/shop\n",
		"build.sh": "#!/bin/sh\nset -e\nmkdir -p /opt/app/www\necho built > /opt/app/www/built.txt\ncd /opt/app && npm ci\nrm -rf node_modules\ncd /tmp\nrm -rf node_modules\n",
		"start.sh": "#!/bin/sh\nset -e\nrm -rf /opt/app/tmp\n",
	}
	scripts := scriptsOf(t, files, hooks.Script{Event: hooks.BeforeInstall, Location: "clean.sh"}, hooks.Script{Event: hooks.AfterInstall, Location: "build.sh"},
		hooks.Script{Event: hooks.ApplicationStart, Location: "start.sh"})
	const early = "leave it to the deployment, whose release directory is new each time, or do it in AfterInstall in $USHER_RELEASE_DIR"
	const live = "in AfterInstall /opt/app is still what is live, not what is being installed: write $USHER_RELEASE_DIR"
	const gone = " destroys what is live, and nothing is left to go back to: "
	want := []string{
		"clean.sh:4:1: `rm -rf /opt/app/*` in BeforeInstall" + gone + early,
		"clean.sh:5:1: `chown -R shop: /opt/app` in BeforeInstall" + gone + early,
		"clean.sh:6:1: `find /opt/app/tmp -name *.pid -delete` in BeforeInstall" + gone + early,
		"clean.sh:7:1: `rsync -a --delete www/ /opt/app/www/` in BeforeInstall" + gone + early,
		"build.sh:3:1: warning: " + live,
		"build.sh:4:14: warning: " + live,
		"build.sh:5:1: warning: " + live,
		"build.sh:6:1: `rm -rf node_modules` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
	}
	var got []string
	for _, p := range hooks.BeforeFlip(scripts, "/opt/app", false) {
		got = append(got, p.String())
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	if shielded := hooks.BeforeFlip(scripts, "/opt/app", true); len(shielded) != len(want) || len(hooks.Errors(shielded)) > 0 {
		t.Errorf("shielded: %v", shielded)
	}
	if other := hooks.BeforeFlip(scripts, "/srv/shop/current", false); len(other) > 0 {
		t.Errorf("another link: %v", other)
	}
}

// A script that mounts something for the machine is known by its command, or says so.
func TestMounts(t *testing.T) {
	for text, want := range map[string]bool{
		"#!/bin/sh\nset -e\nsudo /bin/mount -a\n":                     true,
		"#!/bin/sh\nif ! mountpoint -q /data; then mount /data; fi\n": true,
		"#!/bin/sh\numount /data || true\n":                           true,
		"#!/bin/sh\nmount.nfs4 a:/b /c\n":                             true,
		"#!/usr/bin/env python3\n# usher: mounts\n":                   true,
		"#!/usr/bin/env python3\nmount = 1\n":                         false,
		"#!/bin/sh\n# mount /data by hand\necho mount; mkdir mount\n": false,
	} {
		if got := hooks.Mounts(revision(t, text, nil)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Places of CodeDeploy's own agent.
func TestPathsOfTheAgent(t *testing.T) {
	s := revision(t, "#!/bin/bash\nset -e\ncd /opt/codedeploy-agent/deployment-root/$DEPLOYMENT_GROUP_ID/$DEPLOYMENT_ID/deployment-archive\ntail /var/log/aws/codedeploy-agent/codedeploy-agent.log\n", nil)
	want := []string{
		"scripts/a.sh:3:4: warning: the unpacked revision is not below /opt/codedeploy-agent here: it is the working directory in every event; leave the path out, or write $PWD",
		"scripts/a.sh:4:6: warning: /var/log/aws/codedeploy-agent is CodeDeploy's own agent's, and not on this server",
	}
	var got []string
	for _, p := range hooks.CheckSource([]hooks.Script{s}, hooks.Enforce) {
		got = append(got, p.String())
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
}

// What a revision needs of the server.
func TestNeeds(t *testing.T) {
	files := map[string]string{
		"a.sh":     "#!/bin/bash\nset -e\n. ./lib.sh\nhelper\nsudo -u shop npm ci\nX=1; echo $X $DEPLOYMENT_ID $PATH $HOME $RELEASE ${DEBUG:-0} $RAILS_ENV $1 $?\nfor F in a b; do echo $F; done\n/usr/bin/aws s3 ls\n./child.sh\n$DIR/tool\nread NAME </dev/null; echo $NAME\n",
		"lib.sh":   "helper() { jq . <package.json; }\nRELEASE=1\n",
		"child.sh": "#!/bin/sh\ncurl -sf localhost\n",
		"os.sh":    "#!/bin/sh\n. /etc/os-release\necho $VERSION_ID\n",
		"b.rb":     "#!/usr/bin/env ruby\n",
	}
	n := hooks.NeedsOf(scriptsOf(t, files, hooks.Script{Event: hooks.AfterInstall, Location: "a.sh", RunAs: "deploy"}, hooks.Script{Event: hooks.ValidateService, Location: "b.rb", RunAs: "root"},
		hooks.Script{Event: hooks.ValidateService, Location: "os.sh"}))
	if got, want := fmt.Sprint(n), "{[deploy] [ruby] [/usr/bin/aws curl jq npm] [DIR RAILS_ENV]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
