package box

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// rebooted is the exit code of nspawn with --keep-unit when the box wants to be started again.
const rebooted = 133

// boot is one boot of a box, from power on to its end.
type boot struct {
	number int
	up     chan struct{} // closed when PID 1 runs
	ready  chan struct{} // closed when PID 1 has finished starting
	over   chan struct{} // closed when it ended and, after a reboot, the next one began

	id  string // _BOOT_ID in the journal; once up
	end error  // how nspawn ended, nil for a power-off; once over

	door []*os.File // its namespaces, in the order of kinds, while it is up; guarded by the box's mutex
}

// Boot switches the box on and waits until its PID 1 runs.
func (b *Box) Boot() {
	b.t.Helper()
	if b.on() {
		b.t.Fatalf("%s: cannot boot: it is on", b.name)
	}
	now, err := b.powerOn()
	b.check(err)
	b.await(now.up, "its PID 1")
}

// WaitRunning waits until the box has finished starting, and ends the test unless everything in it did start
// (systemctl is-system-running: "running").
func (b *Box) WaitRunning() {
	b.t.Helper()
	b.await(b.latest().ready, "its system to have started")
	if state := b.Exec("systemctl", "is-system-running", "--wait"); state.Code != 0 {
		failed := b.Exec("systemctl", "--failed", "--no-pager").Stdout
		b.t.Fatalf("%s: its system is %s, not running:\n%s", b.name, strings.TrimSpace(state.Stdout), failed)
	}
}

// Reboot reboots the box from inside, orderly, and waits until the next PID 1 runs.
func (b *Box) Reboot() {
	b.t.Helper()
	was := b.latest()
	b.ask("reboot")
	b.await(was.over, "it to go down")
	if b.latest() == was {
		b.t.Fatalf("%s: it went down and did not reboot: %v", b.name, was.end)
	}
	b.await(b.latest().up, "its PID 1 after the reboot")
}

// PowerOff switches the box off from inside, orderly. Boot boots it again with what it has on disk.
func (b *Box) PowerOff() {
	b.t.Helper()
	b.ask("poweroff")
	b.WaitOff()
}

// ask asks systemd to end the boot. The answer may be cut short by what is asked for.
func (b *Box) ask(what string) {
	b.t.Helper()
	b.await(b.latest().up, "its PID 1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = b.exec(ctx, []string{"systemctl", what})
}

// WaitOff waits until the box has switched itself off.
func (b *Box) WaitOff() {
	b.t.Helper()
	was := b.latest()
	b.await(was.over, "it to power off")
	if b.on() || was.end != nil {
		b.t.Fatalf("%s: it did not power off, but ended or rebooted: %v", b.name, was.end)
	}
}

// PowerCut ends everything in the box at once, as if the machine had lost its power. Boot boots it again
// with what it has on disk.
func (b *Box) PowerCut() {
	b.t.Helper()
	b.check(b.cutPower())
}

// Boots is how often the box was booted so far.
func (b *Box) Boots() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.boots)
}

// latest is the boot that goes on, or the last one.
func (b *Box) latest() *boot {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.boots) == 0 {
		b.t.Fatalf("%s: it was never booted", b.name)
	}
	return b.boots[len(b.boots)-1]
}

// on is whether the box is on, or rebooting.
func (b *Box) on() bool {
	return b.Boots() > 0 && !b.latest().ended()
}

// ended is whether a boot is over.
func (now *boot) ended() bool {
	select {
	case <-now.over:
		return true
	default:
		return false
	}
}

// untilOff waits until the box is off, and not because it reboots.
func (b *Box) untilOff(ctx context.Context) error {
	for b.on() {
		select {
		case <-b.latest().over:
		case <-ctx.Done():
			return nil
		}
	}
	return errors.New("the box is off")
}

// await waits for one of a boot's channels.
func (b *Box) await(event chan struct{}, what string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	now := b.latest()
	select {
	case <-event:
	case <-now.over:
		select {
		case <-event:
		default:
			b.t.Fatalf("%s: it ended while the test waited for %s: %v", b.name, what, now.end)
		}
	case <-ctx.Done():
		b.t.Fatalf("%s: waited in vain for %s: %v", b.name, what, context.Cause(ctx))
	}
}

