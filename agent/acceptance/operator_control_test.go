package acceptance

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/codedeploy"

	"usher/agent/control"
	"usher/agent/record"
	"usher/agent/standin"
)

// What a person types on a server, and what the agent that is at work there makes of it.

// types is a command line with this server's configuration, typed by root.
func (s *stage) types(line string) typed {
	s.Helper()
	command, rest, _ := strings.Cut(line, " ")
	return usherAs(s.T, -1, s.binary, s.dir, append([]string{command, "--config", s.path("agent.yml")}, strings.Fields(rest)...))
}

// answered types a command line and compares what comes of it. Times, and what differs from run to run, are
// written as TIME, SPAN and N.
func (s *stage) answered(line string, code int, stdout, stderr string) {
	s.Helper()
	got := s.types(line)
	if out, err := s.plain(got.stdout), s.plain(got.stderr); got.code != code || out != stdout || err != stderr {
		s.Errorf("usher %s: exit %d, want %d\nstdout: %s\n  want: %s\nstderr: %s\n  want: %s", line, got.code, code, out, stdout, err, stderr)
	}
}

var variable = []struct {
	of *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3} `), ""},
	{regexp.MustCompile(`\b((\d+h)?(\d+m)?\d+(\.\d+)?s|\d+ms)\b`), "SPAN"},
	{regexp.MustCompile(`rollback-\d{8}T\d{6}Z-\d+`), "rollback-TIME"},
	{regexp.MustCompile(`shop-(\d)-[0-9a-f]{8}`), "shop-$1-N"},
	{regexp.MustCompile(`\bd-[0-9A-Z]{9}\b`), "d-N"},
	{regexp.MustCompile(`\?versionId=\S+( \(etag [0-9a-f]+\))?`), ""},
}

func (s *stage) plain(text string) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, s.dir, "DIR"), s.cloud.Bucket, "BUCKET")
	for _, v := range variable {
		text = v.of.ReplaceAllString(text, v.as)
	}
	return text
}

// inService is a server that was brought up with each revision in turn, and is in service. The agent is
// started again, and has nothing to deploy.
func (s *stage) inService(revisions ...files) (*standin.Instance, *agentRun) {
	s.Helper()
	s.config["on_failure"] = "continue" // so that a revision that fails leaves the server as it is
	var server *standin.Instance
	for n, f := range revisions {
		s.publish("shop-"+itoa(n+1), f)
		if n == 0 {
			server, _, _ = s.launch()
		} else {
			s.takeOut(server)
		}
		s.waitFor(server, standin.InService)
	}
	r := s.start(server)
	r.says("nothing to deploy")
	return server, r
}

// gateIf makes a script wait at a gate, as gate does, once a file is there: close makes it.
func (s *stage) gateIf(f files, script string) (with files, shut, open func()) {
	s.Helper()
	gated, open := s.gate(files{script: ""}, script)
	return f.with(files{script: f[script] + "if [ -e " + s.path("shut") + " ]; then\n" + gated[script] + "fi\n"}), func() { s.Helper(); s.write("shut", "") }, open
}

// A launch that fails is held when an operator has asked for it before, for as long as they say, and let go
// when they say so: once.
func TestHoldAndRelease(t *testing.T) {
	s := newStage(t)
	s.hook(standin.Hook{HeartbeatTimeout: 12 * time.Second})
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app.with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	r.says("at the gate")
	s.answered("unhold", 3, "", "usher unhold: nothing is held here\n")
	s.answered("hold 1h", 0, "from now on: a launch that fails is kept for SPAN, then abandoned\n", "")
	s.answered("unhold", 0, "hold cancelled: a launch that fails is abandoned at once\n", "")
	s.answered("hold", 0, "from now on: a launch that fails is kept for SPAN, then abandoned\n", "")
	open()
	r.says("this instance is kept until")
	s.answered("hold 2h", 0, "this instance is kept until TIME, at most until the global timeout of its lifecycle hook, then abandoned\n", "")
	_, err := s.cloud.WaitForCalls(s.ctx, "RecordLifecycleActionHeartbeat", len(s.cloud.CallsOf("RecordLifecycleActionHeartbeat"))+2)
	s.must(err)
	s.expect("state", string(server.State()), "Pending:Wait")
	s.expect("completions while it is held", completions(s.cloud, server), "")
	s.answered("unhold", 0, "hold ended: the launch of this instance is abandoned now\n", "")
	s.waitFor(server, standin.Terminated)
	r.says("with ABANDON")
	s.completed("completions", server, "ABANDON accepted")
	s.expect("exit code of the agent", itoa(r.stop()), "0")
}

// A hold outlives the agent that was asked for it, and so does its end.
func TestHoldOutlivesTheAgent(t *testing.T) {
	s := newStage(t)
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app.with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	first := s.start(server)
	first.says("at the gate")
	s.answered("hold 1h", 0, "from now on: a launch that fails is kept for SPAN, then abandoned\n", "")
	s.expect("exit code of the first agent", itoa(first.stop()), "0")

	second := s.start(server)
	second.says("at the gate")
	open()
	second.says("this instance is kept until")
	s.must(second.cmd.Process.Kill())
	second.wait()
	s.expect("completions", completions(s.cloud, server), "")

	third := s.start(server)
	third.says("this instance is kept until")
	s.answered("unhold", 0, "hold ended: the launch of this instance is abandoned now\n", "")
	s.waitFor(server, standin.Terminated)
	third.says("with ABANDON")
	s.completed("completions in all", server, "ABANDON accepted")
}

// What is left of a hold of another boot, or in a form that is none, holds nothing.
func TestHoldOfBefore(t *testing.T) {
	for _, c := range []struct{ name, hold, says string }{
		{"of another boot", `{"instance":"INSTANCE","boot":"00000000-0000-4000-8000-000000000000","asked":"2026-01-02T03:04:05Z","for":"1h0m0s"}`, ""},
		{"of the machine the image was made from", `{"instance":"i-0baked","boot":"BOOT","asked":"2026-01-02T03:04:05Z","for":"1h0m0s"}`, ""},
		{"cut off", `{"instance":"INST`, "what hold.json asks for is not known: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
			server := s.cloud.Launch("web", standin.LaunchOptions{})
			boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
			s.must(err)
			s.write("state/hold.json", strings.NewReplacer("INSTANCE", server.ID, "BOOT", strings.TrimSpace(string(boot))).Replace(c.hold))
			r := s.start(server, "--once")
			s.expect("exit code", itoa(r.wait()), "1")
			s.waitFor(server, standin.Terminated)
			s.said(r, c.says)
		})
	}
}

