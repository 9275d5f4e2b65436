package acceptance

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
)

// The stage of the developer's side: an application's git repository with a remote, the real binary run in it, and
// servers in service with real agents on them.

// shop is a stage with a repository.
type shop struct {
	*stage
	repo    string   // the working tree
	environ []string // more environment for the developer's usher
	typed   string   // the developer's usher
	group   string   // that servers are launched in; "" is web
	servers []*stage // each has a link of its own
	ids     []string // the servers' instances
	commits []string
}

// newShop is a repository with usher.yml and version 1 of the application committed and pushed, and that many
// servers in service that run it. Nothing asks for confirmation.
func newShop(t *testing.T, servers int, group standin.DeploymentGroup, options ...standin.Options) *shop {
	t.Helper()
	s := newStage(t, options...)
	h := &shop{stage: s, repo: s.path("shop"), typed: binaries.usher}
	s.cloud.PutDeploymentGroup(group)
	h.git("init", "--quiet", "--bare", "--initial-branch=main", s.path("origin.git"))
	h.git("init", "--quiet", "--initial-branch=main", h.repo)
	h.in("remote", "add", "origin", s.path("origin.git"))
	h.environments("")
	h.commit("1", edition("1"))
	h.serve(servers)
	return h
}

// production is the group of the tests: the servers of Auto Scaling group web, one at a time.
func production() standin.DeploymentGroup {
	return standin.DeploymentGroup{Application: "shop", Name: "production", AutoScalingGroups: []string{"web"}}
}

// environments writes usher.yml, with more lines for production.
func (h *shop) environments(more string) {
	h.Helper()
	h.write("shop/usher.yml", fmt.Sprintf("application: shop\nenvironments:\n  production:\n    deployment_group: production\n    bucket: %s\n    region: %s\n    branch: origin/main\n%s",
		h.cloud.Bucket, h.cloud.Region, more))
}

// edition is an application without a files section: the whole bundle is the release, wherever the link of its
// server is.
func edition(n string) files {
	script := "#!/bin/sh\nset -eu\n"
	return files{
		"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstall: [{location: scripts/render.sh}]\n  ValidateService: [{location: scripts/validate.sh, timeout: 30}]\n",
		"VERSION":     n, "scripts/render.sh": script + "echo rendering the pages of " + n + "\n", "scripts/validate.sh": script + "test \"$(cat VERSION)\" = " + n + "\n",
	}
}

// broken is a version whose AfterInstall fails.
func broken(n string) files {
	return edition(n).with(files{"scripts/render.sh": "#!/bin/sh\nset -eu\necho migrating the database to " + n + "\ncat migrations/0042-add-orders.sql\n"})
}

// waiting is a version whose AfterInstall writes to a file and waits for another.
func (h *shop) waiting(n string) files {
	return edition(n).with(files{"scripts/render.sh": fmt.Sprintf("#!/bin/sh\nset -eu\necho begun > %s\nread -r go < %s\n", h.path("begun"), h.path("go"))})
}

