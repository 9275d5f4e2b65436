// Package packaging_test boots what is shipped: the .deb, installed in an image, on machines with a systemd of
// their own, whose AWS is the stand-in.
package packaging_test

import (
	"archive/zip"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/agent/standin"
	"usher/systemd"
	"usher/systemd/box"
)

// house is the root of the module. It is absolute because the stand-in's S3 server moves the process.
var house, _ = filepath.Abs("..")

// work is a directory for what is built, once for all tests.
var work string

func TestMain(m *testing.M) {
	// Boots wait far more than they compute.
	flag.Parse()
	_ = flag.Set("test.parallel", "6")
	var err error
	if work, err = os.MkdirTemp("", "usher-packaging-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := box.Main(m)
	os.RemoveAll(work)
	os.Exit(code)
}

// patience bounds each thing that a test waits for. Nothing takes this long unless it is broken.
const patience = 6 * time.Minute

// Where a machine finds AWS: the stand-in, joined to the machine's own network.
const (
	awsAddress, s3Address = box.ServiceIP + ":8000", box.ServiceIP + ":8001"
	metadataAddress       = box.MetadataIP + ":80"
)

// image is a base image as a user makes one: a base application, the package, two lines of configuration.
var image = &box.Image{Name: "shop", Install: func(b *box.Box) {
	built, _ := packages()
	b.Copy(built.deb, "/root/usher.deb")
	b.Run("dpkg", "--install", "/root/usher.deb")
	prepare(b)
}}

// prepare makes an image of a machine with the package.
func prepare(b *box.Box) {
	b.Run("sh", "-c", "{ systemctl is-active usher; systemctl is-enabled usher; ls -A /var/lib/usher 2>/dev/null || echo no state; } >/root/installed")
	b.Write("/opt/app-base/VERSION", "base\n", 0o644)
	b.Write("/etc/usher/agent.yml", "application: shop\ndeployment_group: production\n", 0o644)
	meetStandin(b)
}

// needPackages ends a test that cannot have them.
func needPackages(t *testing.T) {
	t.Helper()
	needNfpm(t)
	if os.Geteuid() != 0 {
		lacks(t, "booting the package needs root")
	}
	if _, err := packages(); err != nil {
		t.Fatal(err)
	}
}

// shop is an account of AWS with deployment group production of application shop, and Auto Scaling group web,
// whose one launch hook is usher's. Nothing was deployed yet.
type shop struct {
	*testing.T
	cloud *standin.Cloud
	image *box.Image
	link  string          // the application's path
	ctx   context.Context // of what is waited for, from when there is a machine: an image may have to be baked first
}

func newShop(t *testing.T, options ...standin.Options) *shop {
	t.Helper()
	t.Parallel()
	needPackages(t)
	cloud, err := standin.Start(append(options, standin.Options{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	cloud.CreateGroup(standin.Group{Name: "web", NoReplacement: true})
	cloud.PutHook("web", standin.Hook{Name: "usher-launch", HeartbeatTimeout: 5 * time.Minute})
	cloud.PublishRevision("shop", "production", standin.Revision{})
	return &shop{T: t, cloud: cloud, image: image, link: "/opt/app"}
}

// files is a revision: name -> content. Scripts are executable.
type files map[string]string

func (f files) with(more files) files {
	all := maps.Clone(f)
	maps.Copy(all, more)
	return all
}

// app is a revision whose scripts write a line each to /var/lib/shop/trace: what is live for the machine, whatever the
// script itself finds at the link.
func app(version string) files {
	script := func(event string) string {
		return fmt.Sprintf("#!/bin/sh\nset -eu\nmkdir -p /var/lib/shop\necho \"%s %s live=$(cat /proc/1/root/opt/app/VERSION)\" >>/var/lib/shop/trace\n", event, version)
	}
	return files{
		"appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - {source: /, destination: /opt/app}\nhooks:\n" +
			"  ApplicationStop: [{location: scripts/stop.sh}]\n  BeforeInstall: [{location: scripts/before.sh}]\n  AfterInstall: [{location: scripts/after.sh}]\n" +
			"  ApplicationStart: [{location: scripts/start.sh}]\n  ValidateService: [{location: scripts/validate.sh}]\n",
		"VERSION":             version + "\n",
		"scripts/stop.sh":     script("ApplicationStop"),
		"scripts/before.sh":   script("BeforeInstall"),
		"scripts/after.sh":    script("AfterInstall"),
		"scripts/start.sh":    script("ApplicationStart"),
		"scripts/validate.sh": script("ValidateService"),
	}
}

// publish uploads a revision and makes it the group's. It returns the deployment's id.
func (s *shop) publish(name string, f files) string {
	s.Helper()
	return s.cloud.PublishRevision("shop", "production", s.upload(name, f))
}

// upload brings a revision to S3.
func (s *shop) upload(name string, f files) standin.Revision {
	s.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(f)) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		e, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(e, f[name])
		}
		s.must(err)
	}
	s.must(w.Close())
	etag, version, err := s.cloud.Upload(s.cloud.Bucket, name+".zip", b.Bytes())
	s.must(err)
	return standin.S3Revision(s.cloud.Bucket, name+".zip", "zip", version, etag)
}

func (s *shop) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *shop) expect(what, got, want string) {
	s.Helper()
	if got != want {
		s.Errorf("%s:\n got: %s\nwant: %s", what, got, want)
	}
}

