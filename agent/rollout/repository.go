package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"usher/hooks"
)

// gitGrace is how long a cancelled git has to remove its locks and half-written files.
const gitGrace = 5 * time.Second

// ErrUnknownCommit is what Log returns for a commit that the repository does not have.
var ErrUnknownCommit = errors.New("the commit is not in this repository")

// Repository is the working tree of a git repository.
type Repository struct {
	Dir  string // its top, absolute
	Path string // the directory of it that is deployed, with slashes; "" for all. Contents, archives and lists of commits are of it

	Submodules, LFS bool // pack the files of submodules, and those in Git LFS; otherwise a commit that has some is refused

	Fetching func(remote string, done, total int64) // is told how much of what is missing in Git LFS is fetched; may be nil

	gitDir string // of one without a working tree: a submodule's
	opened string // the directory that it was opened by, relative to Dir: "" or ending with a slash
}

// Commit is one commit.
type Commit struct {
	SHA     string // the whole id, 40 hexadecimal digits (64 in a repository of SHA-256)
	Subject string // first line of its message
	Author  string // name
	Time    time.Time
	Ref     string // what Resolve was asked for; "" in a Log
}

// Short is the commit's id as people write it.
func (c Commit) Short() string { return Short(c.SHA) }

// OpenRepository is the repository that dir is in.
func OpenRepository(ctx context.Context, dir string) (*Repository, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("cannot find git, which packs what is deployed: install it: %w", err)
	}
	r := &Repository{Dir: dir}
	top, err := r.line(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("cannot use %s as the application's repository: %w", dir, err)
	}
	if r.opened, err = r.line(ctx, "rev-parse", "--show-prefix"); err != nil {
		return nil, fmt.Errorf("cannot use %s as the application's repository: %w", dir, err)
	}
	r.Dir = top
	return r, nil
}

// Limit limits the repository to a directory, relative to the one that it was opened by.
func (r *Repository) Limit(dir string) {
	if r.Path = path.Join(r.opened, filepath.ToSlash(dir)); r.Path == "." {
		r.Path = ""
	}
}

// limit is what limits a git command to Path: its last arguments.
func (r *Repository) limit() []string {
	if r.Path == "" {
		return []string{"--"}
	}
	return []string{"--", ":(literal)" + r.Path}
}

// within is a path as it is below Path; false for one that is elsewhere.
func (r *Repository) within(name string) (string, bool) {
	if r.Path == "" {
		return name, true
	}
	return strings.CutPrefix(name, r.Path+"/")
}

// Remote is the remote that ref names a branch of, such as origin for origin/main, "" when it names none.
func (r *Repository) Remote(ctx context.Context, ref string) (string, error) {
	names, err := r.lines(ctx, "remote")
	if err != nil {
		return "", fmt.Errorf("cannot list the remotes: %w", err)
	}
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "refs/"), "remotes/")
	remote := ""
	for _, name := range names { // the longest: a remote may be called origin/old
		if strings.HasPrefix(ref, name+"/") && len(name) > len(remote) {
			remote = name
		}
	}
	return remote, nil
}

// Fetch brings the branches of a remote up to date. Without it origin/main is what it was at the last fetch.
func (r *Repository) Fetch(ctx context.Context, remote string) error {
	if _, err := r.git(ctx, nil, "fetch", "--quiet", "--no-recurse-submodules", remote); err != nil {
		return fmt.Errorf("cannot fetch from %s: %w", remote, err)
	}
	return nil
}

var (
	refSuffix = form(`[~^@].*$`) // of main~2, v1^{commit}, main@{upstream}
	idForm    = form(`^[0-9a-fA-F]{4,64}$`)
)

// Resolve is the commit that ref names: a branch, a tag, or a commit's id. A ref that may mean two things is
// refused.
func (r *Repository) Resolve(ctx context.Context, ref string) (Commit, error) {
	if ref == "" || strings.HasPrefix(ref, "-") {
		return Commit{}, fmt.Errorf("cannot resolve %q: name a branch, a tag or a commit", ref)
	}
	var said bytes.Buffer
	out, err := r.run(ctx, command{stderr: &said, args: []string{"-c", "core.warnAmbiguousRefs=true", "rev-parse", "--verify", ref + "^{commit}"}})
	switch {
	case strings.Contains(said.String(), "is ambiguous"):
		return Commit{}, r.ambiguous(ctx, ref, said.String())
	case err != nil:
		return Commit{}, r.unknown(ctx, ref, err)
	}
	commits, err := r.log(ctx, "-1", strings.TrimSpace(string(out)), "--")
	if err != nil {
		return Commit{}, fmt.Errorf("cannot read commit %s: %w", ref, err)
	}
	if len(commits) != 1 {
		return Commit{}, fmt.Errorf("cannot read commit %s: git lists %d", ref, len(commits))
	}
	commits[0].Ref = ref
	return commits[0], nil
}

// ambiguous is the error for a ref of two meanings, with the full names it may have.
func (r *Repository) ambiguous(ctx context.Context, ref, said string) error {
	base := refSuffix().ReplaceAllString(ref, "")
	full := []string{"refs/tags/" + base, "refs/heads/" + base, "refs/remotes/" + base}
	names, err := r.lines(ctx, append([]string{"for-each-ref", "--format=%(refname)"}, full...)...)
	if err != nil {
		return fmt.Errorf("cannot resolve %s: %w", ref, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(full, name) })
	switch {
	case len(names) == 0: // the beginning of two ids; git lists them
		return fmt.Errorf("cannot resolve %s, it begins more than one id: give more digits: git says: %s", ref, inOneLine(said))
	case len(names) == 1 && idForm().MatchString(base):
		return fmt.Errorf("cannot resolve %s, which names %s and begins a commit's id: write %s, or more digits", ref, names[0], names[0])
	}
	return fmt.Errorf("cannot resolve %s, which may be %s: write the one that is meant", ref, strings.Join(names, " or "))
}

