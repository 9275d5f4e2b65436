package main

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
	s.binary = binaries.kill
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
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		often := time.NewTicker(200 * time.Microsecond)
		defer often.Stop()
		for reads := 0; ; reads++ {
			b, err := os.ReadFile(s.path("opt/app/VERSION"))
			if v := string(b); err != nil || v != "base" && v != "1" {
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
	s.binary, s.env = binaries.kill, []string{"USHER_KILL_AT=" + at}
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
	trace := "\n" + s.trace()
	for _, event := range events {
		runs, most := strings.Count(trace, "\n"+event+" 1 "), 1
		if died == "before script "+event {
			most = 2
		}
		if runs < 1 || runs > most {
			s.Errorf("%s ran %d times; the scripts saw:%s", event, runs, trace)
		}
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
			s.expect("completions", completions(s.cloud, server), "CONTINUE accepted")
			s.expect("live", s.live(), "1")
			s.ranOnce(died, "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService")
			s.clean()
			s.nothingRuns()
			again := s.start(server, "-once")
			s.expect("exit code of one start more", itoa(again.wait()), "3")
			s.expect("completions after it", completions(s.cloud, server), "CONTINUE accepted")
		})
	}
}

func TestKilledAtEveryLineOfAFailure(t *testing.T) {
	start := "#!/bin/sh\nset -e\necho about to fail\nfalse\n"
	for _, at := range cuts(t, "scripts/start.sh", start, "ABANDON") {
		t.Run(at, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": start}))
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
			s.expect("completions", completions(s.cloud, server), "ABANDON accepted")
			s.expect("live", s.live(), "base")
			s.ranOnce(died, "BeforeInstall", "AfterInstall")
			s.clean()
			s.nothingRuns()
			again := s.start(server, "-once")
			s.expect("exit code of one start more", itoa(again.wait()), "3")
			s.expect("completions after it", completions(s.cloud, server), "ABANDON accepted")
		})
	}
}