// release also ends what on_failure: hold keeps.
func TestReleaseOfOnFailureHold(t *testing.T) {
	s := newStage(t)
	s.config["on_failure"], s.config["hold_timeout"] = "hold", "1h"
	s.publish("shop-1", s.app("1").with(files{"scripts/start.sh": failing}))
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server, "--once")
	r.says("on_failure is hold")
	s.answered("rollback", 1, "", "usher rollback: the launch of this instance failed, and is held. Try again when it is over: usher status\n")
	s.answered("unhold", 0, "hold ended: the launch of this instance is abandoned now\n", "")
	s.waitFor(server, standin.Terminated)
	s.expect("exit code", itoa(r.wait()), "1")
	s.completed("completions", server, "ABANDON accepted")
}

// On a server in service there is no verdict to hold back. A hold that was asked for in a launch that went
// well is over with it.
func TestNothingToHold(t *testing.T) {
	s := newStage(t)
	app, open := s.gate(s.app("1"), "scripts/after.sh")
	s.publish("shop-1", app)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	r.says("at the gate")
	s.answered("hold 1h", 0, "from now on: a launch that fails is kept for SPAN, then abandoned\n", "")
	open()
	s.waitFor(server, standin.InService)
	r.says("with CONTINUE")
	s.answered("hold 1h", 3, "", "usher hold: nothing to hold: the launch of this instance is already complete\n")
	s.answered("unhold", 3, "", "usher unhold: nothing is held here\n")
	if _, err := os.Lstat(s.path("state/hold.json")); !os.IsNotExist(err) {
		t.Errorf("the hold of the launch is still on disk (%v)", err)
	}
}

