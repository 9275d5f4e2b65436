package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	for _, look := range []func(context.Context, Commit) (string, error){r.dirty, r.unpushed, r.behind, r.filtered} {
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

// dirty warns of changes in the work tree.
func (r *Repository) dirty(ctx context.Context, _ Commit) (string, error) {
	out, err := r.git(ctx, nil, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=none")
	if err != nil {
		return "", err
	}
	var files []string
	for _, entry := range split(out) {
		files = append(files, entry[min(3, len(entry)):]) // "XY name"
	}
	switch len(files) {
	case 0:
		return "", nil
	case 1:
		return "1 file of the work tree is changed and not committed, which is not deployed: " + files[0], nil
	}
	return fmt.Sprintf("%d files of the work tree are changed and not committed, which is not deployed: %s", len(files), some(files)), nil
}

// unpushed warns of a commit that others cannot get.
func (r *Repository) unpushed(ctx context.Context, c Commit) (string, error) {
	on, err := r.lines(ctx, "for-each-ref", "--count=1", "--format=%(refname)", "--contains", c.SHA, "refs/remotes")
	if err != nil || len(on) > 0 {
		return "", err
	}
	return "commit " + c.Short() + " is on no branch of a remote that was fetched: nobody else has what is deployed until it is pushed", nil
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
	content, err := r.content(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot look what is in commit %s: %w", c.Short(), err)
	}
	if len(content) == 0 {
		return []string{"commit " + c.Short() + " has no files: deploy another"}, nil
	}
	var all, modules, large []string
	spec := false
	for _, e := range content {
		switch {
		case e.mode == "160000":
			modules = append(modules, e.path)
		case e.filter == "lfs":
			large = append(large, e.sha+" "+e.path)
		case e.path == appspec.Name, e.path == appspec.AltName:
			spec = true
		}
	}
	if !spec {
		all = append(all, fmt.Sprintf("commit %s has no %s at its top: add one, commit it, and see that export-ignore in .gitattributes does not leave it out", c.Short(), appspec.Name))
	}
	if len(modules) > 0 {
		all = append(all, fmt.Sprintf("commit %s has submodules, whose files git does not pack (%s): put the files into the repository, or mark the submodule export-ignore in .gitattributes if servers do not need it",
			c.Short(), some(modules)))
	}
	pointers, err := r.pointers(ctx, large)
	if err != nil {
		return nil, fmt.Errorf("cannot look for Git LFS in commit %s: %w", c.Short(), err)
	}
	if len(pointers) > 0 {
		all = append(all, fmt.Sprintf("commit %s has files in Git LFS, of which a server would get the pointers only (%s): put the files into the repository, or let a hook script fetch them and mark the pointers export-ignore in .gitattributes",
			c.Short(), some(pointers)))
	}
	return all, nil
}

// Log is the commits that are in to and not in from, newest first: at most max of them, and how many there are.
// For a rollback the other way round is of interest too: what is taken back. ErrUnknownCommit says that the
// repository lacks one of the two, as a shallow clone may.
func (r *Repository) Log(ctx context.Context, from, to string, max int) ([]Commit, int, error) {
	for _, sha := range []string{from, to} {
		if !idForm.MatchString(sha) {
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
	count, err := r.line(ctx, "rev-list", "--count", between, "--")
	var total int
	if err == nil {
		total, err = strconv.Atoi(count)
	}
	var commits []Commit
	if err == nil && max > 0 {
		commits, err = r.log(ctx, "--max-count="+strconv.Itoa(max), between)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list the commits from %s to %s: %w", from, to, err)
	}
	return commits, total, nil
}

// entry is a file, link or submodule of a commit that git packs.
type entry struct {
	mode, sha, path string
	filter          string // "" for none
}

// content is what git packs of a commit: all of it, but for what .gitattributes marks export-ignore. Attributes
// count as they stand in the commit, which takes an index of it: a temporary one, not the developer's.
func (r *Repository) content(ctx context.Context, c Commit) ([]entry, error) {
	out, err := r.git(ctx, nil, "ls-tree", "-r", "-z", "--full-tree", c.SHA)
	if err != nil {
		return nil, err
	}
	var all []entry
	var ask bytes.Buffer
	asked := map[string]bool{}
	for _, line := range split(out) {
		about, path, _ := strings.Cut(line, "\t") // "100644 blob SHA\tpath"
		f := strings.Fields(about)
		if len(f) != 3 {
			return nil, fmt.Errorf("cannot read git's answer %q", line)
		}
		all = append(all, entry{mode: f[0], sha: f[2], path: path})
		for _, name := range withParents(path, f[0] == "160000") {
			if !asked[name] {
				asked[name] = true
				ask.WriteString(name + "\x00")
			}
		}
	}
	ignored, filters, err := r.attributes(ctx, c, &ask)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e entry) bool {
		return slices.ContainsFunc(withParents(e.path, e.mode == "160000"), func(name string) bool { return ignored[name] })
	})
	for i := range all {
		if strings.HasPrefix(all[i].mode, "100") { // links have no filters
			all[i].filter = filters[all[i].path]
		}
	}
	return all, nil
}

// attributes are which of the names in ask are export-ignore in a commit, and which have a filter.
func (r *Repository) attributes(ctx context.Context, c Commit, ask *bytes.Buffer) (ignored map[string]bool, filters map[string]string, err error) {
	dir, err := os.MkdirTemp("", "usher-index-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}
	if _, err := r.run(ctx, command{env: index, args: []string{"read-tree", c.SHA}}); err != nil {
		return nil, nil, err
	}
	out, err := r.run(ctx, command{env: index, stdin: ask, args: slices.Concat(archived, []string{"check-attr", "-z", "--cached", "--stdin", "export-ignore", "filter"})})
	if err != nil {
		return nil, nil, err
	}
	ignored, filters = map[string]bool{}, map[string]string{}
	answer := split(out)
	for i := 0; i+2 < len(answer); i += 3 {
		switch name, attribute, value := answer[i], answer[i+1], answer[i+2]; {
		case value == "unspecified" || value == "unset":
		case attribute == "export-ignore":
			ignored[name] = true
		case attribute == "filter" && value != "set":
			filters[name] = value
		}
	}
	return ignored, filters, nil
}

// withParents is a path and the directories it is in, as git names directories when it packs: with a slash.
func withParents(path string, dir bool) []string {
	names := []string{path}
	if dir {
		names[0] += "/"
	}
	for i, c := range path {
		if c == '/' {
			names = append(names, path[:i+1])
		}
	}
	return names
}

// pointerLimit is more than the size of any pointer of Git LFS, which its specification bounds.
const pointerLimit = 1024

// pointers are the paths of those blobs ("SHA path") that are pointers of Git LFS. A file with the filter's
// attribute may also have been committed as it is.
func (r *Repository) pointers(ctx context.Context, blobs []string) (paths []string, err error) {
	if len(blobs) == 0 {
		return nil, nil
	}
	var ask strings.Builder
	for _, b := range blobs {
		sha, _, _ := strings.Cut(b, " ")
		ask.WriteString(sha + "\n")
	}
	out, err := r.git(ctx, strings.NewReader(ask.String()), "cat-file", "--batch-check=%(objectsize)")
	if err != nil {
		return nil, err
	}
	sizes := strings.Fields(string(out))
	if len(sizes) != len(blobs) {
		return nil, errors.New("git does not have all of its files: `git fetch` again")
	}
	for i, b := range blobs {
		sha, path, _ := strings.Cut(b, " ")
		if size, err := strconv.Atoi(sizes[i]); err != nil || size >= pointerLimit {
			continue
		}
		text, err := r.git(ctx, nil, "cat-file", "blob", sha)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(text, []byte("version https://git-lfs.github.com/spec/")) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// split is the values in an answer of git's -z.
func split(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// some is a list for a message: the first of it, and how many more there are.
func some(names []string) string {
	if more := len(names) - namedAtMost; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namedAtMost], ", "), more)
	}
	return strings.Join(names, ", ")
}
