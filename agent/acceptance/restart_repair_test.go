package acceptance

import (
	"regexp"
	"strings"
	"testing"

	"usher/agent/standin"
)

// Servers that missed a deployment, and CodeDeploy's own integration with Auto Scaling.

// A server launches while a deployment is under way: it comes up on the revision of before, and brings
// itself to the new one when that has succeeded.
func TestAServerThatWasLaunchingMeanwhile(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "300ms"
	_, r := s.serving()
	late := s.late("1")
	late.config["drift_check_interval"] = "300ms"
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", versioned("2").with(files{
		"scripts/validate.sh": "#!/bin/sh\nset -eu\necho it waits\nwhile ! [ -e " + s.path("late-is-up") + " ]; do sleep 0.02; done\n"})))
	s.must(err)
	r.says("| it waits")
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	lr := late.start(server)
	late.waitFor(server, standin.InService)
	lr.says("is live and good")
	late.expect("live at first", late.live(), "1")
	s.write("late-is-up", "")
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	late.said(lr, "this server missed a deployment: deploying s3://")
	late.until(func() bool { return late.live() == "2" })
	late.until(func() bool { return strings.Count(lr.text(), "is live and good") == 2 })
	late.expect("verdicts", answers(server), "usher-launch CONTINUE")
	// It may have followed the revision before, which late published without a deployment.
	if regexp.MustCompile(`missed a deployment: deploying s3://\S+/shop-2\.zip`).MatchString(r.text()) {
		t.Error("the server that was part of the deployment repaired itself too")
	}
}

// late is a server of the group with a disk of its own that is not launched yet; the group's revision, of
// this version, names no path of the first server's.
func (s *stage) late(version string) *stage {
	s.Helper()
	o := s.beside()
	s.publish("shop-"+version+"-anywhere", versioned(version))
	return o
}

// versioned is a revision that names no path.
func versioned(version string) files {
	return files{"VERSION": version, "appspec.yml": "version: 0.0\nos: linux\nhooks:\n  ValidateService: [{location: scripts/validate.sh}]\n",
		"scripts/validate.sh": "#!/bin/sh\nset -eu\n[ \"$(cat \"$USHER_RELEASE_DIR/VERSION\")\" = " + version + " ]\n"}
}

// A revision that fails here is not tried again until the group moves on.
func TestARepairThatFails(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "100ms"
	_, r := s.serving()
	s.publish("shop-2", s.app("2").with(files{"scripts/start.sh": failing}))
	s.said(r, "this server missed a deployment", "Rollback finished")
	n := len(s.cloud.CallsOf("GetDeploymentGroup"))
	if _, err := s.cloud.WaitForCalls(s.ctx, "GetDeploymentGroup", n+5); err != nil {
		t.Fatal(err)
	}
	if tried := strings.Count(r.text(), "this server missed a deployment"); tried != 1 {
		t.Errorf("tried %d times", tried)
	}
	s.expect("live", s.live(), "1")
	s.publish("shop-3", s.app("3"))
	s.until(func() bool { return s.live() == "3" })
}

func TestDriftRepairSwitchedOff(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "0s"
	_, r := s.serving()
	n := len(s.cloud.CallsOf("GetDeploymentGroup"))
	s.publish("shop-2", s.app("2"))
	before := len(s.cloud.MetadataCalls())
	s.until(func() bool { return len(s.cloud.MetadataCalls()) > before })
	r.stop()
	s.expect("live", s.live(), "1")
	if more := len(s.cloud.CallsOf("GetDeploymentGroup")) - n; more != 0 {
		t.Errorf("%d calls of GetDeploymentGroup", more)
	}
}

// A deployment is stopped between two events of this server. Its application was stopped by then: what was
// live is started again.
func TestADeploymentThatIsStoppedHalfway(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	revision := s.revision("shop-2", s.app("2"))
	for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall"} { // and no more
		s.send(server, standin.Sent{Event: event, Application: "shop", Group: "production", DeploymentID: "d-STOPPED", Revision: revision})
	}
	r.stop()
	s.config["drift_check_interval"] = "200ms"
	r = s.start(server)
	s.said(r, "CodeDeploy has ended this deployment, and did not finish it here", "Rollback finished")
	s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1")
	s.expect("live", s.live(), "1")
	_, status := s.deploy(revision)
	s.expect("the next deployment", status, "Succeeded")
}

// CodeDeploy's own integration with Auto Scaling holds the launch and deploys by commands.
func TestCodeDeployLaunches(t *testing.T) {
	managed := fleetGroup()
	managed.Managed = true
	for _, c := range []struct {
		name    string
		ours    bool // the group has usher's hook as well
		answers string
	}{
		{"its hook and usher's", true, "usher-launch CONTINUE"},
		{"its hook alone", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			group, managed := "web", managed
			if !c.ours {
				group = "bare"
				s.cloud.CreateGroup(standin.Group{Name: group, NoReplacement: true})
				managed.AutoScalingGroups = []string{group}
			}
			s.publish("shop-1", s.app("1"))
			s.cloud.PutDeploymentGroup(managed)
			server := s.cloud.Launch(group, standin.LaunchOptions{})
			r := s.start(server)
			s.waitFor(server, standin.InService)
			s.expect("live", s.live(), "1")
			// Once, by whichever of the two.
			s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nValidateService 1 live=1")
			for _, call := range s.cloud.CallsOf("CompleteLifecycleAction") {
				if strings.HasPrefix(call.Params["LifecycleHookName"], "CodeDeploy-managed") {
					t.Error("usher completed CodeDeploy's hook")
				}
			}
			for _, a := range server.Answers() {
				if a.Result != "CONTINUE" {
					t.Errorf("hook %s: %s", a.Hook, a.Result)
				}
			}
			_, status := s.deploy(s.revision("shop-2", s.app("2")))
			s.expect("a deployment later", status, "Succeeded")
			r.stop()
		})
	}
}
