package rollout

import (
	"context"
	"path"
	"path/filepath"
	"strings"
)

// Name is what the repository is called where it comes from, or else its directory.
func (r *Repository) Name(ctx context.Context) string {
	if url, err := r.line(ctx, "remote", "get-url", "origin"); err == nil {
		name := strings.TrimSuffix(path.Base(strings.ReplaceAll(filepath.ToSlash(url), ":", "/")), ".git")
		if name != "" && name != "." && name != "/" && name != "origin" {
			return name
		}
	}
	return filepath.Base(r.Dir)
}

// DefaultBranch is the branch of the remote that is meant when none is named, such as origin/main; "" where there is no remote.
func (r *Repository) DefaultBranch(ctx context.Context) string {
	if name, err := r.line(ctx, "symbolic-ref", "--short", "refs/remotes/origin/HEAD"); err == nil {
		return name
	}
	for _, name := range []string{"origin/main", "origin/master"} {
		if _, err := r.line(ctx, "rev-parse", "--verify", "--quiet", "refs/remotes/"+name); err == nil {
			return name
		}
	}
	return ""
}

// Inside tells whether the repository was opened by a directory below its top.
func (r *Repository) Inside() bool { return r.opened != "" }
