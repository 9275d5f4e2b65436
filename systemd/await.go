package systemd

import (
	"context"
	"fmt"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// awaitEvery is between two looks at units that are waited for: a few microseconds of systemd's.
const awaitEvery = 500 * time.Millisecond

// AwaitStages waits until systemd has finished with units of the boot: they are active or have failed, or there is no job
// for them, as where they do not exist. It is After= of a service that has work besides. waiting is called at every
// look with the unit that is waited for. Where this process is not a service of a systemd there is nothing to wait for.
// When ctx ends, the error wraps its cause and names the unit.
func AwaitStages(ctx context.Context, units []string, waiting func(unit string)) error {
	if !isService() {
		return nil
	}
	var conn *sd.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for _, unit := range units {
		for {
			pending, err := false, error(nil)
			if conn == nil || !conn.Connected() { // systemd closes connections when it is reexecuted
				if conn, err = sd.NewSystemdConnectionContext(ctx); err != nil {
					return fmt.Errorf("cannot wait for %s: cannot reach systemd: %w", unit, err)
				}
			}
			all, err := conn.GetUnitPropertiesContext(ctx, unit)
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("%s has not finished: %w", unit, context.Cause(ctx))
			case err != nil && conn.Connected():
				return fmt.Errorf("cannot wait for %s: %w", unit, err)
			case err == nil:
				pending = busy(all)
			default:
				pending = true
			}
			if !pending {
				break
			}
			waiting(unit)
			select {
			case <-time.After(awaitEvery):
			case <-ctx.Done():
				return fmt.Errorf("%s has not finished: %w", unit, context.Cause(ctx))
			}
		}
	}
	return nil
}

// busy says whether a unit is being started, or is to be. Job is the number and the path of its job; 0 is none.
func busy(properties map[string]any) bool {
	active, _ := properties["ActiveState"].(string)
	if active == "active" || active == "failed" {
		return false
	}
	job, _ := properties["Job"].([]any)
	if len(job) == 0 {
		return active == "activating"
	}
	number, _ := job[0].(uint32)
	return number != 0 || active == "activating"
}
