package systemd

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serviceManager listens as systemd does. What it returns ends the listening and gives all that came.
func serviceManager(t *testing.T) (received func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	const last = "last"
	all := make(chan []string, 1)
	go func() {
		var got []string
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil || string(buffer[:n]) == last {
				all <- got
				return
			}
			got = append(got, string(buffer[:n]))
		}
	}()
	return func() []string {
		defer conn.Close()
		// Datagrams arrive in order: after this one there is nothing left.
		end, err := net.Dial("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		if _, err := end.Write([]byte(last)); err != nil {
			t.Fatal(err)
		}
		return <-all
	}
}

func watchdog(t *testing.T, timeout time.Duration, pid int) {
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(timeout.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(pid))
}

func TestNotifications(t *testing.T) {
	received := serviceManager(t)
	var n Notifier
	if err := n.Ready(); err != nil {
		t.Error(err)
	}
	n.Status("%s of %s", "AfterInstall", "web-1a2b3c4d")
	n.Status("a line\nREADY=1\n")
	n.Alive() // no watchdog: nothing
	n.Stopping()
	want := []string{"READY=1", "STATUS=AfterInstall of web-1a2b3c4d", "STATUS=a line READY=1", "STOPPING=1"}
	if got := received(); !slices.Equal(got, want) {
		t.Errorf("systemd got %q, want %q", got, want)
	}
}

func TestOutsideAServiceNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	watchdog(t, time.Minute, os.Getpid())
	var n Notifier
	if err := n.Ready(); err != nil {
		t.Error(err)
	}
	n.Status("x")
	n.Alive()
	n.Stopping()
}

func TestALostReadyIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	watchdog(t, time.Minute, os.Getpid())
	var n Notifier
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET") {
		t.Errorf("Ready says %v", err)
	}
	n.Status("x") // and these must not fail
	n.Alive()
	n.Stopping()
}

func TestTheWatchdogIsFedAtMostFourTimesInItsTime(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		pid     int
		work    time.Duration // how long work goes on, with a sign of life every 100 ms
		want    int
	}{
		{"a minute of work, a minute of watchdog", time.Minute, os.Getpid(), time.Minute, 5}, // at 0, 15, 30, 45, 60 s
		{"three minutes", time.Minute, os.Getpid(), 3 * time.Minute, 13},
		{"a short watchdog", 400 * time.Millisecond, os.Getpid(), time.Second, 11},
		{"no watchdog", 0, os.Getpid(), time.Minute, 0},
		{"somebody else's", time.Minute, os.Getpid() + 1, time.Minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			received := serviceManager(t)
			watchdog(t, c.timeout, c.pid)
			synctest.Test(t, func(t *testing.T) {
				var n Notifier
				for start := time.Now(); time.Since(start) <= c.work; <-time.After(100 * time.Millisecond) {
					n.Alive()
				}
			})
			got := received()
			if len(got) != c.want || slices.ContainsFunc(got, func(s string) bool { return s != "WATCHDOG=1" }) {
				t.Errorf("systemd got %q, want %d × WATCHDOG=1", got, c.want)
			}
		})
	}
}

func TestALostSignOfLifeIsSentAgain(t *testing.T) {
	watchdog(t, time.Hour, os.Getpid())
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	var n Notifier
	n.Alive()
	received := serviceManager(t)
	n.Alive()
	n.Alive()
	if got := received(); !slices.Equal(got, []string{"WATCHDOG=1"}) {
		t.Errorf("systemd got %q", got)
	}
}

func TestSignsOfLifeFromManyGoroutines(t *testing.T) {
	received := serviceManager(t)
	watchdog(t, time.Hour, os.Getpid())
	var n Notifier
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { n.Alive(); n.Status("busy") })
	}
	all.Wait()
	if got := received(); len(got) != 51 {
		t.Errorf("systemd got %d notifications, want one sign of life and 50 states: %q", len(got), got)
	}
}
