package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// `usher check`, as it prints.

// sound is a revision without a flaw, flawed one with a flaw of every kind.
var (
	sound = files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /opt/app}\nhooks:\n" +
			"  AfterInstall:\n    - {location: scripts/migrate.sh, runas: shopkeeper}\n  ValidateService:\n    - {location: scripts/validate.sh}\n",
		"scripts/migrate.sh":  "#!/bin/bash\nset -euo pipefail\necho migrated\n",
		"scripts/validate.sh": "#!/opt/ruby/bin/ruby\nexit 0\n", // the instance has ruby, and the user
	}
	flawed = files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: public, destination: /opt/app}\npermissions:\n" +
			"  - {object: /opt/app/bin, mode: 0755}\nhooks:\n  AfterInstall:\n    - {location: scripts/migrate.sh}\n    - {location: scripts/sed.sh}\n" +
			"  ApplicationStart:\n    - {location: scripts/start.sh}\n",
		"scripts/migrate.sh": "#!/bin/bash\ncd \"$USHER_RELEASE_DIR\"\nmain() {\n  local version=$(cat VERSION)\n  ps | grep shop\n}\nmain || true\n",
		"scripts/start.sh":   "#!/bin/sh\r\nset -e\r\n",
		"scripts/seed.sh":    "#!/bin/sh\nset -e\n",
	}
)

// flaws is what is printed of the flawed one. ERREXIT stands for what depends on the setting.
const flaws = `appspec.yml: warning: no ValidateService script: nothing checks that the application works before the server goes into service
appspec.yml:4:5: source public is not in the revision
appspec.yml:6:5: warning: this permissions entry applies to nothing that is installed (object /opt/app/bin, pattern **)
ERREXIT
scripts/sed.sh: does not exist, and AfterInstall needs it: did you mean scripts/seed.sh?
scripts/start.sh:1:1: has Windows line ends (CRLF): run dos2unix
`

// overwriting is an appspec with the commonest key that nobody reads, overwrite what is said about it.
const (
	overwriting = "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /srv/shop, overwrite: yes}\nhooks:\n" +
		"  AfterInstall:\n    - {location: scripts/migrate.sh}\n  ValidateService:\n    - {location: scripts/validate.sh}\n"
	overwrite = "appspec.yml:4:41: warning: overwrite is no key of an appspec and is ignored, here and by CodeDeploy: " +
		"`file_exists_behavior: OVERWRITE` at the top replaces files that no deployment installed; without it they end the deployment\n"
)

// soundNeeds is what the sound revision needs of the server, rubyNeeds a part of it.
const (
	soundNeeds = "PATH: needs of the server: users: shopkeeper\n" + rubyNeeds
	rubyNeeds  = "PATH: needs of the server: interpreters: /opt/ruby/bin/ruby\n"
)

const errexitFlaws = "no `set -e` before this: when it fails, the script goes on; "

const statusFlaws = "scripts/migrate.sh:4:9: warning: `local` hides the status of $(...) here: assign first, then local\n" +
	"scripts/migrate.sh:5:3: warning: only the last command of this pipeline counts: add `set -o pipefail`\n"

