package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// `usher rehearse`, as a developer sees it: the same deployment as at a launch, below a scratch root.

// rehearsed is what a rehearsal printed, without what differs from run to run: the time, the machine's
// directory (DIR), durations (0s) and the id of the rehearsal (N).
func rehearsed(dir, text string) string {
	text = clock.ReplaceAllString(text, "")
	text = regexp.MustCompile(`usher-rehearsal-\d+`).ReplaceAllString(text, "SCRATCH")
	text = regexp.MustCompile(`\d{8}T\d{6}Z-\d+`).ReplaceAllString(text, "N")
	text = regexp.MustCompile(`\b(in|after) \d[\d.]*m?s\b`).ReplaceAllString(text, "$1 0s")
	return strings.ReplaceAll(text, dir, "DIR")
}

// revisionIn writes a revision whose scripts say what they do into a folder of dir.
func revisionIn(t *testing.T, dir, version string, more files) {
	t.Helper()
	say := func(what string) string {
		return "#!/bin/sh\nset -e\necho " + what + " " + version + "\n"
	}
	f := files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: /opt/app/www}\n  - {source: shop.conf, destination: /etc}\n" +
			"permissions:\n  - {object: /opt/app/www, owner: shopkeeper}\nhooks:\n  ApplicationStop:\n    - {location: scripts/stop.sh}\n" +
			"  ApplicationStart:\n    - {location: scripts/start.sh, runas: shopkeeper, sudo: true}\n  ValidateService:\n    - {location: scripts/validate.sh}\n",
		"www/index.html": version, "shop.conf": version,
		"scripts/stop.sh": say("stop"), "scripts/start.sh": say("start"), "scripts/validate.sh": say("validate"),
	}
	for name, content := range f.with(more) {
		writeIn(t, filepath.Join(dir, "shop", name), content)
	}
}

// asMe is the revision without what only a server can do.
var asMe = files{
	"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: /opt/app/www}\n  - {source: shop.conf, destination: /etc}\n" +
		"hooks:\n  ApplicationStop:\n    - {location: scripts/stop.sh}\n" +
		"  ApplicationStart:\n    - {location: scripts/start.sh}\n  ValidateService:\n    - {location: scripts/validate.sh}\n",
}

// same compares what was printed with what should be.
func same(t *testing.T, got typed, code int, dir, want string) {
	t.Helper()
	if is := rehearsed(dir, got.stdout); got.code != code || is != want || got.stderr != "" {
		t.Errorf("exit %d, want %d, stderr %q\n got: %s\nwant: %s", got.code, code, got.stderr, is, want)
	}
}

