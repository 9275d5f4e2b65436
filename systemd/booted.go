package systemd

import "os"

// Booted reports whether systemd is the init of this machine, as sd_booted(3) does.
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}
