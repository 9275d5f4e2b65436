package acceptance

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// eventualTests are the stories of launches, deployments and rollbacks that CI runs a second time, in an AWS whose
// descriptions are seconds behind (USHER_TEST_EVENTUAL=1). Not all of the suite: it would cost CI minutes more, and the
// other stories are about mistakes that are found before AWS is asked. Not those whose point is what AWS is asked, and what
// is said of it, at a moment that is another then: TestWarmPool, TestCredentialsExpire, TestRootVolumeWasReplaced. And
// not TestRollBackEnvironment, TestRollBackOfAFailure, TestDeployFails and TestDeploy, which deploy again within a second of a deployment: usher rollback and usher
// deploy take the group's word for what runs there, and it is the revision before. The plan then says "nothing", or "the
// same commit again", and a rollback deploys once more what is live. What is asked for is deployed none the less.
const eventualTests = `^Test(Eventual|HookOfTheCLI|OnFailureContinue|ReplacementAfterAbandon|HookIsChosen|VerdictWaitsForTheWaitState|Update|UpdateThatFails|AttachedInstance|TerminateStopsTheApplication|ADeploymentUpdatesAServer|DeploymentsFollowEachOther|ADeploymentMeetsALaunch|ADeploymentFails|AutomaticRollback)$`

// A launch, a deployment and the rollback of the next, with every description seconds behind metadata and behind what
// was answered.
func TestEventual(t *testing.T) {
	if !regexp.MustCompile(eventualTests).MatchString(t.Name()) {
		t.Errorf("CI runs %s a second time, without this test", eventualTests)
	}
	s := newStage(t, standin.Options{Eventual: 3 * time.Second})
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	s.expect("the answers", answers(server), "usher-launch CONTINUE")
	s.expect("live after the launch", s.live(), "1")

	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}, AutoRollback: true})
	deploy := func(revision standin.Revision, want string) {
		t.Helper()
		id, err := s.cloud.Deploy("shop", "production", revision)
		s.must(err)
		status, err := s.cloud.WaitForDeployment(s.ctx, id)
		s.must(err)
		s.expect("the deployment", status, want)
	}
	deploy(s.revision("shop-2", s.app("2")), "Succeeded")
	s.expect("live after the deployment", s.live(), "2")
	deploy(s.revision("shop-3", s.app("3").with(files{"scripts/start.sh": "#!/bin/sh\nset -e\nexit 1\n"})), "Failed")
	for len(s.cloud.HostCommands()) == 0 || s.live() != "2" {
		select {
		case <-s.ctx.Done():
			t.Fatalf("after the rollback %s is live; usher said:\n%s", s.live(), r.text())
		case <-time.After(10 * time.Millisecond):
		}
	}
	r.stop()
}

// A hook as somebody makes it with Debian's AWS CLI, a client whose words nobody here chose: usher finds and completes it.
func TestHookOfTheCLI(t *testing.T) {
	const cli = "/usr/bin/aws"
	if _, err := os.Stat(cli); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no " + cli + ": install awscli")
		}
		t.Skip("no " + cli)
	}
	s := newStage(t)
	aws := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(s.ctx, cli, append([]string{"--endpoint-url", s.cloud.Endpoint, "autoscaling"}, args...)...)
		cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + s.dir}, s.cloud.CLIEnviron()...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	aws("delete-lifecycle-hook", "--auto-scaling-group-name", "web", "--lifecycle-hook-name", "usher-launch")
	aws("put-lifecycle-hook", "--auto-scaling-group-name", "web", "--lifecycle-hook-name", "by-hand", "--heartbeat-timeout", "300",
		"--lifecycle-transition", "autoscaling:EC2_INSTANCE_LAUNCHING")
	if os.Getenv("USHER_TEST_EVENTUAL") != "" {
		time.Sleep(eventualLag) // groups are made long before their servers
	}
	s.publish("shop-1", s.app("1"))
	server, r, code := s.launch()
	if code != 0 || server.State() != standin.InService {
		t.Errorf("exit code %d, the instance is %s; usher said:\n%s", code, server.State(), r.text())
	}
	s.expect("the answers", answers(server), "by-hand CONTINUE")
	if got := aws("describe-auto-scaling-instances", "--query", "AutoScalingInstances[].LifecycleState", "--output", "text"); !strings.Contains(got, "InService") &&
		os.Getenv("USHER_TEST_EVENTUAL") == "" {
		t.Errorf("the CLI sees %q", got)
	}
}
