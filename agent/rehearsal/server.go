//go:build linux && !developer

package rehearsal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"usher/agent/bundle"
	"usher/agent/config"
	"usher/agent/deployment"
	"usher/agent/format"
	"usher/agent/instance"
	"usher/hooks"
)

// serverBelow is a server below root, fresh from its image unless it is there.
func serverBelow(root string, c config.Config, policy hooks.Policy) (deployment.Server, error) {
	var none deployment.Server
	var err error
	if root == "" {
		if root, err = os.MkdirTemp("", "usher-rehearsal-"); err != nil {
			return none, fmt.Errorf("cannot make a scratch root: %w", err)
		}
		if os.Geteuid() == 0 { // as the root of a server is: scripts run as other users too; else nobody else has to read what is rehearsed
			if err := os.Chmod(root, 0o755); err != nil {
				return none, fmt.Errorf("cannot open the scratch root to scripts of other users: %w", err)
			}
		}
	}
	if root, err = filepath.Abs(root); err != nil {
		return none, fmt.Errorf("cannot use the root: %w", err)
	}
	layout := c.Layout()
	layout.Root, layout.Processes = root, true
	me := instance.Identity{InstanceID: instanceID, ImageID: "ami-rehearsal", Region: "rehearsal"}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		me.BootID = strings.TrimSpace(string(boot))
	}
	if root != "/" { // a server that is fresh from its image: the link points to the base
		if err := os.MkdirAll(layout.BasePath(), 0o755); err != nil {
			return none, fmt.Errorf("cannot make the base: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(layout.LinkPath()), 0o755); err != nil {
			return none, fmt.Errorf("cannot make the link's directory: %w", err)
		}
		if live, _, err := layout.Live(); err == nil && live == "" {
			if err := layout.Flip(layout.BasePath()); err != nil {
				return none, err
			}
		}
	}
	return deployment.Server{Identity: me, Group: "rehearsal", Layout: layout, RoleHooks: filepath.Join(root, c.RoleHooks), Errexit: policy,
		KeepReleases: c.KeepReleases, Unprivileged: os.Geteuid() != 0, WithoutUsers: root != "/"}, nil
}

// instanceID is the server's, by which the processes of a rehearsal are known.
const instanceID = "i-rehearsal"

// rehearse deploys the revision at path. Each rehearsal is a deployment of its own, so a second one in the
// same root is what a running server goes through.
func rehearse(ctx context.Context, on *deployment.Deployer, id, path string) error {
	stem, _, _ := strings.Cut(filepath.Base(path), ".")
	on.Application = stem
	d, err := on.Begin(ctx, deployment.Request{ID: id, Source: local{strings.ReplaceAll(stem, "..", "-") + "-" + id, path}})
	if err != nil {
		return err
	}
	err = d.Deploy(ctx)
	on.Prune()
	return err
}

// local is a revision that lies on this machine, as a folder or as an archive.
type local struct{ id, path string }

func (l local) ID() string                     { return l.id }
func (l local) String() string                 { return l.path }
func (l local) Pinned() bool                   { return false }
func (l local) Environment() hooks.Environment { return hooks.Environment{} }

func (l local) Fetch(ctx context.Context, dir string) (deployment.Fetched, error) {
	stats, err := bundle.UnpackLocal(ctx, l.path, dir, nil)
	return deployment.Fetched{Files: stats.Files, Detail: fmt.Sprintf("%s, %s", format.Plural(stats.Files, "file"), format.Bytes(stats.Bytes))}, err
}