// unknown is the error for a ref that is not there, with what was probably meant.
func (r *Repository) unknown(ctx context.Context, ref string, cause error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("cannot resolve %s: %w", ref, cause)
	}
	if kind, err := r.line(ctx, "cat-file", "-t", ref); err == nil && kind != "commit" && kind != "tag" {
		return fmt.Errorf("cannot resolve %s, which is a %s: name a commit, a branch or a tag", ref, kind)
	}
	names, err := r.lines(ctx, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags")
	if err != nil {
		return fmt.Errorf("cannot resolve %s: %w", ref, err)
	}
	if slices.Contains(names, ref) {
		return fmt.Errorf("cannot resolve %s: this clone lacks what it leads to (`git fsck` lists what is missing): %w", ref, cause)
	}
	what := "there is no such branch, tag or commit in " + r.Dir
	shallow, _ := r.line(ctx, "rev-parse", "--is-shallow-repository")
	switch near := hooks.Closest(ref, names); {
	case near != "":
		what += ": did you mean " + near + "?"
	case len(names) == 0 && ref == "HEAD":
		what += ": it has no commit yet"
	case slices.Contains(names, "origin/"+ref):
		what += ": did you mean origin/" + ref + "?"
	case shallow == "true":
		what += ", which is a shallow clone: `git fetch --unshallow` brings the rest"
	default:
		what += ": it may have to be fetched (git fetch --all --tags)"
	}
	return fmt.Errorf("cannot resolve %s: %s", ref, what)
}

// fields of a commit as log asks git for them; none can contain the NUL between them.
const fields = "--format=%H%x00%s%x00%an%x00%ct"

// log is the commits that git log lists.
func (r *Repository) log(ctx context.Context, args ...string) ([]Commit, error) {
	lines, err := r.lines(ctx, slices.Concat([]string{"log", fields}, args)...)
	if err != nil {
		return nil, err
	}
	var commits []Commit
	for _, line := range lines {
		f := strings.Split(line, "\x00")
		if len(f) != 4 {
			return nil, fmt.Errorf("cannot read git's answer %q", line)
		}
		seconds, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read the time of commit %s: %w", f[0], err)
		}
		commits = append(commits, Commit{SHA: f[0], Subject: f[1], Author: f[2], Time: time.Unix(seconds, 0).UTC()})
	}
	return commits, nil
}

// steady is git's configuration that must not differ from machine to machine, or would disturb.
var steady = []string{
	"-c", "core.fsmonitor=false", // runs a program of the repository's choice
	"-c", "log.showSignature=false",
	"-c", "i18n.logOutputEncoding=UTF-8",
	"-c", "color.ui=false",
}

// inherited are the variables by which a git that runs us (a hook, an alias) tells its children which repository
// it is in, and those that would change an answer. We are in the one the directory says.
var inherited = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_REPLACE_REF_BASE", "GIT_IMPLICIT_WORK_TREE",
	"GIT_CEILING_DIRECTORIES", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
	"GIT_EXTERNAL_DIFF", "GIT_TRACE", "GIT_ATTR_SOURCE", "LANGUAGE",
}

// gitEnviron is the environment git runs in: that of the developer, for ssh and credential helpers, but for
// what would change an answer.
func gitEnviron() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(inherited, name)
	})
	return append(env, "LC_ALL=C", "TZ=UTC", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat",
		"GIT_NO_REPLACE_OBJECTS=1") // a commit is what its id says
}

// command is one run of git.
type command struct {
	args   []string
	env    []string  // on top of gitEnviron
	stdin  io.Reader // nil: none
	stdout io.Writer // nil: returned by run
	stderr io.Writer // nil: only in the error
}

// run runs git in the repository. Its error has git's own words.
func (r *Repository) run(ctx context.Context, c command) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", slices.Concat([]string{"--no-pager"}, steady, c.args)...)
	cmd.Dir = r.Dir
	cmd.Env = append(gitEnviron(), c.env...)
	if r.gitDir != "" { // its configuration names a working tree, which may not be there
		cmd.Env = append(cmd.Env, "GIT_DIR="+r.gitDir, "GIT_WORK_TREE="+r.gitDir)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.stdin, &stdout, &stderr
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if c.stderr != nil {
		cmd.Stderr = io.MultiWriter(&stderr, c.stderr)
	}
	cmd.Cancel = func() error {
		if cmd.Process.Signal(syscall.SIGTERM) == nil {
			return nil
		}
		return cmd.Process.Kill() // Windows knows nothing else
	}
	cmd.WaitDelay = gitGrace
	err := cmd.Run()
	switch words := inOneLine(stderr.String()); {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && words != "":
		return nil, fmt.Errorf("git says: %s", words)
	case err != nil:
		return nil, fmt.Errorf("git failed: %w", err)
	}
	return stdout.Bytes(), nil
}

// git is what a git command prints.
func (r *Repository) git(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	return r.run(ctx, command{stdin: stdin, args: args})
}

// line is the one line that a git command prints.
func (r *Repository) line(ctx context.Context, args ...string) (string, error) {
	out, err := r.git(ctx, nil, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

// lines are the lines that a git command prints.
func (r *Repository) lines(ctx context.Context, args ...string) ([]string, error) {
	text, err := r.line(ctx, args...)
	if err != nil || text == "" {
		return nil, err
	}
	return strings.Split(text, "\n"), nil
}

func inOneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
