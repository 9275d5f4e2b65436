package main

import (
	"testing"
	"time"
)

// waitUntil polls a real condition until it holds.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited %s, and it is not so: %s", patience, what)
		}
	}
}