// Two rehearsals in one root are a launch and an update; a third one that fails leaves the second live.
func TestRehearse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe)
	same(t, usher(t, dir, []string{"rehearse", "--root", "root", "shop"}), 0, dir, `deployment rehearsal-N begins: DIR/shop
ApplicationStop finished in 0s (no release is live yet)
DownloadBundle finished in 0s (6 files, 384 B)
BeforeInstall finished in 0s (no scripts)
Install finished in 0s (2 files)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N)
             | start 1
ApplicationStart finished in 0s (1 script)
             | validate 1
ValidateService finished in 0s (1 script)
release shop-rehearsal-N of deployment rehearsal-N is live and good
DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N
`)

	revisionIn(t, dir, "2", asMe)
	same(t, usher(t, dir, []string{"rehearse", "-root=root", "shop"}), 0, dir, `deployment rehearsal-N begins: DIR/shop
             | stop 1
ApplicationStop finished in 0s (1 script)
DownloadBundle finished in 0s (6 files, 384 B)
BeforeInstall finished in 0s (no scripts)
Install finished in 0s (2 files)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N)
             | start 2
ApplicationStart finished in 0s (1 script)
             | validate 2
ValidateService finished in 0s (1 script)
release shop-rehearsal-N of deployment rehearsal-N is live and good
DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N
`)

	revisionIn(t, dir, "3", asMe.with(files{"scripts/validate.sh": "#!/bin/sh\nset -e\necho 'cannot reach port 80' >&2\nexit 7\n"}))
	same(t, usher(t, dir, []string{"rehearse", "shop", "-root", filepath.Join(dir, "root")}), 1, dir, `deployment rehearsal-N begins: DIR/shop
             | stop 2
ApplicationStop finished in 0s (1 script)
DownloadBundle finished in 0s (6 files, 407 B)
BeforeInstall finished in 0s (no scripts)
Install finished in 0s (2 files)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N)
             | start 3
ApplicationStart finished in 0s (1 script)
             | cannot reach port 80
error: ValidateService failed after 0s: script scripts/validate.sh failed with exit code 7 after 0s; its last line: cannot reach port 80
             | stop 3
             | start 2
             | validate 2
Rollback finished in 0s (DIR/root/opt/app -> DIR/root/opt/app-releases/shop-rehearsal-N; ApplicationStart: 1 script; ValidateService: 1 script)
error: deployment rehearsal-N failed: ValidateService script scripts/validate.sh failed with exit code 7 after 0s; its last line: cannot reach port 80
`)
	for name, want := range map[string]string{"opt/app/www/index.html": "2", "etc/shop.conf": "2"} {
		if text, err := os.ReadFile(filepath.Join(dir, "root", name)); string(text) != want {
			t.Errorf("%s is %q, want %q (%v)", name, text, want, err)
		}
	}
}

