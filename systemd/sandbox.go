package systemd

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CheckWritable says what to do where the sandbox keeps the agent from a folder that it has to write to: usher.service
// knows those that agent.yml has by default. It is nil where it does not.
func CheckWritable(dirs ...string) error {
	for _, dir := range dirs {
		at := dir
		for ; at != "/" && unix.Access(at, unix.F_OK) != nil; at = filepath.Dir(at) { // it is made there
		}
		if !Sandboxed() || !errors.Is(unix.Access(at, unix.W_OK), unix.EROFS) {
			continue
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real // systemd looks at no link in a path that is above the one it is given
		}
		return fmt.Errorf("cannot write to %s: it is outside the sandbox of usher.service. In the image, make the folder and add "+
			"ReadWritePaths=%[1]s below [Service]: systemctl edit usher.service", dir)
	}
	return nil
}
