package acceptance

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
)

// Host commands that are not carried out, and calls that fail on the way.

// send sends one command and waits for its result.
func (s *stage) send(server *standin.Instance, c standin.Sent) standin.HostCommand {
	s.Helper()
	cmd, err := s.cloud.WaitForHostCommand(s.ctx, server, s.cloud.SendCommand(server, c))
	s.must(err)
	return cmd
}

func TestCommandsThatAreRefused(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	right := standin.Sent{Event: "DownloadBundle", Application: "shop", Group: "production", Revision: s.revision("shop-2", s.app("2"))}
	for _, c := range []struct {
		name   string
		change func(*standin.Sent)
		want   []string // of what CodeDeploy is told
	}{
		{"another group", func(c *standin.Sent) { c.Group = "staging" }, []string{"deployment group staging of application shop", "this server is of deployment group production"}},
		{"another application", func(c *standin.Sent) { c.Application = "blog" }, []string{"of application blog", "of application shop"}},
		{"a command nobody knows", func(c *standin.Sent) { c.Event = "BeforeCoffee" }, []string{`does not know the host command "BeforeCoffee"`}},
		{"an event that only the specification knows", func(c *standin.Sent) { c.Event, c.Events = "BeforeTea", []string{"BeforeTea"} }, []string{`does not know the host command "BeforeTea"`}},
		{"an appspec of another name", func(c *standin.Sent) { c.AppSpecFilename = "deploy.yml" }, []string{"deploy.yml", "rename it"}},
		{"an event before its revision is here", func(c *standin.Sent) { c.Event = "AfterInstall" }, []string{"has not downloaded the revision", "deploy again"}},
		{"a revision of a kind there is none", func(c *standin.Sent) {
			c.Revision = standin.Revision{Raw: []byte(`{"revisionType":"String","string":{"content":"x"}}`)}
		}, []string{"String"}},
	} {
		sent := right
		c.change(&sent)
		got := s.send(server, sent)
		s.expect(c.name, fmt.Sprintf("%s %d, told %d times", got.Status, got.Diagnostics.Code, got.Completed), "Failed 5, told 1 times")
		for _, want := range c.want {
			if !strings.Contains(got.Diagnostics.Message, want) {
				t.Errorf("%s: CodeDeploy was told: %s", c.name, got.Diagnostics.Message)
			}
			r.says(want)
		}
		s.expect("live after "+c.name, s.live(), "1")
	}
	s.expect("the scripts saw", s.trace(), "")
	_, status := s.deploy(right.Revision)
	s.expect("a good deployment after all that", status, "Succeeded")
}

// CodeDeploy may tell an agent to update itself. usher does not, and says so: as a success, because it is no event of
// the application and no deployment is to fail of it. Nothing is asked about whose it is.
func TestUpdateDeploymentAgent(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	before := len(s.cloud.CallsOf("GetDeploymentSpecification"))
	got := s.send(server, standin.Sent{Event: "UpdateDeploymentAgent", Application: "whose", Group: "ever", Revision: s.revision("shop-2", s.app("2"))})
	s.expect("it", fmt.Sprintf("%s %d noop %t, told %d times", got.Status, got.Diagnostics.Code, got.Noop, got.Completed), "Succeeded 0 noop false, told 1 times")
	if want := "usher is updated by its package: nothing was done"; !strings.Contains(got.Diagnostics.Message, want) {
		t.Errorf("CodeDeploy was told: %s", got.Diagnostics.Message)
	}
	s.said(r, "CodeDeploy asks its agent to update itself (UpdateDeploymentAgent): usher is updated by its package: nothing was done")
	s.expect("specifications that were asked for", itoa(len(s.cloud.CallsOf("GetDeploymentSpecification"))-before), "0")
	s.expect("the scripts saw", s.trace(), "")
	if strings.Contains(r.text(), "refused") || strings.Contains(r.text(), "deployment group ever") {
		t.Error("it was refused, or taken for a deployment")
	}
	_, status := s.deploy(s.revision("shop-2", s.app("2")))
	s.expect("a deployment after it", status, "Succeeded")
}

