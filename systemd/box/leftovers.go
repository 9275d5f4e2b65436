package box

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Leftovers says what this package has on the machine that belongs to no running process of tests, and which
// threads of this process are in namespaces of their own, as the box's are until it is closed.
func Leftovers() []string {
	var left []string
	say := func(format string, a ...any) { left = append(left, fmt.Sprintf(format, a...)) }
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, prefix) {
			say("mount: %s", strings.TrimSpace(line))
		}
	}
	for _, kind := range []string{"net", "mnt"} {
		own, _ := os.Readlink("/proc/self/ns/" + kind)
		threads, _ := filepath.Glob("/proc/self/task/*/ns/" + kind)
		for _, path := range threads {
			if ns, err := os.Readlink(path); err == nil && ns != own {
				say("thread in a namespace of its own: %s is %s", path, ns)
			}
		}
	}
	others := map[string]bool{} // sessions of processes that run
	if cache, err := cacheFolder(); err == nil {
		runs := filepath.Join(cache, "run")
		if lock, err := lockFolder(runs, unix.LOCK_EX); err == nil { // nobody makes or removes one meanwhile
			defer lock.Close()
		}
		dirs, _ := filepath.Glob(filepath.Join(runs, prefix+"*"))
		for _, dir := range dirs {
			lock, err := lockFolder(dir, unix.LOCK_EX|unix.LOCK_NB)
			if err != nil {
				others[filepath.Base(dir)] = true
				continue
			}
			lock.Close()
			say("folder: %s", dir)
		}
	}
	if tree, err := cgroupTree(); err == nil {
		groups, _ := filepath.Glob(filepath.Join(tree, prefix+"*"))
		for _, group := range groups {
			if !others[filepath.Base(group)] {
				say("control group: %s", group)
			}
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		_, group, ours := strings.Cut(read(p, "cgroup"), "/"+prefix)
		session, _, _ := strings.Cut(group, "/")
		if !ours || others[prefix+session] || strings.Contains(read(p, "stat"), ") Z ") { // a zombie has ended
			continue
		}
		say("process: %s of %s: %s", filepath.Base(p), prefix+session, strings.ReplaceAll(read(p, "cmdline"), "\x00", " "))
	}
	return left
}

// leftovers are those of this session, once it is removed.
func (s *session) leftovers() (left []string) {
	for _, l := range Leftovers() {
		if strings.Contains(l, s.name) || strings.HasPrefix(l, "thread") {
			left = append(left, l)
		}
	}
	return left
}

// read reads a file of /proc; one of a process that has ended meanwhile is empty.
func read(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return string(bytes.TrimSpace(text))
}
