//go:build unix

package rollout

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a command the first of a process group, which ends with it when it is cancelled: sh does not end what it runs.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