// What a specification may have beside what is read: the members that AWS's agents know, and new ones. A revision
// without an ETag is what CodeDeploy's console and pipelines register.
func TestSpecificationsAsTheyCome(t *testing.T) {
	s := newStage(t)
	server, _ := s.serving()
	_ = server
	for i, more := range []string{
		`"ReuseArchiveFromDeploymentId":"d-EARLIER"`, `"AllPossibleLifecycleEvents":null`, `"AllPossibleLifecycleEvents":["BeforeTea"]`, `"GitHubAccessToken":"","Target":{"x":[1]}`,
	} {
		key := fmt.Sprintf("shop-%d", i+2)
		_, _, err := s.cloud.Upload(s.cloud.Bucket, key+".zip", zipped(t, s.app(itoa(i+2))))
		s.must(err)
		s.cloud.FaultEnvelopes(standin.EnvelopeFault{NoAttributes: i%2 == 1, Edit: func(spec []byte) []byte {
			if bytes.Contains(spec, []byte(`"ETag"`)) {
				t.Error("the specification has an ETag")
			}
			return bytes.Replace(spec, []byte("{"), []byte("{"+more+","), 1)
		}})
		_, status := s.deploy(standin.S3Revision(s.cloud.Bucket, key+".zip", "zip", "", ""))
		s.expect(more, status, "Succeeded")
		s.expect("live with "+more, s.live(), itoa(i+2))
	}
}

// Every envelope that is not what it must be is refused, with the reason, and nothing is run. Which signers
// are accepted without an authority is told by the room itself.
func TestForgedSpecifications(t *testing.T) {
	forms := func(flaw standin.FaultKind) []bool {
		switch flaw {
		case standin.ContentAltered, standin.SignerOfAnotherName, standin.SignerOfAnotherRoot, standin.SignerSelfSigned, standin.SignerExpired, standin.TwoSigners:
			return []bool{false, true} // without signed attributes too
		}
		return []bool{false}
	}
	for flaw := standin.ContentAltered; flaw <= standin.NotPEM; flaw++ {
		for _, bare := range forms(flaw) {
			t.Run(fmt.Sprintf("flaw %d, without attributes %t", flaw, bare), func(t *testing.T) {
				s := newStage(t)
				s.config["signer_ca_file"] = s.path("ca.pem")
				s.write("ca.pem", string(s.cloud.SignerCA()))
				server, r := s.serving()
				s.cloud.FaultEnvelopes(standin.EnvelopeFault{Kind: flaw, NoAttributes: bare})
				revision := s.revision("shop-2", s.app("2"))
				got := s.send(server, standin.Sent{Event: "DownloadBundle", Application: "shop", Group: "production", Revision: revision})
				s.expect("it", got.Status, "Failed")
				if !strings.Contains(got.Diagnostics.Message, "cannot accept the specification of deployment ") {
					t.Errorf("CodeDeploy was told: %s", got.Diagnostics.Message)
				}
				t.Log(got.Diagnostics.Message)
				s.said(r, "refused the host command DownloadBundle")
				s.expect("the scripts saw", s.trace(), "")
				s.cloud.FaultEnvelopes(standin.EnvelopeFault{})
				_, status := s.deploy(revision)
				s.expect("a good deployment after it", status, "Succeeded")
				if strings.Contains(r.text(), "is not verified") {
					t.Error("the signer was checked, and usher says it was not")
				}
			})
		}
	}
}

// The same command, given out again after it was carried out, is answered and not repeated.
func TestACommandIsCarriedOutOnce(t *testing.T) {
	s := newStage(t)
	server, _ := s.serving()
	sent := standin.Sent{Event: "ApplicationStop", Application: "shop", Group: "production", DeploymentID: "d-TWICE", Revision: s.revision("shop-2", s.app("2"))}
	s.send(server, sent)
	got := s.send(server, sent)
	s.expect("it", got.Status, "Succeeded")
	s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1")
}

