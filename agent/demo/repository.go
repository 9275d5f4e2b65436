package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// errNoGit is for a machine on which a part of the demo cannot be played.
var errNoGit = errors.New("cannot find git, which `usher deploy` packs a commit with: install it, or leave that part out with -only launch")

// repository is the application's git repository, on a developer's machine.
type repository struct {
	dir     string   // the working tree
	environ []string // of git, and of usher: none of what the person at this machine has configured
	commits []string // their ids
}

// newRepository makes a repository with an origin to push to, both below a directory.
func newRepository(ctx context.Context, below string) (*repository, error) {
	r := &repository{dir: filepath.Join(below, application), environ: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + below, "TMPDIR=" + below, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com"}}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the repository: %w", err)
	}
	origin := filepath.Join(below, "origin.git")
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=master", origin},
		{"init", "--quiet", "--initial-branch=master"},
		{"remote", "add", "origin", origin},
	} {
		if _, err := r.git(ctx, args...); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// git runs git in the repository and returns what it printed.
func (r *repository) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = r.dir, r.environ
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot run git %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// push commits files and pushes the commit to the origin.
func (r *repository) push(ctx context.Context, subject string, f files) error {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if err := writeFile(filepath.Join(r.dir, name), f[name], f.mode(name)); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"add", "--all"},
		{"commit", "--quiet", "--message", subject},
		{"push", "--quiet", "origin", "master"},
	} {
		if _, err := r.git(ctx, args...); err != nil {
			return err
		}
	}
	id, err := r.git(ctx, "rev-parse", "HEAD")
	r.commits = append(r.commits, id)
	return err
}

// writeFile writes a file and the directories above it.
func writeFile(path, content string, mode os.FileMode) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), mode)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
