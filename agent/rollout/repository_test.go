package rollout_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"usher/agent/rollout"
)

// Neither the tests' git nor the one that rollout runs sees the settings of whoever runs the tests.
func init() {
	os.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	os.Setenv("GIT_CONFIG_NOSYSTEM", "1")
}

// minute is the context of a test.
func minute(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// tree is a working tree of a test.
type tree struct {
	t   *testing.T
	dir string
}

// newTree is an empty repository with the branch master.
func newTree(t *testing.T) tree {
	t.Helper()
	w := tree{t, t.TempDir()}
	w.git("init", "--quiet", "--initial-branch=master")
	return w
}

// git runs git as the same author at the same time, so that commits have the same ids in every run.
func (w tree) git(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada",
		"GIT_COMMITTER_EMAIL=ada@example.com", "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write makes a file of the working tree.
func (w tree) write(name, text string) {
	w.t.Helper()
	write(w.t, filepath.Join(w.dir, name), text)
}

// commit commits all that is in the working tree, and returns the commit's id.
func (w tree) commit(subject string) string {
	w.t.Helper()
	w.git("add", "--all")
	w.git("commit", "--quiet", "--allow-empty", "--message", subject)
	return w.git("rev-parse", "HEAD")
}

// open is the repository as rollout sees it.
func (w tree) open() *rollout.Repository {
	w.t.Helper()
	r, err := rollout.OpenRepository(minute(w.t), w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// resolve is a commit of the repository.
func (w tree) resolve(ref string) rollout.Commit {
	w.t.Helper()
	c, err := w.open().Resolve(minute(w.t), ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// clone is a clone of w as its remote origin.
func (w tree) clone(args ...string) tree {
	w.t.Helper()
	c := tree{w.t, w.t.TempDir()}
	c.git(append([]string{"clone", "--quiet", "file://" + w.dir, "."}, args...)...)
	return c
}

// same reports an error that is not the one expected: its text with the directory of the test left out.
func same(t *testing.T, dir string, err error, want string) {
	t.Helper()
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("a", "1")
	first := w.commit("one\n\nWith a body.")
	w.git("tag", "--annotate", "--message", "the first", "v1")
	w.git("branch", "old")
	w.write("a", "2")
	second := w.commit("zwei äöü")
	w.git("checkout", "--quiet", "--detach")
	for ref, want := range map[string]string{
		"HEAD": second, "master": second, "refs/heads/master": second, "@": second, "master~1": first, "old": first,
		"v1": first, "v1^{commit}": first, first: first, first[:7]: first, strings.ToUpper(first[:12]): first,
	} {
		if got := w.resolve(ref); got.SHA != want || got.Ref != ref {
			t.Errorf("%s is %s of ref %s, want %s", ref, got.SHA, got.Ref, want)
		}
	}
	want := rollout.Commit{SHA: second, Subject: "zwei äöü", Author: "Ada", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Ref: "HEAD"}
	if got := w.resolve("HEAD"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	r := w.open()
	for ref, want := range map[string]string{
		"":              `cannot resolve "": name a branch, a tag or a commit`,
		"--all":         `cannot resolve "--all": name a branch, a tag or a commit`,
		"mastre":        "cannot resolve mastre: there is no such branch, tag or commit in DIR: did you mean master?",
		"feature":       "cannot resolve feature: there is no such branch, tag or commit in DIR: it may have to be fetched (git fetch --all --tags)",
		"HEAD^{tree}":   "cannot resolve HEAD^{tree}, which is a tree: name a commit, a branch or a tag",
		"HEAD:a":        "cannot resolve HEAD:a, which is a blob: name a commit, a branch or a tag",
		"master..old":   "cannot resolve master..old: there is no such branch, tag or commit in DIR: it may have to be fetched (git fetch --all --tags)",
		"$(touch /tmp)": "cannot resolve $(touch /tmp): there is no such branch, tag or commit in DIR: it may have to be fetched (git fetch --all --tags)",
	} {
		_, err := r.Resolve(minute(t), ref)
		same(t, w.dir, err, want)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Resolve(gone, "master"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A clone that is damaged has the name all the same.
	if err := os.Remove(filepath.Join(w.dir, ".git/objects", second[:2], second[2:])); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(minute(t), "master"); err == nil || !strings.HasPrefix(err.Error(), "cannot resolve master: this clone lacks what it leads to (`git fsck` lists what is missing): git ") {
		t.Errorf("damaged: %v", err)
	}
}

// What may mean two things is not guessed.
func TestResolveAmbiguous(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("a", "1")
	first := w.commit("one")
	w.git("tag", "release")
	w.git("branch", first[:7])
	w.commit("two")
	w.git("branch", "release")
	r := w.open()
	for ref, want := range map[string]string{
		"release":   "cannot resolve release, which may be refs/heads/release or refs/tags/release: write the one that is meant",
		"release~0": "cannot resolve release~0, which may be refs/heads/release or refs/tags/release: write the one that is meant",
		first[:7]:   "cannot resolve " + first[:7] + ", which names refs/heads/" + first[:7] + " and begins a commit's id: write refs/heads/" + first[:7] + ", or more digits",
	} {
		_, err := r.Resolve(minute(t), ref)
		same(t, w.dir, err, want)
	}
	if got := w.resolve("refs/tags/release"); got.SHA != first {
		t.Errorf("the tag is %s, want %s", got.SHA, first)
	}
	// So many commits that ids begin with the same four digits, of which there are 65,536; they are the same in every run.
	seen, clash := map[string]bool{}, ""
	var history strings.Builder
	for i := range 1500 {
		history.WriteString("commit refs/heads/many\ncommitter Ada <ada@example.com> 1767323045 +0000\ndata <<.\n" + strings.Repeat("x", i) + "\n.\n\n")
	}
	load := exec.Command("git", "fast-import", "--quiet")
	load.Dir, load.Stdin = w.dir, strings.NewReader(history.String())
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, sha := range strings.Fields(w.git("rev-list", "many")) {
		if seen[sha[:4]] {
			clash = sha[:4]
			break
		}
		seen[sha[:4]] = true
	}
	if clash == "" {
		t.Fatal("no two ids begin the same")
	}
	_, err := r.Resolve(minute(t), clash)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot resolve "+clash+", it begins more than one id: give more digits: git says: ") {
		t.Errorf("half an id: %v", err)
	}
}

func TestOpenRepository(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("deep/er/file", "")
	r, err := rollout.OpenRepository(minute(t), filepath.Join(w.dir, "deep/er"))
	if err != nil || r.Dir != w.dir {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = r.Resolve(minute(t), "HEAD")
	same(t, w.dir, err, "cannot resolve HEAD: there is no such branch, tag or commit in DIR: it has no commit yet")

	none := t.TempDir()
	_, err = rollout.OpenRepository(minute(t), none)
	same(t, none, err, "cannot use DIR as the application's repository: git says: fatal: not a git repository (or any of the parent directories): .git")

	bare := tree{t, t.TempDir()}
	bare.git("init", "--quiet", "--bare")
	_, err = rollout.OpenRepository(minute(t), bare.dir)
	same(t, bare.dir, err, "cannot use DIR as the application's repository: git says: fatal: this operation must be run in a work tree")
}

func TestGitIsMissing(t *testing.T) {
	dir := newTree(t).dir
	t.Setenv("PATH", t.TempDir())
	_, err := rollout.OpenRepository(minute(t), dir)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot find git, which packs what is deployed: install it: ") {
		t.Error(err)
	}
}

// A git hook or alias that runs usher hands down which repository and index it works on.
func TestGitsOwnVariablesAreNotHeard(t *testing.T) {
	other, mine := newTree(t), newTree(t)
	other.write("a", "1")
	other.commit("theirs")
	mine.write("a", "1")
	sha := mine.commit("mine")
	replacement := mine.commit("not mine")
	mine.git("reset", "--quiet", "--hard", sha)
	mine.git("replace", sha, replacement)
	t.Setenv("GIT_DIR", filepath.Join(other.dir, ".git"))
	t.Setenv("GIT_INDEX_FILE", filepath.Join(other.dir, ".git/index"))
	r, err := rollout.OpenRepository(minute(t), mine.dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Resolve(minute(t), "HEAD")
	if err != nil || c.SHA != sha || c.Subject != "mine" {
		t.Errorf("%+v, %v", c, err)
	}
}

// origin/master is what it was at the last fetch.
func TestFetch(t *testing.T) {
	t.Parallel()
	origin := newTree(t)
	origin.write("a", "1")
	old := origin.commit("one")
	w := origin.clone()
	origin.write("a", "2")
	latest := origin.commit("two")
	if c := w.resolve("origin/master"); c.SHA != old {
		t.Errorf("before: %s", c.SHA)
	}
	r := w.open()
	for ref, want := range map[string]string{
		"origin/master": "origin", "origin/nothing~2": "origin", "refs/remotes/origin/x": "origin", "remotes/origin/x": "origin",
		"master": "", "HEAD": "", "origin": "", "originals/x": "", old: "",
	} {
		if got, err := r.Remote(minute(t), ref); err != nil || got != want {
			t.Errorf("the remote of %s is %q, %v, want %q", ref, got, err, want)
		}
	}
	if err := r.Fetch(minute(t), "origin"); err != nil {
		t.Fatal(err)
	}
	if c := w.resolve("origin/master"); c.SHA != latest {
		t.Errorf("after: %s, want %s", c.SHA, latest)
	}
	w.git("remote", "add", "origin/old", w.dir)
	if got, err := r.Remote(minute(t), "origin/old/master"); err != nil || got != "origin/old" {
		t.Errorf("the remote of two is %q, %v", got, err)
	}
	w.git("remote", "set-url", "origin", "file://"+w.dir+"/gone")
	err := r.Fetch(minute(t), "origin")
	if err == nil || !strings.HasPrefix(err.Error(), "cannot fetch from origin: git says: fatal: '"+w.dir+"/gone' does not appear to be a git repository") {
		t.Errorf("a remote that is gone: %v", err)
	}
}

func TestShallowClone(t *testing.T) {
	t.Parallel()
	origin := newTree(t)
	origin.write("appspec.yml", "1")
	old := origin.commit("one")
	origin.write("appspec.yml", "2")
	latest := origin.commit("two")
	w := origin.clone("--depth=1")
	c, r := w.resolve("HEAD"), w.open()
	if c.SHA != latest {
		t.Errorf("%s, want %s", c.SHA, latest)
	}
	_, err := r.Resolve(minute(t), old)
	same(t, w.dir, err, "cannot resolve "+old+": there is no such branch, tag or commit in DIR, which is a shallow clone: `git fetch --unshallow` brings the rest")
	if _, _, err := r.Log(minute(t), old, latest, 10); !errors.Is(err, rollout.ErrUnknownCommit) {
		t.Errorf("the log: %v", err)
	}
	if warnings, err := r.Warnings(minute(t), c); err != nil || len(warnings) > 0 {
		t.Errorf("warnings %q, %v", warnings, err)
	}
	whole, err := origin.open().Archive(minute(t), c, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	shallow, err := r.Archive(minute(t), c, t.TempDir())
	if err != nil || shallow.SHA256 != whole.SHA256 {
		t.Errorf("the archive differs from that of a whole clone: %+v, %v", shallow, err)
	}
}
