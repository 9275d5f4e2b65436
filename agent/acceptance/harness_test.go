// Package acceptance acts launches, deployments and commands on a stage: the real binary, against AWS on loopback, with /opt in a
// scratch directory. A test says what is there, launches, and looks at what became of it. Files are named after whose story it is.
package acceptance

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/agent/standin/awsmodel"
)

var binaries struct {
	usher string        // as it ships, but for the race detector when the tests have it
	kill  func() string // the same with -tags killpoints, built when a test asks for it
	other func() string // with -tags developer: what a developer has whose machine is not Linux
}

func TestMain(m *testing.M) {
	actAsApplication() // and no further, when a script started it as one
	// Launches wait for servers far more than they compute: more of them at a time than there are cores.
	flag.Parse()
	_ = flag.Set("test.parallel", "12")
	dir, err := os.MkdirTemp("", "usher-test-")
	if err == nil {
		binaries.usher = filepath.Join(dir, "usher")
		err = build(binaries.usher)
		tagged := func(tag string) func() string {
			return sync.OnceValue(func() string {
				to := filepath.Join(dir, "usher-"+tag)
				if err := build(to, "-tags", tag); err != nil {
					panic(err)
				}
				return to
			})
		}
		binaries.kill, binaries.other = tagged("killpoints"), tagged("developer")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(to string, flags ...string) error {
	cgo := "CGO_ENABLED=0"
	if raceEnabled {
		flags, cgo = append(flags, "-race"), "CGO_ENABLED=1"
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", to}, flags...), ".")...)
	cmd.Dir = filepath.Join(house, "agent") // a stand-in's S3 server moves the process
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build usher: %v\n%s", err, out)
	}
	return nil
}

// patience bounds each step of a test, not the test: some type a hundred commands. It stands for a hang, and nothing waits
// this long unless it is broken: under the race detector, on a slow machine, work of seconds takes a minute.
const patience = 10 * time.Minute

type stage struct {
	*testing.T
	cloud  *standin.Cloud
	ctx    context.Context
	limit  *time.Timer // ends ctx: see step
	dir    string
	config map[string]string // agent.yml
	env    []string          // more environment for usher
	binary string
	inside []string // what the binary is started by: see mounting
}

// newStage is a fresh server of deployment group production of application shop: /opt/app points to the
// base, Auto Scaling group web has one launch hook, and nothing was deployed yet. AWS is fast and faultless
// unless options say otherwise.
func newStage(t *testing.T, options ...standin.Options) *stage {
	t.Helper()
	t.Parallel()
	cloud, err := standin.Start(awsOptions(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	ctx, cancel := context.WithCancelCause(context.Background())
	limit := time.AfterFunc(patience, func() { cancel(fmt.Errorf("nothing came of it within %s", patience)) })
	t.Cleanup(func() { limit.Stop(); cancel(nil) })
	s := &stage{T: t, cloud: cloud, ctx: ctx, limit: limit, dir: t.TempDir(), binary: binaries.usher}
	s.config = map[string]string{
		"application": "shop", "deployment_group": "production",
		"link": s.path("opt/app"), "base": s.path("opt/app-base"), "releases": s.path("opt/app-releases"),
		"role_hooks": s.path("hooks.d"), "state_dir": s.path("state"), "retry_timeout": "3s",
	}
	s.write("opt/app-base/VERSION", "base")
	s.must(os.Symlink(s.path("opt/app-base"), s.path("opt/app")))
	cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true})
	cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: time.Minute})
	cloud.PublishRevision("shop", "production", standin.Revision{})
	return s
}

// eventualLag is how far AWS's descriptions are behind when USHER_TEST_EVENTUAL is set: more than a client that asks
// once can take for granted, less than any patience of the tests.
const eventualLag = 2 * time.Second

// awsOptions are how AWS behaves in a test: every answer is held against AWS's own models, and with USHER_TEST_EVENTUAL
// in the environment what is described is behind what has happened.
func awsOptions(t *testing.T, options ...standin.Options) standin.Options {
	o := append(options, standin.Options{})[0]
	if os.Getenv("USHER_TEST_EVENTUAL") != "" && o.Eventual == 0 {
		o.Eventual = eventualLag
	}
	return awsmodel.Watch(t, o)
}

