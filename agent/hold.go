//go:build linux && !developer

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/control"
	"usher/agent/format"
	"usher/systemd"
)

// A failed launch may be kept for a person to look at. The configuration says so for every launch of the
// image (on_failure: hold); `usher hold`, typed on one server, for the launch that is under way there.

// hold is what an operator asked for: STATE/hold.json. It is of one launch, and over with it.
type hold struct {
	Instance string    `json:"instance"`
	Boot     string    `json:"boot"`
	Asked    time.Time `json:"asked"`
	For      string    `json:"for,omitempty"`      // how long from the failure, as 30m0s, while nothing has failed yet
	Until    time.Time `json:"until,omitzero"`     // of a launch that has failed
	Released bool      `json:"released,omitempty"` // of a launch that has failed: it is not kept
}

// holdName is the file's, in the state directory.
const holdName = "hold.json"

// launching says that boot is at work on a launch, until over is called. A hold that an operator asked for
// ends with the launch, unless only the service is being stopped in the middle of it.
func (c *requests) launching(ctx context.Context) (over func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.launch, c.failed, c.givenUp = true, time.Time{}, false
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.launch = false
		if ctx.Err() != nil {
			return
		}
		if err := c.setHold(nil); err != nil {
			c.log.Warn(err.Error())
		}
	}
}

// heldUntil is until when the launch that failed at a time is kept for a person to look; held is false when
// it is not kept, or not any more. The answer may change while it is kept.
func (c *requests) heldUntil(cfg config.Config, failed time.Time) (until time.Time, held bool) {
	if c == nil { // the launch is given up before there is a socket
		return (*hold)(nil).until(cfg, failed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	until, held = c.hold.until(cfg, failed)
	c.failed, c.givenUp = failed, !held
	return until, held
}

// until is until when a launch that failed at a time is kept: as the configuration says, or as an operator wants.
func (h *hold) until(cfg config.Config, failed time.Time) (until time.Time, held bool) {
	if h == nil {
		return failed.Add(cfg.HoldTimeout), cfg.OnFailure == config.OnFailureHold
	}
	if d, err := time.ParseDuration(h.For); err == nil && h.Until.IsZero() {
		return failed.Add(d), !h.Released
	}
	return h.Until, !h.Released
}

// hasFailed says whether the launch under way has failed, as far as boot has said so or the record does; mu is held.
func (c *requests) hasFailed() bool {
	return c.launch && (!c.failed.IsZero() || c.rec.State().VerdictDue().Err() != nil)
}

// isHeld says whether boot keeps a launch that has failed; mu is held.
func (c *requests) isHeld() bool { return c.launch && !c.failed.IsZero() && !c.givenUp }

// holdLaunch is `usher hold`.
func (c *requests) holdLaunch(d time.Duration) control.Response {
	if d == 0 {
		d = c.cfg.HoldTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &hold{Instance: c.owner.Instance, Boot: c.owner.Boot, Asked: time.Now(), For: d.String()}
	text := fmt.Sprintf("from now on: a launch that fails is kept for %s, then abandoned", d)
	switch {
	case !c.launch:
		return control.Declined(cli.ExitNothing, "nothing to hold: the launch of this instance is already complete")
	case c.givenUp:
		return control.Declined(cli.ExitNothing, "it is too late: the launch has failed, and is being given up")
	case c.hasFailed():
		h.For, h.Until = "", h.Asked.Add(d)
		text = fmt.Sprintf("this instance is kept until %s, at most until the global timeout of its lifecycle hook, then abandoned", format.Local(h.Until))
	}
	if err := c.setHold(h); err != nil {
		return control.Declined(cli.ExitFailed, "%v", err)
	}
	c.log.Warn("an operator holds this instance: "+text, systemd.ID(systemd.MessageHeld))
	return control.Response{Text: text}
}

// endHold is `usher unhold`.
func (c *requests) endHold() control.Response {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, text := (*hold)(nil), "hold cancelled: a launch that fails is abandoned at once"
	if c.cfg.OnFailure == config.OnFailureHold {
		text = fmt.Sprintf("hold cancelled: a launch that fails is kept for %s (on_failure is hold)", c.cfg.HoldTimeout)
	}
	switch {
	case !c.givenUp && c.hasFailed():
		h = &hold{Instance: c.owner.Instance, Boot: c.owner.Boot, Asked: time.Now(), Released: true}
		text = "hold ended: the launch of this instance is abandoned now"
	case c.hold == nil || !c.launch:
		return control.Declined(cli.ExitNothing, "nothing is held here")
	}
	if err := c.setHold(h); err != nil {
		return control.Declined(cli.ExitFailed, "%v", err)
	}
	c.log.Warn("an operator ends the hold: "+text, systemd.ID(systemd.MessageHeld))
	return control.Response{Text: text}
}

// holding is a hold as status tells it, nil for none; mu is held.
func (c *requests) holding() *control.HoldStatus {
	switch {
	case c.isHeld():
		until, _ := c.hold.until(c.cfg, c.failed)
		return &control.HoldStatus{Failed: true, ByOperator: c.hold != nil, Until: until}
	case c.launch && c.hold != nil && !c.hold.Released:
		return &control.HoldStatus{ByOperator: true, For: c.hold.For, Until: c.hold.Until}
	}
	return nil
}

// setHold is what an operator wants from now on, also after a restart of the agent; mu is held.
func (c *requests) setHold(h *hold) error {
	path := filepath.Join(c.cfg.StateDir, holdName)
	if h == nil {
		c.hold = nil
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the hold: %v", err)
		}
		return nil
	}
	text, err := json.Marshal(h)
	if err == nil {
		err = replaceDurably(path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot write the hold down, so that it outlives a restart of the agent: %v", err)
	}
	c.hold = h
	return nil
}

// replaceDurably gives a file new content in one rename; after a power cut it has the old or the new.
func replaceDurably(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new")
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// loadHold is the hold that an agent of before the restart was asked for, nil for none.
func (c *requests) loadHold() *hold {
	text, err := os.ReadFile(filepath.Join(c.cfg.StateDir, holdName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var h hold
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		c.log.Warn(fmt.Sprintf("what %s asks for is not known: %v", holdName, err))
		return nil
	}
	if h.Instance != c.owner.Instance || h.Boot != c.owner.Boot { // of the machine the image was made from, or of a launch long over
		return nil
	}
	return &h
}
