package packaging_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What packaging/build makes: the same bytes each time, and versions in the order of the commits.

// architectures are those that packages are built for.
var architectures = []string{"amd64", "arm64"}

// built are the packages for the machine that runs the tests: their files. The next ones are a version later.
type built struct{ deb, rpm, nextDEB, nextRPM string }

// packages builds them, once.
var packages = sync.OnceValues(func() (b built, err error) {
	first, next := filepath.Join(work, "first"), filepath.Join(work, "next")
	for dist, version := range map[string]string{first: "1.2.3", next: "1.2.4"} {
		if err := build(dist, version, "", runtime.GOARCH); err != nil {
			return built{}, err
		}
	}
	return built{pkg(first, "1.2.3", runtime.GOARCH, "deb"), pkg(first, "1.2.3", runtime.GOARCH, "rpm"),
		pkg(next, "1.2.4", runtime.GOARCH, "deb"), pkg(next, "1.2.4", runtime.GOARCH, "rpm")}, nil
})

// systems are those beside Linux that a developer's program is built for.
var systems = []string{"darwin/arm64", "darwin/amd64", "windows/amd64"}

// foreign is the folder with what is for other machines, built once.
var foreign = sync.OnceValues(func() (dist string, err error) {
	others := slices.DeleteFunc(slices.Clone(architectures), func(arch string) bool { return arch == runtime.GOARCH })
	dist = filepath.Join(work, "foreign")
	return dist, build(dist, "1.2.3", strings.Join(systems, " "), others...)
})

// distribution is the folder with the packages of 1.2.3 for an architecture.
func distribution(t *testing.T, arch string) string {
	t.Helper()
	needNfpm(t)
	if arch != runtime.GOARCH {
		dist, err := foreign()
		if err != nil {
			t.Fatal(err)
		}
		return dist
	}
	b, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(b.deb)
}

// build builds a version: the packages for these architectures, and the program for other systems.
func build(dist, version, systems string, arch ...string) error {
	c := command(house, "packaging/build", dist, version)
	c.Env = append(os.Environ(), "ARCHES="+strings.Join(arch, " "), "SYSTEMS="+systems, "SOURCE_DATE_EPOCH=1700000000")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the packages: %w\n%s", err, out)
	}
	return nil
}

// rpmArch are the names that rpm has for architectures.
var rpmArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// pkg is the file of a package.
func pkg(dist, version, arch, packager string) string {
	if packager == "rpm" {
		return filepath.Join(dist, "usher-"+version+"-1."+rpmArch[arch]+".rpm")
	}
	return filepath.Join(dist, "usher_"+version+"_"+arch+".deb")
}

// lacks ends a test that cannot be run here. CI has all it needs.
func lacks(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why + "; CI has it")
}

// need ends a test whose programs are not installed.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			lacks(t, "the test needs "+p)
		}
	}
}

func needNfpm(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("nfpm"); err != nil {
		lacks(t, "the packages need nfpm (go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2)")
	}
}

