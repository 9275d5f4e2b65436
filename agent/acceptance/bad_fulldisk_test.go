package acceptance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usher/agent/standin"
	"usher/agent/standin/disk"
)

// A disk that is full, or would be. What is live stays, and the next deployment works.

// small puts releases and state on a file system of its own.
func (s *stage) small(size int64) {
	s.Helper()
	disk.New(s.T, "tmpfs", size, s.path("disk"))
	s.config["releases"], s.config["state_dir"] = s.path("disk/releases"), s.path("disk/state")
}

// A script fills the disk and fails by that. The release goes, and what it filled the disk with.
func TestAScriptFillsTheDisk(t *testing.T) {
	s := newStage(t)
	s.small(150 << 20)
	at, r := s.webServing()
	_, status := s.deploy(s.revision("shop-2", s.web(at, "2").appends("scripts/after.sh", "dd if=/dev/zero of=filler bs=1M count=400\n")))
	s.expect("deployment", status, "Failed")
	s.expect("live", s.live(), "1")
	s.expect("served", s.served(at), "1")
	s.said(r, "removed old releases, for the disk is full: shop-2-")
	_, status = s.deploy(s.revision("shop-3", s.web(at, "3")))
	s.expect("the next deployment", status, "Succeeded")
	s.expect("served after it", s.served(at), "3")
}

// There is no room for the next release beside the one that failed: that goes.
func TestNoRoomBesideTheFailedRelease(t *testing.T) {
	s := newStage(t)
	s.small(200 << 20)
	at, r := s.webServing()
	_, status := s.deploy(s.revision("shop-2", s.web(at, "2").appends("scripts/after.sh", "dd if=/dev/zero of=large bs=1M count=80\nexit 1\n")))
	s.expect("deployment", status, "Failed")
	three := s.web(at, "3").with(files{"pad": strings.Repeat("0123456789abcdef", 90<<20/16)}) // a zip, which says how large it is
	_, status = s.deploy(s.revision("shop-3", three))
	s.expect("the next deployment", status, "Succeeded")
	s.said(r, "there is no room for release shop-3-")
	s.expect("served", s.served(at), "3")
}

// padded is a tgz of a revision and n files more, of a MiB of zeros each. A gzip file may have several members, which are one when
// unpacked: that MiB is compressed once, because the race detector makes seconds of each.
func padded(t testing.TB, f files, n int) []byte {
	var all bytes.Buffer
	add := func(name string, size int, content string) {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(size), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		b.WriteString(content)
		b.Write(make([]byte, -len(content)&511)) // tar's blocks
		all.Write(member(t, b.Bytes()))
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		add(name, len(f[name]), f[name])
	}
	mib := member(t, make([]byte, 1<<20))
	for i := range n {
		add(fmt.Sprintf("pad/%d", i), 1<<20, "")
		all.Write(mib)
	}
	all.Write(member(t, make([]byte, 1024)))
	return all.Bytes()
}

// member is a gzip file of some content.
func member(t testing.TB, content []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err == nil {
		_, err = z.Write(content)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// uploaded is a revision of a tgz.
func (s *stage) uploaded(key string, tgz []byte) standin.Revision {
	s.Helper()
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, key, tgz)
	s.must(err)
	return standin.S3Revision(s.cloud.Bucket, key, "tgz", version, etag)
}

// What an archive does not say is seen while it is unpacked, and the disk is not filled with it.
func TestATarThatIsTooLarge(t *testing.T) {
	s := newStage(t)
	s.small(150 << 20)
	_, _ = s.serving()
	id, status := s.deploy(s.uploaded("shop-2.tgz", padded(t, nil, 300)))
	s.expect("deployment", status, "Failed")
	if told := s.diagnosticsOf(id, "DownloadBundle"); !strings.Contains(told, "the disk of") || !strings.Contains(told, "is too full") {
		t.Errorf("CodeDeploy was told: %s", told)
	}
	s.expect("live", s.live(), "1")
	_, status = s.deploy(s.revision("shop-3", s.app("3")))
	s.expect("the next deployment", status, "Succeeded")
}

// Inodes are looked at as bytes are.
func TestNoInodesForARelease(t *testing.T) {
	s := newStage(t)
	s.small(200 << 20)
	if out, err := exec.Command("mount", "-o", "remount,nr_inodes=5000", s.path("disk")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.serving()
	many := s.app("2")
	for n := range 4000 {
		many[fmt.Sprintf("lib/%d", n)] = ""
	}
	id, status := s.deploy(s.revision("shop-2", many))
	s.expect("deployment", status, "Failed")
	if told := s.diagnosticsOf(id, "DownloadBundle"); !strings.Contains(told, "has too few inodes: ") || !strings.Contains(told, "(df -i)") {
		t.Errorf("CodeDeploy was told: %s", told)
	}
	var left unix.Statfs_t
	s.must(unix.Statfs(s.path("disk"), &left))
	if left.Ffree < 2000 {
		t.Errorf("%d inodes are left", left.Ffree)
	}
	_, status = s.deploy(s.revision("shop-3", s.app("3")))
	s.expect("the next deployment", status, "Succeeded")
}

// A script takes all that is left of the disk, or all inodes, after the flip: what was live needs neither to be live again, and
// nor do the files outside the link.
func TestGoingBackNeedsNoRoom(t *testing.T) {
	for what, fill := range map[string]string{
		"bytes":  "dd if=/dev/zero of=%[1]s/filler bs=64k || true\necho x > %[1]s/more\n",
		"inodes": "mkdir %[1]s/many\nn=0\nwhile echo x > %[1]s/many/$n; do n=$((n + 1)); done\nexit 1\n",
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			s.small(150 << 20)
			if out, err := exec.Command("mount", "-o", "remount,nr_inodes=4000", s.path("disk")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			s.write("disk/opt/app-base/VERSION", "base")
			s.config["link"], s.config["base"] = s.path("disk/opt/app"), s.path("disk/opt/app-base")
			s.must(os.Symlink(s.config["base"], s.config["link"]))
			s.must(os.Remove(s.path("opt/app")))
			s.must(os.Symlink(s.config["link"], s.path("opt/app")))
			at := s.webAddress()
			outside := func(f files) files {
				spec := strings.Replace(f["appspec.yml"], s.path("opt/app"), s.config["link"], 1)
				spec = strings.Replace(spec, "hooks:", "  - {source: conf/shop.conf, destination: "+s.path("disk/etc")+"}\nhooks:", 1)
				return f.with(files{"appspec.yml": spec, "conf/shop.conf": strings.Repeat(f["VERSION"], 64<<10)})
			}
			r := s.webInService(outside(s.web(at, "1")))
			s.expect("served", s.served(at), "1")
			_, status := s.deploy(s.revision("shop-2", outside(s.web(at, "2").appends("scripts/start.sh", fmt.Sprintf(fill, s.path("disk"))))))
			s.expect("deployment", status, "Failed")
			s.expect("live", s.live(), "1")
			s.expect("served after it", s.served(at), "1")
			conf, err := os.ReadFile(s.path("disk/etc/shop.conf"))
			s.must(err)
			s.expect("outside", string(conf[:1]), "1")
			if said := r.text(); strings.Contains(said, "the rollback failed") {
				t.Errorf("usher said:\n%s", said)
			}
			s.must(os.RemoveAll(s.path("disk/filler")))
			s.must(os.RemoveAll(s.path("disk/many")))
			_, status = s.deploy(s.revision("shop-3", outside(s.web(at, "3"))))
			s.expect("the next deployment", status, "Succeeded")
			s.expect("served after that", s.served(at), "3")
		})
	}
}
