package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxFollow is how many links one path may go through: Linux's own limit (MAXSYMLINKS).
const maxFollow = 40

// A link waits until all files are written.
type link struct {
	target string // symbolic: relative to the link's directory; hard: the clean name of a file that is no hard link
	hard   bool
}

// symlink takes a symbolic link of the archive.
func (t *tree) symlink(name, target string) error {
	clean, err := t.reserve(name, isLink)
	if err != nil {
		return err
	}
	t.names += len(target)
	switch {
	case target == "":
		return fmt.Errorf("link %q points nowhere", name)
	case strings.ContainsRune(target, 0):
		return fmt.Errorf("link %q has a NUL in its target", name)
	case target[0] == '/':
		return fmt.Errorf("link %q points to the absolute path %q: links must stay inside the bundle; create it in a hook script instead: ln -sfn %s \"$USHER_RELEASE_DIR/%s\"", name, target, target, path.Clean(name))
	case len(target) > maxPath:
		return fmt.Errorf("link %q has a target longer than %d bytes", name, maxPath)
	}
	t.links[clean] = link{target: target}
	return t.withinLimits()
}

// hardLink takes a hard link of the archive, to a file that came before it.
func (t *tree) hardLink(name, target string) error {
	if err := checkName(target); err != nil {
		return fmt.Errorf("hard link %q: its target: %w", name, err)
	}
	to := path.Clean(target)
	before, pending := t.links[to]
	if pending && before.hard {
		to = before.target
	}
	switch {
	case t.kinds[to] != "" && t.kinds[to] != isDir && path.Clean(name) == to: // named twice on the command line of tar
		t.entries++
		return t.withinLimits()
	case t.kinds[to] == isFile:
	case t.kinds[to] == isLink: // `tar` of what `cp -al` made: one link under two names
		return t.symlink(name, before.target)
	default:
		return fmt.Errorf("hard link %q points to %q, which is not a file or link earlier in the archive", name, target)
	}
	clean, err := t.reserve(name, isFile)
	if err != nil {
		return err
	}
	t.links[clean] = link{target: to, hard: true}
	t.hard[to] = append(t.hard[to], clean)
	return nil
}

// judgeLinks judges all symbolic links as they would be followed.
func (t *tree) judgeLinks(ctx context.Context) error {
	targets := map[string]string{}
	for name, l := range t.links {
		if !l.hard {
			targets[t.placed(name)] = l.target
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.links)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t.links[name].hard {
			continue
		}
		if err := follow(targets, t.placed(name)); err != nil {
			return fmt.Errorf("link %q to %q %w", name, t.links[name].target, err)
		}
	}
	return nil
}

// makeLinks makes all links, when all are judged.
func (t *tree) makeLinks(ctx context.Context) error {
	if err := t.judgeLinks(ctx); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.links)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l, err := t.links[name], error(nil)
		if l.hard {
			err = t.root.Link(t.placed(l.target), t.placed(name))
		} else {
			err = t.root.Symlink(l.target, t.placed(name))
		}
		if err != nil {
			return fmt.Errorf("cannot make link %q: %w", name, err)
		}
	}
	return nil
}

// follow walks the link name as the kernel would, through the other links of the tree, and refuses
// it if the way leaves the root at any step. Comparing texts is not enough: behind a link to a
// directory, ".." is not the directory that is written before it. Names that do not exist are
// followed too, because a hook script may make them later.
func follow(targets map[string]string, name string) error {
	var at []string // where the walk is, from the root
	todo := strings.Split(name, "/")
	for followed := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return errors.New("leaves the bundle: create it in a hook script instead, with ln -sfn below \"$USHER_RELEASE_DIR\"")
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, part)
		target, ok := targets[strings.Join(at, "/")]
		if !ok {
			continue
		}
		if followed++; followed > maxFollow {
			return fmt.Errorf("goes round in circles, or through more than %d links", maxFollow)
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}
