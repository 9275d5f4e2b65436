package acceptance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"usher/agent/standin"
)

// Servers that are in service, and CodeDeploy that brings them another revision: the whole agent, from the
// launch on, against deployments that the stand-in drives.

// fleetGroup is the deployment group of the tests: the servers of Auto Scaling group web.
func fleetGroup() standin.DeploymentGroup {
	return standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}}
}

// serving launches a server that runs version 1 and keeps its agent running.
func (s *stage) serving() (*standin.Instance, *agentRun) {
	s.Helper()
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	s.must(os.Remove(s.path("trace")))
	return server, r
}

// revision uploads a revision without deploying it.
func (s *stage) revision(name string, f files) standin.Revision {
	s.Helper()
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, name+".zip", zipped(s.T, f))
	s.must(err)
	return standin.S3Revision(s.cloud.Bucket, name+".zip", "zip", version, etag)
}

// deploy deploys a revision to the group and waits until CodeDeploy has ended that.
func (s *stage) deploy(r standin.Revision) (id, status string) {
	s.Helper()
	id, err := s.cloud.Deploy("shop", "production", r)
	s.must(err)
	s.step()
	status, err = s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	return id, status
}

// commands are the host commands of a deployment as CodeDeploy has them, a line each.
func (s *stage) commands(id string) string {
	var lines []string
	for _, c := range s.cloud.HostCommands() {
		if c.DeploymentID != id {
			continue
		}
		line := c.Name + " " + c.Status
		if c.Noop {
			line += " noop"
		}
		if c.Completed > 1 {
			line += fmt.Sprintf(", told %d times", c.Completed)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// inPlace are the commands of an in-place deployment that went well.
const inPlace = "ApplicationStop Succeeded\nDownloadBundle Succeeded\nBeforeInstall Succeeded\nInstall Succeeded\n" +
	"AfterInstall Succeeded\nApplicationStart Succeeded\nValidateService Succeeded"

func TestADeploymentUpdatesAServer(t *testing.T) {
	s := newStage(t)
	_, r := s.serving()
	s.readsAlways()
	id, status := s.deploy(s.revision("shop-2", s.app("2")))
	s.expect("deployment", status, "Succeeded")
	s.expect("commands", s.commands(id), inPlace)
	s.expect("live", s.live(), "2")
	s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nValidateService 2 live=2")
	s.said(r, "deployment "+id+" begins", "Flip finished", "of deployment "+id+" is live and good")
	s.expect("exit code", itoa(r.stop()), "0")
	s.clean()
	s.nothingRuns()
	all := s.cloud.HostCommands()
	t.Logf("seven events, all calls included: %s", all[len(all)-1].Ended.Sub(all[0].Sent))
}

// A server goes on being updated: over and over, back to a release that is still on disk, to the same one.
func TestDeploymentsFollowEachOther(t *testing.T) {
	s := newStage(t)
	s.serving()
	s.readsAlways()
	revisions := map[string]standin.Revision{}
	for _, version := range []string{"2", "3", "2", "2", "4", "5"} {
		if _, again := revisions[version]; !again {
			// A script that writes a file of the release, in two steps: nobody must see the first.
			revisions[version] = s.revision("shop-"+version, s.app(version).with(files{"scripts/after.sh": "#!/bin/sh\nset -eu\n: >VERSION\nsleep 0.05\nprintf " + version + " >VERSION\n"}))
		}
		_, status := s.deploy(revisions[version])
		s.expect("deployment of "+version, status, "Succeeded")
		s.expect("live", s.live(), version)
	}
	kept, err := filepath.Glob(s.path("opt/app-releases/shop-*.json"))
	s.must(err)
	if len(kept) > 4 { // keep_releases: 3, and the pruning after the last event may not have come that far
		t.Errorf("releases kept: %v", kept)
	}
}

func TestTrafficEvents(t *testing.T) {
	traffic := func(s *stage, version string) files {
		f := s.app(version)
		appspec := f["appspec.yml"]
		for _, event := range []string{"BeforeBlockTraffic", "AfterBlockTraffic", "BeforeAllowTraffic", "AfterAllowTraffic"} {
			appspec += fmt.Sprintf("  %s: [{location: scripts/%s.sh}]\n", event, event)
			f["scripts/"+event+".sh"] = fmt.Sprintf("#!/bin/sh\nset -eu\necho \"%s %s live=$(cat %s/VERSION)\" >> %s\n", event, version, s.path("opt/app"), s.path("trace"))
		}
		return f.with(files{"appspec.yml": appspec})
	}
	group := fleetGroup()
	group.LoadBalancer = true

	t.Run("in order, of the old revision before and of the new one after", func(t *testing.T) {
		s := newStage(t)
		s.serving()
		s.cloud.PutDeploymentGroup(group)
		_, status := s.deploy(s.revision("shop-2", traffic(s, "2")))
		s.expect("deployment", status, "Succeeded")
		s.must(os.Remove(s.path("trace")))
		id, status := s.deploy(s.revision("shop-3", traffic(s, "3")))
		s.expect("deployment", status, "Succeeded")
		s.expect("the scripts saw", s.trace(), "BeforeBlockTraffic 2 live=2\nAfterBlockTraffic 2 live=2\nApplicationStop 2 live=2\n"+
			"BeforeInstall 3 live=2\nAfterInstall 3 live=2\nApplicationStart 3 live=3\nValidateService 3 live=3\n"+
			"BeforeAllowTraffic 3 live=3\nAfterAllowTraffic 3 live=3")
		s.expect("commands", s.commands(id), "BeforeBlockTraffic Succeeded\nAfterBlockTraffic Succeeded\n"+inPlace+"\nBeforeAllowTraffic Succeeded\nAfterAllowTraffic Succeeded")
	})
	t.Run("one that fails after ValidateService takes the success back", func(t *testing.T) {
		s := newStage(t)
		_, r := s.serving()
		s.cloud.PutDeploymentGroup(group)
		outside := "\nfiles:\n  - {source: /, destination: \"" + s.path("opt/app") + "\"}\n  - {source: VERSION, destination: " + s.path("etc") + "}\nfile_exists_behavior: OVERWRITE\nhooks:"
		s.write("etc/VERSION", "of somebody else")
		bad := traffic(s, "2")
		bad["appspec.yml"] = strings.Replace(bad["appspec.yml"], "\nfiles:\n  - {source: /, destination: \""+s.path("opt/app")+"\"}\nhooks:", outside, 1)
		id, status := s.deploy(s.revision("shop-2", bad.with(files{"scripts/AfterAllowTraffic.sh": failing})))
		s.expect("deployment", status, "Failed")
		s.said(r, "AfterAllowTraffic failed", "Rollback finished")
		s.expect("live", s.live(), "1")
		b, err := os.ReadFile(s.path("etc/VERSION"))
		s.must(err)
		s.expect("the file outside", string(b), "of somebody else")
		if !strings.HasSuffix(s.commands(id), "BeforeAllowTraffic Succeeded\nAfterAllowTraffic Failed") {
			t.Errorf("commands:\n%s", s.commands(id))
		}
		_, status = s.deploy(s.revision("shop-3", s.app("3")))
		s.expect("the next deployment", status, "Succeeded")
		s.expect("live", s.live(), "3")
	})
}

// A deployment group that selects by tag deploys to servers that are still launching, too: the launch ends
// first, then the server takes the deployment's commands.
func TestADeploymentMeetsALaunch(t *testing.T) {
	s := newStage(t)
	s.cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true, Tags: map[string]string{"usher:application": "shop"}})
	s.cloud.PutDeploymentGroup(standin.DeploymentGroup{Application: "shop", Name: "production", EC2Tags: map[string]string{"usher:application": "shop"}})
	fifo := s.path("go")
	s.must(syscall.Mkfifo(fifo, 0o600))
	s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\necho it waits\ncat " + fifo + "\n"}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	r.says("| it waits")
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", s.app("2")))
	s.must(err)
	s.must(os.WriteFile(fifo, []byte("go\n"), 0))
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "2")
	s.expect("commands", s.commands(id), inPlace)
}

