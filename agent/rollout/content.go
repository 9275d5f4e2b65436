package rollout

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/safepath"
)

// entry is a file, link or submodule of a commit that git packs.
type entry struct {
	mode, sha, path string
	filter          string // "" for none
	pointer         string // of Git LFS; "" for a file that is here as it is
}

// content is what is packed of a commit, that of its submodules with it where they are asked for.
func (r *Repository) content(ctx context.Context, c Commit) ([]entry, error) {
	own, err := r.own(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.pointers(ctx, own); err != nil {
		return nil, fmt.Errorf("cannot look for Git LFS: %w", err)
	}
	if !r.Submodules {
		return own, nil
	}
	modules, err := r.modules(ctx, c, own)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(own, func(e entry) bool { return e.mode == "160000" })
	for _, m := range modules {
		inside, err := m.repo.content(ctx, m.commit)
		if err != nil {
			return nil, err
		}
		for _, e := range inside {
			e.path = m.path + "/" + e.path
			all = append(all, e)
		}
	}
	return all, nil
}

// own is what git packs of a commit: all of it, but for what .gitattributes marks export-ignore. Attributes
// count as they stand in the commit, which takes an index of it: a temporary one, not the developer's.
func (r *Repository) own(ctx context.Context, c Commit) ([]entry, error) {
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
	all = slices.DeleteFunc(all, func(e entry) bool { _, ok := r.within(e.path); return !ok })
	for i := range all {
		if strings.HasPrefix(all[i].mode, "100") { // links have no filters
			all[i].filter = filters[all[i].path]
		}
		all[i].path, _ = r.within(all[i].path)
	}
	return all, nil
}

// attributes are which of the names in ask are export-ignore in a commit, and which have a filter: export-subst is one.
func (r *Repository) attributes(ctx context.Context, c Commit, ask *bytes.Buffer) (ignored map[string]bool, filters map[string]string, err error) {
	dir, err := os.MkdirTemp("", "usher-index-")
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a temporary directory: %w", err)
	}
	defer safepath.RemoveAll(dir)
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(dir, "index")}
	if _, err := r.run(ctx, command{env: index, args: []string{"read-tree", c.SHA}}); err != nil {
		return nil, nil, err
	}
	out, err := r.run(ctx, command{env: index, stdin: ask, args: slices.Concat(archived, []string{"check-attr", "-z", "--cached", "--stdin", "export-ignore", "filter", "export-subst"})})
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
		case attribute == "export-subst" && filters[name] == "": // what stands for $Format:$ depends on the git, and its refs
			filters[name] = attribute
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

// split is the values in an answer of git's -z.
func split(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}
