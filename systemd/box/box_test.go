package box_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"usher/systemd/box"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

// image has one service, which says in the journal what it goes through, and a file that only the
// installation can have made.
var image = &box.Image{
	Name: "story",
	Install: func(b *box.Box) {
		b.Write("/etc/systemd/system/worker.service", `[Unit]
Description=Something that works
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'echo begins; systemd-notify --ready; exec sleep infinity'
ExecStopPost=/bin/echo ends
[Install]
WantedBy=multi-user.target
`, 0o644)
		b.Run("systemctl", "enable", "worker.service")
		b.Run("sh", "-c", "hostname > /etc/baked-on")
	},
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
}

// messages are the entries as "boot: message".
func messages(entries []box.Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, fmt.Sprintf("%d: %s", e.Boot, e.Message))
	}
	return strings.Join(all, ", ")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got: %s\nwant: %s", what, got, want)
	}
}

const worker, output = "_SYSTEMD_UNIT=worker.service", "_TRANSPORT=stdout"

func TestABoxBoots(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{Metadata: says("i-0123")})
	i.WaitRunning()

	expect(t, "PID 1", i.Run("cat", "/proc/1/comm"), "systemd")
	expect(t, "the host name", i.Run("hostname"), i.Name())
	expect(t, "what was installed", i.Run("systemctl", "is-active", "worker.service"), "active")
	expect(t, "the metadata service", i.Run("curl", "--silent", "http://169.254.169.254/latest/"), "i-0123")
	expect(t, "the worker in the journal", messages(i.Journal(worker, output)), "1: begins")
	if !strings.Contains(i.Console(), "Reached target") {
		t.Errorf("the console does not show the boot:\n%s", i.Console())
	}
}

func TestTwoBoxesOfOneImage(t *testing.T) {
	t.Parallel()
	one, two := image.Launch(t, box.Options{Metadata: says("i-1")}), image.Launch(t, box.Options{Metadata: says("i-2")})
	one.WaitRunning()
	two.WaitRunning()

	if a, b := one.Run("cat", "/etc/machine-id"), two.Run("cat", "/etc/machine-id"); a == b || len(a) != 32 {
		t.Errorf("machine ids %q and %q", a, b)
	}
	if a, b := one.Run("cat", "/etc/baked-on"), two.Run("cat", "/etc/baked-on"); a != b || a == one.Name() {
		t.Errorf("baked on %q and %q", a, b)
	}
	one.Run("touch", "/opt/of-one")
	expect(t, "two does not see one's file", fmt.Sprint(two.Exec("test", "-e", "/opt/of-one").Code), "1")
	expect(t, "one's metadata", one.Run("curl", "--silent", "http://169.254.169.254/"), "i-1")
	expect(t, "two's metadata", two.Run("curl", "--silent", "http://169.254.169.254/"), "i-2")
}

func TestAnImageOfAnImage(t *testing.T) {
	t.Parallel()
	child := &box.Image{Name: "child", From: image, Install: func(b *box.Box) {
		b.Run("sh", "-c", "cat /etc/machine-id > /etc/baked-as; echo changed > /etc/baked-on")
	}}
	i := child.Launch(t, box.Options{})
	i.WaitRunning()
	expect(t, "what its own installation changed", i.Run("cat", "/etc/baked-on"), "changed")
	expect(t, "what its parent has", i.Run("systemctl", "is-active", "worker.service"), "active")
	expect(t, "the journal", messages(i.Journal(worker, output)), "1: begins")
	if was, is := i.Run("cat", "/etc/baked-as"), i.Run("cat", "/etc/machine-id"); was == is {
		t.Errorf("the instance is the machine it was baked on: %s", is)
	}
}

// The disk of a box is there for the test while it is off, too.
func TestTheDisk(t *testing.T) {
	t.Parallel()
	i := image.New(t, box.Options{})
	i.Write("/root/new/script", "#!/bin/sh\nstat --format=%a:%n /root /root/new/script\n", 0o750)
	i.Copy("/etc/os-release", "/opt/os-release")
	i.Boot()
	expect(t, "modes, of the image's folder too", i.Run("/root/new/script"), "700:/root\n750:/root/new/script")
	i.Run("sh", "-c", "echo from inside > /opt/file")
	i.PowerCut()
	for name, want := range map[string]string{"/opt/file": "from inside\n", "/etc/baked-on": "image-story\n"} {
		got, err := os.ReadFile(i.Root() + name)
		if err != nil {
			t.Error(err)
		}
		expect(t, name, string(got), want)
	}
}

func TestReboot(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	i.WaitRunning()
	i.Run("sh", "-c", "echo kept > /opt/file; echo lost > /run/file")
	id, first := i.Run("cat", "/etc/machine-id"), i.ThisBoot()

	i.Reboot()
	i.WaitRunning()

	expect(t, "what is on disk", i.Run("cat", "/opt/file"), "kept")
	expect(t, "what is in memory", fmt.Sprint(i.Exec("test", "-e", "/run/file").Code), "1")
	expect(t, "the machine id", i.Run("cat", "/etc/machine-id"), id)
	expect(t, "the worker, ended orderly", messages(i.Journal(worker, output)), "1: begins, 1: ends, 2: begins")
	expect(t, "of the first boot", messages(i.Journal(worker, output, first)), "1: begins, 1: ends")
	expect(t, "of this boot", messages(i.Journal(worker, output, i.ThisBoot())), "2: begins")
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	i.WaitForEntry("MESSAGE=begins")
	i.Run("sh", "-c", "echo kept > /opt/file")

	i.PowerCut()
	expect(t, "the journal of a box without power", messages(i.Journal(worker, output)), "1: begins")
	i.Boot()
	i.WaitRunning()

	expect(t, "what is on disk", i.Run("cat", "/opt/file"), "kept")
	expect(t, "the worker, which was not asked", messages(i.Journal(worker, output)), "1: begins, 2: begins")

	// At any point of a boot, as often as one likes.
	for range 3 {
		i.PowerCut()
		i.Boot()
	}
	i.WaitRunning()
	if got := i.WaitForEntry("MESSAGE=begins", i.ThisBoot()).Boot; got != 5 {
		t.Errorf("the worker began in boot %d, not 5", got)
	}
}