// step begins a step of the test, which may last as long as patience.
func (s *stage) step() { s.limit.Reset(patience) }

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) write(name, content string) {
	s.Helper()
	s.must(os.MkdirAll(filepath.Dir(s.path(name)), 0o755))
	s.must(os.WriteFile(s.path(name), []byte(content), 0o755))
}

// files is a revision: name -> content. Scripts are executable.
type files map[string]string

// with is the revision with some files changed; a file with content "-" is left out.
func (f files) with(more files) files {
	all := maps.Clone(f)
	for name, content := range more {
		all[name] = content
		if content == "-" {
			delete(all, name)
		}
	}
	return all
}

// app is a revision whose five scripts write what they see to $TRACE in the releases' parent directory.
func (s *stage) app(version string) files {
	trace := s.path("trace")
	script := func(event string) string {
		return fmt.Sprintf("#!/bin/sh\nset -eu\necho \"%s %s live=$(cat %s/VERSION)\" >> %s\n", event, version, s.path("opt/app"), trace)
	}
	return files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: \"" + s.path("opt/app") + "\"}\nhooks:\n" +
			"  ApplicationStop: [{location: scripts/stop.sh}]\n  BeforeInstall: [{location: scripts/before.sh}]\n  AfterInstall: [{location: scripts/after.sh}]\n" +
			"  ApplicationStart: [{location: scripts/start.sh}]\n  ValidateService: [{location: scripts/validate.sh, timeout: 20}]\n",
		"VERSION":             version,
		"scripts/stop.sh":     script("ApplicationStop"),
		"scripts/before.sh":   script("BeforeInstall"),
		"scripts/after.sh":    script("AfterInstall"),
		"scripts/start.sh":    script("ApplicationStart"),
		"scripts/validate.sh": script("ValidateService"),
	}
}

// publish uploads a revision as a zip and makes it the group's.
func (s *stage) publish(name string, f files) string {
	s.Helper()
	return s.publishBytes(name+".zip", "zip", zipped(s.T, f))
}

func (s *stage) publishBytes(key, kind string, bundle []byte) string {
	s.Helper()
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, key, bundle)
	s.must(err)
	return s.cloud.PublishRevision("shop", "production", standin.S3Revision(s.cloud.Bucket, key, kind, version, etag))
}

func zipped(t testing.TB, f files) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		e, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(e, f[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarred(t testing.TB, f files) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(f[name])), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, f[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mounting gives the agent a file of the machine's with other content: /etc/resolv.conf, /etc/fstab. It needs root.
func (s *stage) mounting(file, content string) {
	s.Helper()
	if os.Geteuid() != 0 {
		s.Skip("only root can give the agent another " + file)
	}
	name := "machine" + strings.ReplaceAll(file, "/", "-")
	s.write(name, content)
	s.inside = append(s.inside, "unshare", "--mount", "--", "sh", "-c", `mount --bind "$1" "$2" && shift 2 && exec "$@"`, "sh", s.path(name), file)
}

// agentRun is one process of `usher run`.
type agentRun struct {
	s     *stage
	cmd   *exec.Cmd
	done  chan struct{}
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed and replaced with every line
	err   error
}

// start starts `usher run` on the instance.
func (s *stage) start(server *standin.Instance, args ...string) *agentRun {
	s.Helper()
	s.step()
	var yml strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.config)) {
		fmt.Fprintf(&yml, "%s: %s\n", k, s.config[k])
	}
	s.must(os.WriteFile(s.path("agent.yml"), []byte(yml.String()), 0o600))
	r := &agentRun{s: s, done: make(chan struct{}), more: make(chan struct{})}
	argv := slices.Concat(s.inside, []string{s.binary, "run", "-config", s.path("agent.yml")}, args)
	r.cmd = exec.CommandContext(s.ctx, argv[0], argv[1:]...)
	r.cmd.Env = append(append(s.cloud.Environ(server), "PATH="+os.Getenv("PATH"), "HOME="+s.dir, "SECRET=of the agent",
		"GORACE=atexit_sleep_ms=0"), s.env...) // else each agent takes a second to end when it is built with -race
	r.cmd.WaitDelay = 5 * time.Second
	out, err := r.cmd.StderrPipe()
	s.must(err)
	s.must(r.cmd.Start())
	go func() {
		defer close(r.done)
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			r.mu.Lock()
			r.lines = append(r.lines, in.Text())
			close(r.more)
			r.more = make(chan struct{})
			r.mu.Unlock()
		}
		r.err = r.cmd.Wait()
	}()
	s.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		if s.Failed() {
			s.Logf("usher said:\n%s", r.text())
		}
	})
	return r
}