// Each call of the protocol goes wrong in every way, and the deployment succeeds all the same: each script
// runs once.
func TestCallsOfCommandsFail(t *testing.T) {
	for _, op := range []string{"PollHostCommand", "GetDeploymentSpecification", "PutHostCommandAcknowledgement", "PutHostCommandComplete"} {
		for name, fault := range map[string]standin.Fault{
			"throttled":                        {Code: "ThrottlingException"},
			"an error of the service":          {Code: "ServerException", Status: 500},
			"unavailable":                      {Status: 503},
			"the connection is lost before":    {DropConnection: true},
			"the connection is lost after":     {DropConnection: true, AfterEffect: true},
			"an expired token":                 {Code: "ExpiredTokenException"},
			"a clock that is off":              {Code: "InvalidSignatureException", Message: "Signature expired: 20200101T000000Z is now earlier than 20200101T001000Z"},
			"an answer that is no JSON":        {Body: []byte("<html>")},
			"an error after it has had effect": {Status: 500, AfterEffect: true},
		} {
			t.Run(op+", "+name, func(t *testing.T) {
				s := newStage(t)
				s.serving()
				s.readsAlways()
				n := 2
				if op == "PollHostCommand" {
					n = 1 // it waits longer between tries
				}
				s.cloud.Fail(op, n, fault)
				id, status := s.deploy(s.revision("shop-2", s.app("2")))
				s.expect("deployment", status, "Succeeded")
				s.expect("live", s.live(), "2")
				s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nValidateService 2 live=2")
				if got := s.commands(id); strings.Contains(got, "told") && !fault.AfterEffect {
					t.Errorf("commands:\n%s", got)
				}
			})
		}
	}
}

// CodeDeploy is not there for a while, and the server says so once, and goes on when it is back.
func TestCodeDeployIsAway(t *testing.T) {
	s := newStage(t)
	_, r := s.serving()
	s.cloud.Fail("PollHostCommand", -1, standin.Fault{Code: "AccessDeniedException", Message: "not authorized"})
	s.deployInBackground("2")
	s.said(r, "trying again in", "AccessDeniedException")
	if said := strings.Count(r.text(), "AccessDeniedException"); said != 1 {
		t.Errorf("said %d times", said)
	}
	s.cloud.Heal("PollHostCommand")
	s.said(r, "PollHostCommand works again", "is live and good")
	r.says("release shop-2")
}

// deployInBackground begins a deployment and does not wait for it.
func (s *stage) deployInBackground(version string) (id string) {
	s.Helper()
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-"+version, s.app(version)))
	s.must(err)
	return id
}

// With host_commands: false nothing is polled for.
func TestHostCommandsSwitchedOff(t *testing.T) {
	s := newStage(t)
	s.config["host_commands"] = "false"
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", s.app("1"))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	before := len(s.cloud.MetadataCalls())
	s.until(func() bool { return len(s.cloud.MetadataCalls()) > before }) // the loop runs
	s.expect("exit code", itoa(r.stop()), "0")
	if calls := s.cloud.CallsOf("PollHostCommand"); len(calls) > 0 {
		t.Errorf("%d polls", len(calls))
	}
}

// until waits for something that announces itself nowhere.
func (s *stage) until(is func() bool) {
	s.Helper()
	s.step()
	often := time.NewTicker(5 * time.Millisecond)
	defer often.Stop()
	for !is() {
		select {
		case <-often.C:
		case <-s.ctx.Done():
			s.Fatal("it did not come to that")
		}
	}
}

// The record can be read by a person: a deployment by its id, and what brought it about.
func TestTheRecordOfACommand(t *testing.T) {
	s := newStage(t)
	s.serving()
	id, _ := s.deploy(s.revision("shop-2", s.app("2")))
	text, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	for _, want := range []string{`"deployment":"` + id + `"`, `"by":"command"`, `"what":"commanded"`, `"what":"answering"`, `"what":"answered"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the record has no %s", want)
		}
	}
}
