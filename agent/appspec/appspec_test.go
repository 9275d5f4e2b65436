//go:build !windows

package appspec

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// head is the top of most inputs, so that their first line is line 3.
const head = "version: 0.0\nos: linux"

// bad is an appspec and everything that is printed about it.
type bad struct {
	name string
	in   string
	want []string
}

func checkBad(t *testing.T, head string, cases []bad) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			spec, problems := Parse("appspec.yml", []byte(head+c.in))
			var got []string
			fatal := false
			for _, p := range problems {
				got = append(got, p.String())
				fatal = fatal || !p.Warning
			}
			if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
				t.Errorf("of\n%s\nwas printed\n%s\nwant\n%s", head+c.in, g, w)
			}
			if fatal != (spec == nil) {
				t.Errorf("a Spec is there: %v, with problems %q", spec != nil, got)
			}
		})
	}
}

// TestGood reads whole appspecs of the shapes that are found in the field.
func TestGood(t *testing.T) {
	mode := func(m fs.FileMode) *fs.FileMode { return &m }
	for _, c := range []struct {
		name, in string
		want     Spec
	}{
		{"the least there is", "version: 0.0\nos: linux\n", Spec{}},
		{"zero is 0.0", "version: 0\nos: linux\n", Spec{}},
		{"JSON is YAML", `{"version": 0.0, "os": "linux", "files": [{"source": "/", "destination": "/opt/app"}]}`, Spec{
			Files: []File{{".", "/opt/app", 1, 43}},
		}},
		{"a file edited on Windows", "version: 0.0\r\nos: linux\r\nhooks:\r\n  AfterInstall:\r\n    - location: scripts/a.sh\r\n      timeout: 60\r\n", Spec{
			Hooks: map[string][]Hook{"AfterInstall": {{Location: "scripts/a.sh", Timeout: time.Minute, Line: 5, Col: 7}}},
		}},
		{"a file of an old Mac", "version: 0.0\ros: linux\rhooks:\r  AfterInstall:\r    - location: scripts/a.sh\r", Spec{
			Hooks: map[string][]Hook{"AfterInstall": {{Location: "scripts/a.sh", Line: 5, Col: 7}}},
		}},
		{"sections that are there but empty", `---
version: 0.0
os: linux
file_exists_behavior:
files:
permissions: {}
hooks:
  AfterInstall: []
...
`, Spec{}},
		{"paths are cleaned", `
version: 0.0
os: linux
files:
  - source: ./web//static/
    destination: //opt/app/./x/
  - source: /config/app.conf
    destination: /etc/app/../app
  - {source: ., destination: /opt/app}
hooks:
  ValidateService: [{location: " ./scripts//check.sh "}]
`, Spec{
			Files: []File{
				{"web/static", "/opt/app/x", 5, 5},
				{"config/app.conf", "/etc/app", 7, 5},
				{".", "/opt/app", 9, 5},
			},
			Hooks: map[string][]Hook{"ValidateService": {{Location: "scripts/check.sh", Line: 11, Col: 21}}},
		}},
		{"a PHP site", `version: 0.0
os: linux
files:
  - source: /
    destination: /var/www/html/site
file_exists_behavior: OVERWRITE
hooks:
  BeforeInstall:
    - location: scripts/install_dependencies.sh
      timeout: 300
      runas: root
  AfterInstall:
    - location: scripts/change_permissions.sh
      timeout: "300"
      runas: root
  ApplicationStart:
    - location: scripts/start_server.sh
    - location: scripts/create_database.sh
      timeout: 7200
      runas: www-data
      sudo: yes
  ApplicationStop:
    - location: scripts/stop_server.sh
      sudo: False
`, Spec{
			FileExistsBehavior: "OVERWRITE",
			Files:              []File{{".", "/var/www/html/site", 4, 5}},
			Hooks: map[string][]Hook{
				"BeforeInstall": {{Location: "scripts/install_dependencies.sh", Timeout: 300 * time.Second, RunAs: "root", Line: 9, Col: 7}},
				"AfterInstall":  {{Location: "scripts/change_permissions.sh", Timeout: 300 * time.Second, RunAs: "root", Line: 13, Col: 7}},
				"ApplicationStart": {
					{Location: "scripts/start_server.sh", Line: 17, Col: 7},
					{Location: "scripts/create_database.sh", Timeout: 2 * time.Hour, RunAs: "www-data", Sudo: true, Line: 18, Col: 7},
				},
				"ApplicationStop": {{Location: "scripts/stop_server.sh", Line: 23, Col: 7}},
			},
		}},
		{"permissions with everything", `version: 0.0
os: linux
permissions:
  - object: / # as many do
    pattern: "**"
    owner: ubuntu
    group: ubuntu
  - object: /opt/app/bin/
    pattern: "*.sh"
    except: ["setup.sh", 'x*']
    type:
      - file
    mode: 0755
    acls:
      - "u:deploy:rw"
      - m::7
    context:
      user: unconfined_u
      type: httpd_sys_content_t
      range: s0-s3:c0.c7,c13
  - object: /opt/app/tmp
    type: [directory]
    mode: "2775"
    acls: []
    context: {name: system_u, type: tmp_t}
`, Spec{Permissions: []Permission{
			{Object: "/", Pattern: "**", Files: true, Directories: true, Owner: "ubuntu", Group: "ubuntu", Line: 4, Col: 5},
			{Object: "/opt/app/bin", Pattern: "*.sh", Except: []string{"setup.sh", "x*"}, Files: true, Mode: mode(0o755), LeadingZero: true,
				ACLs:    []ACE{{Tag: 'u', Name: "deploy", Perm: 6}, {Tag: 'm', Perm: 7}},
				Context: &Context{"unconfined_u", "httpd_sys_content_t", "s0-s3:c0.c7,c13"}, Line: 8, Col: 5},
			{Object: "/opt/app/tmp", Pattern: "**", Directories: true, Mode: mode(0o775 | fs.ModeSetgid), ACLs: []ACE{},
				Context: &Context{"system_u", "tmp_t", ""}, Line: 21, Col: 5},
		}}},
		{"merge keys", `version: 0.0
os: linux
hooks:
  BeforeInstall:
    - &own
      location: scripts/a.sh
      timeout: 60
      runas: deploy
  AfterInstall:
    - <<: *own
      location: scripts/b.sh
    - location: >-
        scripts/c.sh
      <<: [{timeout: 300}, {timeout: 5, sudo: yes}]
`, Spec{
			Hooks: map[string][]Hook{
				"BeforeInstall": {{Location: "scripts/a.sh", Timeout: time.Minute, RunAs: "deploy", Line: 6, Col: 7}},
				"AfterInstall": {
					{Location: "scripts/b.sh", Timeout: time.Minute, RunAs: "deploy", Line: 10, Col: 7},
					{Location: "scripts/c.sh", Timeout: 5 * time.Minute, Sudo: true, Line: 12, Col: 7},
				},
			},
		}},
		{"aliases", `version: 0.0
os: linux
files:
  - source: /web
    destination: &app /opt/app
  - source: /config
    destination: *app
hooks:
  BeforeInstall: &scripts
    - location: scripts/a.sh
  AfterInstall: *scripts
`, Spec{
			Files: []File{{"web", "/opt/app", 4, 5}, {"config", "/opt/app", 6, 5}},
			Hooks: map[string][]Hook{
				"BeforeInstall": {{Location: "scripts/a.sh", Line: 10, Col: 7}},
				"AfterInstall":  {{Location: "scripts/a.sh", Line: 10, Col: 7}},
			},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.File = "appspec.yml"
			if c.want.Hooks == nil {
				c.want.Hooks = map[string][]Hook{}
			}
			got, problems := Parse("appspec.yml", []byte(c.in))
			if len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

// TestRead is about finding the appspec in an unpacked bundle: the files that are there, and what
// is read or printed. A name that ends in / is a directory, a -> b is a link.
func TestRead(t *testing.T) {
	const good = head + "\n"
	outside := filepath.Join(t.TempDir(), "outside.yml")
	if err := os.WriteFile(outside, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		file  string // the appspec that counts
		want  string // printed; DIR is the directory
	}{
		{"appspec.yml", map[string]string{"appspec.yml": good}, "appspec.yml", ""},
		{"appspec.yaml", map[string]string{"appspec.yaml": good}, "appspec.yaml", ""},
		{"both", map[string]string{"appspec.yml": good, "appspec.yaml": "rubbish"}, "appspec.yml",
			"appspec.yaml: warning: appspec.yml is there too, and it is the one that counts: remove one of the two"},
		{"a link within", map[string]string{"appspec.yml": "-> deploy/spec.yml", "deploy/spec.yml": good}, "appspec.yml", ""},
		{"a bad one is called by its name", map[string]string{"appspec.yaml": "os: linux"}, "",
			"appspec.yaml:1:1: version is missing in the appspec: write `version: 0.0`"},
		{"none", map[string]string{"README": "hello"}, "",
			"appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle"},
		{"one level down", map[string]string{"app/appspec.yml": good}, "",
			`appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle; the bundle holds "app/appspec.yml"`},
		{"capitals", map[string]string{"AppSpec.yml": good}, "",
			`appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle; the bundle holds "AppSpec.yml"`},
		{"for Lambda", map[string]string{"appspec.json": "{}"}, "",
			`appspec.yml: not found: appspec.yml (or appspec.yaml) must be at the top of the bundle; the bundle holds "appspec.json"`},
		{"a directory", map[string]string{"appspec.yml/": ""}, "", "appspec.yml: must be a regular file"},
		{"a link to nowhere", map[string]string{"appspec.yml": "-> gone.yml"}, "",
			"appspec.yml: cannot read the appspec: no such file or directory; if it is a link, it must stay in the bundle"},
		{"a link out of the bundle", map[string]string{"appspec.yml": "-> " + outside}, "",
			"appspec.yml: cannot read the appspec: path escapes from parent; if it is a link, it must stay in the bundle"},
		{"too long", map[string]string{"appspec.yml": good + strings.Repeat("#", MaxSize)}, "",
			"appspec.yml: is longer than 1048576 bytes: an appspec names scripts and files, it does not hold them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				var err error
				if target, ok := strings.CutPrefix(text, "-> "); ok {
					err = os.Symlink(target, path)
				} else if strings.HasSuffix(name, "/") {
					err = os.Mkdir(path, 0o700)
				} else {
					err = os.WriteFile(path, []byte(text), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			spec, problems := Read(dir)
			var lines []string
			for _, p := range problems {
				lines = append(lines, strings.ReplaceAll(p.String(), dir, "DIR"))
			}
			if got := strings.Join(lines, "\n"); got != c.want {
				t.Errorf("printed\n%s\nwant\n%s", got, c.want)
			}
			file := ""
			if spec != nil {
				file = spec.File
			}
			if file != c.file {
				t.Errorf("read %q, want %q", file, c.file)
			}
		})
	}
	t.Run("a fifo does not block", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, Name), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := Read(dir)
		if len(problems) != 1 || problems[0].String() != "appspec.yml: must be a regular file" {
			t.Errorf("printed %v", problems)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		_, problems := Read(filepath.Join(t.TempDir(), "gone"))
		if len(problems) != 1 || !strings.Contains(problems[0].Message, "cannot open the unpacked bundle") {
			t.Errorf("printed %v", problems)
		}
	})
}

// TestBounds feeds what would take much time or stack and asks for one plain answer.
func TestBounds(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"brackets", "files: " + strings.Repeat("[", 100_000), "appspec.yml: has more than 20000 YAML tokens: an appspec is a short file"},
		{"a megabyte of brackets", strings.Repeat("[", MaxSize), "appspec.yml: has more than 20000 YAML tokens: an appspec is a short file"},
		{"fewer brackets", "files: " + strings.Repeat("[", 1000), "appspec.yml:1:40: is nested too deeply for an appspec"},
		{"braces", "files: " + strings.Repeat("{a: ", 1000), "appspec.yml:1:136: is nested too deeply for an appspec"},
		{"dashes", strings.Repeat("- ", 1000), "appspec.yml:1:65: is nested too deeply for an appspec"},
		{"question marks", strings.Repeat("? ", 1000), "appspec.yml:1:65: is nested too deeply for an appspec"},
		{"lines", head + "\nfiles:\n" + strings.Repeat("  - source: /\n    destination: /a\n", 4000), "appspec.yml: has more than 20000 YAML tokens: an appspec is a short file"},
		{"one long value", head + "\nfiles:\n  - source: " + strings.Repeat("a", 100_000) + "\n    destination: /a\n", "appspec.yml:4:13: source is longer than 4096 bytes"},
		{"aliases of a long list", head + "\npermissions:\n  - object: /a\n    mode: 644\n    except: &a [" + strings.Repeat("b, ", 1000) + "]\n" +
			strings.Repeat("  - {object: /a, mode: 644, except: *a}\n", 500), "its aliases unfold to more than 50000 values: write them out"},
		{"an error after many warnings", head + "\npermissions:\n" + strings.Repeat("  - object: /a\n", 100) + "hooks: x\n", "appspec.yml: and 51 more problems: these are the first"},
		{"more problems than anyone reads", head + "\nfiles:\n" + strings.Repeat("  - x\n", 1000), "appspec.yml: and 950 more problems: these are the first"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, problems := Parse("appspec.yml", []byte(c.in))
			if spec != nil {
				t.Error("was accepted")
			}
			if len(problems) > maxProblems+1 {
				t.Errorf("%d problems", len(problems))
			}
			for _, p := range problems {
				if strings.HasSuffix(p.String(), c.want) {
					return
				}
			}
			t.Errorf("printed %v\nwant %s", problems, c.want)
		})
	}
}
