package box

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// cgroupTree is where the machine's control groups (version 2) are: on a machine that still has version
// 1 beside it, not at /sys/fs/cgroup itself.
func cgroupTree() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("this machine has no control groups of version 2 (no cgroup2 in /proc/self/mounts)")
}

// killCgroup ends every process in a control group and below at once, by the kernel's own list, and
// waits until they are gone.
func killCgroup(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("1")
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) { // removed before, or meanwhile
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot cut the power: %w", err)
	}
	err = until(context.Background(), func() bool {
		events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		return err != nil || bytes.Contains(events, []byte("populated 0"))
	})
	if err != nil {
		return fmt.Errorf("cannot cut the power: processes in %s do not end: %w", dir, err)
	}
	return nil
}

// removeCgroup ends what is in a control group and removes it. One that does not exist is fine.
func removeCgroup(dir string) error {
	if err := killCgroup(dir); err != nil {
		return err
	}
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove a control group: %w", err)
	}
	for _, group := range slices.Backward(all) { // what is below comes first
		// The kernel lets go of a group a moment after its last process.
		err := until(context.Background(), func() bool {
			err = os.Remove(group)
			return err == nil || errors.Is(err, os.ErrNotExist)
		})
		if err != nil {
			return fmt.Errorf("cannot remove control group %s: %w", group, err)
		}
	}
	return nil
}

// guard is a process that outlives this one, if it is killed, just long enough to cut the power of its boxes:
// it waits for the end of a pipe whose other end only this process has.
type guard struct {
	cmd  *exec.Cmd
	pipe io.Closer
}

func newGuard(cgroup string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", `read -r end; echo 1 >"$1/cgroup.kill"`, "usher-box-guard", cgroup)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ^C is not for it
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start the guard of the boxes: %w", err)
	}
	return &guard{cmd, pipe}, nil
}

// end ends the guard; boxes that are still on lose their power.
func (g *guard) end() {
	g.pipe.Close()
	_ = g.cmd.Wait()
}
