//go:build linux && !developer

package release

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"usher/agent/safepath"
)

// namedUsers is how many processes are named; the others are counted.
const namedUsers = 3

// usersOf are the processes that run from releases, by release: their working directory, root, program or a file that
// they have mapped or open is in it, or they have a part of it mounted elsewhere, as in a container. A machine's process table
// is read once for all. A process that ends meanwhile runs from nothing.
func (l Layout) usersOf(releases []Release) (map[string][]string, error) {
	if len(releases) == 0 {
		return nil, nil
	}
	inside := map[string]string{}         // directory -> release
	places := map[safepath.Place]string{} // the same
	for _, r := range releases {
		for _, dir := range []string{r.Dir, r.Bundle} {
			if d, err := safepath.Open(dir); err == nil {
				inside[d.Path()] = r.ID
				if at, ok := d.Place(); ok {
					places[at] = r.ID
				}
				d.Close()
			}
		}
	}
	of := func(path string) string {
		for at := path; len(at) > 1 && at[0] == '/'; at = filepath.Dir(at) {
			if id, ok := inside[at]; ok {
				return id
			}
		}
		return ""
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot see which releases processes run from, so none is removed: %w", err)
	}
	users, more := map[string][]string{}, map[string]int{}
	looked := map[string]bool{} // mount namespaces
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil || p.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		ids := usedBy("/proc/"+p.Name(), of)
		if namespace, err := os.Readlink("/proc/" + p.Name() + "/ns/mnt"); err == nil && !looked[namespace] {
			looked[namespace] = true
			ids = append(ids, mountedBy(p.Name(), places)...)
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			if len(users[id]) == namedUsers {
				more[id]++
				continue
			}
			name, _ := os.ReadFile("/proc/" + p.Name() + "/comm")
			users[id] = append(users[id], fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), p.Name()))
		}
	}
	for id, n := range more {
		users[id] = append(users[id], fmt.Sprintf("and %d more", n))
	}
	return users, nil
}

// mountedBy are the releases of which a process has a part mounted.
func mountedBy(pid string, places map[safepath.Place]string) (ids []string) {
	for _, m := range safepath.MountsOf(pid) {
		for at, id := range places {
			if m.Under(at) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// usedBy are the releases that the process in a directory of /proc runs from.
func usedBy(proc string, of func(path string) string) (ids []string) {
	note := func(path string) {
		if id := of(path); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, name := range []string{"cwd", "root", "exe"} {
		at, _ := os.Readlink(filepath.Join(proc, name)) // none: a kernel thread, or it has ended
		note(at)
	}
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		at, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		note(at)
	}
	maps, _ := os.ReadFile(filepath.Join(proc, "maps"))
	for line := range strings.Lines(string(maps)) {
		if i := strings.IndexByte(line, '/'); i >= 0 {
			note(strings.TrimSuffix(strings.TrimSuffix(line[i:], "\n"), " (deleted)"))
		}
	}
	return ids
}
