package acceptance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
	"usher/agent/standin/disk"
)

// The power of a server is cut. What was written and is in memory only is gone, as it is with a machine that resets: the
// file system stops at once, and is mounted again from what had reached its disk. Whatever the server was at, when it is
// in service all files are whole: those of the release, those that scripts made there, and those that they made elsewhere.

// powerCuts is at how many places each deployment is cut off: go test ./agent/acceptance -run PowerCut -powercuts 40
var powerCuts = flag.Int("powercuts", 2, "power cuts in each deployment of TestPowerCut...")

// cutServer is a server whose whole disk loses its power.
type cutServer struct {
	*stage
	disk  *disk.Disk
	files int // of its releases, beside the scripts'
}

// eachDisk runs a test on every file system, with releases that are synced file by file and as a whole.
func eachDisk(t *testing.T, test func(s cutServer)) {
	for _, kind := range []string{"ext4", "xfs"} {
		for _, files := range []int{10, 200} {
			t.Run(fmt.Sprintf("%s, %d files", kind, files), func(t *testing.T) { test(newCutServer(t, kind, files)) })
		}
	}
}

func newCutServer(t *testing.T, kind string, files int) cutServer {
	s := newStage(t)
	d := disk.New(t, kind, 512<<20, s.path("server"))
	for name, value := range s.config {
		s.config[name] = strings.Replace(value, s.dir, d.Dir, 1)
	}
	s.dir = d.Dir
	s.write("opt/app-base/VERSION", "base")
	s.must(os.Symlink(s.path("opt/app-base"), s.path("opt/app")))
	d.Sync()
	return cutServer{s, d, files}
}

var scriptEvents = []string{"BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"}

// app is a revision whose scripts write into the release, and elsewhere on the disk.
func (s cutServer) app(version string) files {
	f := files{"VERSION": version, "appspec.yml": "version: 0.0\nos: linux\nhooks:\n"}
	for n := range s.files {
		f[fmt.Sprintf("lib/%d", n)] = content(version, n)
	}
	for _, event := range scriptEvents {
		f["appspec.yml"] += fmt.Sprintf("  %s: [{location: scripts/%[1]s.sh}]\n", event)
		f["scripts/"+event+".sh"] = fmt.Sprintf("#!/bin/sh\nset -eu\nfor dir in \"$USHER_RELEASE_DIR/built\" %s; do\n  mkdir -p \"$dir\"\n"+
			"  for n in 1 2 3 4 5 6 7 8; do echo \"%s %s $n\" >\"$dir/%[2]s-$n\"; done\ndone\ncd \"$USHER_RELEASE_DIR/lib\"\necho %[2]s >0.new\nmv 0.new 0\n", s.path("var/lib/shop"), event, version)
	}
	return f
}

func content(version string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s %d\n", version, n), 500)
}

// whole checks the release that is live, and what its scripts have made.
func (s cutServer) whole(when, version string) {
	s.Helper()
	var broken []string
	check := func(name, want string) {
		if b, err := os.ReadFile(s.path(name)); err != nil || string(b) != want {
			broken = append(broken, fmt.Sprintf("%s (%d bytes)", name, len(b)))
		}
	}
	check("opt/app/VERSION", version)
	check("opt/app/lib/0", "ValidateService\n")
	for n := 1; n < s.files; n++ {
		check(fmt.Sprintf("opt/app/lib/%d", n), content(version, n))
	}
	for _, event := range scriptEvents {
		for n := 1; n <= 8; n++ {
			for _, dir := range []string{"opt/app/built", "var/lib/shop"} {
				check(fmt.Sprintf("%s/%s-%d", dir, event, n), fmt.Sprintf("%s %s %d\n", event, version, n))
			}
		}
	}
	if len(broken) > 0 {
		s.Errorf("%s: %d files are not what they were, the first %s", when, len(broken), broken[0])
	}
	if out, err := exec.Command(binaries.usher, "status", "-config", s.path("agent.yml")).CombinedOutput(); err != nil || !strings.Contains(string(out), "good") {
		s.Errorf("usher status: %v\n%s", err, out)
	}
}