// Back to the release before, as it was left: what its scripts did to it once cannot be done twice, and S3 is not needed.
func TestRollbackOnAServer(t *testing.T) {
	s := newStage(t)
	one := s.app("1").with(files{"env.production": "LEVEL=info\n"}).appends("scripts/after.sh", "test ! -e .env\ncp env.production .env\n").appends("scripts/start.sh", "test -e .env\n")
	_, r := s.inService(one, s.app("2"))
	s.cloud.Fail("GetObject", -1, standin.Fault{Status: 503})
	s.cloud.Fail("HeadObject", -1, standin.Fault{Status: 503})
	before := s.trace()
	s.answered("rollback", 0, `an operator rolls this server back to release shop-1-N (s3://BUCKET/shop-1.zip), as it was left here: nothing is downloaded
deployment rollback-TIME begins: s3://BUCKET/shop-1.zip
ApplicationStop finished in SPAN (1 script)
DownloadBundle finished in SPAN (release shop-1-N as it was left)
BeforeInstall finished in SPAN (not again: the release is as it was left)
Install finished in SPAN (the release as it was left)
AfterInstall finished in SPAN (not again: the release is as it was left)
Flip finished in SPAN (DIR/opt/app -> DIR/opt/app-releases/shop-1-N)
ApplicationStart finished in SPAN (1 script)
ValidateService finished in SPAN (1 script)
release shop-1-N of deployment rollback-TIME is live and good
release shop-1-N is live, as it was left
`, "")
	s.expect("live", s.live(), "1")
	s.expect("the scripts saw", strings.TrimPrefix(s.trace(), before),
		"\nApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1")
	r.says("an operator rolls this server back to release shop-1-") // in the journal too
	s.expect("exit code of status", itoa(s.types("status").code), "0")
	s.answered("rollback shop-1", 3, "", "usher rollback: release shop-1-N is live already\n")
	s.expect("exit code of a rollback by name", itoa(s.types("rollback shop-2").code), "0")
	s.expect("live", s.live(), "2")
}

// The same revision may be here twice, and the same bundle under two names: that is no release to go back to. Two rollbacks
// in one second are two deployments.
func TestRollbackIsToAnotherRevision(t *testing.T) {
	s := newStage(t)
	s.serving()
	two := s.revision("shop-2", s.app("2"))
	for _, r := range []standin.Revision{two, two, s.revision("shop-2-renamed", s.app("2"))} {
		_, status := s.deploy(r)
		s.expect("deployment", status, "Succeeded")
	}
	if got := s.types("rollback"); got.code != 0 || !strings.Contains(s.plain(got.stdout), "release shop-1-N is live, as it was left") {
		t.Errorf("usher rollback: %+v", got)
	}
	s.expect("live", s.live(), "1")
	ids := map[string]bool{}
	for _, to := range []string{"shop-2-renamed", "shop-1", "shop-2-renamed", "shop-1"} {
		s.expect("exit code", itoa(s.types("rollback "+to).code), "0")
		last, _ := s.status()
		ids[last.Last.Deployment] = true
	}
	s.expect("ids of four rollbacks", itoa(len(ids)), "4")
}

// What failed, or was never finished, is not gone back to unless that is meant.
func TestRollbackSkipsWhatIsBad(t *testing.T) {
	s := newStage(t)
	s.inService(s.app("1"), s.app("2"), s.app("3").with(files{"scripts/start.sh": failing}))
	s.expect("releases", s.releases(), "shop-1 good, shop-2 good, shop-3 bad")
	s.expect("live", s.live(), "2")
	s.answered("rollback shop-3", 2, "", "usher rollback: release shop-3-N is not good: its deployment failed. To deploy it all the same: usher rollback --force shop-3-N\n")
	const here = "; the releases here are\n  shop-3-N  bad since TIME\n  shop-2-N  good, live since TIME\n  shop-1-N  good since TIME\n"
	s.answered("rollback shop-4", 2, "", `usher rollback: there is no release "shop-4" on this server`+here)
	s.answered("rollback shop", 2, "", `usher rollback: "shop" is the beginning of 3 releases`+here)
	s.expect("exit code of a rollback", itoa(s.types("rollback").code), "0")
	s.expect("live", s.live(), "1")

	got := s.types("rollback --force shop-3")
	s.expect("exit code of a rollback to what is bad", itoa(got.code), "1")
	if err := s.plain(got.stderr); err != "usher rollback: ApplicationStart script scripts/start.sh failed with exit code 1 after SPAN; its last line: about to fail\n" {
		t.Errorf("it said %s", err)
	}
	if !strings.Contains(got.stdout, " | about to fail\n") || !strings.Contains(s.plain(got.stdout), "Rollback finished in SPAN (DIR/opt/app -> DIR/opt/app-releases/shop-1-N; ApplicationStart: 1 script; ValidateService: 1 script)\n") {
		t.Errorf("what went on was not shown:\n%s", got.stdout)
	}
	s.expect("live after it", s.live(), "1")
	s.expect("exit code of status", itoa(s.types("status").code), "1")
}

