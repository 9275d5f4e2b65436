package acceptance

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
)

// Scripts that misbehave while they run. The base is live again, and the failed release is kept for a person
// to look at.
func TestBadScript(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string // of ApplicationStart, after the flip
		says   []string
	}{
		{"hangs", "echo waiting\nexec sleep 600\n", []string{"script scripts/start.sh did not finish within its timeout of 1s (appspec `timeout:`) and was stopped; its last line: waiting"}},
		{"hangs and ignores TERM", "trap '' TERM\necho waiting\nwhile :; do sleep 600; done\n", []string{"script scripts/start.sh did not finish within its timeout of 1s (appspec `timeout:`) and was stopped; its last line: waiting"}},
		{"hangs in a child of its own session", "echo $$ > PID\nsetsid sleep 600 &\necho $! > PID\nwait\n", []string{"script scripts/start.sh did not finish within its timeout of 1s (appspec `timeout:`) and was stopped; it wrote nothing"}},
		{"is killed", "echo before\nkill -9 $$\n", []string{"script scripts/start.sh was killed by SIGKILL after", "; its last line: before"}},
		{"fails and says nothing", "exit 3\n", []string{"script scripts/start.sh failed with exit code 3 after", "; it wrote nothing"}},
		{"does not find a command", "set -e\nshopctl start\n", []string{"script scripts/start.sh failed with exit code 127 after", "scripts/start.sh: 4: shopctl: not found"}},
		{"uses a variable that is not set", "set -u\necho $SHOP_DATABASE\n", []string{"script scripts/start.sh failed with exit code 2 after", "scripts/start.sh: 4: SHOP_DATABASE: parameter not set"}},
		{"fails on standard error", "echo fine\necho 'cannot bind port 80' >&2\nexit 1\n", []string{"             | fine", "script scripts/start.sh failed with exit code 1 after", "; its last line: cannot bind port 80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			f := s.app("1")
			f["appspec.yml"] = strings.Replace(f["appspec.yml"], "location: scripts/start.sh", "location: scripts/start.sh, timeout: 1", 1)
			f["scripts/start.sh"] = "#!/bin/sh\nset -e\n" + strings.ReplaceAll(c.script, "PID", s.path("run/pid"))
			s.publish("shop-1", f)
			s.must(os.Mkdir(s.path("run"), 0o755))
			s.abandoned(c.says...)
			s.expect("live", s.live(), "base")
			s.expect("releases", s.releases(), "shop-1 bad")
			if pid, ok := s.pid(); ok && running(pid) {
				t.Errorf("process %d is still there", pid)
			}
		})
	}
}

// Scripts that are odd, but do what they are asked: the server goes into service.
func TestOddScript(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string
		says   []string
	}{
		{"prints 50 MB", "yes 'the quick brown fox jumps over the lazy dog, and over it again and again' | head -c 50000000\n", []string{"warning: scripts/start.sh wrote 664932 more lines than are kept"}},
		{"prints what is not text", `printf 'caf\351 \033[31mred\033[0m \001 \377\376 tab\tend\n'` + "\n", []string{"             | caf\\xe9 red \\x01 \\xff\\xfe tab\tend"}},
		{"prints no end of line", "printf 'one line of 20000 bytes: '; head -c 20000 /dev/zero | tr '\\0' x\n", []string{"             | one line of 20000 bytes: xxx"}},
		{"closes its output", "exec >&- 2>&-\ntrue\n", []string{"ApplicationStart finished"}},
		{"reads its input", "cat\necho nothing came\n", []string{"             | nothing came"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": "#!/bin/sh\nset -e\n" + c.script}))
			server, r, code := s.launch()
			s.waitFor(server, standin.InService)
			s.expect("exit code", itoa(code), "0")
			s.expect("live", s.live(), "1")
			s.expect("releases", s.releases(), "shop-1 good")
			s.said(r, c.says...)
			s.clean()
		})
	}
}

// A script that leaves a process behind holds nothing up. The process goes on, and is named.
func TestScriptLeavesProcess(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": "#!/bin/sh\nset -e\nsleep 600 &\necho $! > " + s.path("run/pid") + "\nuntil grep -qx sleep /proc/$!/comm; do :; done\n"}))
	s.must(os.Mkdir(s.path("run"), 0o755))
	server, r, code := s.launch()
	pid, _ := s.pid()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })

	s.waitFor(server, standin.InService)
	s.expect("exit code", itoa(code), "0")
	s.said(r, fmt.Sprintf("warning: scripts/start.sh left 1 process running: sleep (pid %d)", pid))
	if !running(pid) {
		t.Errorf("the process is gone")
	}
}

// pid is the process a script wrote down.
func (s *stage) pid() (pid int, ok bool) {
	text, err := os.ReadFile(s.path("run/pid"))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	s.must(err)
	return pid, true
}

// running says whether a process is there and not merely waiting to be buried.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}
