package box

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// initScript makes the first process of new namespaces a systemd.
//
//go:embed init.sh
var initScript string

// withinVariable is set where a test runs under a systemd of its own.
const withinVariable = "USHER_TEST_BOOTED"

// origin is where the test process was started: its package's folder, wherever the test has moved it since.
var origin, _ = os.Getwd()

// Within reports whether this process runs under a systemd of the test's own. If not, it starts one, runs the same
// test (or benchmark) again under it, and passes its result on: the caller then returns.
//
//	func TestUnit(t *testing.T) {
//		if !box.Within(t) {
//			return
//		}
//		… the machine's systemd is the test's own, and has journald and nothing else
//
// It is for tests of calls to systemd: the test itself is inside, on the machine's own files, in
// namespaces of its own (PID, mount, UTS, IPC, network). No image is needed, and it is there in half a second. A
// [Box] is a machine that the test looks at from outside. Needs root; without it the test is skipped, or fails when
// CI is set.
func Within(t testing.TB) bool {
	t.Helper()
	if os.Getenv(withinVariable) != "" {
		return true
	}
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can start a systemd; CI is root")
	}
	script := filepath.Join(t.TempDir(), "init.sh")
	if err := os.WriteFile(script, []byte(initScript), 0o600); err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("usher-units-%d-%s", os.Getpid(), t.Name())
	var said bytes.Buffer
	init := exec.Command("sh", script, group)
	init.Dir = origin
	init.Stdout, init.Stderr = &said, &said
	init.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET}
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = init.Process.Kill() // and with the first process of the namespace, all of it
		_ = init.Wait()
		if err := removeGroups(group); err != nil {
			t.Error(err)
		}
	}()
	inside := []string{"-t", strconv.Itoa(init.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	var state []byte
	if err := until(t.Context(), func() bool {
		state, _ = exec.Command("nsenter", append(inside, "systemctl", "is-system-running")...).CombinedOutput()
		return string(state) == "running\n"
	}); err != nil {
		t.Fatalf("systemd does not run: %v: %s\n%s", err, state, said.Bytes())
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	what := []string{"-test.v", "-test.run", "^" + t.Name() + "$"}
	if _, is := t.(*testing.B); is {
		what = []string{"-test.run", "^$", "-test.bench", "^" + t.Name() + "$"}
	}
	// nsenter leaves for the root of what it enters.
	again := exec.CommandContext(t.Context(), "nsenter", append(append(inside, "sh", "-c", `cd "$0" && exec "$@"`, origin, self), what...)...)
	again.Env = append(os.Environ(), withinVariable+"=1")
	out, err := again.CombinedOutput()
	t.Logf("under a systemd of its own:\n%s", out)
	if err != nil {
		t.Errorf("%v", err)
	}
	return false
}

// removeGroups removes the control groups that are left, which are empty.
func removeGroups(name string) error {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		top := filepath.Join(root, name)
		if err := until(context.Background(), func() bool {
			// The deepest first; a folder of cgroupfs is removed with what looks like files in it.
			_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
			_, err := os.Stat(top)
			return os.IsNotExist(err)
		}); err != nil {
			return fmt.Errorf("control group %s stays: %w", top, err)
		}
	}
	return nil
}
