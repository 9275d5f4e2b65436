package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"usher/agent/appspec"
)

// namedAtMost is how many files, and the like, a message names: enough to know what it is about.
const namedAtMost = 3

// Warnings are what somebody who deploys c may not expect: changes that are not in it, commits that it lacks.
func (r *Repository) Warnings(ctx context.Context, c Commit) ([]string, error) {
	var all []string
	for _, look := range []func(context.Context, Commit) (string, error){r.dirty, r.LeftOut, r.unpushed, r.behind, r.filtered} {
		warning, err := look(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("cannot look for what is not in commit %s: %w", c.Short(), err)
		}
		if warning != "" {
			all = append(all, warning)
		}
	}
	return all, nil
}

// Uncommitted are the files of the working tree that are changed, or new and not ignored, and not committed.
func (r *Repository) Uncommitted(ctx context.Context) (files []string, err error) {
	out, err := r.git(ctx, nil, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=none", "--", ":(literal)"+cmp.Or(r.Path, "."))
	if err != nil {
		return nil, fmt.Errorf("cannot look what is not committed: %w", err)
	}
	for _, entry := range split(out) {
		files = append(files, entry[min(3, len(entry)):]) // "XY name"
	}
	return files, nil
}

// Ignored are the files and directories of the working tree that .gitignore names: no commit has them.
func (r *Repository) Ignored(ctx context.Context) (files []string, err error) {
	out, err := r.git(ctx, nil, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	if err != nil {
		return nil, fmt.Errorf("cannot look what is ignored: %w", err)
	}
	return split(out), nil
}

// dirty warns of changes in the working tree.
func (r *Repository) dirty(ctx context.Context, _ Commit) (string, error) {
	files, err := r.Uncommitted(ctx)
	if err != nil {
		return "", err
	}
	switch len(files) {
	case 0:
		return "", nil
	case 1:
		return "1 file is changed and not committed: not deployed: " + files[0], nil
	}
	return fmt.Sprintf("%d files are changed and not committed: not deployed: %s", len(files), some(files)), nil
}

// unpushed warns of a commit that others cannot get.
func (r *Repository) unpushed(ctx context.Context, c Commit) (string, error) {
	on, err := r.lines(ctx, "for-each-ref", "--count=1", "--format=%(refname)", "--contains", c.SHA, "refs/remotes")
	if err != nil || len(on) > 0 {
		return "", err
	}
	return "commit " + c.Short() + " has not been pushed: no branch of a remote that was fetched has it", nil
}

// behind warns of a local branch that lacks commits of its upstream.
func (r *Repository) behind(ctx context.Context, c Commit) (string, error) {
	if c.Ref == "" {
		return "", nil
	}
	branch, err := r.line(ctx, "rev-parse", "--symbolic-full-name", c.Ref)
	if err != nil || !strings.HasPrefix(branch, "refs/heads/") {
		return "", nil // an id, a tag, a branch of a remote: it has no upstream
	}
	line, err := r.line(ctx, "for-each-ref", "--format=%(refname:short)%00%(upstream:short)%00%(upstream)", branch)
	if err != nil {
		return "", err
	}
	f := strings.Split(line, "\x00")
	if len(f) != 3 || f[2] == "" {
		return "", nil
	}
	count, err := r.line(ctx, "rev-list", "--count", c.SHA+".."+f[2], "--")
	if err != nil {
		return "", nil // the upstream was deleted
	}
	switch count {
	case "0":
		return "", nil
	case "1":
		return fmt.Sprintf("%s is 1 commit behind %s", f[0], f[1]), nil
	}
	return fmt.Sprintf("%s is %s commits behind %s", f[0], count, f[1]), nil
}

// filtered warns of content that goes through a filter (git-crypt, say): what is packed is then what the git of
// this machine makes of it. LFS is refused instead.
func (r *Repository) filtered(ctx context.Context, c Commit) (string, error) {
	content, err := r.content(ctx, c)
	if err != nil {
		return "", err
	}
	var files []string
	for _, e := range content {
		if e.filter != "" && e.filter != "lfs" {
			files = append(files, e.path+" ("+e.filter+")")
		}
	}
	if len(files) == 0 {
		return "", nil
	}
	return fmt.Sprintf("git's filters of this machine make what is packed of %s: another machine may pack something else for the same commit", some(files)), nil
}

// Refusals are why c cannot be deployed: what a server needs is not in an archive of it.
func (r *Repository) Refusals(ctx context.Context, c Commit) ([]string, error) {
	of, none := "", ": deploy another"
	if r.Path != "" {
		of = " in " + r.Path
		none = of + ": commit them, correct path in " + FileName + ", or deploy another"
	}
	content, err := r.content(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot look what is in commit %s: %w", c.Short(), err)
	}
	if len(content) == 0 {
		return []string{"commit " + c.Short() + " has no files" + none}, nil
	}
	var all, modules, large []string
	spec := false
	for _, e := range content {
		switch {
		case e.mode == "160000":
			modules = append(modules, e.path)
		case e.pointer != "" && !r.LFS:
			large = append(large, e.path)
		case e.path == appspec.Name, e.path == appspec.AltName:
			spec = true
		}
	}
	if !spec {
		all = append(all, fmt.Sprintf("commit %s has no %s %s: add one, commit it, and see that export-ignore in .gitattributes does not leave it out", c.Short(), appspec.Name, strings.TrimSpace(cmp.Or(of, "at its top"))))
	}
	if len(modules) > 0 {
		all = append(all, fmt.Sprintf("commit %s has submodules, whose files git does not pack (%s): `submodules: true` in %s packs them; or mark them export-ignore in .gitattributes if servers do not need them",
			c.Short(), some(modules), FileName))
	}
	if len(large) > 0 {
		all = append(all, fmt.Sprintf("commit %s has files in Git LFS, of which a server would get the pointers only (%s): `lfs: true` in %s packs the files; or mark the pointers export-ignore in .gitattributes if servers do not need them",
			c.Short(), some(large), FileName))
	}
	return all, nil
}

// Log is the commits that are in to and not in from, newest first: at most max of them, and how many there are.
// For a rollback the other way round is of interest too: what is taken back. ErrUnknownCommit says that the
// repository lacks one of the two, as a shallow clone may.
func (r *Repository) Log(ctx context.Context, from, to string, max int) ([]Commit, int, error) {
	for _, sha := range []string{from, to} {
		if !idForm().MatchString(sha) {
			return nil, 0, fmt.Errorf("cannot list the commits from %q to %q: name both by their ids", from, to)
		}
		if _, err := r.git(ctx, nil, "cat-file", "-e", sha+"^{commit}"); err != nil {
			if ctx.Err() != nil {
				return nil, 0, err
			}
			return nil, 0, fmt.Errorf("cannot list the commits from %s to %s: %w: %s", from, to, ErrUnknownCommit, sha)
		}
	}
	between := from + ".." + to
	count, err := r.line(ctx, slices.Concat([]string{"rev-list", "--count", between}, r.limit())...)
	var total int
	if err == nil {
		total, err = strconv.Atoi(count)
	}
	var commits []Commit
	if err == nil && max > 0 {
		commits, err = r.log(ctx, slices.Concat([]string{"--max-count=" + strconv.Itoa(max), between}, r.limit())...)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list the commits from %s to %s: %w", from, to, err)
	}
	return commits, total, nil
}

// some is a list for a message: the first of it, and how many more there are.
func some(names []string) string {
	if more := len(names) - namedAtMost; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), more)
	}
	return strings.Join(names, ", ")
}