// output runs a program and is what it prints.
func output(t *testing.T, c *exec.Cmd) string {
	t.Helper()
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(c.Args, " "), err, out, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func command(dir string, args ...string) *exec.Cmd {
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	return c
}

// clone is the source tree as a repository elsewhere, with one commit of the packages' time and a tag.
func clone(t *testing.T) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "elsewhere")
	for _, name := range []string{"agent", "hooks", "packaging", "systemd"} {
		if err := os.CopyFS(filepath.Join(tree, name), os.DirFS(filepath.Join(house, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "README.md"} {
		text, err := os.ReadFile(filepath.Join(house, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tree, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	git(t, tree, "init", "--quiet")
	git(t, tree, "add", "--all")
	git(t, tree, "commit", "--quiet", "--message=one")
	git(t, tree, "tag", "v1.2.3")
	return tree
}

func git(t *testing.T, tree string, args ...string) {
	t.Helper()
	c := command(tree, append([]string{"git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgSign=false"}, args...)...)
	c.Env = append(os.Environ(), "GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
	output(t, c)
}

// The same commit gives the same bytes: from another folder, with times and modes of the files, a language, a time zone
// and a umask that differ. Version and time are given for the first build, and found by git for the second.
func TestTheSameBytesTwice(t *testing.T) {
	t.Parallel()
	needNfpm(t)
	need(t, "git")
	second := filepath.Join(t.TempDir(), "second")
	c := command(clone(t), "sh", "-c", `umask 077; exec packaging/build "$0"`, second)
	c.Env = append(os.Environ(), "TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "GOFLAGS=-tags=killpoints")
	sums := strings.Split(output(t, c), "\n")

	same := func(first string) {
		name := filepath.Base(first)
		of := sum(t, filepath.Join(second, name))
		if sum(t, first) != of {
			t.Errorf("%s: built twice, it is not the same", name)
		}
		if line := of + "  " + name; !slices.Contains(sums, line) {
			t.Errorf("SHA256SUMS has no line %q:\n%s", line, strings.Join(sums, "\n"))
		}
	}
	for _, arch := range architectures {
		same(pkg(distribution(t, arch), "1.2.3", arch, "deb"))
		same(pkg(distribution(t, arch), "1.2.3", arch, "rpm"))
		same(archive(distribution(t, arch), "linux/"+arch))
	}
	dist, err := foreign()
	if err != nil {
		t.Fatal(err)
	}
	for _, system := range systems {
		same(archive(dist, system))
	}
	if said, err := os.ReadFile(filepath.Join(second, "SHA256SUMS")); err != nil || strings.TrimSpace(string(said)) != strings.Join(sums, "\n") {
		t.Errorf("SHA256SUMS: %v\n%s", err, said)
	}
}

// archive is the file of 1.2.3 for developers' machines of a system and an architecture.
func archive(dist, system string) string {
	return filepath.Join(dist, "usher_1.2.3_"+strings.ReplaceAll(system, "/", "_")+".tar.gz")
}

// What a developer unpacks is one program of the system and the version that its name says, and the licences.
func TestProgramsForDevelopers(t *testing.T) {
	t.Parallel()
	own := distribution(t, runtime.GOARCH)
	dist, err := foreign()
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	output(t, command(to, "tar", "-xf", archive(own, "linux/"+runtime.GOARCH), "usher"))
	said := output(t, command(to, "./usher", "version"))
	if want := "usher 1.2.3 linux/" + runtime.GOARCH + " "; !strings.HasPrefix(said, want) {
		t.Errorf("usher version says %q, want %q first", said, want)
	}
	for _, system := range systems {
		program := "usher"
		if strings.HasPrefix(system, "windows/") {
			program = "usher.exe"
		}
		to := t.TempDir()
		output(t, command(to, "tar", "-xf", archive(dist, system)))
		if files := output(t, command(to, "ls")); files != "LICENCES.txt\n"+program {
			t.Errorf("%s: in the archive is %q", system, files)
		}
		name, arch, _ := strings.Cut(system, "/")
		made := output(t, command(to, "go", "version", "-m", program))
		if !strings.Contains(made, "\tbuild\tGOOS="+name+"\n") || !strings.Contains(made, "\tbuild\tGOARCH="+arch+"\n") {
			t.Errorf("%s: the program is of another system:\n%s", system, made)
		}
		content, err := os.ReadFile(filepath.Join(to, program))
		if err != nil || !bytes.Contains(content, []byte("1.2.3")) {
			t.Errorf("%s: the program does not know its version (%v)", system, err)
		}
	}
}

func sum(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// Versions sort as commits do, for dpkg and for rpm.
func TestTheVersionOfACommit(t *testing.T) {
	t.Parallel()
	need(t, "git", "dpkg", "rpm")
	tree := t.TempDir()
	if err := os.CopyFS(filepath.Join(tree, "packaging"), os.DirFS(filepath.Join(house, "packaging"))); err != nil {
		t.Fatal(err)
	}
	version := func() string {
		t.Helper()
		return output(t, command(tree, "packaging/build", "--version"))
	}
	var all []string
	expect := func(want string) { // @ is the commit
		t.Helper()
		commit := output(t, command(tree, "git", "rev-parse", "--short=12", "HEAD"))
		got := version()
		if want = strings.ReplaceAll(want, "@", commit); got != want {
			t.Errorf("version %s, want %s", got, want)
		}
		all = append(all, got)
	}
	if out, err := command(tree, "packaging/build", "--version").Output(); err == nil || len(out) > 0 {
		t.Errorf("where there is no git it has version %q, %v", out, err)
	}
	git(t, tree, "init", "--quiet")
	git(t, tree, "add", "--all")
	git(t, tree, "commit", "--quiet", "--message=one")
	expect("0.0.0+1.g@")
	git(t, tree, "tag", "v1.2.0-rc1")
	expect("1.2.0-rc1")
	git(t, tree, "commit", "--quiet", "--allow-empty", "--message=two")
	expect("1.2.0-rc1+1.g@")
	git(t, tree, "tag", "v1.2.0")
	git(t, tree, "tag", "nightly")
	git(t, tree, "tag", "--delete", "v1.2.0-rc1")
	expect("1.2.0")
	git(t, tree, "commit", "--quiet", "--allow-empty", "--message=three")
	expect("1.2.0+1.g@")
	for range 9 {
		git(t, tree, "commit", "--quiet", "--allow-empty", "--message=more")
	}
	expect("1.2.0+10.g@")
	if err := os.WriteFile(filepath.Join(tree, "packaging", "usher.preset"), []byte("#\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("1.2.0+10.g@.dirty")
	for i := range len(all) - 1 {
		older, newer := strings.Replace(all[i], "-", "~", 1), strings.Replace(all[i+1], "-", "~", 1) // as nfpm writes them
		if err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).Run(); err != nil {
			t.Errorf("for dpkg %s is not older than %s", older, newer)
		}
		if said := output(t, exec.Command("rpm", "--eval", `%{lua: print(rpm.vercmp("`+older+`", "`+newer+`"))}`)); said != "-1" {
			t.Errorf("for rpm %s is not older than %s", older, newer)
		}
	}
}
