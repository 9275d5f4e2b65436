package rollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// module is a submodule of a commit, with the commit of its own that it is at.
type module struct {
	path   string      // in the commit that has it, and of which it is deployed
	repo   *Repository // which has its objects: no working tree
	commit Commit
}

// bringSubmodules is what to do about one that is not there.
const bringSubmodules = "`git submodule update --init --recursive` brings it"

// modules are the submodules of a commit that are packed, without theirs.
func (r *Repository) modules(ctx context.Context, c Commit, content []entry) (all []module, err error) {
	var names map[string]string
	for _, e := range content {
		if e.mode != "160000" {
			continue
		}
		if names == nil {
			if names, err = r.moduleNames(ctx, c); err != nil {
				return nil, err
			}
		}
		inside := e.path
		if r.Path != "" {
			inside = r.Path + "/" + e.path
		}
		m, err := r.module(ctx, names[inside], inside, e.sha)
		if err != nil {
			return nil, fmt.Errorf("submodule %s of commit %s: %w", e.path, c.Short(), err)
		}
		m.path = e.path
		all = append(all, m)
	}
	return all, nil
}

// moduleNames are the names of the submodules, by their paths, as .gitmodules of the commit has them.
func (r *Repository) moduleNames(ctx context.Context, c Commit) (map[string]string, error) {
	names := map[string]string{}
	out, err := r.git(ctx, nil, "config", "-z", "--blob", c.SHA+":.gitmodules", "--get-regexp", `^submodule\..*\.path$`)
	if ctx.Err() != nil {
		return nil, err
	}
	for _, line := range split(out) { // none without the file: the path is all there is to go by
		key, path, _ := strings.Cut(line, "\n")
		names[strings.TrimSuffix(path, "/")] = strings.TrimSuffix(strings.TrimPrefix(key, "submodule."), ".path")
	}
	return names, nil
}

// module finds the objects of a submodule, and the commit in them: where git keeps those of one that was checked out, or in the
// working tree. A commit that is not there yet is fetched, as a branch of the repository's remote is.
func (r *Repository) module(ctx context.Context, name, path, sha string) (m module, err error) {
	var dirs []string
	if name != "" && filepath.IsLocal(name) {
		dir, err := r.line(ctx, "rev-parse", "--git-path", "modules/"+name)
		if err != nil {
			return m, err
		}
		dirs = append(dirs, r.absolute(dir))
	}
	if r.gitDir == "" {
		dirs = append(dirs, filepath.Join(r.Dir, filepath.FromSlash(path), ".git"))
	}
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(dir, "objects")); err != nil || !info.IsDir() { // .git may be a file that leads to the first
			continue
		}
		m.repo = &Repository{Dir: dir, gitDir: dir, Submodules: r.Submodules, LFS: r.LFS, Fetching: r.Fetching}
		break
	}
	if m.repo == nil {
		return m, errors.New("it is not in this clone: " + bringSubmodules)
	}
	has := func() bool {
		_, err := m.repo.git(ctx, nil, "cat-file", "-e", sha+"^{commit}")
		return err == nil
	}
	if !has() {
		remote, err := m.repo.anyRemote(ctx)
		if err == nil {
			err = m.repo.Fetch(ctx, remote)
		}
		if err == nil && !has() { // no branch has it, or the clone is shallow
			_, err = m.repo.git(ctx, nil, "fetch", "--quiet", "--no-recurse-submodules", remote, sha)
		}
		if err != nil || !has() {
			return m, fmt.Errorf("this clone of it has no commit %s: %s: %w", Short(sha), bringSubmodules, err)
		}
	}
	commits, err := m.repo.log(ctx, "-1", sha, "--")
	if err != nil || len(commits) != 1 {
		return m, fmt.Errorf("cannot read its commit %s: %w", Short(sha), err)
	}
	m.commit = commits[0]
	return m, nil
}

// absolute is a path that git has answered.
func (r *Repository) absolute(path string) string {
	if path = filepath.FromSlash(path); !filepath.IsAbs(path) {
		path = filepath.Join(r.Dir, path)
	}
	return path
}

// anyRemote is the remote that is asked for what is not here: origin, or the first.
func (r *Repository) anyRemote(ctx context.Context) (string, error) {
	names, err := r.lines(ctx, "remote")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name == "origin" {
			return name, nil
		}
	}
	if len(names) == 0 {
		return "", errors.New("it has no remote")
	}
	return names[0], nil
}
