package acceptance

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"usher/agent/standin"
)

// programMemory is how much of its program is mapped to a process now, in kB.
func (r *agentRun) programMemory() (kB int) {
	r.s.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	r.s.must(err)
	_, figure, _ := strings.Cut(string(text), "RssFile:")
	if _, err := fmt.Sscan(figure, &kB); err != nil {
		r.s.Fatalf("cannot read RssFile: %v in\n%s", err, text)
	}
	return kB
}

// The program that a launch ran through is let go when it is over, and again after a deployment; the agent works on.
func TestTheMemoryOfALaunchIsGivenBack(t *testing.T) {
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	first, open := s.gate(s.app("1"), "scripts/validate.sh")
	s.publish("shop-1", first)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	rests := func(at string, open func()) {
		t.Helper()
		s.until(func() bool { return strings.Contains(s.trace(), at) })
		working := r.programMemory()
		open()
		s.until(func() bool { return r.programMemory() < working*2/3 })
		t.Logf("%s: %d kB of the program, %d kB after it", at, working, r.programMemory())
	}
	rests("ValidateService 1", open)
	s.waitFor(server, standin.InService)

	second, open := s.gate(s.app("2"), "scripts/start.sh")
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", second))
	s.must(err)
	rests("ApplicationStart 2", open)
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	s.expect("live", s.live(), "2")
	s.expect("exit code", itoa(r.stop()), "0")
}