func TestNothingToGoBackTo(t *testing.T) {
	s := newStage(t)
	s.inService(s.app("1"))
	s.answered("rollback", 3, "", "usher rollback: there is no good release of another revision on this server to go back to; the releases here are\n  shop-1-N  good, live since TIME\n")
}

// One thing at a time: a rollback is refused while a launch is under way, and while another is.
func TestRollbackWhileADeploymentIsUnderWay(t *testing.T) {
	t.Run("a launch", func(t *testing.T) {
		s := newStage(t)
		app, open := s.gate(s.app("1"), "scripts/after.sh")
		s.publish("shop-1", app)
		server := s.cloud.Launch("web", standin.LaunchOptions{})
		r := s.start(server, "--once")
		r.says("at the gate")
		s.answered("rollback", 1, "", "usher rollback: a deployment is under way: d-N, AfterInstall. Try again when it is over: usher status\n")
		open()
		s.expect("exit code", itoa(r.wait()), "0")
	})
	t.Run("a rollback, whose client does not wait", func(t *testing.T) {
		s := newStage(t)
		one, shut, open := s.gateIf(s.app("1"), "scripts/start.sh")
		_, r := s.inService(one, s.app("2"))
		shut()
		var said bytes.Buffer
		client := exec.CommandContext(s.ctx, s.binary, "rollback", "--config", s.path("agent.yml"))
		client.Stderr = &said
		s.must(client.Start())
		r.says("at the gate")
		s.answered("rollback", 1, "", "usher rollback: a deployment is under way: rollback-TIME, ApplicationStart. Try again when it is over: usher status\n")
		s.answered("rollback --force", 1, "", "usher rollback: a deployment is under way: rollback-TIME, ApplicationStart. Try again when it is over: usher status\n")
		s.must(client.Process.Signal(syscall.SIGINT))
		_ = client.Wait() // its exit code is looked at below
		s.expect("exit code of the interrupted client", itoa(client.ProcessState.ExitCode()), "130")
		s.expect("it said", said.String(), "usher rollback: interrupted. The agent continues with it: usher status; journalctl -fu usher\n")
		open()
		r.says("is live and good")
		s.expect("live at the end", s.live(), "1")
	})
}

// A deployment that CodeDeploy drives is not rolled back over while it goes on, nor between two of its
// commands. One that was stopped there is never ended by a command: that is for the operator to say.
func TestRollbackOverADeploymentThatWasStopped(t *testing.T) {
	s := newStage(t)
	_, r := s.serving()
	app, open := s.gate(s.app("2"), "scripts/after.sh")
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", app))
	s.must(err)
	r.says("at the gate")
	s.answered("rollback", 1, "", "usher rollback: a deployment is under way: d-N, AfterInstall. Try again when it is over: usher status\n")
	now, code := s.status()
	s.expect("exit code of status", itoa(code), "0")
	if now.UnderWay == nil || now.UnderWay.Deployment != id || now.UnderWay.What != "command" || now.UnderWay.Step != "AfterInstall" || now.Command == nil || now.Command.Event != "AfterInstall" {
		t.Errorf("status: under way is %+v, the command %+v", now.UnderWay, now.Command)
	}

	s.cloud.Fail("PollHostCommand", -1, standin.Fault{Status: 503})
	told := len(s.cloud.CallsOf("PutHostCommandComplete"))
	open()
	_, err = s.cloud.WaitForCalls(s.ctx, "PutHostCommandComplete", told+1)
	s.must(err)
	const between = "usher rollback: a deployment is under way: d-N, between two steps. If nothing goes on with it, because it was stopped at CodeDeploy: usher rollback --force gives it up first\n"
	s.answered("rollback", 1, "", between)
	client := codedeploy.New(codedeploy.Options{Region: s.cloud.Region, BaseEndpoint: &s.cloud.Endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(s.cloud.AccessKey, s.cloud.SecretKey, "")})
	_, err = client.StopDeployment(s.ctx, &codedeploy.StopDeploymentInput{DeploymentId: &id})
	s.must(err)
	s.answered("rollback", 1, "", between)
	s.expect("live", s.live(), "2")
	s.expect("exit code of a rollback with force", itoa(s.types("rollback --force").code), "0")
	s.expect("live after it", s.live(), "1")
	s.expect("releases", s.releases(), "shop-1 good, shop-2 bad")
}

