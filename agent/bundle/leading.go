package bundle

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/format"
	"usher/agent/safepath"
)

// leading is the directory at the top that holds the appspec, "" for none: the only one, or as for CodeDeploy's agent the one that has an
// appspec.* when there is no other. Finder puts __MACOSX beside it.
func (t *tree) leading() string {
	isAppspec := func(name string) bool { return strings.HasPrefix(path.Base(name), "appspec.") }
	var in []string
	for _, top := range t.tops {
		if t.kinds[top] == isDir && (t.kinds[top+"/appspec.yml"] != "" || t.kinds[top+"/appspec.yaml"] != "") {
			in = append(in, top)
		}
	}
	if len(in) != 1 {
		return ""
	}
	if len(t.tops) == 1 {
		return in[0]
	}
	if in[0][0] == '.' || slices.ContainsFunc(t.tops, isAppspec) {
		return ""
	}
	found := 0
	for name := range t.kinds {
		if dir := path.Dir(name); dir != "." && dir[0] != '.' && !strings.Contains(dir, "/") && isAppspec(name) {
			found++
		}
	}
	if found != 1 {
		return ""
	}
	return in[0]
}

// removeBeside removes what lies beside the leading directory.
func (t *tree) removeBeside(top string) error {
	beside := slices.DeleteFunc(slices.Sorted(slices.Values(t.tops)), func(name string) bool { return name == top })
	if len(beside) == 0 {
		return nil
	}
	isBeside := func(name string) bool { return name != top && !strings.HasPrefix(name, top+"/") }
	for name, l := range t.links {
		if l.hard && !isBeside(name) && isBeside(l.target) {
			return fmt.Errorf("hard link %q points to %q, which lies beside the folder of the appspec", name, l.target)
		}
	}
	t.at.close() // what it has open is about to go
	for _, name := range beside {
		if _, isPending := t.links[name]; isPending {
			continue
		}
		if err := safepath.RemoveAll(filepath.Join(t.root.Name(), name)); err != nil {
			return fmt.Errorf("cannot remove what lies beside the folder of the appspec: %w", err)
		}
	}
	forget(t.kinds, isBeside)
	forget(t.dirs, isBeside)
	forget(t.links, isBeside)
	t.tops = []string{top}
	t.limits.Warn(fmt.Sprintf("the appspec is in the folder %q: what lies beside it is left out, as by CodeDeploy's agent: %s", top, format.Printable(format.Limited(beside))))
	return nil
}

func forget[V any](of map[string]V, which func(string) bool) {
	for name := range of {
		if which(name) {
			delete(of, name)
		}
	}
}
