package rollout_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/agent/rollout"
)

// warned compares what is warned of with what should be; "SHA" stands for the commit's short id.
func warned(t *testing.T, w tree, ref string, want ...string) {
	t.Helper()
	c := w.resolve(ref)
	got, err := w.open().Warnings(minute(t), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], c.Short(), "SHA")
	}
	if !slices.Equal(got, want) {
		t.Errorf("warnings for %s\n got %q\nwant %q", ref, got, want)
	}
}

const unpushed = "commit SHA has not been pushed: no branch of a remote that was fetched has it"

func TestWarnings(t *testing.T) {
	t.Parallel()
	origin := newTree(t)
	origin.write("a b", "1")
	origin.commit("one")
	w := origin.clone()
	warned(t, w, "origin/master")
	warned(t, w, "HEAD")

	origin.write("c", "1")
	origin.commit("two")
	origin.commit("three")
	w.git("fetch", "--quiet")
	warned(t, w, "origin/master")
	warned(t, w, "master", "master is 2 commits behind origin/master")
	warned(t, w, "HEAD", "master is 2 commits behind origin/master")
	warned(t, w, w.git("rev-parse", "HEAD")) // an id is what was meant
	w.git("branch", "--quiet", "--force", "topic", "origin/master~1")
	w.git("branch", "--quiet", "--set-upstream-to=origin/master", "topic")
	warned(t, w, "topic", "topic is 1 commit behind origin/master")

	w.write("new", "1")
	warned(t, w, "origin/master", "1 file is changed and not committed: not deployed: new")
	w.write("a b", "2")
	w.git("add", "a b")
	w.write("ä", "")
	w.write("dir/x", "")
	w.write("dir/y", "")
	warned(t, w, "origin/master", "4 files are changed and not committed: not deployed: a b, dir/, new and 1 more")
	w.commit("local")
	warned(t, w, "master", unpushed, "master is 2 commits behind origin/master")
	w.git("checkout", "--quiet", "--detach")
	warned(t, w, "HEAD", unpushed)
	w.git("push", "--quiet", "origin", "HEAD:refs/heads/topic")
	warned(t, w, "HEAD")

	w.git("branch", "--quiet", "--delete", "--remotes", "origin/topic", "origin/master")
	warned(t, w, "master", unpushed) // the upstream is gone

	alone := newTree(t)
	alone.write("a", "")
	alone.commit("alone")
	warned(t, alone, "HEAD", unpushed)
	alone.write("a", "secret")
	alone.write(".gitattributes", "a filter=git-crypt\nb -filter export-subst\nlarge filter=lfs\n")
	alone.write("b", "")
	alone.write("large", "")
	alone.commit("filtered")
	warned(t, alone, "HEAD", unpushed, "git's filters of this machine make what is packed of a (git-crypt), b (export-subst): another machine may pack something else for the same commit")
}

