package acceptance

import (
	"strings"
	"testing"

	"usher/agent/standin"
)

// The main job: Pending:Wait to InService on the group's latest revision.
func TestLaunch(t *testing.T) {
	s := newStage(t)
	id := s.publish("shop-1", s.app("1"))
	server, r, code := s.launch()

	s.waitFor(server, standin.InService)
	s.expect("exit code", itoa(code), "0")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
	s.expect("the scripts saw", s.trace(), strings.Join([]string{
		"BeforeInstall 1 live=base", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1"}, "\n"))
	s.said(r, "deployment "+id+" begins", "ApplicationStop finished", "DownloadBundle finished", "AfterInstall finished", "Flip finished",
		"ValidateService finished", "completed the lifecycle action of hook usher-launch with CONTINUE")
	s.clean()
	s.expect("calls", callsOf(s.cloud), "CompleteLifecycleAction DescribeAutoScalingInstances DescribeLifecycleHooks GetDeploymentGroup GetObject HeadObject")
}

// A failing script in the middle: ABANDON, with the base live and running.
func TestLaunchThatFails(t *testing.T) {
	for _, c := range []struct {
		script, event, trace string
	}{
		{"before.sh", "BeforeInstall", ""},
		{"after.sh", "AfterInstall", "BeforeInstall 1 live=base"},
		{"start.sh", "ApplicationStart", "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStop 1 live=1"},
		{"validate.sh", "ValidateService", "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nApplicationStop 1 live=1"},
	} {
		t.Run(c.event, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{"scripts/" + c.script: "#!/bin/sh\nset -e\necho about to fail\nfalse\necho not reached\n"}))
			server, r, code := s.launch()

			s.waitFor(server, standin.Terminated)
			s.expect("exit code", itoa(code), "1")
			s.expect("verdict", answers(server), "usher-launch ABANDON")
			s.expect("live", s.live(), "base")
			s.expect("the scripts saw", s.trace(), c.trace)
			s.said(r, c.event+" failed", c.event+" script scripts/"+c.script+" failed with exit code 1", "its last line: about to fail", "with ABANDON")
			if strings.Contains(r.text(), "not reached") {
				t.Error("the script went on after its failing command")
			}
			s.clean()
		})
	}
}
