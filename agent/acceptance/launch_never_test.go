package acceptance

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What usher never does, where no other test has it in its story.

// A script that is recorded as finished is not run again when the agent is killed later in the same event.
func TestAFinishedScriptIsNotRunAgain(t *testing.T) {
	s := newStage(t)
	server, r := s.serving()
	fifo := s.path("go")
	s.must(syscall.Mkfifo(fifo, 0o600))
	f := s.app("2")
	f = f.with(files{
		"appspec.yml":       strings.Replace(f["appspec.yml"], "{location: scripts/after.sh}", "{location: scripts/after.sh}, {location: scripts/waits.sh}", 1),
		"scripts/waits.sh":  "#!/bin/sh\nset -eu\necho it waits\ncat " + fifo + "\necho AfterInstall waited >> " + s.path("trace") + "\n",
		"scripts/before.sh": "#!/bin/sh\nset -eu\necho BeforeInstall 2 >> " + s.path("trace") + "\n",
	})
	id, err := s.cloud.Deploy("shop", "production", s.revision("shop-2", f))
	s.must(err)
	r.says("| it waits")
	s.must(r.cmd.Process.Kill())
	r.wait()
	second := s.start(server)
	second.says("| it waits")
	s.must(os.WriteFile(fifo, []byte("go\n"), 0))
	status, err := s.cloud.WaitForDeployment(s.ctx, id)
	s.must(err)
	s.expect("deployment", status, "Succeeded")
	s.expect("the scripts saw", s.trace(), "ApplicationStop 1 live=1\nBeforeInstall 2\nAfterInstall 2 live=1\nAfterInstall waited\nApplicationStart 2 live=2\nValidateService 2 live=2")
}

// Whom the agent talks to, from its start through a launch and a deployment by CodeDeploy: metadata, Auto Scaling and CodeDeploy, S3,
// each connection of it traced; and whose files it reads: not those of root's AWS tools, wherever they are named.
func TestWhomTheAgentTalksTo(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := newStage(t)
	for _, file := range []string{".aws/config", "elsewhere/config"} {
		s.write(file, "[default]\nregion = us-gov-west-1\nendpoint_url = http://127.0.0.1:9\nca_bundle = /nowhere\ncredential_process = touch "+s.path("leaked")+"\n")
	}
	for _, file := range []string{".aws/credentials", "elsewhere/credentials"} {
		s.write(file, "[default]\naws_access_key_id = AKIAOFROOT\naws_secret_access_key = x\n")
	}
	s.env = []string{"AWS_CONFIG_FILE=" + s.path("elsewhere/config"), "AWS_SHARED_CREDENTIALS_FILE=" + s.path("elsewhere/credentials")}
	trace := s.path("calls")
	s.inside = []string{"strace", "--daemonize", "--follow-forks", "--seccomp-bpf", "-qq", "--signal=none", "--string-limit=200", "--trace=connect,sendto,sendmsg,open,openat,openat2", "--output=" + trace}
	server := s.launchesAndDeploys()

	text, err := os.ReadFile(trace)
	s.must(err)
	known := map[string]int{}
	for _, endpoint := range []string{s.cloud.Endpoint, s.cloud.S3Endpoint, server.MetadataEndpoint} {
		at, err := url.Parse(endpoint)
		s.must(err)
		known[at.Host] = 0
	}
	inet := regexp.MustCompile(`sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)|sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"`)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/config") && strings.Contains(line, "open") && (strings.Contains(line, ".aws") || strings.Contains(line, "elsewhere")) || strings.Contains(line, "credentials\"") {
			t.Errorf("reads a file of root's AWS tools: %s", line)
		}
		for _, m := range inet.FindAllStringSubmatch(line, -1) {
			host := net.JoinHostPort(m[2]+m[4], m[1]+m[3])
			if _, ok := known[host]; !ok {
				t.Errorf("talks to %s: %s", host, line)
			} else if strings.Contains(line, "connect(") {
				known[host]++
			}
		}
		if m := regexp.MustCompile(`sun_path=@?"([^"]*)"`).FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], s.dir) && m[1] != "/run/systemd/journal/socket" &&
			!(raceEnabled && m[1] == "/var/run/nscd/socket") { // the race detector brings libc's look-up of users, which asks its cache
			t.Errorf("talks to the socket %s: %s", m[1], line)
		}
	}
	for host, n := range known {
		if t.Logf("%s: %d connections", host, n); n == 0 || n > 12 {
			t.Errorf("%d connections to %s", n, host)
		}
	}
	if _, err := os.Stat(s.path("leaked")); err == nil {
		t.Error("a program that root's AWS configuration names was run")
	}
	asked := 0
	for _, call := range server.MetadataCalls() {
		if asked++; call.Status == http.StatusUnauthorized { // without a session token, or with one that is over
			t.Errorf("metadata was asked for %s without a session token", call.Op)
		}
	}
	if asked == 0 {
		t.Error("metadata was asked nothing")
	}
	operations := map[string]bool{}
	for _, call := range s.cloud.Calls() {
		operations[fmt.Sprintf("%s %s", call.Service, call.Op)] = true
		if strings.Contains(fmt.Sprint(call.Params), "AKIAOFROOT") {
			t.Errorf("%s was signed with root's key", call.Op)
		}
	}
	for op := range operations {
		service, _, _ := strings.Cut(op, " ")
		if !slices.Contains([]string{"autoscaling", "codedeploy", "codedeploy-commands", "s3", "imds"}, strings.ToLower(service)) {
			t.Errorf("asks %s", op)
		}
	}
}