// cut takes the power away and gives it back: the server boots.
func (s cutServer) cut() {
	s.Helper()
	config, err := os.ReadFile(s.path("agent.yml")) // of the image
	s.must(err)
	s.disk.Cut()
	s.disk.Restore()
	s.must(os.WriteFile(s.path("agent.yml"), config, 0o600))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	s.must(err)
	if lines, err := os.ReadFile(s.path("state/record.jsonl")); err == nil && strings.Contains(string(lines), strings.TrimSpace(string(boot))) {
		s.rebooted()
	}
	s.disk.Sync() // what the test did
}

// recorded is how many lines the record has.
func (s cutServer) recorded() int {
	b, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	return strings.Count(string(b), "\n")
}

// somewhere are places among so many lines, before or after which the power is cut.
func somewhere(t *testing.T, lines int) (at []string) {
	for _, n := range rand.Perm(2 * lines)[:min(*powerCuts, 2*lines)] {
		at = append(at, itoa(n/2+1)+string("-+"[n%2]))
	}
	slices.Sort(at)
	t.Logf("cut at lines %s of %d", at, lines)
	return at
}

func TestPowerCutAfterTheVerdict(t *testing.T) {
	eachDisk(t, func(s cutServer) {
		s.publish("shop-1", s.app("1"))
		server, _, _ := s.launch()
		s.expect("verdict", answers(server), "usher-launch CONTINUE")
		s.cut()
		s.whole("after a power cut in service", "1")
	})
}

func TestPowerCutInALaunch(t *testing.T) {
	eachDisk(t, func(s cutServer) {
		s.publish("shop-1", s.app("1"))
		s.launch()
		kind, lines := filepath.Base(s.Name()), s.recorded()
		for _, at := range somewhere(s.T, lines) {
			s.Run(at, func(t *testing.T) {
				s := newCutServer(t, kind[:strings.IndexAny(kind, ",_")], s.files)
				s.publish("shop-1", s.app("1"))
				server := s.cloud.Launch("web", standin.LaunchOptions{})
				died := s.killed(server, at)
				s.cut()
				r := s.start(server, "-once")
				if code := r.wait(); code != 0 && code != 3 {
					t.Errorf("exit code %d", code)
				}
				s.waitFor(server, standin.InService)
				s.completed("completions", server, "CONTINUE accepted")
				s.whole("in service, after a cut "+died, "1")
				s.cut()
				s.whole("in service, after a cut "+died+" and one more", "1")
				s.clean()
			})
		}
	})
}

func TestPowerCutInADeployment(t *testing.T) {
	eachDisk(t, func(s cutServer) {
		_, r := s.servingFrom()
		before := s.recorded()
		s.deploy(s.revision("shop-2", s.app("2")))
		r.stop()
		kind, lines := filepath.Base(s.Name()), s.recorded()-before
		for _, at := range somewhere(s.T, lines) {
			s.Run(at, func(t *testing.T) {
				s := newCutServer(t, kind[:strings.IndexAny(kind, ",_")], s.files)
				server, r := s.servingFrom()
				r.stop()
				s.disk.Sync()
				s.binary, s.env = binaries.kill(), []string{"USHER_KILL_AT=" + at}
				id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", s.app("2")))
				s.must(err)
				r = s.start(server)
				r.wait()
				if status := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
					t.Fatalf("the agent was not killed at %s: %s", at, r.cmd.ProcessState)
				}
				s.cut()
				s.binary, s.env = binaries.usher, nil
				r = s.start(server)
				status, err := s.cloud.WaitForDeployment(s.ctx, id)
				s.must(err)
				s.expect("deployment", status, "Succeeded")
				r.stop()
				s.cut()
				_, died, _ := strings.Cut(r.text(), "killed at line ")
				s.whole("deployed, after a cut at "+died, "2")
			})
		}
	})
}

// servingFrom is serving with the revision of this server.
func (s cutServer) servingFrom() (*standin.Instance, *agentRun) {
	s.Helper()
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	return server, r
}