// An operator rolls back over a deployment that CodeDeploy goes on with. What the operator chose stays: the next command is
// refused, which ends the deployment on this server, and drift repair leaves it alone.
func TestRollbackOverADeploymentThatGoesOn(t *testing.T) {
	s := newStage(t)
	s.config["drift_check_interval"] = "100ms"
	_, r := s.serving()
	two := s.revision("shop-2", s.app("2"))
	_, status := s.deploy(two)
	s.expect("deployment", status, "Succeeded")
	app, open := s.gate(s.app("3"), "scripts/after.sh")
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-3", app))
	s.must(err)
	r.says("at the gate")
	s.cloud.Fail("PollHostCommand", -1, standin.Fault{Status: 503})
	told := len(s.cloud.CallsOf("PutHostCommandComplete"))
	open()
	_, err = s.cloud.WaitForCalls(s.ctx, "PutHostCommandComplete", told+1)
	s.must(err)
	s.expect("live between two events", s.live(), "3")
	s.expect("exit code of a rollback with force", itoa(s.types("rollback --force shop-1").code), "0")
	s.cloud.Heal("PollHostCommand")
	before := s.trace()
	status, err = s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("the deployment", status, "Failed")
	if told := s.diagnosticsOf(id, "ApplicationStart"); !strings.Contains(told, "was given up on this server, and rollback-") {
		t.Errorf("CodeDeploy was told: %s", told)
	}
	n := len(s.cloud.CallsOf("GetDeploymentGroup"))
	_, err = s.cloud.WaitForCalls(s.ctx, "GetDeploymentGroup", n+5)
	s.must(err)
	s.expect("live", s.live(), "1")
	s.expect("scripts since then", strings.TrimPrefix(s.trace(), before), "")
	_, status = s.deploy(s.revision("shop-4", s.app("4")))
	s.expect("the next deployment", status, "Succeeded")
	s.expect("live", s.live(), "4")
}

// The agent is killed in the middle of a rollback. Its client is told, and the next agent goes on with it:
// not with the revision of the group.
func TestKilledInARollback(t *testing.T) {
	s := newStage(t)
	one, shut, _ := s.gateIf(s.app("1"), "scripts/start.sh")
	server, r := s.inService(one, s.app("2"))
	shut()
	var said bytes.Buffer
	client := exec.CommandContext(s.ctx, s.binary, "rollback", "--config", s.path("agent.yml"))
	client.Stderr = &said
	s.must(client.Start())
	r.says("at the gate")
	s.must(r.cmd.Process.Kill())
	_ = client.Wait() // its exit code is looked at below
	s.expect("exit code of the client", itoa(client.ProcessState.ExitCode()), "1")
	s.expect("it said", said.String(), "usher rollback: the agent went away before it answered: journalctl -u usher says why\n")
	s.must(os.Remove(s.path("shut")))
	next := s.start(server)
	next.says("resuming deployment rollback-")
	next.says("is live and good")
	s.expect("live", s.live(), "1")
	s.expect("releases", s.releases(), "shop-2 good, shop-1 good") // the older first
	last, code := s.status()
	s.expect("exit code of status", itoa(code), "0")
	s.expect("the last deployment", last.Last.What+" "+last.Last.Outcome, "rollback succeeded")
	s.nothingRuns()
}

// Without an agent, and for anybody but root, it is said what to do.
func TestNoAgent(t *testing.T) {
	s := newStage(t)
	_, r := s.inService(s.app("1"))
	const none = "no agent answers here: systemctl start usher; if it is running, journalctl -u usher says what it waits for\n"
	s.must(r.cmd.Process.Kill()) // its socket stays
	r.wait()
	for _, line := range []string{"hold", "unhold", "rollback"} {
		s.answered(line, 1, "", "usher "+line+": "+none)
	}
	second := s.start(s.cloud.Instances()[0])
	second.says("nothing to deploy")
	s.answered("unhold", 3, "", "usher unhold: nothing is held here\n")
	s.expect("exit code", itoa(second.stop()), "0")
	if _, err := os.Lstat(s.path("state/control")); !os.IsNotExist(err) {
		t.Errorf("the socket of an agent that was stopped is still there (%v)", err)
	}
	s.answered("hold", 1, "", "usher hold: "+none)
}

func TestOperatorIsRoot(t *testing.T) {
	t.Parallel()
	dir, nobody := openToAll(t)
	if os.Geteuid() != 0 {
		nobody = -1 // who runs the test is somebody else already; the directory is closed to them too
	}
	writeIn(t, filepath.Join(dir, "agent.yml"), "application: shop\ndeployment_group: production\nstate_dir: "+filepath.Join(dir, "state")+"\n")
	r, err := record.Open(filepath.Join(dir, "state"), record.Owner{Instance: "i-0aaa", Image: "ami-1", Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if nobody < 0 {
		if err := os.Chmod(filepath.Join(dir, "state"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"status":   "usher status: only root may read the record: sudo usher status\n",
		"history":  "usher history: only root may read the record: sudo usher history\n",
		"hold":     "usher hold: only root may do that: sudo usher hold\n",
		"unhold":   "usher unhold: only root may do that: sudo usher unhold\n",
		"rollback": "usher rollback: only root may do that: sudo usher rollback\n",
	} {
		got := usherAs(t, nobody, filepath.Join(dir, "usher"), dir, []string{line, "--config", "agent.yml"})
		if got != (typed{"", want, 2}) {
			t.Errorf("usher %s: %+v", line, got)
		}
	}
}

// The path of the state directory may be longer than the address of a socket.
func TestLongStatePath(t *testing.T) {
	s := newStage(t)
	s.config["state_dir"] = s.path(strings.Repeat("a-very-long-name/", 15) + "state")
	_, r := s.inService(s.app("1"), s.app("2"))
	info, err := os.Lstat(filepath.Join(s.config["state_dir"], "control"))
	s.must(err)
	s.expect("mode of the socket", info.Mode().String(), "Srw-------")
	s.expect("exit code of a rollback", itoa(s.types("rollback").code), "0")
	s.expect("live", s.live(), "1")
	s.expect("exit code", itoa(r.stop()), "0")
}

// dials is a client that knows nothing of what to say.
func (s *stage) dials() net.Conn {
	s.Helper()
	conn, err := control.Dial(s.ctx, s.path("state"))
	s.must(err)
	s.Cleanup(func() { conn.Close() })
	return conn
}

// A client that says nothing, too much or something else does not keep the agent from the others.
func TestOddClients(t *testing.T) {
	s := newStage(t)
	_, r := s.inService(s.app("1"))
	for _, c := range []struct{ says, answer string }{
		{"rubble\n", `{"done":true,"code":2,"error":"the agent does not understand what it is asked: invalid character 'r' looking for beginning of value"}` + "\n"},
		{`{"do":"hold","for":"1h"}` + "\n", `{"done":true,"code":2,"error":"the agent does not understand what it is asked: json: cannot unmarshal string into Go struct field Request.for of type time.Duration"}` + "\n"},
		{`{"do":"fly"}` + "\n", `{"done":true,"code":2,"error":"the agent, usher ` + "VERSION" + `, does not know how to \"fly\": is it of another version than this command? systemctl restart usher"}` + "\n"},
		{strings.Repeat("x", control.MaxAsk+1), `{"done":true,"code":2,"error":"the agent does not understand what it is asked: invalid character 'x' looking for beginning of value"}` + "\n"},
		{"\x00\xff\n", ""},
	} {
		conn := s.dials()
		_, err := conn.Write([]byte(c.says))
		s.must(err)
		got, err := bufio.NewReader(conn).ReadString('\n')
		got = regexp.MustCompile(`usher devel[-0-9a-f]*`).ReplaceAllString(got, "usher VERSION")
		if c.answer != "" && got != c.answer || got == "" {
			t.Errorf("to %.40q: %q (%v), want %q", c.says, got, err, c.answer)
		}
	}

	var silent []net.Conn
	for range control.MaxClients + 2 {
		silent = append(silent, s.dials())
	}
	s.answered("unhold", 3, "", "usher unhold: nothing is held here\n") // in its turn
	for n, conn := range silent {
		s.must(conn.SetReadDeadline(time.Now().Add(patience)))
		if got, err := conn.Read(make([]byte, 1)); got != 0 || err == nil || os.IsTimeout(err) {
			t.Fatalf("silent client %d was not sent away: %d, %v", n, got, err)
		}
	}
	s.expect("exit code", itoa(r.stop()), "0")
}

// An agent that is stopped does not wait for its clients.
func TestStoppedWithClients(t *testing.T) {
	s := newStage(t)
	_, r := s.inService(s.app("1"))
	s.dials()
	began := time.Now()
	s.expect("exit code", itoa(r.stop()), "0")
	if took := time.Since(began); took > control.AskTime/2 {
		t.Errorf("it took %s to stop", took)
	}
}
