package developer

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"usher/agent/appspec"
	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/format"
	"usher/agent/release"
	"usher/agent/rollout"
	"usher/hooks"
)

// InitCommand is `usher init`: what a repository needs to be deployed. Nothing that is there is written over.
func InitCommand() cli.Command {
	d := &Session{Name: "init"}
	var o initOptions
	return cli.Command{Name: "init", Group: cli.Developer, About: "write usher.yml, an appspec and its scripts for this repository",
		More: "It looks at the files of the working directory and, where there are AWS credentials, at the account's deployment groups.\n" +
			"What is there already stays as it is.\n" +
			"exit codes: 0 done, or all is there; 1 a file cannot be written, 2 usage",
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&o.dryRun, "dry-run", false, "print what would be written")
			f.StringVar(&o.application, "application", "", "`NAME` of the CodeDeploy application (default: the one that is called like the repository)")
			f.StringVar(&o.kind, "kind", "", "`KIND` of application: ruby, go, php, python, node, procfile, compose, docker, static or other (default: what the files say)")
			LinkFlag(f, &o.link)
		},
		Run: func(ctx context.Context, in cli.Call) int {
			d.Show(in.Stdout, in.Stderr)
			return d.answered(ctx, d.init(ctx, o))
		}}
}

type initOptions struct {
	dryRun                  bool
	application, kind, link string
}

// init writes what is missing.
func (d *Session) init(ctx context.Context, o initOptions) error {
	cfg, err := config.Default().WithLink(o.link)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	if !plainName.MatchString(strings.TrimPrefix(cfg.Link, "/")) {
		return cli.UsageError{Err: fmt.Errorf("--link is %q: the scripts of usher init are for a path of letters, digits, dots and - only", cfg.Link)}
	}
	if d.repo, err = rollout.OpenRepository(ctx, "."); err != nil {
		return cli.UsageError{Err: err}
	}
	root, err := os.OpenRoot(".")
	if err != nil {
		return err
	}
	defer root.Close()
	near := d.repo.Name(ctx)
	if here, err := os.Getwd(); err == nil && d.repo.Inside() { // a part of a repository
		near = filepath.Base(here)
	}
	n := &initial{near: near, name: unitName(cmp.Or(o.application, near)), link: cfg.Link, options: o}
	if err := d.initEnvironments(ctx, n); err != nil {
		return err
	}
	if _, there := fs.Stat(root.FS(), appspec.Name); there == nil {
		err = d.keepAppspec(ctx, n, cfg)
	} else {
		err = n.start(root.FS())
	}
	if err != nil {
		return err
	}
	n.usherYML()
	return n.finish(root, d.People)
}

// unitName is a name as a unit of systemd and an image of Docker may have it.
func unitName(name string) string {
	return cmp.Or(strings.Trim(strings.ToLower(strings.ReplaceAll(rollout.EnvironmentName(name), "_", "-")), "-"), "app")
}

// initial is what `usher init` is about to write, and to say.
type initial struct {
	options          initOptions
	near, name, link string // what the repository is called; what files are called; the application's path
	existing         string // the usher.yml that is there
	found            found
	branch           string

	files          []starterFile
	build, bundle  string
	dir            string // of the scripts; "" where the appspec was there
	said, missing  []string
	first, firstly string // the first command to type, and what it is for
}

func (n *initial) say(format string, args ...any) {
	n.said = append(n.said, fmt.Sprintf(format, args...))
}
func (n *initial) need(format string, args ...any) {
	n.missing = append(n.missing, fmt.Sprintf(format, args...))
}

// initEnvironments finds what usher.yml would say, unless there is one.
func (d *Session) initEnvironments(ctx context.Context, n *initial) error {
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("cannot find the working directory: %w", err)
	}
	switch file, err := rollout.Find(here); {
	case err == nil:
		n.existing = file
		n.say("%s is there, and stays as it is", file)
		all, err := rollout.Load(file)
		if err != nil {
			return cli.UsageError{Err: err}
		}
		n.found.environments = all
		if part, err := filepath.Rel(filepath.Dir(file), here); err == nil && part != "." && !slices.ContainsFunc(all, func(e rollout.Environment) bool { return filepath.Clean(e.Path) == part }) {
			n.need("%s: `path: %s`, so that this directory is deployed", file, filepath.ToSlash(part))
		}
		return nil
	case !errors.Is(err, rollout.ErrNoFile):
		return err
	}
	n.branch = d.repo.DefaultBranch(ctx)
	n.found, err = d.lookAtAccount(ctx, n.options.application, n.near)
	switch f := n.found; {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		n.say("the AWS account was not looked at: %s", format.FirstLine(err))
	case n.options.application != "" && f.application == "":
		others := "it has none"
		if len(f.applications) > 0 {
			others = "it has " + format.AtMost(20, f.applications)
		}
		return cli.UsageError{Err: fmt.Errorf("there is no CodeDeploy application %s in account %s and %s: %s", n.options.application, f.account, d.Env.Region, others)}
	case f.application == "" && len(f.applications) > 0:
		n.say("account %s has no CodeDeploy application that is called like %s: --application names another, of %s", f.account, n.near, format.AtMost(20, f.applications))
	case f.application == "":
		n.say("account %s has no CodeDeploy application in %s", f.account, d.Env.Region)
	default:
		n.say("account %s has application %s in %s, with %s", f.account, f.application, d.Env.Region, format.Plural(len(f.environments), "deployment group"))
	}
	return nil
}

