package systemd

import (
	"context"
	"fmt"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// State is what systemd says of a unit.
type State struct {
	Load    string // "loaded", "not-found", "masked"
	Active  string // "active", "activating", "failed", "inactive"
	Sub     string // "running", "auto-restart"
	Enabled string // "enabled", "disabled", "static"
}

// StateOf is the state of a unit. Only root may ask.
func StateOf(ctx context.Context, unit string) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	conn, err := sd.NewSystemdConnectionContext(ctx)
	if err != nil {
		return State{}, fmt.Errorf("cannot ask systemd for %s: %w", unit, err)
	}
	defer conn.Close()
	all, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return State{}, fmt.Errorf("cannot ask systemd for %s: %w", unit, err)
	}
	text := func(name string) string { s, _ := all[name].(string); return s }
	return State{text("LoadState"), text("ActiveState"), text("SubState"), text("UnitFileState")}, nil
}

// Active reports whether systemd runs a unit, or is about to. False also when it cannot be asked.
func Active(ctx context.Context, unit string) bool {
	s, err := StateOf(ctx, unit)
	return err == nil && (s.Active == "active" || s.Active == "activating" || s.Active == "reloading")
}
