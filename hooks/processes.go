//go:build linux && !developer

package hooks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pollProcesses is how often /proc is read while processes are expected to end: often enough that
// nobody notices the wait, seldom enough that reading it costs nothing.
const pollProcesses = 20 * time.Millisecond

// killTime is how long a process may take to end after KILL. It is over at once, unless the process
// waits for a device that does not answer, and then it may be never.
const killTime = 10 * time.Second

// tag is what a script's processes have in their environment: its ID and, where it is told one, the
// instance. Several agents may share a machine, as in a demo, and run the same event of the same deployment
// at once.
type tag []string

func tagOf(s Script) tag {
	m := tag{Tag + "=" + s.ID}
	for _, kv := range s.Env {
		if strings.HasPrefix(kv, "INSTANCE_ID=") {
			m = append(m, kv)
		}
	}
	return m
}

// tagOfDeployment is what the processes of all scripts of a deployment on an instance have.
func tagOfDeployment(deployment, instance string) tag {
	return tag{Tag + "=" + deployment + "-" + anyScript, "INSTANCE_ID=" + instance}
}

// anyScript ends a tag that is only the beginning of an ID.
const anyScript = "*"

// has says whether a variable is one of the tag's.
func (t tag) has(kv string) bool {
	return slices.ContainsFunc(t, func(want string) bool {
		begin, any := strings.CutSuffix(want, anyScript)
		return kv == want || any && strings.HasPrefix(kv, begin)
	})
}

// ProcessesOf are the names of the processes that scripts of a deployment have left running.
func ProcessesOf(deployment, instance string) []string {
	return names(processesOf(tagOfDeployment(deployment, instance), 0))
}

// EndProcessesOf ends them, TERM and then KILL, as after a script whose time is up, and returns those that are still there.
func EndProcessesOf(deployment, instance string) []string {
	return names(stop(tagOfDeployment(deployment, instance), 0, KillGrace, func() {}))
}

func names(processes []process) (list []string) {
	for _, p := range processes {
		list = append(list, p.String())
	}
	return list
}

// process is one process of a script.
type process struct {
	pid  int
	name string
}

func (p process) String() string { return fmt.Sprintf("%s (pid %d)", p.name, p.pid) }

// processesOf are the living processes, other than our own, that carry the tag or are in the process
// group; group 0 is none. Zombies are not living.
func processesOf(id tag, group int) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, ok := inspect(pid, id, group); ok {
			found = append(found, p)
		}
	}
	return found
}

// inspect tells whether pid is one of them. A process that ends meanwhile does not.
func inspect(pid int, id tag, group int) (process, bool) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return process{}, false
	}
	// "pid (name) state ppid pgrp …"; the name may hold anything, parentheses and spaces included.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 3 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	p := process{pid: pid, name: Clean(stat[open+1 : end])}
	if group > 0 && fields[2] == strconv.Itoa(group) {
		return p, true
	}
	environ, err := os.ReadFile(filepath.Join(folder, "environ"))
	if err != nil {
		return process{}, false
	}
	found := 0
	for kv := range bytes.SplitSeq(environ, []byte{0}) {
		if id.has(string(kv)) {
			found++
		}
	}
	return p, found == len(id)
}

// signalAll sends sig to every process of a script.
func signalAll(id tag, group int, sig syscall.Signal) {
	for _, p := range processesOf(id, group) {
		// A Process holds a pidfd: having looked once more, we cannot hit a stranger that was given
		// the same number meanwhile.
		handle, err := os.FindProcess(p.pid)
		if err != nil {
			continue
		}
		if _, still := inspect(p.pid, id, group); still {
			_ = handle.Signal(sig) // it may just have ended
		}
		_ = handle.Release()
	}
}

// stop ends all processes of a script: TERM, and KILL for those left after grace, over and over,
// because a process may start others between two looks. It returns those not even KILL has ended.
// alive is called at every look.
func stop(id tag, group int, grace time.Duration, alive func()) []process {
	tick := time.NewTicker(pollProcesses)
	defer tick.Stop()
	signalAll(id, group, syscall.SIGTERM)
	var killed time.Time
	for began := time.Now(); ; <-tick.C {
		left := processesOf(id, group)
		if len(left) == 0 || !killed.IsZero() && time.Since(killed) > killTime {
			return left
		}
		if time.Since(began) > grace {
			signalAll(id, group, syscall.SIGKILL)
			if killed.IsZero() {
				killed = time.Now()
			}
		}
		alive()
	}
}
