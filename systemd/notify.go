package systemd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// aliveShare is how often within the watchdog's time usher says that it is alive. systemd asks for
// twice; four times leaves room for an instance that is busy starting its application.
const aliveShare = 4

// Notifier tells the service manager what usher is doing (sd_notify). The zero value is ready to
// use, from any number of goroutines; it must not be copied after first use. Without NOTIFY_SOCKET,
// that is outside a service of Type=notify, every method does nothing.
type Notifier struct {
	mu       sync.Mutex
	asked    bool          // whether WATCHDOG_USEC was read
	interval time.Duration // shortest time between two signs of life; 0 when nobody watches
	alive    time.Time     // the last one sent
}

// Ready tells systemd that the service has started (READY=1). Until then systemd waits, and ends the
// service after TimeoutStartSec; so this is the one notification whose loss is an error.
func (n *Notifier) Ready() error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("cannot tell systemd that usher is ready (NOTIFY_SOCKET): %w", err)
	}
	return nil
}

// Status sets the line that `systemctl status` shows (STATUS=), formatted as by fmt.Sprintf. Line
// breaks become spaces. A lost status is nobody's failure, so there is no error.
func (n *Notifier) Status(format string, args ...any) {
	// A line break would end the assignment, and what follows it could be another one.
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	_, _ = daemon.SdNotify(false, "STATUS="+text)
}

// Alive feeds the watchdog (WATCHDOG=1). Call it wherever work makes progress, as often as is
// convenient: at most one call in a quarter of WATCHDOG_USEC reaches systemd, the others cost a mutex.
// It is for the goroutine that does the work; a ticker of its own would keep a stuck agent alive.
func (n *Notifier) Alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.asked {
		n.asked = true
		// An unreadable WATCHDOG_USEC is treated as no watchdog: systemd always writes a number.
		timeout, _ := daemon.SdWatchdogEnabled(false)
		n.interval = timeout / aliveShare
	}
	now := time.Now()
	if n.interval == 0 || !n.alive.IsZero() && now.Sub(n.alive) < n.interval {
		return
	}
	if sent, _ := daemon.SdNotify(false, daemon.SdNotifyWatchdog); sent {
		n.alive = now // a lost one is sent again by the next call
	}
}

// Stopping tells systemd that usher began to stop (STOPPING=1), so that the time until it is gone
// counts as stopping and not as a hang.
func (n *Notifier) Stopping() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }
