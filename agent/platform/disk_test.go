//go:build linux && !developer

package platform

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Storage that the application mounts below its release takes no room beside the release, however much it holds.
func TestSizeOfATreeWithAMount(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "uploads")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, files, err := treeSize(dir)
	if err != nil || before != 1 {
		t.Fatal(before, files, err)
	}
	if err := unix.Mount("tmpfs", shared, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("CI") != "" && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		t.Skipf("cannot mount here: %v", err)
	}
	defer func() { _ = unix.Unmount(shared, unix.MNT_DETACH) }()
	if err := os.WriteFile(filepath.Join(shared, "many"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if size, n, err := treeSize(dir); size != before || n != files-1 || err != nil {
		t.Errorf("%d bytes in %d files, %v: want %d in %d", size, n, err, before, files-1)
	}
}