// machine is an instance of the group, and the box that is its hardware.
type machine struct {
	*box.Box
	s      *shop
	server *standin.Instance
}

// launch launches an instance and boots it.
func (s *shop) launch(args ...string) *machine {
	s.Helper()
	m := s.machine(args...)
	m.Boot()
	return m
}

// machine launches an instance and leaves its hardware off. It is joined to AWS.
func (s *shop) machine(args ...string) *machine {
	s.Helper()
	return s.hardware(s.cloud.Launch("web", standin.LaunchOptions{}), args...)
}

// hardware is a box from the image for an instance, joined to AWS and off.
func (s *shop) hardware(server *standin.Instance, args ...string) *machine {
	s.Helper()
	m := &machine{s.image.New(s.T, box.Options{Args: args}), s, server}
	s.limit()
	join(m.Box, s.cloud, m.server)
	return m
}

// limit begins the time in which what is waited for has to come: a boot, a verdict, a deployment, each by itself.
func (s *shop) limit() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	s.Cleanup(cancel)
	s.ctx = ctx
}

// join joins a box to AWS, as an instance.
func join(b *box.Box, cloud *standin.Cloud, server *standin.Instance) {
	for address, endpoint := range map[string]string{
		metadataAddress: server.MetadataEndpoint, awsAddress: cloud.Endpoint, s3Address: cloud.S3Endpoint} {
		b.Forward(address, strings.TrimPrefix(endpoint, "http://"))
	}
}

func message(id string) string { return "MESSAGE_ID=" + id }

// ends waits for the verdict, and checks what must hold after every launch: it was given once, by usher; the
// link resolves to the version that is expected; the machine is well.
func (m *machine) ends(verdict, version string) {
	m.s.Helper()
	m.s.limit()
	state := standin.InService
	if verdict == standin.Abandon {
		state = standin.Terminated
	}
	if err := m.server.WaitFor(m.s.ctx, state); err != nil {
		m.s.Fatalf("the instance is %s, not %s: %v", m.server.State(), state, err)
	}
	// What usher says last, and with it the end of its work.
	m.WaitForEntry(m.ThisBoot(), message(systemd.MessageCompleted), "+", m.ThisBoot(), message(systemd.MessageNoLaunch))
	var answers, accepted []string
	for _, a := range m.server.Answers() {
		answers = append(answers, fmt.Sprintf("%s %s timed out: %v", a.Hook, a.Result, a.TimedOut))
	}
	for _, c := range m.s.cloud.CallsOf("CompleteLifecycleAction") {
		if c.Status == 200 && c.InstanceID == m.server.ID {
			accepted = append(accepted, c.Params["LifecycleActionResult"])
		}
	}
	m.s.expect("answers", strings.Join(answers, ", "), "usher-launch "+verdict+" timed out: false")
	if len(accepted) > 1 || len(accepted) == 1 && accepted[0] != verdict {
		m.s.Errorf("CompleteLifecycleAction was accepted: %v", accepted)
	}
	m.WaitRunning()
	m.s.expect("the link resolves", fmt.Sprint(m.Exec("readlink", "--canonicalize-existing", m.s.link).Code), "0")
	m.s.expect("live", m.Run("cat", m.s.link+"/VERSION"), version)
	m.s.expect("failed units", m.Run("systemctl", "list-units", "--failed", "--quiet", "--plain"), "")
}

