package acceptance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usher/agent/standin"
)

// Where the files of a revision go, with which modes, from which kinds of bundle.

// tree is what is below a folder, through links: "mode path" of each file and folder, sorted.
func (s *stage) tree(name string) string {
	s.Helper()
	root, err := filepath.EvalSymlinks(s.path(name))
	s.must(err)
	var all []string
	s.must(filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && path != root {
			all = append(all, fmt.Sprintf("%s %s", info.Mode(), strings.TrimPrefix(path, root+"/")))
		}
		return err
	}))
	return strings.Join(all, "\n")
}

// Files outside the link: saved, replaced, and put back when the deployment fails.
func TestFilesOutside(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"] = "continue"
	with := func(version string, outside files, more files) files {
		f := s.app(version).with(more)
		for name, content := range outside {
			f[name] = content
			f["appspec.yml"] = strings.Replace(f["appspec.yml"], "hooks:", "  - {source: "+name+", destination: \""+s.path(filepath.Dir(name))+"\"}\nhooks:", 1)
		}
		return f
	}
	etc := func() string {
		all := s.picture()
		maps.DeleteFunc(all, func(name, content string) bool {
			return !strings.HasPrefix(name, "etc") || strings.HasPrefix(content, "d")
		})
		var found []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			_, content, _ := strings.Cut(all[name], " ")
			found = append(found, name+"="+content)
		}
		return strings.Join(found, ", ")
	}
	s.write("etc/hosts", "of the image")

	s.publish("shop-1", with("1", files{"etc/shop.conf": "1", "etc/cron.d/shop": "1"}, nil))
	server := s.pooled()
	s.expect("after the first", etc(), "etc/cron.d/shop=1, etc/hosts=of the image, etc/shop.conf=1")

	// Its own files are replaced without asking, and put back with what else was there.
	s.publish("shop-2", with("2", files{"etc/shop.conf": "2", "etc/logrotate.d/shop": "2"}, files{"scripts/validate.sh": "#!/bin/sh\nset -e\ncat " + s.path("etc/shop.conf") + "\nfalse\n"}))
	r, code := s.takeOut(server)
	s.expect("exit code of the second", itoa(code), "1")
	s.said(r, "| 2")
	s.expect("after the second failed", etc(), "etc/cron.d/shop=1, etc/hosts=of the image, etc/shop.conf=1")
	if _, err := os.Stat(s.path("etc/logrotate.d")); err == nil {
		t.Error("the folder it made is still there")
	}

	// A file that the new release no longer installs is taken away.
	s.publish("shop-3", with("3", files{"etc/shop.conf": "3"}, nil))
	s.update(server)
	s.expect("after the third", etc(), "etc/hosts=of the image, etc/shop.conf=3")
	s.expect("live", s.live(), "3")
}

// A file of somebody else at a destination, by file_exists_behavior.
func TestFileExists(t *testing.T) {
	for _, c := range []struct{ behavior, fails, content string }{
		{"OVERWRITE", "", "ours"},
		{"OVERWRITE", "it fails", "of the image"},
		{"RETAIN", "", "of the image"},
	} {
		t.Run(c.behavior+" "+c.fails, func(t *testing.T) {
			s := newStage(t)
			s.write("etc/shop.conf", "of the image")
			s.must(os.Chmod(s.path("etc/shop.conf"), 0o640))
			f := s.outside("etc/shop.conf", "ours")
			f["appspec.yml"] = strings.Replace(f["appspec.yml"], "hooks:", "file_exists_behavior: "+c.behavior+"\nhooks:", 1)
			if c.fails != "" {
				f["scripts/validate.sh"] = "exit 1\n"
			}
			s.publish("shop-1", f)
			_, r, _ := s.launch()
			info, err := os.Stat(s.path("etc/shop.conf"))
			s.must(err)
			text, err := os.ReadFile(s.path("etc/shop.conf"))
			s.must(err)
			s.expect("content", string(text), c.content)
			if c.content != "ours" {
				s.expect("mode", info.Mode().String(), "-rw-r-----")
			}
			if c.behavior == "RETAIN" {
				s.said(r, "warning: "+s.path("etc/shop.conf")+" exists already and is kept (file_exists_behavior RETAIN)")
			}
		})
	}
}

