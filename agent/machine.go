//go:build linux && !developer

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"usher/agent/retry"
	"usher/systemd"
)

// What a deployment needs of the machine, besides the network. It is waited for where heartbeats hold the launch meanwhile.

// stages are what a deployment waits for: the network as the distribution means it, and the stage of cloud-init that
// carries out what user data configures. Not cloud-final.service, which comes after multi-user.target: usher.service says why.
var stages = []string{"network-online.target", "cloud-config.service"}

// stagesTimeout is longer than any of them takes on a machine that comes up at all. Without a bound the heartbeats would
// hold a launch whose cloud-init hangs until the hook's global timeout.
const stagesTimeout = 15 * time.Minute

// awaitMachine waits until the machine is ready for a deployment, or says why it is not.
func (a *agent) awaitMachine(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, stagesTimeout)
	defer cancel()
	err := systemd.AwaitStages(limited, stages, func(pending string) {
		a.notify.Alive()
		a.notify.Status("waiting for %s", pending)
		a.logRetry("", 0, fmt.Errorf("a deployment waits for %s, which systemd has not finished yet", pending))
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the machine is not ready for a deployment after %s: %w", stagesTimeout, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // a systemd that cannot be asked is no reason not to deploy
		a.log.Warn(err.Error())
	}
	a.awaitTime(ctx)
	return a.awaitMounts(ctx, filepath.Dir(a.cfg.Link), a.cfg.Base, a.cfg.Releases)
}

// clockTimeout is how long a deployment waits for the time to be set. chrony needs seconds. Most scripts do not mind, and
// the calls to AWS are made all the same: it goes on then.
const clockTimeout, clockInterval = time.Minute, 2 * time.Second

// awaitTime gives what sets the time a while before a deployment begins. Metadata, which costs nothing, is what tells.
func (a *agent) awaitTime(ctx context.Context) {
	for began, logged := time.Now(), false; a.clients.Clock.Problem() != ""; logged = true {
		if !logged {
			a.log.Warn(a.clients.Clock.Problem()+": waiting for the time to be set (is chrony enabled?). What AWS waits for is counted by its own clock", systemd.ID(systemd.MessageClockWrong))
		}
		if time.Since(began) > min(clockTimeout, a.cfg.RetryTimeout) {
			a.log.Error(a.clients.Clock.Problem()+", and its time is not being set: the deployment goes on. Enable chrony in the image", systemd.ID(systemd.MessageClockWrong))
			return
		}
		a.notify.Alive()
		if !retry.Pause(ctx, min(clockInterval, a.cfg.RetryTimeout)) {
			return
		}
		_, _ = a.clients.Metadata.TargetLifecycleState(ctx) // for its Date
	}
}

// mountInterval is between two looks at what is mounted.
const mountInterval = time.Second

// awaitMounts waits until volumes of /etc/fstab that the paths are on are mounted, for as long as the configuration
// retries. What would be written before would be covered by the volume.
func (a *agent) awaitMounts(ctx context.Context, paths ...string) error {
	for began := time.Now(); ; {
		err := systemd.NotMounted(paths...)
		if err == nil || time.Since(began) > a.cfg.RetryTimeout {
			return err
		}
		a.logRetry("waiting", 0, err)
		a.notify.Alive()
		if !retry.Pause(ctx, mountInterval) {
			return context.Cause(ctx)
		}
	}
}
