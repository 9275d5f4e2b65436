package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine is where the report was made, and with what.
type machine struct {
	CPU      string    `json:"cpu"`
	Cores    int       `json:"cores"`
	Memory   int64     `json:"memory"` // bytes
	Kernel   string    `json:"kernel"`
	Disk     string    `json:"disk"` // its file system
	Load     string    `json:"load"` // of the machine when the bench began: another's work is in the figures
	Usher    string    `json:"usher"`
	Programs []program `json:"programs"`
}

// A program is one that takes part.
type program struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (m machine) hardware() string {
	return fmt.Sprintf("%s, %d cores, %.0f GB of memory", m.CPU, m.Cores, float64(m.Memory)/1e9)
}

// versionsOf are the commands that say the version of a program, in their first line.
var versionsOf = []struct {
	name string
	args []string
}{
	{"aws", []string{"--version"}},
	{"curl", []string{"--version"}},
	{"unzip", []string{"-v"}},
	{"bsdtar", []string{"--version"}},
	{"tar", []string{"--version"}},
	{"ln", []string{"--version"}},
	{"bash", []string{"--version"}},
}

// lookAround says what this machine is. What cannot be found out stays empty: it is no reason not to measure.
func (b *bench) lookAround(ctx context.Context) machine {
	m := machine{Cores: runtime.NumCPU(), Disk: fileSystem(b.disk), CPU: fact("/proc/cpuinfo", "model name")}
	kB, _ := strconv.ParseInt(strings.TrimSuffix(fact("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.Memory = kB << 10
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Fields(string(load))[0] + " in the minute before"
	}
	m.Usher = firstLine(ctx, b.usher, "version")
	m.Programs = append(m.Programs, program{"go", runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH})
	for _, v := range versionsOf {
		path, err := exec.LookPath(v.name)
		if err != nil {
			m.Programs = append(m.Programs, program{v.name, "missing"})
			continue
		}
		version := firstLine(ctx, path, v.args...)
		if isWrapper(path) {
			version += " (started through a shell script, whose time counts)"
		}
		m.Programs = append(m.Programs, program{v.name, version})
	}
	return m
}

// fact is a line of one of /proc's files, without its name.
func fact(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "unknown version"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// isWrapper tells whether a program is a shell script, as version managers put before the real one.
func isWrapper(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 64)
	n, _ := f.Read(head)
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	return bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(bytes.TrimSpace(line), []byte("sh"))
}

// fileSystem is the name of the file system of a directory.
func fileSystem(dir string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "unknown"
	}
	switch s.Type {
	case unix.EXT4_SUPER_MAGIC: // ext2 and ext3 too, which nobody has
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return fmt.Sprintf("a file system of type %#x", s.Type)
}
