package acceptance

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"usher/agent/cli"
	"usher/agent/standin"
)

// What a local user may do on a server without becoming root. See also package release's attacks.

// aUser is a user of the application's.
const aUser = 12345

// asUser runs a command as that user, and returns what it wrote and how it ended.
func (s *stage) asUser(command string) string {
	s.Helper()
	if os.Geteuid() != 0 {
		s.Skip("only root can be another user")
	}
	for _, dir := range []string{filepath.Dir(s.dir), s.dir} {
		s.must(os.Chmod(dir, 0o755))
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: aUser, Gid: aUser}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// A hook gives the release to the application's user, as hooks do: the user's scripts are not run by root, at the next
// ApplicationStop or in a rollback; those that were checked are.
func TestScriptsOfAReleaseThatWasGivenAway(t *testing.T) {
	for _, bundle := range []string{"the release", "what was unpacked too"} {
		t.Run(bundle, func(t *testing.T) {
			s := newStage(t)
			s.cloud.PutDeploymentGroup(fleetGroup())
			one := s.app("1")
			if bundle != "the release" {
				one["appspec.yml"] = strings.Replace(one["appspec.yml"], "source: /,", "source: VERSION,", 1)
			}
			one["scripts/stop.sh"] += ". \"$(dirname \"$0\")/lib.sh\"\nbeside\n"
			one["scripts/lib.sh"] = "beside() { echo \"beside, in $(cat VERSION) and $(cat \"${0%/*}/../VERSION\")\" >> " + s.path("trace") + "; }\n"
			one["scripts/after.sh"] += "chown -R 12345:12345 \"$USHER_RELEASE_DIR\" .\n"
			s.publish("shop-1", one)
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			r := s.start(server)
			s.waitFor(server, standin.InService)
			r.says("completed the lifecycle action")
			dir := "opt/app"
			if bundle != "the release" {
				unpacked, err := filepath.Glob(s.path("opt/app-releases/*.bundle"))
				s.must(err)
				dir = unpacked[0]
			}
			evil := "printf '#!/bin/sh\\nid -u >> " + s.path("owned") + "\\n'"
			out := s.asUser("cd " + dir + " && for f in stop start validate lib; do " + evil + " > scripts/$f.sh; done && sed -i s/stop.sh/start.sh/ appspec.yml && echo done")
			s.expect("the user's writing", strings.TrimSpace(out), "done")
			s.must(os.Remove(s.path("trace")))

			two := s.app("2")
			two["scripts/validate.sh"] = "#!/bin/sh\nexit 1\n"
			_, status := s.deploy(s.revision("shop-2", two))
			s.expect("status", status, "Failed")
			s.expect("live", s.live(), "1")
			if owned, err := os.ReadFile(s.path("owned")); err == nil {
				t.Errorf("root ran the user's scripts: %s", owned)
			}
			trace := s.trace()
			for _, want := range []string{"ApplicationStop 1", "beside, in 1 and 1", "ApplicationStart 1"} {
				if !strings.Contains(trace, want) {
					t.Errorf("the scripts that were checked were not run: %q is missing in\n%s", want, trace)
				}
			}
			r.stop()
		})
	}
}

// A script gives the release away, and the user changes the next script of the same event before it is run: root runs the one
// that was checked.
func TestNextScriptOfAReleaseThatWasGivenAway(t *testing.T) {
	s := newStage(t)
	s.expect("the user", strings.TrimSpace(s.asUser("echo here")), "here")
	one := s.app("1")
	one["appspec.yml"] = strings.Replace(one["appspec.yml"], "[{location: scripts/after.sh}]", "[{location: scripts/after.sh}, {location: scripts/second.sh}]", 1)
	one["scripts/second.sh"] = "#!/bin/sh\nset -eu\necho \"second, in $(cat VERSION)\" >> " + s.path("trace") + "\n"
	one["scripts/after.sh"] += "chown -R 12345:12345 .\nchroot --userspec=12345:12345 / sh -c \"cd '$PWD'; echo 'id -u > " + s.path("owned") + "' >> scripts/second.sh\"\n"
	s.publish("one", one)
	_, r, _ := s.launch()
	if owned, err := os.ReadFile(s.path("owned")); err == nil {
		t.Errorf("root ran what the user wrote, as %s", owned)
	}
	if trace := s.trace(); !strings.Contains(trace, "second, in 1") {
		t.Errorf("the script that was checked was not run:\n%s", trace)
	}
	s.said(r, "a hook has changed scripts/second.sh, and it is run as it was when it was checked")
}

// A bundle made where all modes are 0777 (a Windows share): nobody else can write to what is installed of it.
func TestABundleThatAllMayWriteTo(t *testing.T) {
	s := newStage(t)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f := s.app("1").with(files{"www/": "", "shared/upload": "x"})
	f["appspec.yml"] += "permissions:\n  - {object: " + s.path("opt/app/shared") + ", pattern: upload, mode: 666, type: [file]}\n"
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o777)
		if strings.HasSuffix(name, "/") {
			h.SetMode(fs.ModeDir | 0o777)
		}
		e, err := w.CreateHeader(h)
		s.must(err)
		_, err = e.Write([]byte(f[name]))
		s.must(err)
	}
	s.must(w.Close())
	s.publishBytes("one.zip", "zip", b.Bytes())
	_, r, _ := s.launch()
	s.said(r, "the bundle lets others than the owner write to 9 of its files and directories")
	s.must(filepath.WalkDir(s.path("opt/app-releases"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o022 != 0 && !strings.HasSuffix(path, "shared/upload") {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
	if info, err := os.Stat(s.path("opt/app/shared/upload")); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("what the appspec asks for: %v %v", info, err)
	}
}

// Who may write to the folder of the link, or of releases, could have root run anything: refused at start, with the
// command that mends it, and the launch is given up.
func TestFoldersThatAreNotRoots(t *testing.T) {
	for name, spoil := range map[string]func(s *stage) (says string){
		"the link's folder": func(s *stage) string {
			s.must(os.Chown(s.path("opt"), aUser, aUser))
			return s.path("opt/app") + " is in " + s.path("opt") + ", which belongs to user 12345: who may write there decides what root runs, overwrites and removes. As root: chown -h root:root " + s.path("opt")
		},
		"everybody's": func(s *stage) string {
			s.must(os.Chmod(s.path("opt"), 0o777))
			return "may be written to by others (mode 0777): who may write there decides what root runs, overwrites and removes. As root: chmod go-w " + s.path("opt")
		},
		"the link": func(s *stage) string {
			s.must(os.Lchown(s.path("opt/app"), aUser, aUser))
			return "chown -h root:root " + s.path("opt/app")
		},
		"releases": func(s *stage) string {
			s.must(os.Mkdir(s.path("opt/app-releases"), 0o755))
			s.must(os.Chown(s.path("opt/app-releases"), aUser, aUser))
			return "chown -h root:root " + s.path("opt/app-releases")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if os.Geteuid() != 0 {
				t.Skip("only root has something to lose")
			}
			says := spoil(s)
			s.publish("one", s.app("1"))
			server, r, code := s.launch()
			s.said(r, says)
			s.expect("answers", answers(server), "usher-launch ABANDON")
			if code != cli.ExitUsage {
				t.Errorf("exit %d, want %d: starting again mends nothing", code, cli.ExitUsage)
			}
			if trace := s.trace(); trace != "" {
				t.Errorf("scripts were run:\n%s", trace)
			}
		})
	}
}

// The link pointed somewhere else when the deployment began: it leads there again, and none of its scripts is run.
func TestRollbackToWhatIsNoRelease(t *testing.T) {
	s := newStage(t)
	other := s.app("other")
	for name, content := range other {
		s.write("srv/other/"+name, content)
	}
	s.must(os.Remove(s.path("opt/app")))
	s.must(os.Symlink(s.path("srv/other"), s.path("opt/app")))
	s.publish("one", s.app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nexit 1\n"}))
	_, r, _ := s.launch()
	s.said(r, "ApplicationStart: none is run of what is neither a release nor the base")
	s.expect("live", s.live(), "other")
	if trace := s.trace(); strings.Contains(trace, "ApplicationStart other") {
		t.Errorf("its scripts were run:\n%s", trace)
	}
}

// A role hook that somebody else can change is not run.
func TestRoleHooksThatAreNotRoots(t *testing.T) {
	s := newStage(t)
	if os.Geteuid() != 0 {
		t.Skip("only root has something to lose")
	}
	s.write("hooks.d/AfterInstall/10-cache", "#!/bin/sh\nset -e\n:\n")
	s.must(os.Chown(s.path("hooks.d/AfterInstall/10-cache"), aUser, aUser))
	s.publish("one", s.app("1"))
	server, r, _ := s.launch()
	s.said(r, s.path("hooks.d/AfterInstall/10-cache")+" belongs to user 12345")
	s.expect("answers", answers(server), "usher-launch ABANDON")
}
