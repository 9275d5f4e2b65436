package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// mountEvery is between two looks at what is mounted.
const mountEvery = time.Second

// awaitMounts waits until volumes of /etc/fstab that the paths are on are mounted, for as long as the configuration
// retries. What would be written before would be covered by the volume.
func (a *agent) awaitMounts(ctx context.Context, paths ...string) error {
	for began := time.Now(); ; {
		err := notMounted(paths...)
		if err == nil || time.Since(began) > a.cfg.RetryTimeout {
			return err
		}
		a.logRetry("waiting", 0, err)
		a.notify.Alive()
		if !retry.Pause(ctx, mountEvery) {
			return context.Cause(ctx)
		}
	}
}

// notMounted is an error when a path is on a volume of /etc/fstab that is not mounted. One that is mounted by hand
// (noauto) does not count. What cannot be read says nothing.
func notMounted(paths ...string) error {
	var mounted, wanted []string
	eachLine("/proc/self/mountinfo", func(fields []string) {
		if len(fields) > 4 {
			mounted = append(mounted, unescaped(fields[4]))
		}
	})
	eachLine("/etc/fstab", func(fields []string) {
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") || slices.Contains(strings.Split(fields[3], ","), "noauto") {
			return
		}
		if point := filepath.Clean(unescaped(fields[1])); filepath.IsAbs(point) && point != "/" {
			wanted = append(wanted, point)
		}
	})
	for _, path := range paths {
		for _, point := range wanted {
			if (path == point || strings.HasPrefix(path, point+"/")) && !slices.Contains(mounted, point) {
				return fmt.Errorf("%s is on %s, a volume of /etc/fstab that is not mounted: what is written there now would be covered by it. "+
					"See `systemctl status %[2]s`; RequiresMountsFor= in usher.service makes the agent wait for it", path, point)
			}
		}
	}
	return nil
}

func eachLine(file string, do func(fields []string)) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		do(strings.Fields(lines.Text()))
	}
}

// unescaped is a path of fstab or mountinfo, where white space is written in octal.
func unescaped(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}
