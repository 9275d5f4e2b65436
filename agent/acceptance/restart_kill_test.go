package acceptance

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
)

// SIGKILL at every line of the record, before it is written and after, then a restart: however far the
// launch had got, it ends as if nothing had happened.

// cuts are all places at which a launch of f can be killed: "1-", "1+", "2-" and so on. They are counted
// on a launch that is not killed, which is also seen to end with the verdict.
func cuts(t *testing.T, script, content, verdict string) (all []string) {
	s := newStage(t)
	s.binary = binaries.kill()
	s.publish("shop-1", s.app("1").with(files{script: content}))
	server, _, _ := s.launch()
	s.expect("verdict", answers(server), "usher-launch "+verdict)
	lines, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	for n := range bytes.Count(lines, []byte("\n")) {
		all = append(all, itoa(n+1)+"-", itoa(n+1)+"+")
	}
	return all
}

// readsAlways reads what the application's link leads to, all the time until the test ends. A failed read
// fails the test.
func (s *stage) readsAlways() {
	version := regexp.MustCompile(`^(base|[1-9])$`)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		often := time.NewTicker(200 * time.Microsecond)
		defer often.Stop()
		for reads := 0; ; reads++ {
			b, err := os.ReadFile(s.path("opt/app/VERSION"))
			if err != nil || !version.Match(b) {
				s.Errorf("read %d of the application's VERSION: %q, %v", reads, b, err)
				return
			}
			select {
			case <-often.C:
			case <-stop:
				return
			}
		}
	}()
	s.Cleanup(func() { close(stop); <-done })
}

// killed starts the agent with a kill at a line of its record, and returns which line that was.
func (s *stage) killed(server *standin.Instance, at string) (line string) {
	s.Helper()
	s.binary, s.env = binaries.kill(), []string{"USHER_KILL_AT=" + at}
	r := s.start(server, "-once")
	r.wait()
	s.binary, s.env = binaries.usher, nil
	if status := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		s.Fatalf("the agent was not killed at %s: %s; it said:\n%s", at, r.cmd.ProcessState, r.text())
	}
	m := regexp.MustCompile(`killed at line [0-9]+([+-]): (.*)`).FindStringSubmatch(r.text())
	if m == nil {
		s.Fatalf("the agent did not say where it was killed; it said:\n%s", r.text())
	}
	return map[string]string{"-": "before", "+": "after"}[m[1]] + " " + m[2]
}

// ranOnce checks that each event's script ran once; that of the event in which the agent died before its
// end was recorded, once or twice.
func (s *stage) ranOnce(died string, events ...string) {
	s.Helper()
	for _, event := range events {
		s.ran(died, event, "1")
	}
}

func (s *stage) ran(died, event, version string) {
	s.Helper()
	trace := "\n" + s.trace()
	runs, most := strings.Count(trace, "\n"+event+" "+version+" "), 1
	if died == "before script "+event {
		most = 2
	}
	if runs < 1 || runs > most {
		s.Errorf("%s of %s ran %d times; the scripts saw:%s", event, version, runs, trace)
	}
}

func TestKilledAtEveryLine(t *testing.T) {
	for _, at := range cuts(t, "VERSION", "1", "CONTINUE") {
		t.Run(at, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.readsAlways()
			died := s.killed(server, at)
			t.Log("died", died)
			r := s.start(server, "-once")
			if code := r.wait(); code != 0 && code != 3 {
				t.Errorf("exit code %d", code)
			}
			s.waitFor(server, standin.InService)
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.completed("completions", server, "CONTINUE accepted")
			s.expect("live", s.live(), "1")
			s.ranOnce(died, "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService")
			s.clean()
			s.nothingRuns()
			again := s.start(server, "-once")
			s.expect("exit code of one start more", itoa(again.wait()), "3")
			s.completed("completions after it", server, "CONTINUE accepted")
		})
	}
}

func TestKilledAtEveryLineOfAFailure(t *testing.T) {
	for _, at := range cuts(t, "scripts/start.sh", failing, "ABANDON") {
		t.Run(at, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.readsAlways()
			died := s.killed(server, at)
			t.Log("died", died)
			r := s.start(server, "-once")
			if code := r.wait(); code != 1 && code != 3 {
				t.Errorf("exit code %d", code)
			}
			s.waitFor(server, standin.Terminated)
			s.expect("verdict", answers(server), "usher-launch ABANDON")
			s.completed("completions", server, "ABANDON accepted")
			s.expect("live", s.live(), "base")
			s.ranOnce(died, "BeforeInstall", "AfterInstall")
			s.clean()
			s.nothingRuns()
			again := s.start(server, "-once")
			s.expect("exit code of one start more", itoa(again.wait()), "3")
			s.completed("completions after it", server, "ABANDON accepted")
		})
	}
}

// An agent that is killed again and again, each time after the second line it writes, still gets there.
func TestKilledAgainAndAgain(t *testing.T) {
	for _, c := range []struct {
		name, script, content, verdict, live string
		state                                standin.State
	}{
		{"a launch", "VERSION", "1", "CONTINUE", "1", standin.InService},
		{"a launch that fails", "scripts/start.sh", failing, "ABANDON", "base", standin.Terminated},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{c.script: c.content}))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			s.readsAlways()
			s.binary, s.env = binaries.kill(), []string{"USHER_KILL_AT=2+"}
			for kills, code := 0, -1; code < 0; kills++ {
				if code = s.start(server, "-once").wait(); kills > 40 {
					t.Fatalf("killed %d times without getting anywhere", kills)
				}
			}
			s.waitFor(server, c.state)
			s.expect("completions", completions(s.cloud, server), c.verdict+" accepted")
			s.expect("live", s.live(), c.live)
			s.ranOnce("", "BeforeInstall", "AfterInstall")
			s.nothingRuns()
		})
	}
}

// An update, of a server that comes out of a warm pool to find that the group moved on, killed before each
// line is written: what was done is not on record yet.
func TestKilledAtEveryLineOfAnUpdate(t *testing.T) {
	prepare := func(s *stage) *standin.Instance {
		s.Helper()
		s.pool(standin.WarmedRunning)
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{WarmPool: true})
		s.expect("exit code on the way into the pool", itoa(s.start(server, "-once").wait()), "0")
		s.must(os.Remove(s.path("trace")))
		s.publish("shop-2", s.app("2"))
		server.StartFromPool()
		return server
	}
	count := func(s *stage) int {
		lines, err := os.ReadFile(s.path("state/record.jsonl"))
		s.must(err)
		return bytes.Count(lines, []byte("\n"))
	}
	whole := newStage(t)
	server := prepare(whole)
	before := count(whole)
	whole.expect("exit code", itoa(whole.start(server, "-once").wait()), "0")
	for n := range count(whole) - before {
		t.Run(itoa(n+1)+"-", func(t *testing.T) {
			s := newStage(t)
			server := prepare(s)
			s.readsAlways()
			died := s.killed(server, itoa(n+1)+"-")
			t.Log("died", died)
			r := s.start(server, "-once")
			if code := r.wait(); code != 0 && code != 3 {
				t.Errorf("exit code %d", code)
			}
			s.waitFor(server, standin.InService)
			s.completed("completions", server, "CONTINUE accepted, CONTINUE accepted")
			s.expect("live", s.live(), "2")
			for event, version := range map[string]string{"ApplicationStop": "1", "BeforeInstall": "2", "AfterInstall": "2", "ApplicationStart": "2", "ValidateService": "2"} {
				s.ran(died, event, version)
			}
			s.clean()
			s.nothingRuns()
		})
	}
}
