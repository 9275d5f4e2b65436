package acceptance

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
)

// SIGKILL at every line that a deployment by CodeDeploy's commands writes, then a restart: CodeDeploy sees
// each event end once, and the deployment as it would have been.

// commandCuts are the places at which an agent can be killed while it carries out a deployment of f: counted
// in the lines that it writes after its start in service.
func commandCuts(t *testing.T, f func(*stage) files, status string) (cuts []string) {
	s := newStage(t)
	_, r := s.serving()
	count := func() int {
		lines, err := os.ReadFile(s.path("state/record.jsonl"))
		s.must(err)
		return bytes.Count(lines, []byte("\n"))
	}
	before := count()
	_, got := s.deploy(s.revision("shop-2", f(s)))
	s.expect("deployment", got, status)
	r.stop()
	for n := range count() - before {
		cuts = append(cuts, itoa(n+1)+"-")
		if status == "Succeeded" {
			cuts = append(cuts, itoa(n+1)+"+")
		}
	}
	return cuts
}

func TestKilledAtEveryLineOfACommand(t *testing.T) {
	for _, c := range []struct {
		name, status, live string
		f                  func(*stage) files
	}{
		{"that goes well", "Succeeded", "2", func(s *stage) files { return s.app("2") }},
		{"that fails", "Failed", "1", func(s *stage) files { return s.app("2").with(files{"scripts/start.sh": failing}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, at := range commandCuts(t, c.f, c.status) {
				t.Run(at, func(t *testing.T) {
					s := newStage(t)
					server, r := s.serving()
					r.stop()
					s.readsAlways()
					s.binary, s.env = binaries.kill(), []string{"USHER_KILL_AT=" + at}
					id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", c.f(s)))
					s.must(err)
					r = s.start(server)
					r.wait()
					if status := r.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() {
						t.Fatalf("the agent was not killed at %s: %s", at, r.cmd.ProcessState)
					}
					_, died, _ := strings.Cut(r.text(), "killed at line ")
					t.Log("died at", died)
					s.binary, s.env = binaries.usher, nil
					s.start(server)
					status, err := s.cloud.WaitForDeployment(s.ctx, id)
					s.must(err)
					s.expect("deployment", status, c.status)
					s.expect("live", s.live(), c.live)
					for _, line := range strings.Split(s.commands(id), "\n") {
						// An agent that dies between telling CodeDeploy and recording that it did tells it again.
						if strings.Contains(line, "told") && !strings.Contains(died, "- : answered") && !strings.Contains(died, "-: answered") {
							t.Errorf("CodeDeploy was told more than once: %s", line)
						}
					}
					trace := "\n" + s.trace()
					for event, version := range map[string]string{"ApplicationStop": "1", "BeforeInstall": "2", "AfterInstall": "2"} {
						most := 1
						if strings.Contains(died, "-: script "+event) {
							most = 2 // it had ended, and that was not on disk
						}
						if runs := strings.Count(trace, "\n"+event+" "+version+" "); runs < 1 || runs > most {
							t.Errorf("%s ran %d times; the scripts saw:%s", event, runs, trace)
						}
					}
					s.nothingRuns()
				})
			}
		})
	}
}

// The agent is killed while a script of a commanded event runs.
func TestKilledInAScriptOfACommand(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	f := s.app("2").with(files{"scripts/after.sh": s.alone()})
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", f))
	s.must(err)
	r.says("| it runs")
	s.must(r.cmd.Process.Kill())
	r.wait()
	second := s.start(server)
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	s.expect("commands", s.commands(id), inPlace)
	s.said(second, "resuming deployment "+id)
	s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 1 begins\nAfterInstall 1 begins\nAfterInstall 1 ends\n"+
		"ApplicationStart 2 live=2\nValidateService 2 live=2")
	s.nothingRuns()
}

// The service is restarted between two events, and in the middle of one.
func TestRestartedInADeployment(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	fifo := s.path("go")
	s.must(syscall.Mkfifo(fifo, 0o600))
	f := s.app("2").with(files{"scripts/after.sh": "#!/bin/sh\nset -eu\necho it waits\ncat " + fifo + "\necho AfterInstall 2 ends >> " + s.path("trace") + "\n"})
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", f))
	s.must(err)
	r.says("| it waits")
	s.expect("exit code of the stopped service", itoa(r.stop()), "0")
	s.said(r, "AfterInstall interrupted")
	second := s.start(server)
	second.says("| it waits")
	s.must(os.WriteFile(fifo, []byte("go\n"), 0))
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	s.expect("commands", s.commands(id), inPlace)
	s.expect("live", s.live(), "2")
	s.expect("state", string(server.State()), string(standin.InService))
}
