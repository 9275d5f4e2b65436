package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// What may come between two commands of a deployment: refusals, silence, restarts, objects that change. In all of
// it no server is left with its application stopped, or on a release that nobody deployed.

// A command is refused after others were carried out: what they did is undone.
func TestRefusedInTheMiddle(t *testing.T) {
	s := newStage(t)
	s.config["signer_ca_file"] = s.path("ca.pem")
	s.write("ca.pem", string(s.cloud.SignerCA()))
	server, _ := s.serving()
	c := standin.Sent{Event: "ApplicationStop", Application: "shop", Group: "production", DeploymentID: "d-MIDDLE", Revision: s.revision("shop-2", s.app("2"))}
	s.expect("ApplicationStop", s.send(server, c).Status, "Succeeded")
	s.cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: standin.ContentAltered})
	c.Event = "DownloadBundle"
	s.expect("DownloadBundle", s.send(server, c).Status, "Failed")
	s.until(func() bool { return strings.Contains(s.trace(), "ApplicationStart 1") })
}

// CodeDeploy ends an event while the agent is away.
func TestEndedWhileAway(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	g := fleetGroup()
	g.EventTimeout = 10 * time.Second // no event of a busy machine takes so long
	s.cloud.PutDeploymentGroup(g)
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", s.app("2").with(files{"scripts/start.sh": "#!/bin/sh\nset -eu\necho it waits\nexec sleep 300\n"})))
	s.must(err)
	r.says("| it waits")
	s.must(r.cmd.Process.Kill())
	r.wait()
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Failed")
	r = s.start(server)
	r.says("CodeDeploy has ended ApplicationStart")
	s.until(func() bool { return s.live() == "1" && strings.Contains(s.trace(), "ApplicationStart 1") })
}

// A command for which there is nothing to do is not ended by its acknowledgement, and its result does not reach CodeDeploy
// before the agent is stopped: the next agent tells it.
func TestTheResultOfASkippedCommandIsToldAgain(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	live := s.revision("shop-2", s.app("2"))
	s.deploy(live)
	trace, told := s.trace(), len(s.cloud.CallsOf("PutHostCommandComplete"))
	s.cloud.Fail("PutHostCommandAcknowledgement", 1, standin.Fault{AfterEffect: true, Body: []byte(`{"CommandStatus":"InProgress"}`)})
	for _, fault := range []standin.Fault{{DropConnection: true}, {Status: 503}} {
		s.cloud.Fail("PutHostCommandComplete", 1, fault)
	}
	s.cloud.Fail("PutHostCommandComplete", -1, standin.Fault{DropConnection: true})
	id := s.cloud.SendCommand(server, standin.Sent{Event: "ApplicationStop", Application: "shop", Group: "production", Creator: "codeDeployRollback", Revision: live})
	_, err := s.cloud.WaitForCalls(s.ctx, "PutHostCommandComplete", told+3)
	s.must(err)
	r.stop()
	s.cloud.Heal("PutHostCommandComplete")
	s.start(server)
	s.until(func() bool {
		cmd, err := s.cloud.WaitForHostCommand(s.ctx, server, id)
		s.must(err)
		return cmd.Completed == 1
	})
	s.expect("the scripts saw", s.trace(), trace)
}

// CodeDeploy does not take an acknowledgement, and gives the command out again and again.
func TestAcknowledgementRefused(t *testing.T) {
	s := newStage(t)
	s.serving()
	s.cloud.Fail("PutHostCommandAcknowledgement", -1, standin.Fault{Code: "AccessDeniedException", Message: "no"})
	s.deployInBackground("2")
	calls, err := s.cloud.WaitForCalls(s.ctx, "PutHostCommandAcknowledgement", 4)
	s.must(err)
	for n := range calls[1:] {
		if pause := calls[n+1].At.Sub(calls[n].At); pause < time.Second {
			t.Errorf("acknowledged again after %s", pause)
		}
	}
}

// A command stands in the record that CodeDeploy no longer knows: it keeps no other from being carried out.
func TestACommandThatIsForgotten(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"] = "1m"
	server, r := s.serving()
	r.stop()
	f, err := os.OpenFile(s.path("state/record.jsonl"), os.O_RDWR|os.O_APPEND, 0)
	s.must(err)
	b, _ := os.ReadFile(s.path("state/record.jsonl"))
	var e map[string]any
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	s.must(json.Unmarshal([]byte(lines[0]), &e))
	line, _ := json.Marshal(map[string]any{"time": e["time"], "boot": e["boot"], "instance": e["instance"], "image": e["image"], "run": 1,
		"what": "commanded", "command": "gone", "execution": "CodeDeploy/eu-west-1/Prod/arn:aws:sds:eu-west-1:1:deployment/d-GONE", "step": "AfterInstall"})
	_, err = f.Write(append(line, '\n'))
	s.must(err)
	f.Close()
	s.start(server)
	id := s.deployInBackground("2")
	if status, err := s.cloud.WaitForDeployment(s.ctx, id); err != nil || status != "Succeeded" {
		t.Errorf("a new deployment after 30 s: %s %v; polls %d, GetDeploymentSpecification %d", status, err, len(s.cloud.CallsOf("PollHostCommand")), len(s.cloud.CallsOf("GetDeploymentSpecification")))
	}
}