// A revision is judged the same whatever it is packed in.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		f    files
		args []string
		code int
		want string
	}{
		{"a sound revision", sound, nil, 0, soundNeeds + "PATH: ok: 3 files, 277 B unpacked; 0 warnings\n"},
		{"a flawed revision", flawed, nil, 1, strings.Replace(flaws, "ERREXIT\n", statusFlaws, 1) + "PATH: 3 problems, 4 warnings\n"},
		{"what is required", flawed, []string{"-errexit", "require"}, 1, strings.Replace(flaws, "ERREXIT\n",
			"scripts/migrate.sh:2:1: "+errexitFlaws+"put `set -e` at the top\n"+statusFlaws, 1) + "PATH: 4 problems, 4 warnings\n"},
		{"what is off", flawed, []string{"--errexit=off"}, 1, strings.Replace(flaws, "ERREXIT\n", "", 1) + "PATH: 3 problems, 2 warnings\n"},
		{"no appspec", sound.with(files{"appspec.yml": "-"}), nil, 1,
			"appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle\nPATH: 1 problem, 0 warnings\n"},
		{"an appspec that is none", sound.with(files{"appspec.yml": "version: 0.0\nos: linux\nhook:\n  AfterInstal: 1\n"}), nil, 1,
			"appspec.yml: warning: no ValidateService script: nothing checks that the application works before the server goes into service\n" +
				"appspec.yml:3:1: unknown key \"hook\" in the appspec, and nothing of it would run: did you mean hooks?\nPATH: 1 problem, 1 warning\n"},
		{"what CodeDeploy ignores", sound.with(files{"appspec.yml": overwriting}), nil, 0, overwrite + rubyNeeds + "PATH: ok: 3 files, 275 B unpacked; 1 warning\n"},
		{"the same, strictly", sound.with(files{"appspec.yml": overwriting}), []string{"-strict"}, 1, overwrite + rubyNeeds + "PATH: 0 problems, 1 warning\n"},
		{"the appspec and the scripts in one go", sound.with(files{"appspec.yml": strings.Replace(overwriting, "/srv/shop", "~/shop", 1), "scripts/validate.sh": "#!/bin/bash\nset -e\nif true; then\n"}), nil, 1,
			"appspec.yml:4:30: destination \"~/shop\" must be an absolute path, which begins with /: nothing is put in for ~ or a variable\n" + strings.Replace(overwrite, "4:41", "4:38", 1) +
				"scripts/validate.sh:3:10: does not parse: `then` must be followed by a statement list\nPATH: 2 problems, 1 warning\n"},
		{"for CI", sound.with(files{"appspec.yml": overwriting}), []string{"-json"}, 0, strings.ReplaceAll(`{
  "path": "PATH",
  "ok": true,
  "files": 3,
  "bytes": 275,
  "errors": 0,
  "warnings": 1,
  "problems": [
    {
      "file": "appspec.yml",
      "line": 4,
      "column": 41,
      "message": "overwrite MESSAGE",
      "warning": true,
      "kind": "appspec"
    }
  ],
  "needs": {
    "interpreters": [
      "/opt/ruby/bin/ruby"
    ]
  }
}
`, "overwrite MESSAGE", overwrite[strings.Index(overwrite, "overwrite is"):len(overwrite)-1])},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range c.f {
				writeIn(t, filepath.Join(dir, "shop", name), content)
			}
			writeIn(t, filepath.Join(dir, "shop.zip"), string(zipped(t, c.f)))
			writeIn(t, filepath.Join(dir, "shop.tgz"), string(tarred(t, c.f)))
			writeIn(t, filepath.Join(dir, "shop.tar"), string(plainTar(t, c.f)))
			writeIn(t, filepath.Join(dir, "main.tar.gz"), string(tarred(t, c.f.in("shop-main/"))))
			for _, path := range []string{"shop", "shop.zip", "shop.tgz", "shop.tar", "main.tar.gz"} {
				got := usher(t, dir, append([]string{"check", path}, c.args...))
				if want := strings.ReplaceAll(c.want, "PATH", path); got.code != c.code || got.stdout != want || got.stderr != "" {
					t.Errorf("usher check %s: exit %d, stderr %q\n got: %s\nwant: %s", path, got.code, got.stderr, got.stdout, want)
				}
			}
			left, err := filepath.Glob(filepath.Join(dir, "usher-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func writeIn(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// What is no revision at all, and a hostile one.
func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name, path, content string
		want                string
	}{
		{"a text", "notes.txt", "hello", "notes.txt: cannot use notes.txt as a bundle: it is neither a zip, tar or tgz archive nor named like one\n"},
		{"an empty file", "shop.zip", "", "shop.zip: cannot use shop.zip as a bundle: it is empty\n"},
		{"an error page named like a bundle", "shop.tgz", "<html>there is nothing here</html>",
			"shop.tgz: cannot unpack the bundle: it is damaged, cut off or not a gzip file: gzip: invalid header\n"},
		{"xz", "shop.tar.xz", "\xfd7zXZ\x00\x00\x00", "shop.tar.xz: cannot use shop.tar.xz as a bundle: its content is xz, and CodeDeploy knows zip, tar and tgz\n"},
		{"an archive that leaves itself", "shop.zip", string(zipped(t, sound.with(files{"../../x": "x"}))),
			"shop.zip: cannot unpack the bundle: entry \"../../x\" leaves the archive through \"..\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeIn(t, filepath.Join(dir, c.path), c.content)
			got := usher(t, dir, []string{"check", c.path})
			if got.code != 1 || got.stdout != c.want || got.stderr != "" {
				t.Errorf("exit %d, stderr %q\n got: %s\nwant: %s", got.code, got.stderr, got.stdout, c.want)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

// A directory is checked where it lies: somebody who may write nowhere can do it. git's own directory is no part of it.
func TestCheckOfADirectoryWritesNothing(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	for name, content := range sound {
		writeIn(t, filepath.Join(dir, "shop", name), content)
	}
	writeIn(t, filepath.Join(dir, "shop/.git/config"), "x")
	writeIn(t, filepath.Join(dir, "shop.zip"), string(zipped(t, sound)))
	if err := os.Chmod(dir, 0o555); err != nil { // where scratch directories are made
		t.Fatal(err)
	}
	if nobody < 0 {
		t.Cleanup(func() { os.Chmod(dir, 0o755) })
	}
	got := usherAs(t, nobody, filepath.Join(dir, "usher"), dir, []string{"check", "shop"})
	if want := strings.ReplaceAll(soundNeeds, "PATH", "shop") + "shop: ok: 3 files, 277 B unpacked; 0 warnings\n"; got.code != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("exit %d, stderr %q\n got: %s\nwant: %s", got.code, got.stderr, got.stdout, want)
	}
	got = usherAs(t, nobody, filepath.Join(dir, "usher"), dir, []string{"check", "shop.zip"}) // whose content has to go somewhere
	if want := "shop.zip: cannot make a scratch directory: "; got.code != 1 || !strings.HasPrefix(got.stdout, want) {
		t.Errorf("exit %d, %q", got.code, got.stdout)
	}
}

// Role hooks are checked where they are baked in.
func TestCheckRoleHooks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range sound {
		writeIn(t, filepath.Join(dir, "shop", name), content)
	}
	writeIn(t, filepath.Join(dir, "hooks.d/AfterInstal/10-x"), "#!/bin/sh\nset -e\n")
	writeIn(t, filepath.Join(dir, "hooks.d/AfterInstall/10-x"), "#!/bin/sh\ndate\n")
	got := usher(t, dir, []string{"check", "-role-hooks", "hooks.d", "shop"})
	want := "hooks.d/AfterInstal: is not named after a lifecycle event: did you mean AfterInstall?\n" +
		strings.ReplaceAll(soundNeeds, "PATH", "shop") + "shop: 1 problem, 0 warnings\n"
	if got.code != 1 || got.stdout != want || got.stderr != "" {
		t.Errorf("exit %d, stderr %q\n got: %s\nwant: %s", got.code, got.stderr, got.stdout, want)
	}
}