// A file outside of the link is replaced by a deployment, and put back after a failure: what replaces it has its SELinux label,
// and what is put back has all its extended attributes too.
func TestAttributesOfReplacedFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can set a label")
	}
	const label, plain, acl = "security.selinux", "user.made-by", "system.posix_acl_access"
	attributes := func(s *stage, file string) (all string) {
		for _, name := range []string{label, plain, acl} {
			value := make([]byte, 256)
			n, err := unix.Getxattr(s.path(file), name, value)
			if err != nil {
				n = 0
			}
			all += fmt.Sprintf("%q ", value[:n])
		}
		return all
	}
	rights := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x2a\x00\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff" // of user 42
	for _, c := range []struct{ name, validate, content, attributes string }{
		{"replaced", "", "ours", `"system_u:object_r:net_conf_t:s0\x00" "" "" `},
		{"put back", failing, "of the image", fmt.Sprintf("%q %q %q ", "system_u:object_r:net_conf_t:s0\x00", "hand", rights)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.write("etc/hosts", "of the image")
			for name, value := range map[string]string{label: "system_u:object_r:net_conf_t:s0\x00", plain: "hand", acl: rights} {
				s.must(unix.Setxattr(s.path("etc/hosts"), name, []byte(value), 0))
			}
			app := s.app("1").with(files{"hosts": "ours"})
			app["appspec.yml"] = strings.Replace(app["appspec.yml"], "\nhooks:", "\n  - {source: hosts, destination: "+s.path("etc")+"}\nfile_exists_behavior: OVERWRITE\nhooks:", 1)
			if c.validate != "" {
				app["scripts/validate.sh"] = c.validate
			}
			s.publish("shop-1", app)
			s.launch()
			b, err := os.ReadFile(s.path("etc/hosts"))
			s.must(err)
			s.expect("the file", string(b), c.content)
			s.expect("its attributes", attributes(s, "etc/hosts"), c.attributes)
		})
	}
}

// An appspec that picks a part of the revision: the release is that part, and the scripts stay outside it.
func TestMappedRevision(t *testing.T) {
	s := newStage(t)
	mapped := func(version string) files {
		f := s.app(version).with(files{"VERSION": "-", "src/VERSION": version, "src/lib/a": "a", "config/app.yml": "port: 80", "docs/x": "x"})
		f["appspec.yml"] = strings.Replace(f["appspec.yml"], "{source: /, destination: \""+s.path("opt/app")+"\"}",
			"{source: src, destination: \""+s.path("opt/app")+"\"}\n  - {source: config/app.yml, destination: \""+s.path("opt/app/etc")+"\"}", 1)
		return f
	}
	s.publish("shop-1", mapped("1"))
	server := s.pooled()
	s.expect("the release", s.tree("opt/app"), "-rwxr-xr-x VERSION\ndrwxr-xr-x etc\n-rwxr-xr-x etc/app.yml\ndrwxr-xr-x lib\n-rwxr-xr-x lib/a")
	s.expect("releases", s.releases(), "shop-1 good")

	s.publish("shop-2", mapped("2"))
	trace := s.traced(func() { s.update(server) })
	s.expect("the scripts saw", trace, "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nValidateService 2 live=2")

	// A release that is no longer needed goes with all its folders; each of the two that stay has its facts beside its three.
	s.config["keep_releases"] = "1"
	s.publish("shop-3", mapped("3"))
	s.update(server)
	s.expect("releases", s.releases(), "shop-2 good, shop-3 good") // the one before is never removed
	if entries, _ := os.ReadDir(s.path("opt/app-releases")); len(entries) != 8 {
		t.Errorf("in the folder of releases: %v", entries)
	}
}

