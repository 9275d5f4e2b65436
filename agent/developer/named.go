package developer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"usher/agent/format"
	"usher/agent/rollout"
	"usher/agent/safepath"
)

// Named is the revision that a person names to check or rehearse it: the directory or archive at a path, or else a commit of the
// repository around the working directory, packed as usher deploy packs it. notes say what lies in the working tree and is not in
// that commit: what a check of the directory would have seen. The caller calls done when path is no longer needed.
func Named(ctx context.Context, name string) (path string, notes []string, done func(), err error) {
	nothing := func() {}
	_, err = os.Stat(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") {
		if err != nil {
			err = fmt.Errorf("cannot open the revision: %w", err)
		}
		return name, nil, nothing, err
	}
	missing := err
	repo, err := rollout.OpenRepository(ctx, ".")
	if err != nil {
		return "", nil, nothing, fmt.Errorf("cannot open the revision: %w", missing)
	}
	if all, _, err := environments(); err == nil { // as the environments want it; a mistake in usher.yml is not this one's
		for _, e := range all {
			repo.Submodules, repo.LFS = repo.Submodules || e.Submodules, repo.LFS || e.LFS
		}
	}
	c, err := repo.Resolve(ctx, name)
	if err != nil {
		return "", nil, nothing, fmt.Errorf("cannot open the revision: there is no file or directory %s, and as a commit: %w", name, err)
	}
	refusals, err := repo.Refusals(ctx, c)
	if err == nil && len(refusals) > 0 {
		err = errors.New(strings.Join(refusals, "\n"))
	}
	if err != nil {
		return "", nil, nothing, err
	}
	dir, err := os.MkdirTemp("", "usher-")
	if err != nil {
		return "", nil, nothing, fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	done = func() { safepath.RemoveAll(dir) }
	packed, err := repo.Archive(ctx, c, dir)
	if err != nil {
		done()
		return "", nil, nothing, err
	}
	changed, err := repo.Uncommitted(ctx)
	if err == nil {
		var ignored []string
		ignored, err = repo.Ignored(ctx)
		changed = slices.Concat(changed, ignored)
	}
	if err != nil {
		done()
		return "", nil, nothing, err
	}
	if n := len(changed); n > 0 {
		slices.Sort(changed)
		notes = append(notes, fmt.Sprintf("commit %s is looked at, without %s of the working tree that is changed, new or ignored: %s", c.Short(), format.Plural(n, "file"), format.Limited(changed)))
	}
	return packed.Path, notes, done, nil
}
