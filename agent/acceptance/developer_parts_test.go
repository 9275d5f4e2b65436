package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a commit has outside of itself: submodules, and files in Git LFS.

// library makes a repository for a submodule, with one commit.
func (h *shop) library(name string, f files, modules ...string) string {
	h.Helper()
	h.git("init", "--quiet", "--initial-branch=main", h.path(name))
	h.extend(name, f, modules...)
	return h.path(name)
}

// extend commits files, and submodules as PATH=REPOSITORY, in a repository.
func (h *shop) extend(name string, f files, modules ...string) string {
	h.Helper()
	for file, text := range f {
		h.write(name+"/"+file, text)
	}
	for _, m := range modules {
		path, from, _ := strings.Cut(m, "=")
		h.git("-C", h.path(name), "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", from, path)
	}
	h.git("-C", h.path(name), "add", "--all")
	h.git("-C", h.path(name), "commit", "--quiet", "--message", name)
	return h.git("-C", h.path(name), "rev-parse", "HEAD")
}

// text is what a file has.
func (h *shop) text(path string) []byte {
	h.Helper()
	text, err := os.ReadFile(path)
	h.must(err)
	return text
}

// Submodules are deployed when that is asked for, theirs too, each at the commit that the deployed one names.
func TestDeploySubmodules(t *testing.T) {
	h := newShop(t, 1, production())
	theme := h.library("theme", files{"style.css": "old", "notes.md": "", ".gitattributes": "*.md export-ignore\n"})
	lib := h.library("lib", files{"lib.sh": "echo 1"}, "deep/theme="+theme)
	h.in("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib, "vendor/a lib")
	h.in("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
	h.commit("2", edition("2").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\ntest \"$(cat 'vendor/a lib/lib.sh')\" = 'echo 1'\ntest \"$(cat 'vendor/a lib/deep/theme/style.css')\" = old\n" +
		"test ! -e 'vendor/a lib/deep/theme/notes.md'\n"}))
	h.ended(h.usher("deploy production"), 2, "has submodules, whose files git does not pack (vendor/a lib): `submodules: true` in usher.yml packs them")
	h.environments("    submodules: true\n")
	h.ended(h.usher("deploy production"), 0, "production runs")
	h.expect("live", h.live(), "2")
	h.ended(h.usher("check HEAD"), 0, "HEAD: ok")

	// The same commit gives the same bundle in another clone; without its submodules it gives none.
	h.environ = []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always"} // a library is a path here
	here := h.repo
	h.git("clone", "--quiet", h.path("origin.git"), h.path("bare"))
	h.repo = h.path("bare")
	h.must(os.WriteFile(filepath.Join(h.repo, "usher.yml"), h.text(filepath.Join(here, "usher.yml")), 0o600))
	h.ended(h.usher("deploy production"), 1, "submodule vendor/a lib of commit "+h.commits[1][:10]+": it is not in this clone: `git submodule update --init --recursive` brings it")
	h.git("-C", h.repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
	uploads := len(h.cloud.CallsOf("PutObject"))
	h.ended(h.usher("deploy production"), 0, "uploaded before, compared with the commit now")
	h.expect("uploads", itoa(len(h.cloud.CallsOf("PutObject"))-uploads), "0")

	// A commit of the library that this clone does not have yet is fetched, as the branch is; one that nobody has is not there.
	h.repo = here
	h.extend("lib", files{"lib.sh": "echo 2"})
	h.git("-C", filepath.Join(h.repo, "vendor/a lib"), "pull", "--quiet", "origin", "main")
	h.commit("3", edition("3").with(files{"scripts/validate.sh": "#!/bin/sh\nset -eu\ntest \"$(cat 'vendor/a lib/lib.sh')\" = 'echo 2'\n"}))
	h.repo = h.path("bare")
	h.ended(h.usher("deploy production"), 0, "production runs")
	h.expect("live", h.live(), "3")
	h.repo = here
	h.git("-C", filepath.Join(h.repo, "vendor/a lib"), "commit", "--quiet", "--allow-empty", "--message", "nobody has it")
	h.commit("4", edition("4"))
	h.repo = h.path("bare")
	h.ended(h.usher("deploy production"), 1, "submodule vendor/a lib of commit "+h.commits[3][:10]+": this clone of it has no commit ", ": `git submodule update --init --recursive` brings it: git says: ")
	h.expect("live", h.live(), "3")
}

// Files in Git LFS are deployed when that is asked for, in place of their pointers.
func TestDeployFilesInLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	h := newShop(t, 1, production())
	h.git("lfs", "install")
	large := strings.Repeat("a large picture\n", 1000)
	h.write("shop/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
	sum := "test \"$(wc -c <assets/a.bin)\" -eq 16000\ntest \"$(wc -c <small.bin)\" -eq 5\n"
	h.commit("2", edition("2").with(files{"assets/a.bin": large, "small.bin": "small", "scripts/validate.sh": "#!/bin/sh\nset -eu\n" + sum}))
	if got := h.in("cat-file", "blob", "HEAD:assets/a.bin"); !strings.HasPrefix(got, "version https://git-lfs") {
		t.Fatalf("the commit has %q", got)
	}
	h.ended(h.usher("deploy production"), 2, "has files in Git LFS, of which a server would get the pointers only (assets/a.bin, small.bin): `lfs: true` in usher.yml packs the files")
	h.environments("    lfs: true\n")
	h.ended(h.usher("deploy production"), 0, "production runs")
	h.expect("live", h.live(), "2")

	// Another clone fetches what it does not have, and makes the same bundle.
	here := h.repo
	cmd := exec.Command("git", "clone", "--quiet", h.path("origin.git"), h.path("clone"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "GIT_LFS_SKIP_SMUDGE=1"}
	h.must(cmd.Run())
	h.repo = h.path("clone")
	h.write("clone/usher.yml", string(h.text(filepath.Join(here, "usher.yml"))))
	objects := filepath.Join(h.repo, ".git/lfs/objects")
	h.must(os.RemoveAll(objects))
	h.ended(h.usher("deploy production"), 0, " fetching 16.0 kB in Git LFS from origin\n", " fetched 16.0 kB in Git LFS in ", "uploaded before, compared with the commit now")

	// What is nowhere, and what is not what the commit says, is no bundle.
	h.must(os.RemoveAll(objects))
	h.must(os.Rename(h.path("origin.git/lfs"), h.path("origin.git/gone")))
	h.ended(h.usher("deploy production"), 1, "the content of assets/a.bin, a file in Git LFS, is not in this clone: `git lfs fetch origin "+h.commits[1][:10]+"` failed: git says: ")
	h.must(os.RemoveAll(h.path("origin.git/lfs"))) // which was looked at
	h.must(os.Rename(h.path("origin.git/gone"), h.path("origin.git/lfs")))
	h.ended(h.usher("deploy production"), 0)
	found, err := filepath.Glob(filepath.Join(objects, "*/*/*"))
	h.must(err)
	for _, file := range found {
		h.must(os.Chmod(file, 0o600))
		text := h.text(file)
		text[0] = 'X'
		h.must(os.WriteFile(file, text, 0o600))
	}
	h.ended(h.usher("deploy production"), 1, "in Git LFS is not what its pointer says: `git lfs fsck` looks: "+objects)
	for _, file := range found {
		h.must(os.Truncate(file, 3))
	}
	h.ended(h.usher("deploy production"), 1, "in Git LFS is not what its pointer says")
}
