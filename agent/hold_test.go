//go:build linux && !developer

package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/record"
)

// The moments of a hold that a running agent is in for too short a time to be caught there.
func TestHoldAtTheWrongMoment(t *testing.T) {
	t.Parallel()
	failed := time.Now()
	failing := func(state string) *requests {
		c := &requests{cfg: config.Config{StateDir: state, OnFailure: config.OnFailureAbandon, HoldTimeout: time.Hour}, log: zap.NewNop(), rec: record.InMemory(record.Owner{})}
		c.launching(t.Context())
		return c
	}
	t.Run("after the verdict", func(t *testing.T) {
		t.Parallel()
		c := failing(t.TempDir())
		if _, held := c.heldUntil(c.cfg, failed); held {
			t.Error("held, and nobody asked for it")
		}
		if got := c.holdLaunch(0); got.Code != cli.ExitNothing || !strings.HasPrefix(got.Error, "it is too late") {
			t.Errorf("hold: %+v", got)
		}
		if got := c.endHold(); got.Code != cli.ExitNothing || got.Error != "nothing is held here" {
			t.Errorf("release: %+v", got)
		}
	})
	t.Run("released between two looks, and asked for again", func(t *testing.T) {
		t.Parallel()
		c := failing(t.TempDir())
		c.cfg.OnFailure = config.OnFailureHold
		if until, held := c.heldUntil(c.cfg, failed); !held || !until.Equal(failed.Add(time.Hour)) {
			t.Errorf("held %v until %s", held, until)
		}
		if got := c.endHold(); got.Code != cli.ExitDone {
			t.Errorf("release: %+v", got)
		}
		if got := c.holdLaunch(2 * time.Hour); got.Code != cli.ExitDone {
			t.Errorf("hold: %+v", got)
		}
		if until, held := c.heldUntil(c.cfg, failed); !held || until.Before(failed.Add(2*time.Hour)) {
			t.Errorf("held %v until %s", held, until)
		}
	})
	t.Run("on a disk that takes nothing", func(t *testing.T) {
		t.Parallel()
		c := failing(filepath.Join(t.TempDir(), "gone"))
		if got := c.holdLaunch(0); got.Code != cli.ExitFailed || !strings.HasPrefix(got.Error, "cannot write the hold down, so that it outlives a restart of the agent: ") {
			t.Errorf("hold: %+v", got)
		}
		if _, held := c.heldUntil(c.cfg, failed); held {
			t.Error("held, and the operator was told that it is not")
		}
	})
	t.Run("before there is a socket", func(t *testing.T) {
		t.Parallel()
		var none *requests
		none.launching(t.Context())()
		for on, want := range map[string]bool{config.OnFailureAbandon: false, config.OnFailureHold: true} {
			if until, held := none.heldUntil(config.Config{OnFailure: on, HoldTimeout: time.Hour}, failed); held != want || !until.Equal(failed.Add(time.Hour)) {
				t.Errorf("on_failure %s: held %v until %s", on, held, until)
			}
		}
	})
}