// Permissions of the appspec, as they are on the disk.
func TestPermissions(t *testing.T) {
	s := newStage(t)
	f := s.app("1").with(files{"bin/serve": "x", "bin/setup": "x", "conf/secret": "x", "www/index.html": "x", "www/img/logo": "x"})
	app := s.path("opt/app")
	f["appspec.yml"] += "permissions:\n" +
		"  - {object: " + app + "/bin, pattern: \"*\", except: [setup], mode: 750, type: [file]}\n" +
		"  - {object: " + app + "/conf, mode: \"0400\", type: [file]}\n" +
		"  - {object: " + app + "/www, mode: 2755, type: [directory]}\n" +
		"  - {object: " + app + "/www, mode: 0644, type: [file]}\n"
	s.publish("shop-1", f)
	server, _, _ := s.launch()
	s.waitFor(server, standin.InService)
	tree := s.tree("opt/app")
	for _, line := range []string{"-rwxr-x--- bin/serve", "-rwxr-xr-x bin/setup", "-r-------- conf/secret", "drwxr-xr-x www", "dgrwxr-xr-x www/img", "-rw-r--r-- www/index.html"} {
		if !strings.Contains(tree+"\n", line+"\n") {
			t.Errorf("there is no %q in\n%s", line, tree)
		}
	}
}

// Bundles as they are made in real life: all are the same release.
func TestKindsOfBundle(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		make       func(s *stage, f files) []byte
	}{
		{"a zip", "zip", func(s *stage, f files) []byte { return zipped(s.T, f) }},
		{"a tgz", "tgz", func(s *stage, f files) []byte { return tarred(s.T, f) }},
		{"a tar", "tar", func(s *stage, f files) []byte { return plainTar(s.T, f) }},
		{"a tgz registered as tar", "tar", func(s *stage, f files) []byte { return tarred(s.T, f) }},
		{"a zip of the folder", "zip", func(s *stage, f files) []byte { return zipped(s.T, f.in("shop-main/")) }},
		{"a tgz of the folder", "tgz", func(s *stage, f files) []byte { return tarred(s.T, f.in("./shop-main/")) }},
		{"a zip made by git archive", "zip", func(s *stage, f files) []byte { return gitArchive(s, f, "--format=zip") }},
		{"a tgz made by git archive", "tgz", func(s *stage, f files) []byte { return gitArchive(s, f, "--format=tar.gz", "--prefix=shop/") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publishBytes("shop-1."+c.kind, c.kind, c.make(s, s.app("1")))
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.waitFor(server, standin.InService)
			s.expect("live", s.live(), "1")
			tree := s.tree("opt/app")
			for _, line := range []string{"r-x scripts\n", "r-x scripts/start.sh\n", " appspec.yml\n"} {
				if !strings.Contains(tree+"\n", line) {
					t.Errorf("there is no %q in\n%s", line, tree)
				}
			}
			s.clean()
		})
	}
}

// in is the revision below a folder.
func (f files) in(folder string) files {
	all := files{}
	for name, content := range f {
		all[folder+name] = content
	}
	return all
}

func plainTar(t testing.TB, f files) []byte {
	z, err := gzip.NewReader(bytes.NewReader(tarred(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// gitArchive is what `git archive` makes of a repository that holds the revision. In its zips, files that
// are not executable have no mode.
func gitArchive(s *stage, f files, options ...string) []byte {
	s.Helper()
	for name, content := range f {
		s.write("repository/"+name, content)
	}
	git := func(args ...string) []byte {
		cmd := exec.CommandContext(s.ctx, "git", args...)
		cmd.Dir, cmd.Stderr = s.path("repository"), os.Stderr
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
		out, err := cmd.Output()
		if err != nil {
			s.Fatalf("git %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	s.must(os.Chmod(s.path("repository/VERSION"), 0o644))
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "a revision")
	return git(append(append([]string{"archive"}, options...), "HEAD")...)
}
