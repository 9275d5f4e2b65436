package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const (
	// callTime bounds one call to systemd. It answers at once, unless it is busy with a daemon-reload,
	// which takes seconds on a large machine.
	callTime = 20 * time.Second

	// reexecTime is how long systemd may be away: `systemctl daemon-reexec`, which every upgrade of
	// systemd does, closes all connections and is over in a second or two.
	reexecTime = 30 * time.Second

	// reconnectEvery is between two tries to reach it again.
	reconnectEvery = 200 * time.Millisecond
)

// privateSocket is systemd's own socket, which is there from the beginning of the boot, dbus-daemon or
// not. Only root may use it.
const privateSocket = "unix:path=/run/systemd/private"

// Manager runs commands as transient units. The zero value is ready to use; only root can. Its methods
// may be called from several goroutines.
//
// It connects when it is first needed, and again whenever systemd has closed the connection.
type Manager struct {
	// Alive, when set, is called about every second while a unit is waited for: a watchdog is fed by
	// work that goes on.
	Alive func()

	mu   sync.Mutex
	conn *sd.Conn
	raw  *dbus.Conn // of conn, for the calls that go-systemd lacks
}

// Connect reports whether systemd can be reached.
func (m *Manager) Connect() error {
	_, _, err := m.connection()
	return err
}

// Close gives up the connection. It ends no unit.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil {
		m.conn.Close()
		m.conn, m.raw = nil, nil
	}
}

func (m *Manager) connection() (*sd.Conn, *dbus.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != nil && m.conn.Connected() {
		return m.conn, m.raw, nil
	}
	if m.conn != nil {
		m.conn.Close()
		m.conn, m.raw = nil, nil
	}
	var raw *dbus.Conn
	// Not bound to a context: the connection outlives the call that made it.
	conn, err := sd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dbus.Dial(privateSocket)
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
			c.Close()
			return nil, err
		}
		if raw == nil { // the first is for calls, the second for signals
			raw = c
		}
		return c, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot reach systemd (%s): %w", privateSocket, err)
	}
	m.conn, m.raw = conn, raw
	return conn, raw, nil
}

// call does something over the connection, again when the connection broke on the way. So do must be
// something that may be done twice.
func (m *Manager) call(ctx context.Context, do func(context.Context, *sd.Conn, *dbus.Conn) error) error {
	for began := time.Now(); ; {
		conn, raw, err := m.connection()
		if err == nil {
			limited, cancel := context.WithTimeout(ctx, callTime)
			err = do(limited, conn, raw)
			cancel()
			if err == nil || conn.Connected() {
				return err
			}
		}
		if time.Since(began) > reexecTime {
			return err
		}
		m.alive()
		select {
		case <-time.After(reconnectEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *Manager) alive() {
	if m.Alive != nil {
		m.Alive()
	}
}

// environment are the names of the variables that systemd passes to every service: what
// DefaultEnvironment= and `systemctl set-environment` say.
func (m *Manager) environment(ctx context.Context) (names []string, err error) {
	err = m.call(ctx, func(ctx context.Context, _ *sd.Conn, raw *dbus.Conn) error {
		var value dbus.Variant
		if err := raw.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").CallWithContext(ctx,
			"org.freedesktop.DBus.Properties.Get", 0, "org.freedesktop.systemd1.Manager", "Environment").Store(&value); err != nil {
			return err
		}
		variables, _ := value.Value().([]string)
		names = nil
		for _, kv := range variables {
			for i := range kv {
				if kv[i] == '=' {
					names = append(names, kv[:i])
					break
				}
			}
		}
		return nil
	})
	return names, err
}

// process is one process in a unit's control group, as systemd tells.
type process struct {
	Group   string
	PID     uint32
	Command string
}

// processes are those in a unit's control group. systemd is asked, because it sees all of them, whatever
// usher's sandbox hides, and however cgroups are mounted.
func (m *Manager) processes(ctx context.Context, unit string) (found []process, err error) {
	err = m.call(ctx, func(ctx context.Context, _ *sd.Conn, raw *dbus.Conn) error {
		return raw.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").CallWithContext(ctx,
			"org.freedesktop.systemd1.Manager.GetUnitProcesses", 0, unit).Store(&found)
	})
	return found, err
}

// busError reports whether err is systemd's error of that name.
func busError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}
