package acceptance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"usher/agent/standin"
)

// What users get: a real process listens on a port and answers with the version it read at its start. A rollback is
// judged by that answer, and not by where the link leads.

// What makes the test's own binary an application: USHER_TEST_WEB is the address it listens on, and USHER_TEST_ASK the
// one it asks, until it is answered.
const (
	webVariable = "USHER_TEST_WEB"
	askVariable = "USHER_TEST_ASK"
)

// actAsApplication is the application, or its client, in the place of the tests.
func actAsApplication() {
	if at := os.Getenv(webVariable); at != "" {
		version, err := os.ReadFile(os.Args[1])
		if err == nil {
			err = http.ListenAndServe(at, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(version) }))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if at := os.Getenv(askVariable); at != "" {
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			got, err := ask1(context.Background(), at)
			if err == nil {
				fmt.Println(got)
				os.Exit(0)
			}
			if time.Since(began) > soon {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
}

// ask1 asks the application once.
func ask1(ctx context.Context, at string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/", nil)
	if err != nil {
		return "", err
	}
	q.Close = true
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return strings.TrimSpace(string(b)), err
}

// webs counts the addresses that were given out: each test has one of its own in 127.0.0.0/8.
var webs atomic.Int32

// web is a revision with an application that listens: start.sh starts it in the background and leaves its pid in a file
// of the server's, stop.sh ends it by that, validate.sh asks it for its version. Like `systemctl start`, start.sh does
// nothing while one runs.
func (s *stage) web(at, version string) files {
	s.Helper()
	self, err := os.Executable()
	s.must(err)
	pid := s.path("web.pid")
	alive := "alive() { [ -e " + pid + " ] && grep -s ^State: /proc/$(cat " + pid + ")/status | grep -qv Z; }\n" // nobody may reap it
	start := alive + "if alive; then echo it runs already; exit 0; fi\n" +
		webVariable + "=" + at + " nohup " + self + " " + s.path("opt/app/VERSION") + " >/dev/null 2>&1 </dev/null &\necho $! >" + pid + "\n"
	stop := alive + "if alive; then kill $(cat " + pid + "); while alive; do sleep 0.01; done; fi\nrm -f " + pid + "\n"
	validate := "got=$(" + askVariable + "=" + at + " " + self + ")\necho \"it answers $got\"\ntest \"$got\" = " + version + "\n"
	f := s.app(version)
	for name, body := range map[string]string{"start": start, "stop": stop, "validate": validate} {
		f["scripts/"+name+".sh"] += body
	}
	return f
}

// webServing is a server in service whose application answers 1.
func (s *stage) webServing() (at string, r *agentRun) {
	s.Helper()
	at = s.webAddress()
	r = s.webInService(s.web(at, "1"))
	s.expect("served after the launch", s.served(at), "1")
	return at, r
}

// webInService is a server in service that was launched with a revision.
func (s *stage) webInService(one files) *agentRun {
	s.Helper()
	s.cloud.PutDeploymentGroup(fleetGroup())
	s.publish("shop-1", one)
	server := s.cloud.Launch("web", standin.LaunchOptions{})
	r := s.start(server)
	s.waitFor(server, standin.InService)
	r.says("completed the lifecycle action")
	s.must(os.Remove(s.path("trace")))
	return r
}

func (s *stage) webAddress() string {
	n := webs.Add(1)
	s.Cleanup(func() { s.endsWeb() })
	return net.JoinHostPort(fmt.Sprintf("127.%d.%d.%d", 2+os.Getpid()/250%250, os.Getpid()%250, 1+n%250), "8080")
}

// endsWeb ends what the test left running.
func (s *stage) endsWeb() {
	for _, pid := range s.pidsOf(webVariable) {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
}

// pidsOf are the processes that have the name of a variable in their environment, and a path of this test.
func (s *stage) pidsOf(variable string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		args, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if strings.Contains(string(env), variable+"=") && strings.Contains(string(args), s.dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// served is what users get: the answer of the application, or why there is none.
func (s *stage) served(at string) string {
	got, err := ask1(s.ctx, at)
	if err != nil {
		return "nothing"
	}
	return got
}

// appends adds a line to a script of a revision.
func (f files) appends(script, line string) files { return f.with(files{script: f[script] + line}) }

// What serves, what is said of it and what CodeDeploy was told, for a failure at each event of a deployment to a server
// in service. The table is that of systemd/README.md.
func TestWhatServesAfterAFailure(t *testing.T) {
	for _, c := range []struct{ event, script, trace string }{
		{"DownloadBundle", "", "ApplicationStop 1 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"Install", "", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"BeforeInstall", "before", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"AfterInstall", "after", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"ApplicationStart", "start", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\n" +
			"ApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
		{"ValidateService", "validate", "ApplicationStop 1 live=1\nBeforeInstall 2 live=1\nAfterInstall 2 live=1\nApplicationStart 2 live=2\nValidateService 2 live=2\n" +
			"ApplicationStop 2 live=2\nApplicationStart 1 live=1\nValidateService 1 live=1"},
	} {
		t.Run(c.event, func(t *testing.T) {
			s := newStage(t)
			at, _ := s.webServing()
			two := s.web(at, "2")
			switch c.event {
			case "DownloadBundle":
				two["scripts/start.sh"] = "#!/bin/sh\nif\n"
			case "Install":
				s.write("etc/VERSION", "mine")
				two["appspec.yml"] = strings.Replace(two["appspec.yml"], "\nhooks:", "\n  - {source: VERSION, destination: "+s.path("etc")+"}\nhooks:", 1)
			default:
				two = two.appends("scripts/"+c.script+".sh", "echo about to fail\nexit 3\n")
			}
			id, status := s.deploy(s.revision("shop-2", two))
			s.expect("deployment", status, "Failed")
			s.expect("served", s.served(at), "1")
			s.expect("live", s.live(), "1")
			s.expect("the scripts saw", s.trace(), c.trace)
			all := s.cloud.HostCommands()
			last := all[len(all)-1]
			s.expect("the last command", last.Name+" "+last.Status+" of "+last.DeploymentID, c.event+" Failed of "+id)
			if want := "\nrolled back: shop-1-N is live again"; !strings.HasSuffix(s.plain(last.Diagnostics.Message), want) {
				t.Errorf("CodeDeploy was told: %s", last.Diagnostics.Message)
			}
			now, code := s.status()
			s.expect("exit code of status", itoa(code), "1")
			s.expect("status", fmt.Sprintf("%s, rolled back %t, serving %t", now.Last.Outcome, now.Last.RolledBack, now.Last.Serving), "failed, rolled back true, serving true")

			_, status = s.deploy(s.revision("shop-3", s.web(at, "3")))
			s.expect("the next deployment", status, "Succeeded")
			s.expect("served after it", s.served(at), "3")
		})
	}
}

// A bundle that cannot be used is no reason to restart an application that nothing has stopped.
func TestNothingIsRestartedForNothing(t *testing.T) {
	s := newStage(t)
	at := s.webAddress()
	one := s.web(at, "1")
	one["appspec.yml"] = strings.Replace(one["appspec.yml"], "  ApplicationStop: [{location: scripts/stop.sh}]\n", "", 1)
	s.webInService(one)
	before := s.pidsOf(webVariable)
	_, status := s.deploy(s.revision("shop-2", s.web(at, "2").with(files{"scripts/start.sh": "#!/bin/sh\nif\n"})))
	s.expect("deployment", status, "Failed")
	s.expect("served", s.served(at), "1")
	s.expect("the scripts saw", s.trace(), "")
	s.expect("processes", fmt.Sprint(s.pidsOf(webVariable)), fmt.Sprint(before))
}

// The same for a launch that fails: nothing of the failed release serves on the base, on a server that may be kept for
// somebody to look at.
func TestWhatServesAfterALaunchFails(t *testing.T) {
	for event, script := range map[string]string{"BeforeInstall": "before", "AfterInstall": "after", "ApplicationStart": "start", "ValidateService": "validate"} {
		t.Run(event, func(t *testing.T) {
			s := newStage(t)
			at := s.webAddress()
			s.publish("shop-1", s.web(at, "1").appends("scripts/"+script+".sh", "echo about to fail\nexit 3\n"))
			server, _, code := s.launch()
			s.expect("exit code", itoa(code), "1")
			s.waitFor(server, standin.Terminated)
			s.expect("Auto Scaling was told", answers(server), "usher-launch ABANDON")
			s.expect("served", s.served(at), "nothing")
			s.expect("live", s.live(), "base")
			now, _ := s.status()
			s.expect("status", now.Last.Ending(), "failed in "+event+", rolled back")
		})
	}
}

// A daemon that no ApplicationStop ends is ended before what was live is started: it holds the port. So is one that does
// not obey TERM.
func TestAFailedReleaseHoldsThePort(t *testing.T) {
	for name, change := range map[string]func(files) files{
		"its ApplicationStop fails": func(f files) files {
			return f.with(files{"scripts/stop.sh": "#!/bin/sh\nset -e\necho no idea how >&2\nexit 1\n"})
		},
		"it has none, and does not obey TERM": func(f files) files {
			return f.with(files{"scripts/stop.sh": "#!/bin/sh\nset -e\n", "scripts/start.sh": strings.Replace(f["scripts/start.sh"], "set -eu", "set -eu\ntrap '' TERM", 1)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			at, r := s.webServing()
			id, status := s.deploy(s.revision("shop-2", change(s.web(at, "2")).appends("scripts/validate.sh", "exit 3\n")))
			s.expect("deployment", status, "Failed")
			s.expect("served", s.served(at), "1")
			s.said(r, "Rollback finished", "deployment "+id+" failed", "was left running by the failed release, and is ended")
			s.expect("processes", itoa(len(s.pidsOf(webVariable))), "1")
		})
	}
}

// What was live does not come back: the failed release has migrated the database, which version 1 migrates back before it
// is installed, and only then. That is said everywhere, and CodeDeploy's own rollback, which deploys version 1, is not
// passed over.
func TestWhatWasLiveDoesNotServe(t *testing.T) {
	s := newStage(t)
	migrated := s.path("migrated")
	at := s.webAddress()
	one := s.web(at, "1").appends("scripts/before.sh", "rm -f "+migrated+"\n").appends("scripts/validate.sh", "test ! -e "+migrated+"\n")
	r := s.webInService(one)
	group := fleetGroup()
	group.AutoRollback = true
	s.cloud.PutDeploymentGroup(group)
	id, status := s.deploy(s.revision("shop-2", s.web(at, "2").appends("scripts/after.sh", "touch "+migrated+"\nexit 3\n")))
	s.expect("deployment", status, "Failed")
	back := s.rollbackOf(id)
	const want = "and what was live before does not work: ValidateService"
	if told := s.diagnosticsOf(id, "AfterInstall"); !strings.Contains(told, want) {
		t.Errorf("CodeDeploy was told: %s", told)
	}
	s.said(r, want)
	if got := s.types("history"); !strings.Contains(s.plain(got.stdout), "failed in AfterInstall, rolled back to what does not work") {
		t.Errorf("history:\n%s", got.stdout)
	}
	status, err := s.cloud.WaitForDeployment(s.ctx, back)
	s.must(err)
	s.expect("CodeDeploy's rollback", status, "Succeeded")
	s.expect("its commands", s.commands(back), inPlace)
	s.expect("served", s.served(at), "1")
	if _, err := os.Lstat(migrated); err == nil {
		t.Error("the database was not migrated back")
	}
}

// The link cannot be put back: a script of the failed release has made a folder of it. That the server serves a mixture is
// said everywhere, and nothing of what is in the folder is removed.
func TestTheLinkCannotBePutBack(t *testing.T) {
	s := newStage(t)
	at, r := s.webServing()
	spoil := "rm " + s.path("opt/app") + "\nmkdir " + s.path("opt/app") + "\necho mine >" + s.path("opt/app") + "/mine\nexit 3\n"
	id, status := s.deploy(s.revision("shop-2", s.web(at, "2").appends("scripts/validate.sh", spoil)))
	s.expect("deployment", status, "Failed")
	if told := s.diagnosticsOf(id, "ValidateService"); !strings.Contains(told, "and the rollback failed: ") || !strings.Contains(told, s.path("opt/app")) {
		t.Errorf("CodeDeploy was told: %s", told)
	}
	s.said(r, "and the rollback failed: ")
	now, _ := s.status()
	s.expect("status", now.Last.Ending(), "failed in ValidateService, NOT rolled back")
	if got := s.types("history"); !strings.Contains(s.plain(got.stdout), "failed in ValidateService, NOT rolled back") {
		t.Errorf("history:\n%s", got.stdout)
	}
	text, err := os.ReadFile(s.path("opt/app") + "/mine")
	s.must(err)
	s.expect("what is in the folder", string(text), "mine\n")
}

// rollbackOf is CodeDeploy's own rollback of a deployment.
func (s *stage) rollbackOf(id string) (back string) {
	s.Helper()
	s.until(func() bool {
		all := s.cloud.HostCommands()
		back = all[len(all)-1].DeploymentID
		return back != id
	})
	return back
}

// diagnosticsOf is what CodeDeploy was told of an event of a deployment that failed.
func (s *stage) diagnosticsOf(id, event string) string {
	for _, c := range s.cloud.HostCommands() {
		if c.DeploymentID == id && c.Name == event {
			return c.Diagnostics.Message
		}
	}
	return ""
}

// The agent is killed at each line of the rollback, before it is written and after: the next one goes on, and what was
// live serves at the end, alone.
func TestKilledWhileWhatWasLiveComesBack(t *testing.T) {
	stage := func(t *testing.T) (*stage, string, *standin.Instance) {
		s := newStage(t)
		s.config["on_failure"] = "continue"
		at := s.webAddress()
		s.publish("shop-1", s.web(at, "1"))
		server := s.pooled()
		s.publish("shop-2", s.web(at, "2").appends("scripts/validate.sh", "exit 3\n"))
		return s, at, server
	}
	s, at, server := stage(t)
	before := s.recordLines()
	_, code := s.takeOut(server)
	s.expect("exit code", itoa(code), "1")
	s.expect("served", s.served(at), "1")
	var lines []string // of the agent that takes it out
	for n, line := range s.recordLines()[len(before):] {
		if strings.Contains(line, `"step":"Rollback"`) || strings.Contains(line, `"what":"gave-up"`) {
			lines = append(lines, itoa(n+1)+"-", itoa(n+1)+"+")
		}
	}
	if len(lines) < 10 {
		t.Fatalf("the rollback has %d lines", len(lines)/2)
	}
	for _, cut := range lines {
		t.Run(cut, func(t *testing.T) {
			s, at, server := stage(t)
			server.StartFromPool()
			s.waitFor(server, standin.PendingWait)
			line := s.killed(server, cut)
			r := s.start(server, "-once")
			r.wait()
			s.waitFor(server, standin.InService)
			s.expect("served, after a kill "+line, s.served(at), "1")
			s.expect("live", s.live(), "1")
			s.expect("processes", itoa(len(s.pidsOf(webVariable))), "1")
			last, _ := s.status()
			s.expect("the deployment", fmt.Sprintf("%s, rolled back %t, serving %t", last.Last.Outcome, last.Last.RolledBack, last.Last.Serving), "failed, rolled back true, serving true")
		})
	}
}

// recordLines are the lines of the record.
func (s *stage) recordLines() []string {
	s.Helper()
	text, err := os.ReadFile(s.path("state/record.jsonl"))
	s.must(err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// The agent is killed at each line of a check: the server was in a pool, and its release is still the group's. The next
// agent checks it, and does not take it for a deployment that was cut off.
func TestKilledInACheck(t *testing.T) {
	s := newStage(t)
	s.publish("shop-1", s.app("1"))
	server := s.pooled()
	before := s.recordLines()
	s.update(server)
	for n := range len(s.recordLines()) - len(before) {
		for _, side := range []string{"-", "+"} {
			t.Run(itoa(n+1)+side, func(t *testing.T) {
				s := newStage(t)
				s.publish("shop-1", s.app("1"))
				server := s.pooled()
				server.StartFromPool()
				s.waitFor(server, standin.PendingWait)
				line := s.killed(server, itoa(n+1)+side)
				r := s.start(server, "-once")
				r.wait()
				s.waitFor(server, standin.InService)
				s.expect("releases, after a kill "+line, s.releases(), "shop-1 good")
				s.expect("bundles fetched", itoa(len(s.cloud.CallsOf("GetObject"))), "1")
			})
		}
	}
}