// said checks that the journal has, in this order, entries of these messages.
func (m *machine) said(want ...string) {
	m.s.Helper()
	left := want
	for _, e := range m.Journal("SYSLOG_IDENTIFIER=usher") {
		if len(left) > 0 && strings.Contains(e.Message, left[0]) {
			left = left[1:]
		}
	}
	if len(left) > 0 {
		m.s.Errorf("usher did not say %q, after the others of %q", left[0], want)
	}
}

// trace is what the scripts of app wrote.
func (m *machine) trace() string { return m.Exec("cat", "/var/lib/shop/trace").Stdout }

func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

// The main job: switched on, and in service with the group's revision.
func TestFirstBoot(t *testing.T) {
	s := newShop(t)
	id := s.publish("shop-1", app("1"))
	m := s.launch()
	m.ends(standin.Continue, "1")

	s.expect("scripts", m.trace(), lines("BeforeInstall 1 live=base", "AfterInstall 1 live=base", "ApplicationStart 1 live=1", "ValidateService 1 live=1"))
	m.said("usher 1.2.3 on "+m.server.ID, "launching in group web", "deployment "+id+" begins", "DownloadBundle finished", "AfterInstall finished",
		"Flip finished", "ValidateService finished", "is live and good", "completed the lifecycle action of hook usher-launch with CONTINUE")
	started := m.WaitForEntry(message(systemd.MessageStarted))
	s.expect("the instance, as a field", started.Fields["INSTANCE_ID"], m.server.ID)
	ended := m.WaitForEntry(message(systemd.MessageCompleted))
	s.expect("the verdict, as a field", ended.Fields["LIFECYCLE_RESULT"], "CONTINUE")
	s.expect("usher", m.Run("systemctl", "show", "--property=ActiveState,NRestarts", "usher.service"), "NRestarts=0\nActiveState=active")
}

// A script that fails: ABANDON, and the reason is where it outlives the instance.
func TestAHookThatFails(t *testing.T) {
	s := newShop(t)
	s.publish("shop-1", app("1").with(files{"scripts/after.sh": "#!/bin/sh\nset -e\necho migrating\necho 'the database says no' >&2\nexit 3\n"}))
	m := s.launch()
	m.ends(standin.Abandon, "base")

	m.said("AfterInstall script scripts/after.sh failed with exit code 3", "with ABANDON")
	out := m.Journal("SYSLOG_IDENTIFIER=usher", "HOOK_OUTPUT=true", "HOOK_SCRIPT=scripts/after.sh")
	if len(out) != 2 || out[0].Message != "migrating" || out[1].Message != "the database says no" {
		s.Errorf("the script's output in the journal: %v", out)
	}
	for _, want := range []string{"usher: launch of " + m.server.ID + " abandoned: ", "AfterInstall script scripts/after.sh failed with exit code 3",
		"usher:   | migrating", "usher:   | the database says no"} {
		if !strings.Contains(m.Console(), want) {
			s.Errorf("the console does not say %q:\n%s", want, m.Console())
		}
	}
	s.expect("the target", m.Exec("systemctl", "is-active", systemd.DeployedTarget).Stdout, "inactive\n")
}
