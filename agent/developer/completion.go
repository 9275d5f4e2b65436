package developer

import (
	"context"
	"os"

	"usher/agent/rollout"
)

// What the developer's commands complete: environments and git refs.

// CompleteEnvironment is what can be the environment that a command begins with.
func CompleteEnvironment(_ context.Context, args []string) []string {
	if len(args) > 0 {
		return nil
	}
	return EnvironmentNames()
}

// completeEnvironmentAndRef is that, and the ref behind it.
func completeEnvironmentAndRef(ctx context.Context, args []string) []string {
	if len(args) == 1 {
		return refs(ctx)
	}
	return CompleteEnvironment(ctx, args)
}

// EnvironmentNames are the environments of the usher.yml that is nearest.
func EnvironmentNames() (names []string) {
	all, _, err := environments()
	if err != nil {
		return nil
	}
	for _, e := range all {
		names = append(names, e.Name)
	}
	return names
}

// refs are the branches and tags here.
func refs(ctx context.Context) []string {
	dir, err := os.Getwd()
	if err != nil {
		return nil
	}
	repo, err := rollout.OpenRepository(ctx, dir)
	if err != nil {
		return nil
	}
	all, err := repo.Refs(ctx)
	if err != nil {
		return nil
	}
	return all
}
