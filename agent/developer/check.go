package developer

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"usher/agent/bundle"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/safepath"
	"usher/hooks"
)

// CheckCommand is `usher check PATH | REF`: what an instance finds out before it runs the first script.
func CheckCommand() cli.Command {
	var errexit, roles, link string
	var strict, asJSON bool
	c := cli.Command{Name: "check", Args: []string{"PATH | REF"}, Group: cli.Developer, About: "check a revision (a directory, zip, tar, tgz or commit) as a server will",
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&errexit, "errexit", string(hooks.Enforce), "`MODE`: what the server does about scripts without set -e: enforce, require, report or off")
			f.StringVar(&roles, "role-hooks", "", "also check the role hooks in `DIR` (on a server: /etc/usher/hooks.d)")
			LinkFlag(f, &link)
			f.BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
			f.BoolVar(&asJSON, "json", false, "print one JSON object, for CI")
		}}
	c.Run = func(ctx context.Context, in cli.Call) int {
		policy, err := hooks.ParsePolicy(errexit)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		cfg, err := config.Default().WithLink(link)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		name := in.Arg(0)
		path, notes, forget, err := Named(ctx, name)
		if err != nil {
			return in.Fail(cli.ExitUsage, err)
		}
		defer forget()
		for _, note := range notes {
			fmt.Fprintln(in.Stderr, format.Printable("usher check: "+note))
		}
		found := findings{Path: name, strict: strict, json: asJSON}
		var odd []hooks.Problem
		dir, stats, done, err := open(ctx, path, func(text string) {
			odd = append(odd, hooks.Problem{File: name, Warning: true, Kind: hooks.KindBundle, Message: text})
		})
		if err != nil {
			found.Problems = []hooks.Problem{{File: name, Kind: hooks.KindBundle, Message: err.Error()}}
			return found.show(in.Stdout)
		}
		defer done()
		found.Files, found.Bytes, found.read = stats.Files, stats.Bytes, true
		_, found.Problems = release.Check(layoutOf(cfg), dir, roles, policy, hooks.CheckSource)
		found.Problems = append(odd, found.Problems...)
		found.Needs = needsOf(dir)
		return found.show(in.Stdout)
	}
	return c
}

// open is the directory that holds the revision at path: a directory itself, in which nothing is written, or a scratch directory with
// what an archive holds, which done removes. Both are judged by the rules and limits of an instance.
func open(ctx context.Context, path string, warn func(string)) (dir string, stats bundle.Stats, done func(), err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if dir, err = filepath.Abs(path); err != nil {
			return "", stats, nil, fmt.Errorf("cannot find the directory: %w", err)
		}
		stats, err = bundle.Survey(ctx, path, bundle.Limits{})
		return dir, stats, func() {}, err
	}
	if dir, err = os.MkdirTemp("", "usher-"); err != nil {
		return "", stats, nil, fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	done = func() { safepath.RemoveAll(dir) }
	if stats, err = bundle.UnpackLocal(ctx, path, dir, warn); err != nil {
		done()
	}
	return dir, stats, done, err
}

// layoutOf is where a server has things, for a revision that may be a directory people work in.
func layoutOf(cfg config.Config) release.Layout {
	layout := cfg.Layout()
	layout.NotInstalled = bundle.IsRepository
	return layout
}