// Many waits at once, from the first moment of a boot: no entry is missed.
func TestWaitingForEntries(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	expect(t, "the first", messages(i.WaitForEntries(1, worker, output)), "1: begins")
	i.Run("systemctl", "restart", "worker.service")
	expect(t, "three", messages(i.WaitForEntries(3, worker, output)), "1: begins, 1: ends, 1: begins")
	i.Run("systemd-run", "--quiet", "--on-active=100ms", "--timer-property=AccuracySec=1ms", "touch", "/opt/later")
	i.WaitFor("test", "-e", "/opt/later")
	i.Run("systemd-run", "--quiet", "systemctl", "poweroff")
	all := "1: begins, 1: ends, 1: begins, 1: ends"
	expect(t, "what it says while it goes off", messages(i.WaitForEntries(4, worker, output)), all)
	i.WaitOff()
	expect(t, "what it has said", messages(i.WaitForEntries(4, worker, output)), all)
}

func TestStoppedAndStarted(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	i.WaitRunning()

	i.PowerOff()
	expect(t, "the worker, ended orderly", messages(i.Journal(worker, output)), "1: begins, 1: ends")
	i.Boot()
	i.WaitRunning()
	expect(t, "the worker", messages(i.Journal(worker, output)), "1: begins, 1: ends, 2: begins")
}

func TestOutages(t *testing.T) {
	t.Parallel()
	i := image.New(t, box.Options{Metadata: says("i-1")})
	i.Serve(net.JoinHostPort(box.ServiceIP, "80"), says("service"))
	answers := func() string { // of both, "-" for one that does not answer in time
		return i.Run("sh", "-c", `for ip in 169.254.169.254 198.51.100.1; do
			curl --silent --max-time 0.5 http://$ip/ || printf -- -
			printf ' '
		done`)
	}

	i.MetadataDown()
	i.Boot()
	i.WaitRunning()
	expect(t, "booted without metadata", answers(), "- service")
	i.MetadataUp()
	expect(t, "metadata is back", answers(), "i-1 service")
	i.NetworkDown()
	expect(t, "without a network", answers(), "- -")
	i.NetworkUp()
	expect(t, "the network is back", answers(), "i-1 service")
	i.NetworkDown()
	i.NetworkDown()
	i.MetadataUp()
	expect(t, "metadata alone", answers(), "i-1 -")
}

func TestForward(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: says("outside")}
	go server.Serve(outside)
	t.Cleanup(func() { server.Close() })
	i.Forward(net.JoinHostPort(box.MetadataIP, "80"), outside.Addr().String())

	expect(t, "through the forward", i.Run("curl", "--silent", "http://169.254.169.254/"), "outside")
	server.Close()
	const refused, reset = 7, 56 // curl's exit codes; a reset may come so early that it looks like a refusal
	if code := i.Exec("curl", "--silent", "http://169.254.169.254/").Code; code != reset && code != refused {
		t.Errorf("when nobody is outside: curl ended with %d", code)
	}
	nobody := i.Exec("curl", "--silent", "http://198.51.100.1:81/")
	expect(t, "where nobody listens", fmt.Sprint(nobody.Code), fmt.Sprint(refused))
	direct := i.Exec("curl", "--silent", "http://"+outside.Addr().String())
	expect(t, "the outside itself", fmt.Sprint(direct.Code), fmt.Sprint(refused))
}

func TestExec(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{Args: []string{"--tmpfs=/small:size=64k"}})
	for _, c := range []struct {
		script string
		want   box.Result
	}{
		{"echo out; echo err >&2", box.Result{Stdout: "out\n", Stderr: "err\n"}},
		{"exit 7", box.Result{Code: 7}},
		{"kill -KILL $$", box.Result{Code: 137}},
		{"id --user --name; pwd", box.Result{Stdout: "root\n/\n"}},
		{"sleep 600 & echo returns", box.Result{Stdout: "returns\n"}},
		{"head --bytes=100k /dev/zero > /small/file", box.Result{
			Code: 1, Stderr: "head: error writing 'standard output': No space left on device\n"}},
	} {
		if got := i.Exec("sh", "-c", c.script); got != c.want {
			t.Errorf("%s:\n got: %+v\nwant: %+v", c.script, got, c.want)
		}
	}
}

func TestAFailedUnit(t *testing.T) {
	t.Parallel()
	i := image.Launch(t, box.Options{})
	i.WaitRunning()
	if r := i.Exec("systemd-run", "--wait", "--unit=broken", "--quiet", "/bin/false"); r.Code != 1 {
		t.Errorf("systemd-run ended with %d: %s", r.Code, r.Stderr)
	}
	expect(t, "the system", strings.TrimSpace(i.Exec("systemctl", "is-system-running").Stdout), "degraded")
	e := i.WaitForEntry("UNIT=broken.service", "EXIT_STATUS=1")
	expect(t, "what systemd said", e.Message, "broken.service: Main process exited, code=exited, status=1/FAILURE")
}