// What a script is told at each event.
func TestEnvironmentOfCommands(t *testing.T) {
	s := newStage(t)
	server, _ := s.serving()
	show := "#!/bin/sh\nset -eu\necho \"$LIFECYCLE_EVENT $DEPLOYMENT_ID $APPLICATION_NAME $DEPLOYMENT_GROUP_NAME ${#DEPLOYMENT_GROUP_ID} $BUNDLE_KEY " +
		"$INSTANCE_ID $AUTO_SCALING_GROUP_NAME $(basename $USHER_RELEASE_DIR) $(basename $USHER_PREVIOUS_RELEASE)\" >> " + s.path("trace") + "\n"
	f := s.app("2")
	for _, script := range []string{"before", "after", "start", "validate"} {
		f["scripts/"+script+".sh"] = show
	}
	id, status := s.deploy(s.revision("shop-2", f))
	s.expect("deployment", status, "Succeeded")
	live, err := os.Readlink(s.path("opt/app"))
	s.must(err)
	previous, err := filepath.Glob(s.path("opt/app-releases/shop-1-????????"))
	s.must(err)
	want := "ApplicationStop 1 live=1"
	for _, event := range []string{"BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"} {
		want += fmt.Sprintf("\n%s %s shop production 36 shop-2.zip %s web %s %s", event, id, server.ID, filepath.Base(live), filepath.Base(previous[0]))
	}
	s.expect("the scripts saw", s.trace(), want)
}

