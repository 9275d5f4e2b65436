package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// here is this package's folder, bootScript what boots. They are absolute because the S3 server of other tests
// moves the process into a directory of its own.
var here, bootScript = absolute("."), absolute("../systemd/testdata/boot.sh")

// bootedVariable is set where the tests run under a systemd of their own.
const bootedVariable = "USHER_TEST_BOOTED"

// booted reports whether this process is under a systemd of the test's own. If not, it boots one, runs this
// test again under it, and passes its result on: the caller then returns.
func booted(t *testing.T) bool {
	t.Helper()
	if os.Getenv(bootedVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can boot a systemd; CI is root")
	}
	group := fmt.Sprintf("usher-units-%d-%s", os.Getpid(), t.Name())
	var said bytes.Buffer
	boot := exec.Command("sh", bootScript, group)
	boot.Dir = here
	boot.Stdout, boot.Stderr = &said, &said
	boot.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	var state []byte
	defer func() {
		_ = boot.Process.Kill() // and with the first process of the namespace, all of it
		_ = boot.Wait()
		if t.Failed() {
			t.Logf("systemctl is-system-running: %sboot.sh: %s", state, said.Bytes())
		}
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			top := filepath.Join(root, group)
			waitUntil(t, "control group "+top+" is gone", func() bool {
				_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
				_, err := os.Stat(top)
				return os.IsNotExist(err)
			})
		}
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := []string{"-t", strconv.Itoa(boot.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	waitUntil(t, "systemd runs", func() bool {
		state, _ = exec.Command("nsenter", append(inside, "systemctl", "is-system-running")...).CombinedOutput()
		return string(state) == "running\n"
	})
	again := exec.CommandContext(t.Context(), "nsenter", append(inside, "sh", "-c", `cd "$0" && exec "$@"`, here, self, "-test.v", "-test.run", "^"+t.Name()+"$")...)
	again.Env = append(os.Environ(), bootedVariable+"=1")
	out, err := again.CombinedOutput()
	t.Logf("under a systemd of its own:\n%s", out)
	if err != nil {
		t.Errorf("%v", err)
	}
	return false
}

// waitUntil polls a real condition until it holds.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited %s, and it is not so: %s", patience, what)
		}
	}
}