func (r *agentRun) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// wait waits for the process to end and returns its exit code, -1 for a signal.
func (r *agentRun) wait() int {
	r.s.Helper()
	r.s.step()
	select {
	case <-r.done:
	case <-r.s.ctx.Done():
		r.s.Fatalf("usher did not end; it said:\n%s", r.text())
	}
	return r.cmd.ProcessState.ExitCode()
}

// says waits until usher has said something.
func (r *agentRun) says(what string) {
	r.s.Helper()
	r.s.step()
	for {
		r.mu.Lock()
		said, more := strings.Contains(strings.Join(r.lines, "\n"), what), r.more
		r.mu.Unlock()
		if said {
			return
		}
		select {
		case <-more:
		case <-r.done:
			if !strings.Contains(r.text(), what) {
				r.s.Fatalf("usher ended without saying %q; it said:\n%s", what, r.text())
			}
		case <-r.s.ctx.Done():
			r.s.Fatalf("usher did not say %q; it said:\n%s", what, r.text())
		}
	}
}

// stop ends the service as systemd does.
func (r *agentRun) stop() int {
	r.s.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	return r.wait()
}

// launch launches an instance of the group and runs the agent on it to the end of the launch.
func (s *stage) launch() (server *standin.Instance, r *agentRun, code int) {
	s.Helper()
	server = s.cloud.Launch("web", standin.LaunchOptions{})
	r = s.start(server, "-once")
	return server, r, r.wait()
}

func (s *stage) waitFor(server *standin.Instance, state standin.State) {
	s.Helper()
	s.step()
	if err := server.WaitFor(s.ctx, state); err != nil {
		s.Fatalf("the instance is %s, not %s: %v", server.State(), state, err)
	}
}

// live is what the application says its version is, through the link.
func (s *stage) live() string {
	b, err := os.ReadFile(s.path("opt/app/VERSION"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// trace is what the scripts of app wrote, a line each.
func (s *stage) trace() string {
	b, _ := os.ReadFile(s.path("trace"))
	return strings.TrimSpace(string(b))
}

// answers are the lifecycle actions of the instance that were answered.
func answers(server *standin.Instance) string {
	var all []string
	for _, a := range server.Answers() {
		text := a.Hook + " " + a.Result
		if a.TimedOut {
			text += " (timeout)"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// expect compares what is, named, with what should be.
func (s *stage) expect(what, got, want string) {
	s.Helper()
	if got != want {
		s.Errorf("%s:\n got: %s\nwant: %s", what, got, want)
	}
}

// said checks that usher says all of these; of an agent that has ended, that it has said them.
func (s *stage) said(r *agentRun, want ...string) {
	s.Helper()
	for _, w := range want {
		r.says(w)
	}
}

// clean checks that nothing half-made is left in the folder of releases.
func (s *stage) clean() {
	s.Helper()
	entries, _ := os.ReadDir(s.path("opt/app-releases"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			s.Errorf("left behind: %s", e.Name())
		}
	}
}

func itoa(n int) string { return fmt.Sprint(n) }

// callsOf are the operations AWS saw besides metadata and heartbeats, sorted.
func callsOf(c *standin.Cloud) string {
	var ops []string
	for _, call := range c.Calls() {
		if call.Op != "RecordLifecycleActionHeartbeat" && call.ErrorCode != "RequestNotRead" { // cut off before its name was read
			ops = append(ops, call.Op)
		}
	}
	slices.Sort(ops)
	return strings.Join(ops, " ")
}