// A script that fails, at each event in turn: what was live before is live again, CodeDeploy is told which
// script and why, and the next deployment works.
func TestADeploymentFails(t *testing.T) {
	for _, c := range []struct{ event, script, trace string }{
		{"BeforeInstall", "before", "ApplicationStop 1 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"AfterInstall", "after", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"ApplicationStart", "start", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"ValidateService", "validate", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
	} {
		t.Run(c.event, func(t *testing.T) {
			s := newStage(t)
			server, r := s.serving()
			s.readsAlways()
			id, status := s.deploy(s.revision("shop-2", s.app("2").with(files{"scripts/" + c.script + ".sh": "#!/bin/sh\nset -eu\necho one\necho the reason >&2\nexit 7\n"})))
			s.expect("deployment", status, "Failed")
			all := s.cloud.HostCommands()
			last := all[len(all)-1]
			s.expect("the last command", last.Name+" "+last.Status+" of "+last.DeploymentID, c.event+" Failed of "+id)
			s.expect("diagnostics", fmt.Sprintf("%d %s told %d times", last.Diagnostics.Code, last.Diagnostics.Script, last.Completed), "4 scripts/"+c.script+".sh told 1 times")
			s.expect("log", last.Diagnostics.Log, "one\nthe reason")
			if want := "exit code 7"; !strings.Contains(last.Diagnostics.Message, want) {
				t.Errorf("message: %s", last.Diagnostics.Message)
			}
			s.said(r, c.event+" failed", "Rollback finished", "deployment "+id+" failed")
			s.expect("live", s.live(), "1")
			s.expect("the scripts saw", s.trace(), c.trace)
			s.expect("state", string(server.State()), "InService")
			_, status = s.deploy(s.revision("shop-3", s.app("3")))
			s.expect("the next deployment", status, "Succeeded")
			s.expect("live", s.live(), "3")
			s.clean()
		})
	}
}

// What fails before any script has run is told in full.
func TestADeploymentThatCannotBegin(t *testing.T) {
	s := newStage(t)
	s.serving()
	for _, c := range []struct {
		name string
		f    files
		want string
	}{
		{"no appspec", files{"VERSION": "2"}, "appspec.yml"},
		{"an event that is misspelt", s.app("2").with(files{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstal: [{location: a.sh}]\n"}), "did you mean AfterInstall"},
		{"a script that is missing", s.app("2").with(files{"scripts/start.sh": "-"}), "scripts/start.sh"},
	} {
		id, status := s.deploy(s.revision("bad", c.f))
		s.expect(c.name, status, "Failed")
		s.expect(c.name, s.commands(id), "ApplicationStop Succeeded\nDownloadBundle Failed")
		all := s.cloud.HostCommands()
		if m := all[len(all)-1].Diagnostics.Message; !strings.Contains(m, c.want) {
			t.Errorf("%s: CodeDeploy was told: %s", c.name, m)
		}
		s.expect("live", s.live(), "1")
	}
}

// CodeDeploy's own rollback is a deployment over all servers. One that has put back that release by itself, or
// never left it, has nothing to do.
func TestAutomaticRollback(t *testing.T) {
	s := newStage(t)
	_, r := s.serving()
	group := fleetGroup()
	group.AutoRollback = true
	s.cloud.PutDeploymentGroup(group)
	id, status := s.deploy(s.revision("shop-2", s.app("2").with(files{"scripts/validate.sh": failing})))
	s.expect("deployment", status, "Failed")
	back := id
	s.until(func() bool {
		all := s.cloud.HostCommands()
		back = all[len(all)-1].DeploymentID
		return back != id
	})
	status, err := s.cloud.WaitForDeployment(s.ctx, back)
	s.must(err)
	s.expect("the rollback", status, "Succeeded")
	s.expect("live", s.live(), "1")
	s.said(r, "deployment "+back+" needs nothing: release shop-1-")
	if strings.Contains(s.trace(), "ApplicationStart 1 live=1\nApplicationStop") {
		t.Errorf("what was live and good was stopped for the rollback: %s", s.trace())
	}
	if gets := len(s.cloud.CallsOf("GetObject")); gets != 2 {
		t.Errorf("%d downloads: the release that was rolled back to is on disk", gets)
	}
}

func TestNoops(t *testing.T) {
	s := newStage(t)
	s.serving()
	bare := files{"VERSION": "2", "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: \"" + s.path("opt/app") + "\"}\n"}
	s.deploy(s.revision("shop-2", bare))
	id, status := s.deploy(s.revision("shop-3", bare.with(files{"VERSION": "3"})))
	s.expect("deployment", status, "Succeeded")
	s.expect("commands", s.commands(id), "ApplicationStop Succeeded noop\nDownloadBundle Succeeded\nBeforeInstall Succeeded noop\nInstall Succeeded\n"+
		"AfterInstall Succeeded\nApplicationStart Succeeded noop\nValidateService Succeeded")
	s.expect("live", s.live(), "3")
}

// The deployment's file_exists_behavior counts where the appspec has none.
func TestFileExistsBehaviorOfADeployment(t *testing.T) {
	for _, c := range []struct{ behavior, status, content string }{
		{"", "Failed", "mine"}, {"DISALLOW", "Failed", "mine"}, {"OVERWRITE", "Succeeded", "2"}, {"RETAIN", "Succeeded", "mine"},
	} {
		t.Run("behavior "+c.behavior, func(t *testing.T) {
			s := newStage(t)
			server, _ := s.serving()
			s.write("etc/VERSION", "mine")
			f := s.app("2")
			f["appspec.yml"] = strings.Replace(f["appspec.yml"], "\nhooks:", "\n  - {source: VERSION, destination: "+s.path("etc")+"}\nhooks:", 1)
			revision, deployment := s.revision("shop-2", f), "d-FILEEXIST"
			var got string
			for _, event := range []string{"ApplicationStop", "DownloadBundle", "BeforeInstall", "Install"} {
				id := s.cloud.SendCommand(server, standin.Sent{Event: event, Application: "shop", Group: "production", Revision: revision, DeploymentID: deployment, FileExists: c.behavior})
				cmd, err := s.cloud.WaitForHostCommand(s.ctx, server, id)
				s.must(err)
				got = cmd.Status
			}
			s.expect("Install", got, c.status)
			b, err := os.ReadFile(s.path("etc/VERSION"))
			s.must(err)
			s.expect("the file", string(b), c.content)
		})
	}
}

// Several servers, one at a time, half at a time and all at once.
func TestDeploymentOfAFleet(t *testing.T) {
	for _, config := range []string{"CodeDeployDefault.OneAtATime", "CodeDeployDefault.HalfAtATime", "CodeDeployDefault.AllAtOnce"} {
		t.Run(config, func(t *testing.T) {
			s := newStage(t)
			s.serving()
			others := []*stage{s.another(), s.another()}
			group := fleetGroup()
			group.Config = config
			s.cloud.PutDeploymentGroup(group)
			_, status := s.deploy(s.revision("shop-2", versioned("2")))
			s.expect("deployment", status, "Succeeded")
			for _, server := range append(others, s) {
				server.expect("live", server.live(), "2")
			}
		})
	}
}

// another is one more server of the group, in service on version 1, with a disk of its own.
func (s *stage) another() *stage {
	s.Helper()
	o := s.beside()
	s.publish("shop-1-anywhere", versioned("1")) // its launch must not install into the first server's paths
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := o.start(server)
	o.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	return o
}

// beside is a stage in the same cloud for one more server.
func (s *stage) beside() *stage {
	s.Helper()
	o := &stage{T: s.T, cloud: s.cloud, ctx: s.ctx, limit: s.limit, dir: s.TempDir(), binary: s.binary, config: map[string]string{}}
	for k, v := range s.config {
		o.config[k] = strings.Replace(v, s.dir, o.dir, 1)
	}
	o.write("opt/app-base/VERSION", "base")
	o.must(os.Symlink(o.path("opt/app-base"), o.path("opt/app")))
	return o
}
