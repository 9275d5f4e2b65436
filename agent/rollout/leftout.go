package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"usher/agent/appspec"
)

// LeftOut warns of files here that the commit's appspec names and .gitignore keeps out of every commit: what a build has made, mostly.
// An appspec that names all of the revision names none of them.
func (r *Repository) LeftOut(ctx context.Context, c Commit) (string, error) {
	ignored, err := r.Ignored(ctx)
	if err != nil || len(ignored) == 0 {
		return "", err
	}
	spec, err := r.appspec(ctx, c)
	if err != nil || spec == nil {
		return "", err
	}
	var named []string
	for _, f := range spec.Files {
		if f.Source != "." {
			named = append(named, f.Source)
		}
	}
	for _, scripts := range spec.Hooks {
		for _, h := range scripts {
			named = append(named, h.Location)
		}
	}
	var files []string
	for _, name := range ignored {
		name, ok := r.within(name)
		if path := strings.TrimSuffix(name, "/"); ok && slices.ContainsFunc(named, func(n string) bool {
			return n == path || strings.HasPrefix(path, n+"/") || strings.HasPrefix(n, path+"/")
		}) {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s names files that .gitignore keeps out of the commit: not deployed: %s: `bundle:` in %s deploys what was built", spec.File, some(files), FileName), nil
}

// appspec is that of a commit, as far as it can be read; nil for none.
func (r *Repository) appspec(ctx context.Context, c Commit) (*appspec.Spec, error) {
	for _, name := range []string{appspec.Name, appspec.AltName} {
		at := name
		if r.Path != "" {
			at = r.Path + "/" + name
		}
		text, err := r.git(ctx, nil, "cat-file", "blob", c.SHA+":"+at)
		if ctx.Err() != nil {
			return nil, err
		}
		if err == nil { // without one it is refused
			spec, _ := appspec.Parse(name, text)
			return spec, nil
		}
	}
	return nil, nil
}