// powerOn starts a boot.
func (b *Box) powerOn() (*boot, error) {
	now := &boot{number: b.Boots() + 1, up: make(chan struct{}), ready: make(chan struct{}), over: make(chan struct{})}
	// nspawn moves on into groups below the one it is started in.
	if err := removeCgroup(b.cgroup); err != nil {
		return nil, err
	}
	unit := filepath.Join(b.cgroup, "unit")
	if err := errors.Join(os.MkdirAll(unit, 0o755), os.Mkdir(b.execGroup(), 0o755)); err != nil {
		return nil, err
	}
	group, err := os.Open(unit)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	console, err := os.OpenFile(filepath.Join(b.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	// A name that is on no disk, and another for every boot: nothing of the last one can come here.
	socket := fmt.Sprintf("@%s/%s/%d", filepath.Base(filepath.Dir(b.cgroup)), b.name, now.number)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("systemd-nspawn", append([]string{
		"--quiet", "--boot", "--directory=" + b.merged(), "--machine=" + b.name,
		"--register=no", "--keep-unit", // no machined; a reboot is ours to make
		"--console=read-only", "--notify-ready=yes", "--kill-signal=SIGRTMIN+3",
		"--network-namespace-path=" + b.network.box.proc("ns/net"),
		"--resolv-conf=off", "--timezone=off", "--link-journal=no",
		// Without these IPAddressDeny= and the like are accepted by systemd and not enforced.
		"--capability=CAP_BPF", "--system-call-filter=bpf",
	}, b.args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "NOTIFY_SOCKET=" + socket}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true, // ^C is for the test alone
		UseCgroupFD: true,
		CgroupFD:    int(group.Fd()),
	}
	err = b.mounts.do(func() error {
		// An empty /run for nspawn, without what one that was killed has left there.
		_ = unix.Unmount("/run", unix.MNT_DETACH)
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("cannot mount an empty /run: %w", err)
		}
		return cmd.Start()
	})
	if err != nil {
		notify.Close()
		return nil, fmt.Errorf("cannot boot: %w", err)
	}
	b.mu.Lock()
	b.boots = append(b.boots, now)
	b.mu.Unlock()
	b.supervisors.Go(func() { b.supervise(now, cmd, notify) })
	return now, nil
}

// supervise sees a boot to its end, and begins the next one when it is a reboot.
func (b *Box) supervise(now *boot, cmd *exec.Cmd, notify *net.UnixConn) {
	heard := make(chan struct{})
	go func() { defer close(heard); b.readConsole(now, notify) }()
	now.end = cmd.Wait()
	notify.Close()
	<-heard
	b.mu.Lock()
	for _, f := range now.door {
		f.Close()
	}
	now.door = nil
	b.mu.Unlock()
	var exit *exec.ExitError
	if errors.As(now.end, &exit) && exit.ExitCode() == rebooted {
		if _, err := b.powerOn(); err != nil {
			now.end = err
		}
	}
	close(now.over)
}

// readConsole follows what nspawn says about the boot (sd_notify), until the socket is closed.
func (b *Box) readConsole(now *boot, notify *net.UnixConn) {
	up := sync.OnceFunc(func() { close(now.up) })
	ready := sync.OnceFunc(func() { close(now.ready) })
	message := make([]byte, 4096) // sd_notify's messages are some lines
	for {
		n, err := notify.Read(message)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(message[:n])) {
			line = strings.TrimSpace(line)
			leader, is := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID=")
			if is && b.open(now, filepath.Join("/proc", leader)) == nil {
				up()
			}
			if line == "READY=1" {
				ready()
			}
		}
	}
}

// cutPower ends everything in the box, if it is on.
func (b *Box) cutPower() error {
	for b.on() { // again if it was just rebooting
		now := b.latest()
		if err := killCgroup(b.cgroup); err != nil {
			return err
		}
		<-now.over
	}
	return nil
}

func (b *Box) execGroup() string { return filepath.Join(b.cgroup, "exec") }
