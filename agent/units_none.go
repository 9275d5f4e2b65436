//go:build !units

package main

// newUnits is in units.go, for a binary that is built with -tags units.
func (a *agent) newUnits() (scriptRunner, error) { return nil, errNoUnits }
