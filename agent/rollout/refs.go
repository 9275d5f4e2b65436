package rollout

import "context"

// Refs are the branches and tags of the repository, local ones first, for a shell that completes them.
func (r *Repository) Refs(ctx context.Context) ([]string, error) {
	return r.lines(ctx, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
}
