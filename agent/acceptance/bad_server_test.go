package acceptance

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A server that is not as the image should have made it: said with what to type, and replaced.
func TestBadServer(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(s *stage)
		live    string
		says    string
	}{
		{"the link is a directory", func(s *stage) {
			s.must(os.Remove(s.path("opt/app")))
			s.write("opt/app/VERSION", "baked in")
		}, "baked in", "/opt/app is a directory, not a symbolic link: a release cannot be switched in under a directory. " +
			"Move it out of the way once, when baking the image: mv -T DIR/opt/app DIR/opt/app-base && ln -s DIR/opt/app-base DIR/opt/app"},
		{"the link is a file", func(s *stage) {
			s.must(os.Remove(s.path("opt/app")))
			s.write("opt/app", "baked in")
		}, "", "/opt/app is a file, not a symbolic link: remove it, then: ln -s DIR/opt/app-base DIR/opt/app"},
		{"the folder of releases is a file", func(s *stage) { s.write("opt/app-releases", "") }, "base", "cannot use the folder of releases: open DIR/opt/app-releases: not a directory"},
		{"the folder of releases cannot be written", func(s *stage) { s.disk("opt/app-releases", "size=64k,ro") }, "base",
			"cannot make a directory for the new release: mkdir DIR/opt/app-releases/.incoming-"},
		{"the disk is too small for the bundle", func(s *stage) { s.disk("opt/app-releases", "size=256k") }, "base",
			" are needed, and 64.0 MB to spare, but 262.1 kB are free: enlarge the volume or keep fewer releases"},
		{"a file is where the appspec installs one", func(s *stage) {
			s.write("etc/shop.conf", "of somebody else")
			s.publish("shop-1", s.outside("etc/shop.conf", "ours"))
		}, "base", "cannot install DIR/etc/shop.conf: the file exists already and no release of this group installed it: " +
			"remove it, or set `file_exists_behavior: OVERWRITE` (or RETAIN) in the appspec"},
		{"a folder is where the appspec installs a file", func(s *stage) {
			s.write("etc/shop.conf/keep", "of somebody else")
			s.publish("shop-1", s.outside("etc/shop.conf", "ours"))
		}, "base", "cannot install the file DIR/etc/shop.conf: a directory of that name exists already: remove it"},
		{"the owner of the files is not there", func(s *stage) {
			f := s.app("1")
			f["appspec.yml"] += "permissions:\n  - {object: " + s.path("opt/app") + ", owner: shopkeeper}\n"
			s.publish("shop-1", f)
		}, "base", `cannot give DIR/opt/app/scripts/validate.sh to user "shopkeeper" (appspec line 12): no such user in /etc/passwd: create it in the image or in BeforeInstall`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			c.prepare(s)
			exit := "1"
			if strings.HasPrefix(c.says, "cannot use the folder of releases") {
				exit = "2" // the image is wrong: no start of the agent mends it
			}
			s.abandonedWith(exit, strings.ReplaceAll(c.says, "DIR", s.dir))
			if c.live != "" {
				s.expect("live", s.live(), c.live)
			}
		})
	}
}

// A disk that fills up while the bundle is unpacked: the server is replaced, and what was written is gone.
func TestDiskFillsUp(t *testing.T) {
	s := newStage(t)
	s.disk("opt/app-releases", "size=66m") // the 64 MB that are to stay free, and a little
	var archive bytes.Buffer
	const size = 80 << 20
	header := bytes.NewBuffer(nil)
	s.must(tar.NewWriter(header).WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}))
	archive.Write(member(t, header.Bytes()))
	archive.Write(bytes.Repeat(member(t, make([]byte, 1<<20)), size>>20))
	s.publishBytes("shop-1.tgz", "tgz", archive.Bytes())
	s.refused(`cannot unpack the bundle: entry "zeros": the disk of `, " is too full: 64.0 MB are to stay free, but only ")
	s.expect("live", s.live(), "base")
}

// disk mounts a disk of its own on a folder of the server.
func (s *stage) disk(name, options string) {
	s.Helper()
	s.must(os.MkdirAll(s.path(name), 0o755))
	var flags uintptr
	if readOnly, ok := strings.CutSuffix(options, ",ro"); ok {
		options, flags = readOnly, syscall.MS_RDONLY
	}
	err := syscall.Mount("tmpfs", s.path(name), "tmpfs", flags, options+",mode=755") // as root makes it
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		s.Skip("only root can mount the small disk this is about")
	}
	s.must(err)
	s.Cleanup(func() { s.must(syscall.Unmount(s.path(name), syscall.MNT_DETACH)) })
}

// outside is a revision that also installs a file outside the link.
func (s *stage) outside(name, content string) files {
	dir := s.path(name[:strings.LastIndex(name, "/")])
	f := s.app("1").with(files{name: content})
	f["appspec.yml"] = strings.Replace(f["appspec.yml"], "hooks:", "  - {source: "+name+", destination: \""+dir+"\"}\nhooks:", 1)
	return f
}
