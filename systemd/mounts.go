package systemd

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// NotMounted is an error when a path is on a volume of /etc/fstab that is not mounted. One that is mounted by hand
// (noauto) does not count. What cannot be read says nothing.
func NotMounted(paths ...string) error {
	var mounted, wanted []string
	eachLine("/proc/self/mountinfo", func(fields []string) {
		if len(fields) > 4 {
			mounted = append(mounted, unescaped(fields[4]))
		}
	})
	eachLine("/etc/fstab", func(fields []string) {
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") || slices.Contains(strings.Split(fields[3], ","), "noauto") {
			return
		}
		if point := filepath.Clean(unescaped(fields[1])); filepath.IsAbs(point) && point != "/" {
			wanted = append(wanted, point)
		}
	})
	for _, path := range paths {
		for _, point := range wanted {
			if (path == point || strings.HasPrefix(path, point+"/")) && !slices.Contains(mounted, point) {
				return fmt.Errorf("%s is on %s, a volume of /etc/fstab that is not mounted: what is written there now would be covered by it. "+
					"See `systemctl status %[2]s`; RequiresMountsFor= in usher.service makes the agent wait for it", path, point)
			}
		}
	}
	return nil
}

func eachLine(file string, do func(fields []string)) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		do(strings.Fields(lines.Text()))
	}
}

// unescaped is a path of fstab or mountinfo, where white space is written in octal.
func unescaped(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