// A rehearsal in a root whose record is damaged says so, as the agent does, and goes on with what is live there.
func TestRehearseWithADamagedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe)
	if got := usher(t, dir, []string{"rehearse", "--root", "root", "shop"}); got.code != 0 {
		t.Fatalf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	name := filepath.Join(dir, "root/var/lib/usher/record.jsonl")
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, append([]byte("?"), text[1:]...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := usher(t, dir, []string{"rehearse", "--root", "root", "shop"})
	for _, want := range []string{"warning: the record " + name + " is damaged (line 1: ", "is live and was good here: going on with it", "is live and good\n"} {
		if got.code != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("exit %d, no %q in\n%s%s", got.code, want, got.stdout, got.stderr)
		}
	}
	if got := usher(t, dir, []string{"rehearse", "--root", "root", "shop"}); got.code != 0 || strings.Contains(got.stdout, "damaged") {
		t.Errorf("once more: exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// Everybody can rehearse, in a scratch root of their own. What only root can do is told, and not an error.
func TestRehearseUnprivileged(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	revisionIn(t, dir, "1", nil)
	same(t, usherAs(t, nobody, filepath.Join(dir, "usher"), dir, []string{"rehearse", "--keep", "shop"}), 0, dir, `deployment rehearsal-N begins: DIR/shop
ApplicationStop finished in 0s (no release is live yet)
DownloadBundle finished in 0s (6 files, 474 B)
BeforeInstall finished in 0s (no scripts)
warning: owner shopkeeper was not set: there is no such user here
Install finished in 0s (2 files)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/SCRATCH/opt/app -> DIR/SCRATCH/opt/app-releases/shop-rehearsal-N)
warning: scripts/start.sh runs as you, not as shopkeeper: only root can change that
             | start 1
ApplicationStart finished in 0s (1 script)
             | validate 1
ValidateService finished in 0s (1 script)
release shop-rehearsal-N of deployment rehearsal-N is live and good
DIR/SCRATCH/opt/app -> DIR/SCRATCH/opt/app-releases/shop-rehearsal-N
`)
	scratch, err := filepath.Glob(filepath.Join(dir, "usher-rehearsal-*"))
	if err != nil || len(scratch) != 1 {
		t.Fatalf("%v, %v", scratch, err)
	}
	if info, err := os.Stat(scratch[0]); err != nil || os.Geteuid() == 0 && info.Mode().Perm() != 0o700 {
		t.Errorf("others can read the revision: %v, %v", info.Mode(), err)
	}

	got := usherAs(t, nobody, filepath.Join(dir, "usher"), dir, []string{"rehearse", "-root", "/proc/1/rehearsal", "shop"})
	if want := "usher rehearse: cannot make the base: mkdir /proc/1/rehearsal: no such file or directory\n"; got.code != 1 || got.stdout != "" || got.stderr != want {
		t.Errorf("exit %d, stdout %q\n got: %s\nwant: %s", got.code, got.stdout, got.stderr, want)
	}
}

// Root rehearses what only root can do for real: scripts that run as other users find their way into the
// scratch root.
func TestRehearseAsRoot(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	if nobody < 0 {
		return // then there is no root to rehearse
	}
	revisionIn(t, dir, "1", files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: www, destination: /opt/app/www}\n" +
			"permissions:\n  - {object: /opt/app/www, owner: nobody, mode: 0600, type: [file]}\n" +
			"hooks:\n  ValidateService:\n    - {location: scripts/validate.sh, runas: nobody}\n",
		"scripts/validate.sh": "#!/bin/sh\nset -e\necho \"$(id -un) reads $(cat $USHER_RELEASE_DIR/www/index.html)\"\n",
	})
	same(t, usher(t, dir, []string{"rehearse", "--keep", "shop"}), 0, dir, `deployment rehearsal-N begins: DIR/shop
ApplicationStop finished in 0s (no release is live yet)
DownloadBundle finished in 0s (6 files, 377 B)
BeforeInstall finished in 0s (no scripts)
Install finished in 0s (1 file)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/SCRATCH/opt/app -> DIR/SCRATCH/opt/app-releases/shop-rehearsal-N)
ApplicationStart finished in 0s (no scripts)
             | nobody reads 1
ValidateService finished in 0s (1 script)
release shop-rehearsal-N of deployment rehearsal-N is live and good
DIR/SCRATCH/opt/app -> DIR/SCRATCH/opt/app-releases/shop-rehearsal-N
`)
}

// A script that a hook changes, as is done to fill in a name, is run as it was checked, and that is told.
func TestAScriptThatAHookChanges(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("who is not root runs what lies in the release")
	}
	dir := t.TempDir()
	spec := strings.Replace(asMe["appspec.yml"], "hooks:\n", "hooks:\n  AfterInstall:\n    - {location: scripts/fill.sh}\n", 1)
	revisionIn(t, dir, "1", asMe.with(files{"appspec.yml": spec, "scripts/fill.sh": "#!/bin/sh\nset -e\nsed -i s/@PORT@/8080/ scripts/start.sh\n",
		"scripts/start.sh": "#!/bin/sh\nset -e\necho port @PORT@\n"}))
	got := usher(t, dir, []string{"rehearse", "--yes", "shop"})
	is := rehearsed(dir, got.stdout)
	want := "warning: a hook has changed scripts/start.sh, and it is run as it was when it was checked: give it what it needs in the environment or in another file\n             | port @PORT@\n"
	if got.code != 0 || !strings.Contains(is, want) || strings.Count(is, "a hook has changed") != 1 {
		t.Errorf("exit %d, no %q in\n%s", got.code, want, is)
	}
}

// openToAll is a folder that everybody can write to, with an usher that everybody can run, and nobody's
// number; -1, the test's own user, when that is not root and cannot become another.
func openToAll(t *testing.T) (dir string, nobody int) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "usher-test-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// A link where that can be: a file that is written cannot be run while a process that another test starts has it open still.
	if err := os.Link(binaries.usher, filepath.Join(dir, "usher")); err != nil {
		program, err := os.ReadFile(binaries.usher)
		if err != nil {
			t.Fatal(err)
		}
		writeIn(t, filepath.Join(dir, "usher"), string(program))
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return dir, -1
	}
	return dir, 65534
}

