package systemd

import (
	"context"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// DeployedTarget is the unit that is started when the live release is good: usher-deployed.target.
const DeployedTarget = "usher-deployed.target"

// targetTime bounds asking for a target. systemd answers at once, but while it reloads, which takes
// seconds; a target is not worth a verdict that comes late.
const targetTime = 10 * time.Second

// StartTarget asks systemd to start a target, with everything that wants it, and does not wait until that
// has started. For a target that is reached already it does nothing, and also where this process is not a
// service of a systemd.
func StartTarget(ctx context.Context, name string) error {
	if !isService() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, targetTime)
	defer cancel()
	conn, err := sd.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("cannot start %s: cannot reach systemd: %w", name, err)
	}
	defer conn.Close()
	if _, err := conn.StartUnitContext(ctx, name, "replace", nil); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	return nil
}
