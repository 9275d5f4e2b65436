package systemd

import (
	"os"

	"golang.org/x/sys/unix"
)

// Booted reports whether systemd is the init of this machine, as sd_booted(3) does.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// Sandboxed reports whether this process is a service of the machine's systemd whose unit has a sandbox
// (NoNewPrivileges=, as usher.service has). What such a process starts itself is in it, too.
func Sandboxed() bool {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && set == 1 && os.Getenv("INVOCATION_ID") != "" && Booted()
}