// What was rehearsed in a scratch directory is gone afterwards, also when it failed.
func TestRehearseLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe)
	t.Run("good", func(t *testing.T) {
		got := usher(t, dir, []string{"rehearse", "shop"})
		if got.code != 0 || !strings.HasSuffix(got.stdout, "\nthe scratch directory is removed again: --keep keeps it\n") {
			t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
		}
	})
	writeIn(t, filepath.Join(dir, "shop/scripts/validate.sh"), "#!/bin/sh\nset -e\nexit 4\n")
	if got := usher(t, dir, []string{"rehearse", "shop"}); got.code != 1 || !strings.HasSuffix(got.stdout, "\nthe scratch directory is removed again: --keep keeps it\n") {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	got := usher(t, dir, []string{"rehearse", "--keep", "shop"})
	if _, kept, _ := strings.Cut(got.stdout, "\nthe scratch directory is kept: "); got.code != 1 || os.RemoveAll(filepath.Join(strings.TrimSpace(kept), "opt/app-releases")) != nil || os.RemoveAll(strings.TrimSpace(kept)) != nil {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "usher-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Scripts that change more of the machine than the rehearsal's directories are not run unasked.
func TestRehearseAsksFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe.with(files{"scripts/start.sh": "#!/bin/sh\nset -e\n. ./scripts/lib.sh\n[ ! -e /nowhere ] || systemctl restart nginx\necho started >" + dir + "/started\n",
		"scripts/lib.sh": "[ ! -e /nowhere ] || rm -rf /srv/shop/cache\n"}))
	const shown = "The scripts run here, on this machine, and these lines change more of it than the rehearsal's directories:\n" +
		"  scripts/lib.sh:1: rm -rf /srv/shop/cache\n  scripts/start.sh:4: systemctl restart nginx\n"
	ran := func() bool {
		err := os.Remove(filepath.Join(dir, "started"))
		return err == nil
	}
	got := usher(t, dir, []string{"rehearse", "shop"})
	if want := shown + "usher rehearse: nobody can be asked here whether that is meant, and nothing was run: use --yes where it is, as in a container\n"; got.code != 2 || got.stdout != "" || got.stderr != want || ran() {
		t.Errorf("without a terminal: exit %d, %s\n got: %s\nwant: %s", got.code, got.stdout, got.stderr, want)
	}
	if got := usher(t, dir, []string{"rehearse", "--yes", "shop"}); got.code != 0 || got.stderr != "" || !ran() {
		t.Errorf("--yes: exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	for answer, code := range map[string]int{"y\n": 0, "\n": 2, "n\n": 2} {
		s, tty := terminal(t)
		cmd := exec.CommandContext(t.Context(), binaries.usher, "rehearse", "shop")
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, tty, tty, tty
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.says("systemctl restart nginx")
		s.says("Run them? [y/N] ")
		s.types(answer)
		_ = cmd.Wait() // its exit code follows
		if is := cmd.ProcessState.ExitCode(); is != code || ran() != (code == 0) {
			t.Errorf("%q: exit %d\n%s", answer, is, s.text())
		}
	}
}

// A process that a script leaves ends with the scratch directory that it runs from; with a directory that stays it is named.
func TestRehearseEndsWhatScriptsLeave(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe.with(files{"scripts/start.sh": "#!/bin/sh\nset -e\nsleep 3600 >/dev/null 2>&1 &\necho $! >" + dir + "/pid\n" +
		"until grep -qx sleep /proc/$!/comm; do :; done # and no shell any more\n"}))
	left := func() *os.Process {
		text, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	got := usher(t, dir, []string{"rehearse", "shop"})
	p := left()
	if want := fmt.Sprintf("ended what the scripts left running: sleep (pid %d)\n", p.Pid); got.code != 0 || !strings.HasSuffix(got.stdout, want) || got.stderr != "" {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid)); err == nil && !strings.Contains(string(state), ") Z ") {
		t.Errorf("it still runs: %s", state)
	}
	got = usher(t, dir, []string{"rehearse", "--keep", "shop"})
	p = left()
	if want := fmt.Sprintf("still running: sleep (pid %d)\n", p.Pid); got.code != 0 || !strings.HasSuffix(got.stdout, want) {
		t.Errorf("--keep: exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("it was ended: %v", err)
	}
}

// Root in a container of CI does not have the server's users: that is told, and no error.
func TestRehearseAsRootWithoutTheUsers(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	if nobody < 0 {
		return // then there is no root to rehearse
	}
	revisionIn(t, dir, "1", nil)
	same(t, usher(t, dir, []string{"rehearse", "shop"}), 0, dir, `deployment rehearsal-N begins: DIR/shop
ApplicationStop finished in 0s (no release is live yet)
DownloadBundle finished in 0s (6 files, 474 B)
BeforeInstall finished in 0s (no scripts)
warning: owner shopkeeper was not set: there is no such user here
Install finished in 0s (2 files)
AfterInstall finished in 0s (no scripts)
Flip finished in 0s (DIR/SCRATCH/opt/app -> DIR/SCRATCH/opt/app-releases/shop-rehearsal-N)
warning: scripts/start.sh runs as you, not as shopkeeper: there is no such user here
             | start 1
ApplicationStart finished in 0s (1 script)
             | validate 1
ValidateService finished in 0s (1 script)
release shop-rehearsal-N of deployment rehearsal-N is live and good
the scratch directory is removed again: --keep keeps it
`)
}

// Where the server's agent.yml has another link, the rehearsal has it too.
func TestRehearseLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe.with(files{"appspec.yml": strings.ReplaceAll(asMe["appspec.yml"], "/opt/app/www", "/srv/shop/www")}))
	got := usher(t, dir, []string{"rehearse", "--link", "/srv/shop", "--root", "root", "shop"})
	if is := rehearsed(dir, got.stdout); got.code != 0 || !strings.Contains(is, "\nDIR/root/srv/shop -> DIR/root/opt/app-releases/shop-rehearsal-N\n") {
		t.Errorf("exit %d: %s%s", got.code, is, got.stderr)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "root/srv/shop/www/index.html")); string(text) != "1" {
		t.Errorf("%q, %v", text, err)
	}
	if got := usher(t, dir, []string{"rehearse", "--link", "srv/shop", "shop"}); got.code != 2 {
		t.Errorf("a relative link: exit %d: %s", got.code, got.stderr)
	}
}