// A revision that was registered with neither version nor ETag, deployed twice.
func TestUnpinnedRevisionTwice(t *testing.T) {
	s := newStage(t)
	s.serving()
	r2 := s.revision("shop-2", s.app("2"))
	r2.S3.Version, r2.S3.ETag = "", ""
	for _, n := range []string{"first", "second"} {
		_, status := s.deploy(r2)
		s.expect(n, status, "Succeeded")
	}
}

// The same, at a launch that CodeDeploy's own hook holds.
func TestUnpinnedRevisionAtALaunchOfCodeDeploys(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: "bare", NoReplacement: true})
	g := fleetGroup()
	g.Managed, g.AutoScalingGroups = true, []string{"bare"}
	s.cloud.PutDeploymentGroup(g)
	_, _, err := s.cloud.Upload(s.cloud.Bucket, "shop-1.zip", zipped(t, s.app("1")))
	s.must(err)
	s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "shop-1.zip", "zip", "", ""))
	s.cloud.PutDeploymentGroup(g)
	inst := s.cloud.Launch("bare", standin.LaunchOptions{})
	s.start(inst)
	s.until(func() bool { return inst.State() == standin.InService })
	s.expect("the scripts saw", s.trace(), "BeforeInstall 1 live=base\nAfterInstall 1 live=base\nApplicationStart 1 live=1\nValidateService 1 live=1")
}

// The object of the group's revision is overwritten: nobody has deployed that.
func TestAnOverwrittenObjectIsNoDeployment(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "200ms"
	s.cloud.PutDeploymentGroup(fleetGroup())
	_, _, err := s.cloud.Upload(s.cloud.Bucket, "app.zip", zipped(t, s.app("1")))
	s.must(err)
	s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, "app.zip", "zip", "", ""))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	_, _, err = s.cloud.Upload(s.cloud.Bucket, "app.zip", zipped(t, s.app("2"))) // a build; nobody has deployed it
	s.must(err)
	n := len(s.cloud.CallsOf("GetDeploymentGroup"))
	_, err = s.cloud.WaitForCalls(s.ctx, "GetDeploymentGroup", n+10)
	s.must(err)
	s.expect("live", s.live(), "1")
}

// A deployment succeeds here and fails on another server: the group is where it was, and this server stays.
func TestAServerAheadOfItsGroup(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "0s"
	server, r := s.serving()
	other := s.another()
	s.another()
	f := files{"VERSION": "2", "appspec.yml": "version: 0.0\nos: linux\nhooks:\n  ValidateService: [{location: scripts/validate.sh}]\n",
		"scripts/validate.sh": "#!/bin/sh\nset -eu\ncase $USHER_RELEASE_DIR in " + other.dir + "*) exit 1;; esac\n"}
	_, status := s.deploy(s.revision("shop-2", f))
	s.expect("deployment", status, "Failed")
	s.expect("live where it succeeded", s.live(), "2")
	r.stop()
	s.config["drift_check_interval"] = "200ms"
	r = s.start(server)
	n := len(s.cloud.CallsOf("GetDeploymentGroup"))
	_, err := s.cloud.WaitForCalls(s.ctx, "GetDeploymentGroup", n+8)
	s.must(err)
	s.expect("live on the server where it succeeded", s.live(), "2")
	if strings.Contains(r.text(), "has moved on") {
		t.Error("the group has not moved, and the server says it has")
	}
}

// A server was cut off in a deployment that succeeded on all others: it catches up.
func TestCutOffIsNoFailure(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	revision := s.revision("shop-2", s.app("2"))
	for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall"} {
		s.send(server, standin.Sent{Event: event, Application: "shop", Group: "production", DeploymentID: "d-CUTOFF", Revision: revision})
	}
	r.stop() // the server is away for an hour; the others have succeeded
	s.cloud.PublishRevision("shop", "production", revision)
	s.config["drift_check_interval"] = "200ms"
	r = s.start(server)
	s.said(r, "CodeDeploy has ended this deployment")
	s.until(func() bool { return s.live() == "2" })
}

