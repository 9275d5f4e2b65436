package acceptance

import (
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

const targetState = "meta-data/autoscaling/target-lifecycle-state"

// A boot in which metadata comes up last: refused, then 503, then answering.
func TestMetadataNotReadyAtBoot(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{MetadataRefused: true})
	r := s.start(server, "-once")
	r.says("waiting for instance metadata")
	r.says("connection refused")
	server.SetMetadata(standin.Unavailable)
	r.says("503")
	server.SetMetadata(standin.Answering)

	s.expect("exit code", itoa(r.wait()), "0")
	s.waitFor(server, standin.InService)
	s.expect("verdict", answers(server), "usher-launch CONTINUE")
	s.expect("live", s.live(), "1")
}

// Metadata that answers, but does not say where the instance is going until the deployment has ended: it
// is deployed meanwhile, and the action is found in the end.
func TestTargetStateComesLate(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault standin.Fault
	}{
		{"not found", standin.Fault{Status: 404}},
		{"an empty body", standin.Fault{Body: []byte{}}},
		{"unavailable", standin.Fault{Status: 503}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1"))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			server.FailMetadata(targetState, -1, c.fault)
			r := s.start(server, "-once")
			r.says("ValidateService finished")
			s.expect("calls until then", callsOf(s.cloud), "GetDeploymentGroup GetObject HeadObject")
			server.HealMetadata(targetState)

			s.expect("exit code", itoa(r.wait()), "0")
			s.waitFor(server, standin.InService)
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.expect("the scripts saw", s.trace(), fullTrace)
		})
	}
}

// A server in no group is deployed to, and there is nothing to complete. The next start has nothing to do.
func TestStandaloneInstance(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Standalone(standin.LaunchOptions{Age: time.Hour})
	r := s.start(server, "-once")

	s.expect("exit code", itoa(r.wait()), "0")
	s.said(r, "no lifecycle action to complete: this instance is in no Auto Scaling group")
	s.expect("live", s.live(), "1")
	s.expect("the scripts saw", s.trace(), fullTrace)
	s.expect("calls", callsOf(s.cloud), "GetDeploymentGroup GetObject HeadObject")

	again := s.start(server, "-once")
	s.expect("exit code of the second run", itoa(again.wait()), "3")
	s.said(again, "nothing to deploy: this instance is in no Auto Scaling group")
	s.expect("calls after both", callsOf(s.cloud), "GetDeploymentGroup GetObject HeadObject")
	s.expect("the scripts saw after both", s.trace(), fullTrace)
}

// Two answers of metadata and of Auto Scaling that this version does not know: not ours, and no error.
func TestUnknownStates(t *testing.T) {
	t.Run("a target state", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		server.FailMetadata(targetState, -1, standin.Fault{Body: []byte("Warmed:Dozing")})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.expect("verdict", answers(server), "usher-launch CONTINUE") // Auto Scaling knows better where it is
	})
	t.Run("a lifecycle state", func(t *testing.T) {
		s := newStage(t)
		s.publish("shop-1", s.app("1"))
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		s.cloud.Fail("DescribeAutoScalingInstances", -1, standin.Fault{Body: []byte(
			`<DescribeAutoScalingInstancesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeAutoScalingInstancesResult>` +
				`<AutoScalingInstances><member><InstanceId>` + server.ID + `</InstanceId><AutoScalingGroupName>web</AutoScalingGroupName>` +
				`<LifecycleState>Dozing:Wait</LifecycleState></member></AutoScalingInstances>` +
				`</DescribeAutoScalingInstancesResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeAutoScalingInstancesResponse>`)})
		r := s.start(server, "-once")
		s.expect("exit code", itoa(r.wait()), "0")
		s.said(r, `the lifecycle state "Dozing:Wait" is not known to this version: left alone`, "no lifecycle action to complete")
		s.expect("completions", completions(s.cloud, server), "")
		s.expect("live", s.live(), "1")
	})
}

// One image serves staging and production: the instance's tags win over the file.
func TestTagsSayWhichGroup(t *testing.T) {
	tags := map[string]string{"usher:application": "shop", "usher:deployment-group": "production"}
	for _, c := range []struct {
		name string
		file map[string]string
	}{
		{"over the file's", map[string]string{"application": "shop", "deployment_group": "staging"}},
		{"where the file has none", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			delete(s.config, "application")
			delete(s.config, "deployment_group")
			for k, v := range c.file {
				s.config[k] = v
			}
			s.cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true, MetadataTags: true, Tags: tags})
			s.publish("shop-1", s.app("1").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\necho $APPLICATION_NAME $DEPLOYMENT_GROUP_NAME $AUTO_SCALING_GROUP_NAME\n"}))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "0")
			s.expect("verdict", answers(server), "usher-launch CONTINUE")
			s.said(r, "for deployment group production of shop", "| shop production web")
			s.expect("live", s.live(), "1")
		})
	}
}

// A server that nobody told which group is its own does nothing, and is left to the hook's default.
func TestNoConfiguration(t *testing.T) {
	for _, c := range []struct {
		name string
		tags map[string]string
	}{
		{"no tags", nil},
		{"half of the tags", map[string]string{"usher:application": "shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			delete(s.config, "application")
			delete(s.config, "deployment_group")
			s.cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true, MetadataTags: true, Tags: c.tags})
			s.publish("shop-1", s.app("1"))
			server, r, code := s.launch()
			s.expect("exit code", itoa(code), "2")
			s.said(r, "cannot use the configuration: it does not say which deployment group is this server's", "/etc/usher/agent.yml", "usher:deployment-group", "InstanceMetadataTags=enabled")
			s.expect("state", string(server.State()), "Pending:Wait")
			s.expect("calls", callsOf(s.cloud), "")
			s.expect("live", s.live(), "base")
			if strings.Contains(r.text(), "panic") {
				t.Error("it panicked")
			}
		})
	}
}
