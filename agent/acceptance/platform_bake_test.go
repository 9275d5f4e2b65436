package acceptance

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// `usher bake`, on trees of images that it enters by chroot.

// imageTree is an image that is complete, with all that a machine leaves on its disk.
type imageTree struct {
	*testing.T
	root string
}

func newImageTree(t *testing.T) *imageTree {
	t.Helper()
	t.Parallel()
	return imageTreeOf(t)
}

// imageTreeOf is newImageTree for a test that is parallel already.
func imageTreeOf(t *testing.T) *imageTree {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("chroot needs root")
		}
		t.Skip("chroot needs root")
	}
	i := &imageTree{t, t.TempDir()}
	for name, content := range map[string]string{
		"usr/bin/usher": "#!/bin/sh\n", "bin/sh": "", "bin/bash": "", "usr/bin/env": "",
		"usr/lib/systemd/system/usher.service":            "[Unit]\nAfter=network-online.target\nAfter=cloud-config.service\n",
		"usr/lib/systemd/system/chrony.service":           "[Unit]\n",
		"usr/lib/systemd/libsystemd-shared-249.so":        "",
		"usr/lib/systemd/catalog/usher.catalog":           "Subject: usher runs on instance @INSTANCE_ID@\n",
		"var/lib/systemd/catalog/database":                "RHHHKSLP usher runs on instance @INSTANCE_ID@",
		"etc/usher/agent.yml":                             "application: shop\n",
		"etc/usher/hooks.d/ApplicationStart/10-web":       "#!/bin/sh\nset -e\nsystemctl start web\n",
		"opt/app-base/VERSION":                            "base",
		"opt/app-releases/.incoming-shop-1-12345678/half": "x",
		"etc/machine-id":                                  "0123456789abcdef0123456789abcdef\n",
		"var/lib/dbus/machine-id":                         "0123456789abcdef0123456789abcdef\n",
		"var/lib/usher/record.jsonl":                      "{}\n",
		"var/lib/usher/hold":                              "{}\n",
		"var/log/journal/0123456789abcdef/system.journal": "x",
		"var/log/syslog":                                  "x",
		"var/log/syslog.1":                                "x",
		"var/log/apt/history.log.2.gz":                    "x",
		"var/log/cloud-init.log":                          "x",
		"var/lib/cloud/instances/i-1/user-data.txt":       "x",
		"var/lib/cloud/data/instance-id":                  "i-1",
		"var/lib/cloud/sem/config_users.once":             "x",
		"var/lib/cloud/seed/nocloud/meta-data":            "x",
		"var/lib/cloud/scripts/per-boot/mine":             "x",
		"etc/ssh/ssh_host_ed25519_key":                    "x",
		"etc/ssh/ssh_host_ed25519_key.pub":                "x",
		"etc/ssh/sshd_config":                             "x",
	} {
		i.write(name, content)
	}
	i.link("/opt/app-base", "opt/app")
	i.link("/usr/lib/systemd/system/usher.service", "etc/systemd/system/multi-user.target.wants/usher.service")
	i.link("/usr/lib/systemd/system/chrony.service", "etc/systemd/system/multi-user.target.wants/chrony.service")
	i.link("/var/lib/cloud/instances/i-1", "var/lib/cloud/instance")
	return i
}

func (i *imageTree) must(err error) {
	i.Helper()
	if err != nil {
		i.Fatal(err)
	}
}

func (i *imageTree) write(name, content string) {
	i.Helper()
	file := filepath.Join(i.root, name)
	i.must(os.MkdirAll(filepath.Dir(file), 0o755))
	i.must(os.WriteFile(file, []byte(content), 0o755))
}

func (i *imageTree) link(target, name string) {
	i.Helper()
	file := filepath.Join(i.root, name)
	i.must(os.MkdirAll(filepath.Dir(file), 0o755))
	i.must(os.Symlink(target, file))
}

func (i *imageTree) remove(name string) {
	i.Helper()
	i.must(os.RemoveAll(filepath.Join(i.root, name)))
}

// files are the tree's files, those that are empty with a 0 behind them.
func (i *imageTree) files() (all []string) {
	i.Helper()
	i.must(filepath.WalkDir(i.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, i.root+"/")
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			name += " 0"
		}
		all = append(all, name)
		return nil
	}))
	return all
}

// bake types the command for this tree.
func (i *imageTree) bake(args ...string) typed {
	i.Helper()
	return usher(i.T, i.T.TempDir(), append([]string{"bake", "--root", i.root}, args...))
}