// keepAppspec says what usher thinks of the appspec that is there.
func (d *Session) keepAppspec(ctx context.Context, n *initial, cfg config.Config) error {
	dir, _, done, err := open(ctx, ".", nil)
	if err != nil {
		return err
	}
	defer done()
	_, problems := release.Check(cfg.Layout(), dir, "", hooks.Enforce, hooks.CheckSource)
	fatal := len(hooks.Errors(problems))
	n.say("%s is there, and stays as it is: usher check finds %s and %s", appspec.Name, format.Plural(fatal, "problem"), format.Plural(len(problems)-fatal, "warning"))
	n.first, n.firstly = "usher migrate", "what is different from CodeDeploy's agent, on one page"
	return nil
}

// start makes the appspec and its scripts.
func (n *initial) start(repo fs.FS) error {
	s, err := lookAt(repo, n.name, n.options.kind)
	if err != nil {
		return cli.UsageError{Err: err}
	}
	if n.dir, err = s.starterDir(repo, n.name, n.link); err != nil {
		return cli.UsageError{Err: err}
	}
	n.files = s.files(n.name, n.link, n.dir)
	n.build, n.bundle = strings.ReplaceAll(s.build, "@dir@", n.dir), s.bundle
	n.first, n.firstly = "usher check --strict .", "what a server would say"
	switch {
	case s.kind == "other" && s.unit == "":
		n.say("nothing here says what kind of application it is: its files are deployed, and nothing is started (--kind KIND, if it is one)")
	default:
		n.say("it is of kind %s, as %s says (--kind KIND, if it is another)", s.kind, s.because)
	}
	switch runs := s.runs() && s.unit == ""; {
	case runs && s.command == "":
		n.need("%s/run.sh: how the application is started", n.dir)
	case runs:
		n.need("%s/%s.service: PORT, if it is not 8080, and what else it has in its environment", n.dir, n.name)
	}
	if validate := n.dir + "/validate.sh"; slices.ContainsFunc(n.files, func(f starterFile) bool { return f.name == validate && strings.Contains(f.text, "path=/\n") }) {
		n.need("%s: the page to ask for, if it is not /", validate)
	}
	if s.bundle != "" && n.existing != "" {
		n.need("%s: `bundle: %s`, and a `build:` that puts the program, %s and %s there", n.existing, s.bundle, appspec.Name, n.dir)
	}
	return nil
}

// usherYML makes usher.yml.
func (n *initial) usherYML() {
	if n.existing != "" {
		return
	}
	if len(n.found.environments) == 0 {
		n.found.environments = []rollout.Environment{{Name: "production"}}
		n.need("%s: the deployment group and its Region", rollout.FileName)
	}
	for i := range n.found.environments {
		e := &n.found.environments[i]
		if e.Bucket == "" {
			n.need("%s: the bucket of %s", rollout.FileName, e.Name)
		}
		e.Link = n.options.link
	}
	text := environmentsFile(cmp.Or(n.found.application, n.options.application, n.near), n.branch, n.found.account, n.build, n.bundle, n.found.environments)
	n.files = append(n.files, starterFile{rollout.FileName, text, 0o644})
}

// finish writes the files, or prints them, and says what is next.
func (n *initial) finish(root *os.Root, out io.Writer) error {
	line := func(text string, args ...any) { fmt.Fprintln(out, format.Printable(fmt.Sprintf(text, args...))) }
	for _, text := range n.said {
		line("%s", text)
	}
	var add []string
	for _, f := range n.files {
		if n.options.dryRun {
			line("\n--- %s would be:\n%s", f.name, strings.TrimSuffix(f.text, "\n"))
			continue
		}
		if err := f.write(root); err != nil {
			return fmt.Errorf("cannot write %s: %w; written before it: %s", f.name, err, cmp.Or(strings.Join(add, ", "), "nothing"))
		}
		line("wrote %s", f.name)
		if strings.Contains(f.name, "/") {
			add = append(add, n.dir)
		} else {
			add = append(add, f.name)
		}
	}
	if n.options.dryRun {
		line("\nA dry run: nothing was written.")
		return nil
	}
	if len(n.missing) > 0 {
		line("\nTo fill in, or to look at:")
		for _, text := range n.missing {
			line("  %s", text)
		}
	}
	line("\nNext:")
	line("  %-44s # %s", n.first, n.firstly)
	commit := "git add --all && git commit"
	if slices.Sort(add); len(add) > 0 {
		commit = "git add " + strings.Join(slices.Compact(add), " ") + " && git commit"
	}
	line("  %-44s # commits are deployed", commit)
	line("  %-44s # the whole way but for the deployment", "usher deploy --dry-run "+n.found.environments[0].Name+" HEAD")
	return nil
}
