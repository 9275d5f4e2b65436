package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// bootedVariable is set where the tests run under a systemd of their own.
const bootedVariable = "USHER_TEST_BOOTED"

// booted reports whether this process is under a systemd of the test's own. If not, it boots one, runs this
// test again under it, and passes its result on: the caller then returns.
func booted(t testing.TB) bool {
	t.Helper()
	if os.Getenv(bootedVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can boot a systemd; CI is root")
	}
	group := fmt.Sprintf("usher-units-%d-%s", os.Getpid(), t.Name())
	var said bytes.Buffer
	boot := exec.Command("sh", "testdata/boot.sh", group)
	boot.Stdout, boot.Stderr = &said, &said
	boot.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	if err := boot.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = boot.Process.Kill() // and with the first process of the namespace, all of it
		_ = boot.Wait()
		removeGroup(t, group)
	}()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inside := []string{"-t", strconv.Itoa(boot.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	var state []byte
	if err := until(func() bool {
		state, _ = exec.Command("nsenter", append(inside, "systemctl", "is-system-running")...).CombinedOutput()
		return string(state) == "running\n"
	}); err != nil {
		t.Fatalf("systemd does not run: %v: %s\n%s", err, state, said.Bytes())
	}
	what := []string{"-test.v", "-test.run", "^" + t.Name() + "$"}
	if _, is := t.(*testing.B); is {
		what = []string{"-test.run", "^$", "-test.bench", "^" + t.Name() + "$"}
	}
	again := exec.CommandContext(t.Context(), "nsenter", append(append(inside, self), what...)...)
	again.Env = append(os.Environ(), bootedVariable+"=1")
	out, err := again.CombinedOutput()
	t.Logf("under a systemd of its own:\n%s", out)
	if err != nil {
		t.Errorf("%v", err)
	}
	return false
}

// removeGroup removes the control groups that are left, which are empty.
func removeGroup(t testing.TB, name string) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if top := filepath.Join(root, name); exists(top) {
			if err := until(func() bool {
				// The deepest first; a folder of cgroupfs is removed with what looks like files in it.
				_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
				return !exists(top)
			}); err != nil {
				t.Errorf("control group %s stays: %v", top, err)
			}
		}
	}
}
