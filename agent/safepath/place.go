//go:build linux && !developer

package safepath

import (
	"os"
	"strconv"
	"strings"
)

// Place is where a directory is on a disk, by whatever way it was reached: a bind mount of a directory has its place.
type Place struct {
	Disk string // the device's numbers, as /proc/self/mountinfo has them
	Path string // in its file system
}

// Under reports whether a place is another or below it.
func (p Place) Under(q Place) bool {
	return p.Disk == q.Disk && p.Disk != "" && (p.Path == q.Path || strings.HasPrefix(p.Path, strings.TrimSuffix(q.Path, "/")+"/"))
}

// Place is where the directory is; ok is false where /proc does not say.
func (d *Dir) Place() (p Place, ok bool) {
	id, err := mountOf(d.fd, "")
	if err != nil {
		return p, false
	}
	at, err := d.fdPath()
	if err != nil {
		return p, false
	}
	for _, m := range mounts("self") {
		if m.id != id {
			continue
		}
		rest, below := strings.CutPrefix(at, strings.TrimSuffix(m.point, "/"))
		if !below {
			return p, false
		}
		path := strings.TrimSuffix(m.root, "/") + rest
		if path == "" {
			path = "/"
		}
		return Place{Disk: m.disk, Path: path}, true
	}
	return p, false
}

// fdPath is where the kernel has the directory now.
func (d *Dir) fdPath() (string, error) { return os.Readlink("/proc/self/fd/" + strconv.Itoa(d.fd)) }

// MountsOf are the places that a process has mounted, by where; none of one that has ended.
func MountsOf(pid string) map[string]Place {
	all := map[string]Place{}
	for _, m := range mounts(pid) {
		all[m.point] = Place{Disk: m.disk, Path: m.root}
	}
	return all
}

// mount is a line of the kernel's table of mounts.
type mount struct {
	id, parent        mountID
	disk, root, point string
}

// mounts are those that a process sees; none where /proc does not say.
func mounts(pid string) (all []mount) {
	text, _ := os.ReadFile("/proc/" + pid + "/mountinfo")
	for line := range strings.Lines(string(text)) {
		// 36 35 98:0 /root /mount/point ...
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		id, err1 := strconv.ParseUint(f[0], 10, 64)
		parent, err2 := strconv.ParseUint(f[1], 10, 64)
		if err1 == nil && err2 == nil {
			all = append(all, mount{mountID(id), mountID(parent), f[2], unescape(f[3]), unescape(f[4])})
		}
	}
	return all
}

// unescape undoes what mountinfo does to spaces and the like: \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