// gone are the files that are in before and not in after, and those that are in after only, with + before them.
func gone(before, after []string) string {
	var all []string
	for _, name := range before {
		if !slices.Contains(after, name) {
			all = append(all, name)
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			all = append(all, "+"+name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// A complete image is cleaned: what is taken away, to the file.
func TestBake(t *testing.T) {
	i := newImageTree(t)
	before := i.files()
	got := i.bake("--check")
	const checks = `ok       agent.yml    /etc/usher/agent.yml
ok       systemd      249, and the unit needs 249
ok       unit         usher.service is enabled
ok       ordering     usher.service waits for nothing that waits for it
ok       other agent  none is enabled
ok       catalog      journalctl -x explains usher's messages
ok       time         chrony.service is enabled
ok       agent        none runs here
ok       base         /opt/app-base is not empty
ok       link         /opt/app -> /opt/app-base
ok       role hooks   fit to run
The image is complete. (11 checks, 0 warnings)
`
	if got.code != 0 || got.stdout != checks || got.stderr != "" {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if changed := gone(before, i.files()); changed != "" {
		t.Errorf("--check changed\n%s", changed)
	}
	got = i.bake()
	if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, checks) || !strings.HasSuffix(got.stdout, "Ready: power the machine off, and make the image.\n") {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	const usual = `+etc/machine-id 0
etc/machine-id
etc/ssh/ssh_host_ed25519_key
etc/ssh/ssh_host_ed25519_key.pub
opt/app-releases/.incoming-shop-1-12345678/half
var/lib/cloud/data/instance-id
var/lib/cloud/instance
var/lib/cloud/instances/i-1/user-data.txt
var/lib/cloud/sem/config_users.once
var/lib/dbus/machine-id
var/lib/usher/hold
var/lib/usher/record.jsonl
var/log/cloud-init.log
var/log/journal/0123456789abcdef/system.journal`
	if cleaned := gone(before, i.files()); cleaned != usual {
		t.Errorf("cleaned\n%s\nwant\n%s", cleaned, usual)
	}
	if again := i.bake(); again.code != 0 || strings.Contains(again.stdout, "cleaned") {
		t.Errorf("exit %d\n%s%s", again.code, again.stdout, again.stderr)
	}
}

// Each part by itself.
func TestBakeCleans(t *testing.T) {
	for part, want := range map[string]string{
		"none":                "",
		"ssh-keys":            "etc/ssh/ssh_host_ed25519_key\netc/ssh/ssh_host_ed25519_key.pub",
		"record":              "opt/app-releases/.incoming-shop-1-12345678/half\nvar/lib/usher/hold\nvar/lib/usher/record.jsonl",
		"machine-id":          "+etc/machine-id 0\netc/machine-id\nvar/lib/dbus/machine-id",
		"logs":                "+var/log/cloud-init.log 0\n+var/log/syslog 0\nvar/log/apt/history.log.2.gz\nvar/log/cloud-init.log\nvar/log/syslog\nvar/log/syslog.1",
		"journal,machine-id":  "+etc/machine-id 0\netc/machine-id\nvar/lib/dbus/machine-id\nvar/log/journal/0123456789abcdef/system.journal",
		"journal -clean none": "2 there is nothing called \"none\" to clean",
		"machineid":           "2 there is nothing called \"machineid\" to clean: did you mean machine-id?",
		"everything":          "2 there is nothing called \"everything\" to clean: the parts are record,",
	} {
		t.Run(part, func(t *testing.T) {
			i := newImageTree(t)
			before := i.files()
			got := i.bake(strings.Fields("--clean " + part)...)
			if refused, ok := strings.CutPrefix(want, "2 "); ok {
				if got.code != 2 || !strings.Contains(got.stderr, refused) {
					t.Errorf("exit %d: %s", got.code, got.stderr)
				}
				want = ""
			} else if got.code != 0 {
				t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			if cleaned := gone(before, i.files()); cleaned != want {
				t.Errorf("cleaned\n%s\nwant\n%s", cleaned, want)
			}
		})
	}
}

// No link in an image leads the cleaning out of it.
func TestBakeStaysInTheImage(t *testing.T) {
	i := newImageTree(t)
	outside := filepath.Join(t.TempDir(), "journal")
	i.must(os.MkdirAll(outside, 0o755))
	i.must(os.WriteFile(filepath.Join(outside, "mine"), []byte("x"), 0o600))
	i.remove("var/log/journal")
	i.link(outside, "var/log/journal")
	if got := i.bake(); got.code != 0 {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(outside, "mine")); err != nil {
		t.Error(err)
	}
}

// What is wrong with an image is a line that says what to do, and nothing is changed.
func TestBakeRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(i *imageTree)
		want  string
	}{
		{"no program", func(i *imageTree) { i.remove("usr/bin/usher") }, "problem  program      /usr/bin/usher is not here, or not executable: install usher's package"},
		{"an old systemd", func(i *imageTree) {
			i.remove("usr/lib/systemd/libsystemd-shared-249.so")
			i.write("usr/lib64/systemd/libsystemd-shared-239-78.el8.so", "")
		}, "problem  systemd      systemd is 239, and the unit needs 249: use a base image with a later one"},
		{"a systemd of Amazon Linux 2", func(i *imageTree) { i.remove("usr/lib/systemd/libsystemd-shared-249.so") },
			"problem  systemd      there is no libsystemd-shared here, which systemd has had since 231: the unit needs 249: use a base image"},
		{"no unit", func(i *imageTree) { i.remove("usr/lib/systemd/system/usher.service") }, "problem  unit         usher.service is not here: install usher's package"},
		{"not enabled", func(i *imageTree) { i.remove("etc/systemd/system/multi-user.target.wants/usher.service") },
			"problem  unit         usher.service is not enabled: no boot starts it: systemctl enable usher.service"},
		{"masked", func(i *imageTree) { i.link("/dev/null", "etc/systemd/system/usher.service") },
			"problem  unit         usher.service is masked: it cannot start: systemctl unmask usher.service && systemctl enable usher.service"},
		{"a cycle", func(i *imageTree) {
			i.write("etc/systemd/system/usher.service.d/late.conf", "[Unit]\nAfter=cloud-init.target\n")
		}, "problem  ordering     /etc/systemd/system/usher.service.d/late.conf says After=cloud-init.target, which comes after multi-user.target, which wants usher.service"},
		{"CodeDeploy's agent", func(i *imageTree) {
			i.link("/lib/systemd/system/codedeploy-agent.service", "etc/systemd/system/multi-user.target.wants/codedeploy-agent.service")
		}, "problem  other agent  codedeploy-agent.service is enabled: both would deploy, or answer for, the same server: systemctl disable --now codedeploy-agent.service"},
		{"CodeDeploy's agent as a script", func(i *imageTree) { i.link("../init.d/codedeploy-agent", "etc/rc3.d/S20codedeploy-agent") },
			"problem  other agent  codedeploy-agent.service is enabled"},
		{"lifecycled", func(i *imageTree) {
			i.link("/lib/systemd/system/lifecycled.service", "etc/systemd/system/multi-user.target.wants/lifecycled.service")
		}, "problem  other agent  lifecycled.service is enabled"},
		{"no catalog", func(i *imageTree) { i.remove("usr/lib/systemd/catalog/usher.catalog") }, "warning  catalog      /usr/lib/systemd/catalog/usher.catalog is not here"},
		{"a catalog that is not taken in", func(i *imageTree) { i.remove("var/lib/systemd/catalog/database") },
			"warning  catalog      the journal's catalog has not taken usher's in: journalctl -x explains nothing of usher's: journalctl --update-catalog"},
		{"no time", func(i *imageTree) { i.remove("etc/systemd/system/multi-user.target.wants/chrony.service") }, "warning  time         nothing that keeps the time is enabled"},
		{"configuration", func(i *imageTree) { i.write("etc/usher/agent.yml", "aplication: shop\n") },
			"problem  agent.yml    cannot use the configuration: /etc/usher/agent.yml:1:1: unknown key \"aplication\": did you mean application?: correct it"},
		{"an empty base", func(i *imageTree) { i.remove("opt/app-base/VERSION") }, "problem  base         /opt/app-base is empty: an instance of a group without a revision would serve nothing"},
		{"no base", func(i *imageTree) { i.remove("opt/app-base") }, "problem  base         the base cannot be read: open /opt/app-base: no such file or directory: put the application's base version there"},
		{"no link", func(i *imageTree) { i.remove("opt/app") }, "problem  link         /opt/app is not there: nothing is reached by it before the first deployment: ln -s /opt/app-base /opt/app"},
		{"a link to a release", func(i *imageTree) { i.remove("opt/app"); i.link("/opt/app-releases/x", "opt/app") },
			"problem  link         /opt/app leads to /opt/app-releases/x, and in an image it must lead to the base: ln -sfn /opt/app-base /opt/app"},
		{"a directory for a link", func(i *imageTree) { i.remove("opt/app"); i.write("opt/app/index.html", "x") },
			"problem  link         /opt/app is a directory, not a symbolic link"},
		{"role hooks of an event nobody knows", func(i *imageTree) { i.write("etc/usher/hooks.d/AfterInstal/x", "#!/bin/sh\nset -e\n") },
			"problem  role hooks   /etc/usher/hooks.d/AfterInstal: is not named after a lifecycle event: did you mean AfterInstall?"},
		{"a role hook that switches errexit off", func(i *imageTree) { i.write("etc/usher/hooks.d/AfterInstall/x", "#!/bin/sh\nset +e\nfalse\ntrue\n") },
			"warning  role hooks   /etc/usher/hooks.d/AfterInstall/x:2:1: "},
		{"the same, required", func(i *imageTree) {
			i.write("etc/usher/agent.yml", "errexit: require\n")
			i.write("etc/usher/hooks.d/AfterInstall/x", "#!/bin/sh\nfalse\ntrue\n")
		}, "problem  role hooks   /etc/usher/hooks.d/AfterInstall/x:2:1: "},
		{"a role hook's interpreter", func(i *imageTree) {
			i.write("etc/usher/hooks.d/AfterInstall/x", "#!/usr/bin/python3\n")
		},
			"problem  role hooks   /etc/usher/hooks.d/AfterInstall/x:1:1: its interpreter /usr/bin/python3 is not a program on this machine: install it in the AMI"},
		{"the base's interpreter", func(i *imageTree) {
			i.write("opt/app-base/appspec.yml", "version: 0.0\nos: linux\nhooks:\n  ApplicationStart: [{location: start.rb}]\n")
			i.write("opt/app-base/start.rb", "#!/usr/bin/env ruby\n")
		}, "problem  base         /opt/app-base/start.rb:1:1: its interpreter ruby is not in PATH"},
		{"what the builder deployed", func(i *imageTree) {
			i.write("opt/app-releases/shop-1-12345678.json", `{"id": "shop-1-12345678", "status": "good"}`)
			i.write("opt/app-releases/shop-1-12345678/VERSION", "1")
		}, "problem  releases     release shop-1-12345678 was deployed on this machine (good): an instance cannot tell what its scripts did here: rm -rf /opt/app-releases/shop-1-12345678 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newImageTree(t)
			c.spoil(i)
			before := i.files()
			got := i.bake()
			if !strings.Contains(got.stdout, c.want) {
				t.Errorf("it does not say\n%s\nbut\n%s%s", c.want, got.stdout, got.stderr)
			}
			if strings.HasPrefix(c.want, "warning") {
				if got.code != 0 || !strings.Contains(got.stdout, " checks, 1 warning)\n") {
					t.Errorf("exit %d\n%s", got.code, got.stdout)
				}
				return
			}
			if got.code != 1 || !strings.Contains(got.stdout, "The image is not ready: ") {
				t.Errorf("exit %d\n%s", got.code, got.stdout)
			}
			if changed := gone(before, i.files()); changed != "" {
				t.Errorf("it changed\n%s", changed)
			}
		})
	}
}

// Everything that is wrong is said at once.
func TestBakeSaysAllAtOnce(t *testing.T) {
	i := newImageTree(t)
	for _, name := range []string{"usr/bin/usher", "etc/systemd/system/multi-user.target.wants", "opt/app", "opt/app-base"} {
		i.remove(name)
	}
	if got := i.bake(); got.code != 1 || !strings.HasSuffix(got.stdout, "The image is not ready: 4 problems, 1 warning. Nothing was changed.\n") {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// A revision that is laid down is not downloaded at the launch.
func TestBakeLaysARevisionDown(t *testing.T) {
	for _, from := range []string{"S3", "a file"} {
		t.Run(from, func(t *testing.T) {
			s := newStage(t)
			i, cloud := imageTreeOf(t), s.cloud
			spec := "version: 0.0\nos: linux\nhooks:\n  ValidateService: [{location: validate.sh}]\n"
			revision := files{"appspec.yml": spec, "VERSION": "1", "validate.sh": "#!/bin/sh\nset -e\ntest -f VERSION\n"}
			etag, version, err := cloud.Upload(cloud.Bucket, "shop/1.zip", zipped(t, revision))
			i.must(err)
			args := []string{"bake", "--root", i.root, "--revision", "s3://" + cloud.Bucket + "/shop/1.zip"}
			if from == "a file" {
				archive := filepath.Join(t.TempDir(), "1.zip")
				i.must(os.WriteFile(archive, zipped(t, revision), 0o600))
				args = []string{"bake", "--root", i.root, "--revision", archive, "--bucket", cloud.Bucket, "--key", "shop/1.zip", "--version", version, "--etag", `"` + etag + `"`}
			}
			check := usherIn(t, cloud.CLIEnviron(), append(args, "--check"))
			if check.code != 0 || !strings.Contains(check.stdout, "ok       revision     fit to run") {
				t.Errorf("exit %d\n%s%s", check.code, check.stdout, check.stderr)
			}
			got := usherIn(t, cloud.CLIEnviron(), args)
			if got.code != 0 || !strings.Contains(got.stdout, "Laid down 1-") || !strings.Contains(got.stdout, "3 files, ") {
				t.Fatalf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			if again := usherIn(t, cloud.CLIEnviron(), args); again.code != 0 || !strings.Contains(again.stdout, "(it was there already)") {
				t.Errorf("exit %d\n%s%s", again.code, again.stdout, again.stderr)
			}
			left, _ := filepath.Glob(i.root + "/opt/.usher*")
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}

			s.config["releases"] = i.root + "/opt/app-releases"
			cloud.PublishRevision("shop", "production", standin.S3Revision(cloud.Bucket, "shop/1.zip", "zip", version, etag))
			downloads := len(cloud.CallsOf("GetObject"))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("answers", answers(server), "usher-launch CONTINUE")
			s.said(r, "is on disk already")
			s.expect("live", s.live(), "1")
			s.expect("downloads", itoa(len(cloud.CallsOf("GetObject"))-downloads), "0")
		})
	}
}

// A revision that an instance would refuse, or never find, is not laid down.
func TestBakeRefusesARevision(t *testing.T) {
	i := newImageTree(t)
	archive := filepath.Join(t.TempDir(), "1.zip")
	i.must(os.WriteFile(archive, zipped(t, files{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  ValidateService: [{location: validate.py}]\n", "validate.py": "#!/usr/bin/python3\n"}), 0o600))
	i.must(os.WriteFile(archive+".txt", []byte("no archive"), 0o600))
	before := i.files()
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"--revision " + archive + " --bucket acme --key 1.zip --etag abc", 1, "problem  revision     validate.py:1:1: its interpreter /usr/bin/python3 is not a program on this machine"},
		{"--revision " + archive + " --bucket acme --key 1.zip", 2, "give --bucket and --key, and both of --version and --etag that CodeDeploy has"},
		{"--revision " + archive, 2, "a revision from a file is found by an instance only under the place it is registered with"},
		{"--revision " + archive + ".txt --bucket acme --key 1.zip --etag abc", 2, "it is neither a zip, tar or tgz archive nor named like one"},
		{"--revision nowhere --bucket acme --key 1.zip --etag abc", 2, "cannot open the revision: open nowhere: no such file or directory"},
		{"--revision s3://acme", 2, "it must be s3://BUCKET/KEY"},
		{"--revision s3://acme/1.zip?versionId=1 --version 2", 2, "give its version once"},
		{"--bucket acme", 2, "--revision is missing"},
	} {
		got := i.bake(strings.Fields(c.line)...)
		if got.code != c.code || !strings.Contains(got.stdout+got.stderr, c.want) {
			t.Errorf("%s: exit %d\n%s%swant %s", c.line, got.code, got.stdout, got.stderr, c.want)
		}
	}
	if changed := gone(before, i.files()); changed != "" {
		t.Errorf("it changed\n%s", changed)
	}
}

// A machine with an agent at work is a server, and no image.
func TestBakeOnAServer(t *testing.T) {
	s := newStage(t)
	i := imageTreeOf(t)
	i.remove("var/lib/usher")
	s.config["state_dir"] = i.root + "/var/lib/usher"
	r := s.start(s.cloud.Launch("web", standin.LaunchOptions{}))
	r.says("completed the lifecycle action")
	if got := i.bake(); got.code != 1 || !strings.Contains(got.stdout, "problem  agent        an agent runs here: this may be a server in service") {
		t.Errorf("exit %d\n%s%s", got.code, got.stdout, got.stderr)
	}
}

// usherIn types a command line in an environment.
func usherIn(t *testing.T, environ []string, args []string) typed {
	t.Helper()
	dir := t.TempDir()
	return usherWith(t, append(slices.Clone(environ), "PATH="+os.Getenv("PATH"), "HOME="+dir, "TMPDIR="+dir, "AWS_EC2_METADATA_DISABLED=true"), args)
}

// usherWith types a command line with an environment and nothing else.
func usherWith(t *testing.T, environ, args []string) typed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, binaries.usher, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = environ, &out, &errs, 5*time.Second
	_ = cmd.Run() // the exit code is looked at
	return typed{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}