func (h *shop) git(args ...string) string {
	h.Helper()
	cmd := exec.CommandContext(h.ctx, "git", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com",
		"GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// in runs git in the repository.
func (h *shop) in(args ...string) string {
	h.Helper()
	return h.git(append([]string{"-C", h.repo}, args...)...)
}

// commit commits a version and pushes it; it returns the commit's id.
func (h *shop) commit(subject string, f files) string {
	h.Helper()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h.write("shop/"+name, f[name])
	}
	h.in("add", "--all")
	h.in("commit", "--quiet", "--message", "Version "+subject)
	h.in("push", "--quiet", "origin", "main")
	h.commits = append(h.commits, h.in("rev-parse", "HEAD"))
	return h.commits[len(h.commits)-1]
}

// serve launches servers and waits until they run what the group has: the base, when that is nothing.
func (h *shop) serve(n int) {
	h.Helper()
	for range n {
		s, server, r := h.launches(nil)
		s.waitFor(server, standin.InService)
		r.says("completed the lifecycle action")
	}
}

// launches launches a server, with more in its agent.yml.
func (h *shop) launches(config map[string]string) (*stage, *standin.Instance, *agentRun) {
	h.Helper()
	s := *h.stage
	s.dir = h.path(fmt.Sprintf("server-%d", len(h.servers)+1))
	s.config = maps.Clone(h.config)
	for key, path := range map[string]string{"link": "opt/app", "base": "opt/app-base", "releases": "opt/app-releases", "role_hooks": "hooks.d", "state_dir": "state"} {
		s.config[key] = s.path(path)
	}
	s.write("opt/app-base/VERSION", "base")
	s.must(os.Symlink(s.path("opt/app-base"), s.path("opt/app")))
	maps.Copy(s.config, config)
	server := s.cloud.Launch(cmp.Or(h.group, "web"), standin.LaunchOptions{})
	r := s.start(server)
	h.servers, h.ids = append(h.servers, &s), append(h.ids, server.ID)
	return &s, server, r
}

// live is what the servers run.
func (h *shop) live() string {
	var all []string
	for _, s := range h.servers {
		all = append(all, s.live())
	}
	return strings.Join(all, " ")
}

// typing is a command line that a developer has typed.
type typing struct {
	h    *shop
	line string
	cmd  *exec.Cmd

	mu             sync.Mutex
	stdout, stderr bytes.Buffer
	more           chan struct{}
	done           chan struct{}
}

// into collects what is printed.
type into struct {
	t *typing
	b *bytes.Buffer
}

func (w into) Write(p []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	close(w.t.more)
	w.t.more = make(chan struct{})
	return w.b.Write(p)
}

// types begins a command line in the repository.
func (h *shop) types(line string, set ...func(*exec.Cmd)) *typing {
	h.Helper()
	h.step()
	t := &typing{h: h, line: line, more: make(chan struct{}), done: make(chan struct{})}
	t.cmd = exec.CommandContext(h.ctx, h.typed, strings.Fields(line)...)
	t.cmd.Dir, t.cmd.Stdout, t.cmd.Stderr = h.repo, into{t, &t.stdout}, into{t, &t.stderr}
	t.cmd.Env = append(append(h.cloud.CLIEnviron(), "PATH="+os.Getenv("PATH"), "HOME="+h.dir, "TMPDIR="+h.dir, "GIT_CONFIG_NOSYSTEM=1", "TZ=UTC", "GORACE=atexit_sleep_ms=0"), h.environ...)
	t.cmd.WaitDelay = 5 * time.Second
	for _, change := range set {
		change(t.cmd)
	}
	h.must(t.cmd.Start())
	go func() {
		defer close(t.done)
		_ = t.cmd.Wait() // the exit code is looked at
	}()
	h.Cleanup(func() { <-t.done })
	return t
}

// usher is a command line from its beginning to its end.
func (h *shop) usher(line string) typed {
	h.Helper()
	return h.types(line).ends()
}

func (t *typing) ends() typed {
	t.h.Helper()
	t.h.step()
	select {
	case <-t.done:
	case <-t.h.ctx.Done():
		t.h.Fatalf("usher %s did not end; it said:\n%s", t.line, t.text())
	}
	return typed{t.stdout.String(), t.stderr.String(), t.cmd.ProcessState.ExitCode()}
}

func (t *typing) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stdout.String() + t.stderr.String()
}

// says waits until the command has said something.
func (t *typing) says(what string) {
	t.h.Helper()
	t.h.step()
	for {
		t.mu.Lock()
		more := t.more
		t.mu.Unlock()
		if strings.Contains(t.text(), what) {
			return
		}
		select {
		case <-more:
		case <-t.done:
			if !strings.Contains(t.text(), what) {
				t.h.Fatalf("usher %s ended without saying %q; it said:\n%s", t.line, what, t.text())
			}
		case <-t.h.ctx.Done():
			t.h.Fatalf("usher %s did not say %q; it said:\n%s", t.line, what, t.text())
		}
	}
}