// To look changes nothing of the developer's: not even the index is refreshed.
func TestLookingLeavesTheIndexAlone(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	w.write("appspec.yml", "")
	w.write("a", "1")
	w.commit("one")
	w.write("a", "2")
	w.git("add", "a")
	w.write("a", "1")
	index := filepath.Join(w.dir, ".git/index")
	before, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	r, c := w.open(), w.resolve("HEAD")
	if _, err := r.Warnings(minute(t), c); err != nil {
		t.Error(err)
	}
	if _, err := r.Refusals(minute(t), c); err != nil {
		t.Error(err)
	}
	if _, err := r.Archive(minute(t), c, t.TempDir()); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(index); err != nil || string(after) != string(before) {
		t.Errorf("the index is another, %v", err)
	}
}

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func TestRefusals(t *testing.T) {
	t.Parallel()
	library := newTree(t)
	library.write("lib.c", "")
	library.commit("library")
	submodule := func(w tree, path string) {
		w.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.dir, path)
	}
	lfs := func(names string) string {
		return "commit SHA has files in Git LFS, of which a server would get the pointers only (" + names + "): `lfs: true` in usher.yml packs the files; or mark the pointers export-ignore in .gitattributes if servers do not need them"
	}
	modules := func(names string) string {
		return "commit SHA has submodules, whose files git does not pack (" + names + "): `submodules: true` in usher.yml packs them; or mark them export-ignore in .gitattributes if servers do not need them"
	}
	const noSpec = "commit SHA has no appspec.yml at its top: add one, commit it, and see that export-ignore in .gitattributes does not leave it out"
	for name, test := range map[string]struct {
		make func(w tree)
		want []string
	}{
		"good":                {func(w tree) { w.write("appspec.yml", "") }, nil},
		"the other extension": {func(w tree) { w.write("appspec.yaml", "") }, nil},
		"empty":               {func(tree) {}, []string{"commit SHA has no files: deploy another"}},
		"all is ignored":      {func(w tree) { w.write(".gitattributes", "* export-ignore\n") }, []string{"commit SHA has no files: deploy another"}},
		"no appspec":          {func(w tree) { w.write("deploy/appspec.yml", "") }, []string{noSpec}},
		"appspec is ignored": {func(w tree) {
			w.write("appspec.yml", "")
			w.write("sub/a", "")
			w.write(".gitattributes", "/appspec.yml export-ignore\n")
		}, []string{noSpec}},
		"submodules": {func(w tree) {
			w.write("appspec.yml", "")
			for i := range 5 {
				submodule(w, fmt.Sprintf("vendor/lib %d", i))
			}
		}, []string{modules("vendor/lib 0, vendor/lib 1, vendor/lib 2 and 2 more")}},
		"a submodule that is ignored": {func(w tree) {
			w.write("appspec.yml", "")
			submodule(w, "docs/theme")
			submodule(w, "test")
			w.write(".gitattributes", "/docs export-ignore\n/test export-ignore\n")
		}, nil},
		"LFS": {func(w tree) {
			w.write("appspec.yml", "")
			w.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
			w.write("assets/a file.bin", pointer)
			w.write("assets/small.bin", "committed as it is")
			w.write("assets/whole.bin", strings.Repeat("committed as it is\n", 1000))
			w.write("docs/about.txt", pointer) // no filter: this is the text that is wanted
		}, []string{lfs("assets/a file.bin")}},
		"LFS that is ignored": {func(w tree) {
			w.write("appspec.yml", "")
			w.write(".gitattributes", "*.bin filter=lfs\nvideos/ export-ignore\none.bin export-ignore\n")
			w.write("videos/old/a.bin", pointer)
			w.write("one.bin", pointer)
		}, nil},
		"all at once": {func(w tree) {
			w.write(".gitattributes", "*.bin filter=lfs\n")
			w.write("a.bin", pointer)
			submodule(w, "lib")
		}, []string{noSpec, modules("lib"), lfs("a.bin")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTree(t)
			w.commit("begin")
			test.make(w)
			w.commit(name)
			w.write(".gitattributes", "* export-ignore\n") // of the working tree: it is not committed
			c := w.resolve("HEAD")
			got, err := w.open().Refusals(minute(t), c)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], c.Short(), "SHA")
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("\n got %q\nwant %q", got, test.want)
			}
			if len(test.want) > 0 {
				return
			}
			if _, err := w.open().Archive(minute(t), c, t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	w := newTree(t)
	var ids []string
	for i := range 15 {
		ids = append(ids, w.commit(fmt.Sprintf("change %d", i)))
	}
	w.git("checkout", "--quiet", "-b", "hotfix", ids[9])
	fix := w.commit("hotfix")
	r := w.open()
	for _, test := range []struct {
		name     string
		from, to string
		max      int
		want     string
		total    int
	}{
		{"a few", ids[11], ids[14], 10, "change 14, change 13, change 12", 3},
		{"more than fit", ids[0], ids[14], 2, "change 14, change 13", 14},
		{"how many only", ids[0], ids[14], 0, "", 14},
		{"none", ids[3], ids[3], 10, "", 0},
		{"a rollback adds nothing", ids[14], ids[11], 10, "", 0},
		{"to another branch", ids[14], fix, 10, "hotfix", 1},
		{"and what that takes back", fix, ids[12], 10, "change 12, change 11, change 10", 3},
		{"by short ids", ids[12][:8], ids[13][:8], 10, "change 13", 1},
	} {
		commits, total, err := r.Log(minute(t), test.from, test.to, test.max)
		var subjects []string
		for _, c := range commits {
			subjects = append(subjects, c.Subject)
		}
		if got := strings.Join(subjects, ", "); err != nil || got != test.want || total != test.total {
			t.Errorf("%s: %q of %d, %v, want %q of %d", test.name, got, total, err, test.want, test.total)
		}
	}
	stranger := strings.Repeat("a", 40)
	if _, _, err := r.Log(minute(t), stranger, fix, 10); !errors.Is(err, rollout.ErrUnknownCommit) || !strings.Contains(err.Error(), stranger) {
		t.Errorf("from a commit of elsewhere: %v", err)
	}
	if _, _, err := r.Log(minute(t), fix, stranger, 10); !errors.Is(err, rollout.ErrUnknownCommit) {
		t.Errorf("to a commit of elsewhere: %v", err)
	}
	if _, _, err := r.Log(minute(t), "--output=x", fix, 10); err == nil {
		t.Error("an option is taken for a commit")
	}
}