// The agent is restarted while CodeDeploy registers the server at its load balancer. Then AfterAllowTraffic fails.
func TestRestartBeforeAfterAllowTraffic(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	s.write("etc/VERSION", "of somebody else")
	f := s.app("2")
	f["appspec.yml"] = strings.Replace(f["appspec.yml"], "\nhooks:", "\n  - {source: VERSION, destination: "+s.path("etc")+"}\nfile_exists_behavior: OVERWRITE\nhooks:", 1) + "  AfterAllowTraffic: [{location: scripts/aat.sh}]\n"
	f["scripts/aat.sh"] = failing
	c := standin.Sent{Application: "shop", Group: "production", DeploymentID: "d-TRAFFIC", Revision: s.revision("shop-2", f)}
	for _, e := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart", "ValidateService"} {
		c.Event = e
		s.expect(e, s.send(server, c).Status, "Succeeded")
	}
	r.stop()
	s.start(server)
	c.Event = "AfterAllowTraffic"
	s.expect("AfterAllowTraffic", s.send(server, c).Status, "Failed")
	s.expect("live", s.live(), "1")
	b, _ := os.ReadFile(s.path("etc/VERSION"))
	s.expect("the file outside", string(b), "of somebody else")
}

// Files that only an old release had are removed once, and not again when an operator puts them there.
func TestWhatWasReplacedIsLetGoOnce(t *testing.T) {
	s := newStage(t)
	s.cloud.PutDeploymentGroup(fleetGroup())
	one := s.app("1")
	one["appspec.yml"] = strings.Replace(one["appspec.yml"], "\nhooks:", "\n  - {source: VERSION, destination: "+s.path("etc")+"}\nhooks:", 1)
	s.publish("shop-1", one)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	for _, version := range []string{"2", "3"} { // when the next begins, nothing brings back what was before the last
		_, status := s.deploy(s.revision("shop-"+version, s.app(version)))
		s.expect("deployment of "+version, status, "Succeeded")
	}
	if _, err := os.Stat(s.path("etc/VERSION")); !os.IsNotExist(err) {
		t.Errorf("the file of release 1: %v", err)
	}
	s.write("etc/VERSION", "an operator's own")
	r.stop()
	r = s.start(server)
	r.says("nothing to deploy")
	_, status := s.deploy(s.revision("shop-4", s.app("4")))
	s.expect("deployment of 4", status, "Succeeded")
	b, err := os.ReadFile(s.path("etc/VERSION"))
	s.must(err)
	s.expect("the operator's file", string(b), "an operator's own")
}

// Deployments that fail one after the other do not fill the disk.
func TestFailedReleasesArePruned(t *testing.T) {
	s := newStage(t)
	s.serving()
	for _, v := range []string{"2", "3", "4", "5", "6"} {
		_, status := s.deploy(s.revision("shop-"+v, s.app(v).with(files{"scripts/start.sh": failing})))
		s.expect("deployment", status, "Failed")
	}
	s.until(func() bool { // pruned after CodeDeploy was told
		kept, _ := filepath.Glob(s.path("opt/app-releases/shop-*.json"))
		return len(kept) <= 3
	})
}

// The agent of a server in service is restarted while Auto Scaling does not answer.
func TestAutoScalingIsAwayAtARestart(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	r.stop()
	s.cloud.Fail("DescribeAutoScalingInstances", -1, standin.Fault{Code: "AccessDenied", Status: 403, Message: "no"})
	s.start(server)
	id := s.deployInBackground("2")
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	if err != nil {
		t.Errorf("%s %v, polls %d", status, err, len(s.cloud.CallsOf("PollHostCommand")))
	}
}

// A repair that fails for want of the bundle is tried again.
func TestARepairInAnOutage(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"], s.config["retry_timeout"] = "200ms", "100ms"
	_, r := s.serving()
	s.cloud.Fail("GetObject", -1, standin.Fault{Status: 503})
	s.publish("shop-2", s.app("2"))
	r.says("Rollback finished")
	s.cloud.Heal("GetObject")
	s.until(func() bool { return s.live() == "2" })
}

// The instance is terminated while CodeDeploy fails to say what a command is about.
func TestTerminatedWhileCodeDeployFails(t *testing.T) {
	s := newStage(t)
	s.config["retry_timeout"], s.config["on_terminate"] = "2m", "stop"
	server, r := s.serving()
	s.cloud.Fail("GetDeploymentSpecification", -1, standin.Fault{Status: 500})
	s.deployInBackground("2")
	r.says("cannot get the deployment specification")
	server.Terminate()
	s.until(func() bool { return strings.Contains(s.trace(), "ApplicationStop 1") })
}
