//go:build linux && !developer

package hooks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	// Where there is none, a script that has the name in its text may bring it, in its own event too.
	named := []hooks.Script{{Event: hooks.AfterInstall, Location: "venv.sh"}, {Event: hooks.AfterInstall, Location: "user.sh"},
		{Event: hooks.AfterInstall, Location: "who.sh", RunAs: "shopper-of-usher"}, {Event: hooks.ApplicationStart, Location: "build.js"}}
	files["venv.sh"] = "#!/bin/sh\nset -e\nmake " + bin + "/shopnode\n"
	all := scriptsOf(t, files, named...)
	got = lines(hooks.Check(all, hooks.Enforce))
	for _, w := range []string{
		"build.js:1:1: warning: its interpreter " + bin + "/shopnode is not a program on this machine: AfterInstall must have installed it by then, which is checked again",
		"who.sh: warning: runs as user shopper-of-usher, who is not on this machine: AfterInstall must have created the user by then, which is checked again",
	} {
		if !slices.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
		}
	}
	if err := hooks.CheckDue(all[:3]); err != nil {
		t.Errorf("what the event itself may bring: %v", err)
	}
	if err := hooks.CheckDue(all[2:]); err == nil {
		t.Error("nothing is due")
	}
	if errors := hooks.Errors(hooks.Check(scriptsOf(t, files, named[2], named[3], named[1], named[0]), hooks.Enforce)); len(errors) != 2 {
		t.Errorf("what comes too late: %v", errors)
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

// Until the flip the link is what is live, but for scripts that are shown the new release; and it is no folder.
func TestAtTheLink(t *testing.T) {
	files := map[string]string{
		"clean.sh":   "#!/bin/bash\nset -e\nAPP=/opt/app\nrm -rf /opt/app/*\nsudo chown -R shop: \"$APP/\"\nfind ${APP}/tmp -name '*.pid' -delete\nrsync -a --delete www/ /opt/app/www/\nrm -rf /opt/app-old /srv/opt/app /opt/application\nrm -rf \"$USHER_RELEASE_DIR/tmp\"\necho /opt/app\nchown shop /etc/shop\n",
		"save.sh":    "#!/bin/sh\nset -e\nif [ -d /opt/app ]; then\n\tcat /opt/app/.env >/tmp/.env\nfi; rm -rf /opt/app\n",
		"build.sh":   "#!/bin/sh\nset -e\nmkdir -p /opt/app/www\necho built > /opt/app/www/built.txt\ncd /opt/app && npm ci\nrm -rf node_modules /opt/app/tmp\ncd /tmp\nrm -rf node_modules\n",
		"owner.sh":   "#!/bin/sh\nset -e\nA=/opt/app\nchown -R shop: $A\nchown -RH shop: $A\nchgrp --recursive shop $A/\nfind $A -type f -exec chmod 640 {} +\nfind -H $A -type f\nfind $A -delete\nchmod -R g+w $A\n",
		"replace.sh": "#!/bin/sh\nset -e\nrm -rf /opt/app\nmv /opt/app /opt/app.old\nln -sfn \"$PWD\" /opt/app\nmv x /opt/app\nrm -rf /opt/app/*\ncd /opt/app\nrm -rf *\n",
		"live.sh":    "#!/bin/sh\nset -e\n# usher: live\ncp /opt/app/.env .\nrm -rf /opt/app/tmp\n",
		"mounts.sh":  "#!/bin/sh\nset -e\nmount -a\ncp /opt/app/.env .\n",
		"start.sh":   "#!/bin/sh\nset -e\nrm -rf /opt/app/tmp\nchown -R shop /opt/app\nfind /opt/app -name x\n",
	}
	var list []hooks.Script
	for _, at := range []string{"BeforeInstall clean.sh", "BeforeInstall save.sh", "AfterInstall build.sh", "AfterInstall owner.sh", "AfterInstall replace.sh", "AfterInstall live.sh", "AfterInstall mounts.sh", "ApplicationStart start.sh"} {
		event, name, _ := strings.Cut(at, " ")
		list = append(list, hooks.Script{Event: event, Location: name})
	}
	scripts := scriptsOf(t, files, list...)
	const early = "leave it to the deployment, whose release directory is new each time, or do it in AfterInstall in $USHER_RELEASE_DIR"
	const empty = "warning: in BeforeInstall /opt/app is an empty directory for this script, and not in usher rehearse: what it leaves there comes into the release, " +
		"what is live is at $USHER_PREVIOUS_RELEASE"
	const shown = "warning: in AfterInstall /opt/app leads this script alone to the new release, and not in usher rehearse: write $USHER_RELEASE_DIR, which is that everywhere"
	const live = "warning: in AfterInstall /opt/app is still what is live, not what is being installed: write $USHER_RELEASE_DIR"
	const gone = " destroys what is live, and nothing is left to go back to: "
	const nothing = " changes nothing: /opt/app is a link, which -R does not follow: write /opt/app/"
	const finds = " finds nothing: /opt/app is a link, which find does not follow: write /opt/app/"
	const all = " in AfterInstall removes what has just been installed: leave it out, a release directory is new each time"
	const fails = " fails: /opt/app is a link, which stays where it is: leave it out, a release directory is new each time"
	after := []string{
		"live.sh:5:1: `rm -rf /opt/app/tmp` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
		"mounts.sh:4:1: " + live,
		"start.sh:4:1: warning: `chown -R shop /opt/app`" + nothing,
		"start.sh:5:1: warning: `find /opt/app -name x`" + finds,
	}
	for _, c := range []struct {
		processes bool
		want      []string
	}{
		{false, []string{
			"clean.sh:4:1: " + empty, "clean.sh:5:1: " + empty, "clean.sh:6:1: " + empty, "clean.sh:7:1: " + empty,
			"save.sh:4:2: " + empty, "save.sh:5:5: `rm -rf /opt/app`" + fails,
			"build.sh:3:1: " + shown, "build.sh:4:14: " + shown, "build.sh:5:1: " + shown, "build.sh:6:1: " + shown,
			"owner.sh:4:1: `chown -R shop: /opt/app`" + nothing,
			"owner.sh:5:1: " + shown, "owner.sh:6:1: " + shown,
			"owner.sh:7:1: warning: `find /opt/app -type f -exec chmod 640 {} +`" + finds,
			"owner.sh:8:1: " + shown,
			"owner.sh:9:1: `find /opt/app -delete`" + finds,
			"owner.sh:10:1: " + shown,
			"replace.sh:3:1: `rm -rf /opt/app`" + fails,
			"replace.sh:4:1: `mv /opt/app /opt/app.old`" + fails,
			"replace.sh:5:1: `ln -sfn ... /opt/app` fails: /opt/app is changed by usher alone, after AfterInstall: leave it out",
			"replace.sh:6:1: " + shown,
			"replace.sh:7:1: `rm -rf /opt/app/*`" + all, "replace.sh:8:1: " + shown, "replace.sh:9:1: `rm -rf *`" + all,
		}},
		{true, []string{
			"clean.sh:4:1: `rm -rf /opt/app/*` in BeforeInstall" + gone + early,
			"clean.sh:5:1: `chown -R shop: /opt/app/` in BeforeInstall" + gone + early,
			"clean.sh:6:1: `find /opt/app/tmp -name *.pid -delete` in BeforeInstall" + gone + early,
			"clean.sh:7:1: `rsync -a --delete www/ /opt/app/www/` in BeforeInstall" + gone + early,
			"save.sh:5:5: `rm -rf /opt/app` in BeforeInstall" + gone + early,
			"build.sh:3:1: " + live, "build.sh:4:14: " + live, "build.sh:5:1: " + live,
			"build.sh:6:1: `rm -rf node_modules /opt/app/tmp` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"owner.sh:4:1: `chown -R shop: /opt/app`" + nothing,
			"owner.sh:5:1: `chown -RH shop: /opt/app` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"owner.sh:6:1: `chgrp --recursive shop /opt/app/` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"owner.sh:7:1: warning: `find /opt/app -type f -exec chmod 640 {} +`" + finds,
			"owner.sh:8:1: " + live,
			"owner.sh:9:1: `find /opt/app -delete`" + finds,
			"owner.sh:10:1: `chmod -R g+w /opt/app` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"replace.sh:3:1: `rm -rf /opt/app` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"replace.sh:4:1: `mv /opt/app /opt/app.old` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"replace.sh:5:1: " + live,
			"replace.sh:6:1: `mv x /opt/app` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
			"replace.sh:7:1: `rm -rf /opt/app/*` in AfterInstall" + gone + "write $USHER_RELEASE_DIR", "replace.sh:8:1: " + live,
			"replace.sh:9:1: `rm -rf *` in AfterInstall" + gone + "write $USHER_RELEASE_DIR",
		}},
	} {
		var got []string
		for _, p := range hooks.AtTheLink(scripts, "/opt/app", c.processes) {
			got = append(got, p.String())
		}
		if a, b := strings.Join(got, "\n"), strings.Join(slices.Concat(c.want, after), "\n"); a != b {
			t.Errorf("processes: %v: got\n%s\nwant\n%s", c.processes, a, b)
		}
	}
	if other := hooks.AtTheLink(scripts, "/srv/shop/current", true); len(other) > 0 {
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
