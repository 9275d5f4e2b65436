package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/standin/disk"
)

func TestDiskMounts(t *testing.T) {
	dir := t.TempDir()
	mountinfo, filesystems := filepath.Join(dir, "mountinfo"), filepath.Join(dir, "filesystems")
	for file, text := range map[string]string{
		mountinfo: `22 1 259:1 / / rw,noatime shared:1 - xfs /dev/nvme0n1p1 rw,attr2
30 22 259:1 / /usr ro,relatime - xfs /dev/nvme0n1p1 rw,attr2
31 22 259:2 / /srv/my\040shop ro,relatime shared:3 master:1 - ext4 /dev/nvme1n1 rw
32 22 7:0 / /snap/core/1 rw,nodev - squashfs /dev/loop0 ro,errors=continue
33 22 0:30 / /dev/shm rw - tmpfs tmpfs rw
34 22 0:31 / /mnt/efs rw - nfs4 fs-1:/ rw,vers=4.1
35 22 0:32 / /mnt/fuse rw - fuseblk /dev/sdz rw
36 22 0:33 / /tank rw - zfs tank rw
37 22 259:3 / /torn
`, filesystems: "nodev\tsysfs\nnodev\ttmpfs\n\text4\n\txfs\n\tsquashfs\n\tfuseblk\nnodev\tnfs4\nnodev\tzfs\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := fmt.Sprint(diskMounts(mountinfo, filesystems))
	if want := "[{259:1 /} {259:1 /usr} {259:2 /srv/my shop} {0:33 /tank}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A disk that takes nothing more is an error, and the others are synced all the same.
func TestSyncDisks(t *testing.T) {
	d := disk.New(t, "ext4", 16<<20, filepath.Join(t.TempDir(), "volume"))
	file := filepath.Join(d.Dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	if err := SyncDisks(func() { asked++ }, t.TempDir(), "/no/such/path"); err != nil || asked == 0 {
		t.Fatalf("%v, and alive %d times", err, asked)
	}
	d.Cut()
	if err := SyncDisks(func() {}); err == nil || !strings.Contains(err.Error(), d.Dir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("with a disk that is gone: %v", err)
	}
	d.Restore()
	if b, err := os.ReadFile(file); err != nil || string(b) != "content" {
		t.Errorf("after the power cut it is %q (%v)", b, err)
	}
}