// interrupt is Ctrl-C.
func (t *typing) interrupt() { _ = t.cmd.Process.Signal(syscall.SIGINT) }

// ended checks how a command line ended and that it said all of these.
func (h *shop) ended(got typed, code int, want ...string) {
	h.Helper()
	if got.code != code {
		h.Errorf("exit code %d, and not %d", got.code, code)
	}
	for _, w := range want {
		if !strings.Contains(got.stdout+got.stderr, w) {
			h.Errorf("it does not say %q", w)
		}
	}
	if h.Failed() {
		h.Fatalf("stdout:\n%s\nstderr:\n%s", got.stdout, got.stderr)
	}
}

var (
	clockForm   = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d `)
	tookForm    = regexp.MustCompile(`\b(\d+ms|\d+\.\ds)\b`)
	sizeForm    = regexp.MustCompile(`\b\d+(\.\d)? (B|kB|MB)\b`)
	agoForm     = regexp.MustCompile(`(just now|\d+ minutes? ago)`)
	passingForm = regexp.MustCompile(`(?m)^\S+ .*( begins| began| created| in progress: .*)\n|^\S+ \S+ [A-Z]\w+ succeeded in \S+\n|, \S+ of it [A-Z]\w+`) // only what a look happens to see
	releaseForm = regexp.MustCompile(`(SHA\d|\d{40})-[0-9a-f]{8}\b`)
	idForm      = regexp.MustCompile(`d-[0-9A-Z]{9}`)
)

// picture is what was printed with everything that changes from run to run named: servers, commits and
// deployments by their order.
func (h *shop) picture(text string) string {
	text = passingForm.ReplaceAllString(clockForm.ReplaceAllString(text, "TIME "), "")
	for i, id := range h.ids {
		text = strings.ReplaceAll(text, id, fmt.Sprintf("server%d", i+1))
	}
	for i, sha := range h.commits {
		text = strings.ReplaceAll(strings.ReplaceAll(text, sha, fmt.Sprintf("SHA%d", i+1)), sha[:10], fmt.Sprintf("commit%d", i+1))
	}
	seen := map[string]string{}
	text = idForm.ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			seen[id] = fmt.Sprintf("deployment%d", len(seen)+1)
		}
		return seen[id]
	})
	text = releaseForm.ReplaceAllString(strings.ReplaceAll(text, h.cloud.Bucket, "BUCKET"), "${1}-ETAG")
	return agoForm.ReplaceAllString(sizeForm.ReplaceAllString(tookForm.ReplaceAllString(text, "SOON"), "SIZE"), "AGO")
}

// deploymentIn finds the id of the deployment that something printed is about.
func (h *shop) deploymentIn(text string) string {
	h.Helper()
	id := idForm.FindString(text)
	if id == "" {
		h.Fatalf("no deployment is named in:\n%s", text)
	}
	return id
}

// fifos are what the script of a waiting version uses: hasBegun waits until it runs, goOn lets it go on.
func (h *shop) fifos() {
	h.Helper()
	h.must(syscall.Mkfifo(h.path("begun"), 0o600))
	h.must(syscall.Mkfifo(h.path("go"), 0o600))
}

func (h *shop) hasBegun() {
	h.Helper()
	h.must(inTime(h.ctx, func() error { _, err := os.ReadFile(h.path("begun")); return err }))
}

func (h *shop) goOn() {
	h.Helper()
	h.must(inTime(h.ctx, func() error { return os.WriteFile(h.path("go"), []byte("go\n"), 0) }))
}

// inTime does something that may block, for as long as ctx lasts.
func inTime(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), errors.New("a script did not get there"))
	}
}