// The role hooks of an image are rehearsed with a revision.
func TestRehearseRoleHooks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	revisionIn(t, dir, "1", asMe)
	writeIn(t, filepath.Join(dir, "roles/AfterInstall/10-render.sh"), "#!/bin/sh\nset -e\necho the role renders\n")
	if got := usher(t, dir, []string{"rehearse", "--role-hooks", "roles", "shop"}); got.code != 0 || !strings.Contains(got.stdout, "| the role renders\n") {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	if got := usher(t, dir, []string{"rehearse", "--role-hooks", "none", "shop"}); got.code != 2 || !strings.Contains(got.stderr, "cannot open the role hooks") {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
}

// A commit is checked and rehearsed as it would be deployed; what else lies in the working tree is named.
func TestCheckACommit(t *testing.T) {
	h := newShop(t, 0, production())
	h.write("shop/.gitignore", "dist/\n")
	h.commit("2", nil)
	h.write("shop/dist/app.js", "built")
	h.write("shop/scripts/render.sh", "#!/bin/sh\nset -e\nfi\n")
	h.ended(h.usher("check ."), 1, "scripts/render.sh:3")
	h.ended(h.usher("check HEAD"), 0, "usher check: commit "+h.commits[1][:10]+" is looked at, without 2 files of the working tree that is changed, new or ignored: dist/, scripts/render.sh", "HEAD: ok")
	h.ended(h.usher("check origin/main"), 0, "origin/main: ok")
	h.ended(h.usher("rehearse HEAD~1"), 0, "rendering the pages of 1")
	h.ended(h.usher("check nowhere"), 2, "there is no file or directory nowhere, and as a commit: cannot resolve nowhere")
	h.ended(h.usher("check ./nowhere"), 2, "cannot open the revision: stat ./nowhere: no such file or directory")
	if left, err := filepath.Glob(h.path("usher-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
