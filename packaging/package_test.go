package packaging_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// What is in the packages, and what they ask for.

// contents are the files of both packages: mode and path.
const contents = `drwxr-xr-x /etc/usher
-rw-r--r-- /etc/usher/agent.yml
drwxr-xr-x /etc/usher/hooks.d
drwxr-xr-x /opt/app-base
-rwxr-xr-x /usr/bin/usher
-rw-r--r-- /usr/lib/systemd/catalog/usher.catalog
-rw-r--r-- /usr/lib/systemd/system-preset/50-usher.preset
-rw-r--r-- /usr/lib/systemd/system/usher-deployed.target
-rw-r--r-- /usr/lib/systemd/system/usher.service
-rw-r--r-- /usr/share/bash-completion/completions/usher
drwxr-xr-x /usr/share/doc/usher
-rw-r--r-- /usr/share/doc/usher/README.md
drwxr-xr-x /usr/share/doc/usher/agent
-rw-r--r-- /usr/share/doc/usher/agent/README.md
-rw-r--r-- /usr/share/doc/usher/changelog.gz
-rw-r--r-- /usr/share/doc/usher/copyright
drwxr-xr-x /usr/share/doc/usher/hooks
-rw-r--r-- /usr/share/doc/usher/hooks/README.md
-rw-r--r-- /usr/share/doc/usher/licences.gz
drwxr-xr-x /usr/share/doc/usher/packaging
-rw-r--r-- /usr/share/doc/usher/packaging/README.md
drwxr-xr-x /usr/share/doc/usher/systemd
-rw-r--r-- /usr/share/doc/usher/systemd/README.md
-rw-r--r-- /usr/share/fish/vendor_completions.d/usher.fish
-rw-r--r-- /usr/share/man/man8/usher.8.gz
-rw-r--r-- ZSH/_usher`

// Both packages have the same files, and ask for the same.
func TestBothPackagesAreTheSame(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "rpm")
	dist := distribution(t, runtime.GOARCH)
	deb, rpm := pkg(dist, "1.2.3", runtime.GOARCH, "deb"), pkg(dist, "1.2.3", runtime.GOARCH, "rpm")
	inDEB, inRPM := debFiles(t, deb), rpmFiles(t, rpm)
	var listed []string
	for _, path := range slices.Sorted(maps.Keys(inRPM)) {
		listed = append(listed, strings.Fields(inRPM[path])[0]+" "+path)
		if inDEB[path] != inRPM[path] {
			t.Errorf("%s\n in the .deb: %s\n in the .rpm: %s", path, inDEB[path], inRPM[path])
		}
	}
	if got := strings.Join(listed, "\n"); got != contents {
		t.Errorf("the .rpm has\n%s\nwant\n%s", got, contents)
	}
	for path, file := range inDEB { // rpm is told only of folders that are usher's own
		if _, ok := inRPM[path]; !ok && file != "drwxr-xr-x root:root" && path != "/usr/share/lintian/overrides/usher" {
			t.Errorf("only the .deb has %s", path)
		}
	}

	field := func(name string) string { return output(t, exec.Command("dpkg-deb", "--field", deb, name)) }
	query := func(args ...string) string {
		return output(t, exec.Command("rpm", append([]string{"--query", "--package", rpm}, args...)...))
	}
	expect(t, "the .deb depends on", field("Depends"), "systemd (>= 249)")
	expect(t, "the .rpm depends on", query("--requires"), "systemd >= 249")
	expect(t, "the .deb recommends", field("Recommends"), "ca-certificates")
	expect(t, "the .rpm recommends", query("--recommends"), "ca-certificates")
	expect(t, "configuration of the .deb", output(t, exec.Command("dpkg-deb", "--info", deb, "conffiles")), "/etc/usher/agent.yml")
	expect(t, "configuration of the .rpm", query("--configfiles"), "/etc/usher/agent.yml")
	if flags := query("--queryformat", "[%{filenames} %{fileflags:fflags}\n]"); !strings.Contains(flags, "/etc/usher/agent.yml cn\n") {
		t.Errorf("an edited agent.yml would not stay in an upgrade of the .rpm:\n%s", flags)
	}
	expect(t, "the .rpm was built", query("--queryformat", "on %{buildhost} at %{buildtime}"), "on localhost at 1700000000")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got: %s\nwant: %s", what, got, want)
	}
}

// zsh are the folders in which the zsh of the two families looks.
var zsh = strings.NewReplacer("/usr/share/zsh/vendor-completions", "ZSH", "/usr/share/zsh/site-functions", "ZSH")

// debFiles are the files of a .deb: path -> mode, owner, content.
func debFiles(t *testing.T, deb string) map[string]string {
	t.Helper()
	files := map[string]string{}
	eachFile(t, deb, func(path string, h *tar.Header, content []byte) {
		file := fmt.Sprintf("%s %s:%s", h.FileInfo().Mode(), h.Uname, h.Gname)
		if h.Typeflag == tar.TypeReg {
			file += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		files[zsh.Replace(path)] = file
	})
	return files
}

// fileOf is the content of a file in a .deb.
func fileOf(t *testing.T, deb, path string) (content string) {
	t.Helper()
	eachFile(t, deb, func(p string, _ *tar.Header, c []byte) {
		if p == path {
			content = string(c)
		}
	})
	return content
}

func eachFile(t *testing.T, deb string, do func(path string, h *tar.Header, content []byte)) {
	t.Helper()
	data, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		t.Fatalf("cannot unpack %s: %v", deb, err)
	}
	for archive := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		do(filepath.Clean("/"+h.Name), h, content)
	}
}

// rpmFiles is debFiles for a .rpm.
func rpmFiles(t *testing.T, path string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for line := range strings.Lines(output(t, exec.Command("rpm", "--query", "--package", path, "--queryformat",
		"[%{filenames} %{filemodes:perms} %{fileusername}:%{filegroupname} %{filedigests}\n]"))) {
		f := strings.Fields(line)
		files[zsh.Replace(f[0])] = strings.Join(f[1:], " ")
	}
	return files
}

// The programs are for the machines that the packages name, and need nothing of them.
func TestThePrograms(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "rpm")
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		dist := distribution(t, arch)
		deb, rpm := pkg(dist, "1.2.3", arch, "deb"), pkg(dist, "1.2.3", arch, "rpm")
		f, err := elf.NewFile(strings.NewReader(fileOf(t, deb, "/usr/bin/usher")))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine {
			t.Errorf("the program for %s is for %s", arch, f.Machine)
		}
		if f.Section(".interp") != nil || f.Section(".dynamic") != nil {
			t.Errorf("the program for %s is not static", arch)
		}
		expect(t, "architecture of the .deb", output(t, exec.Command("dpkg-deb", "--field", deb, "Architecture")), arch)
		expect(t, "architecture of the .rpm", output(t, exec.Command("rpm", "--query", "--package", rpm, "--queryformat", "%{arch}")), rpmArch[arch])
		t.Logf("%s: .deb %.1f MB, .rpm %.1f MB, installed %.1f MB, of which the program %.1f MB", arch, megabytes(t, deb), megabytes(t, rpm),
			installed(t, rpm), float64(len(fileOf(t, deb, "/usr/bin/usher")))/1e6)
	}
}

func megabytes(t *testing.T, path string) float64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}

// installed is the size of a package's files, in megabytes.
func installed(t *testing.T, rpm string) (size float64) {
	t.Helper()
	if _, err := fmt.Sscan(output(t, exec.Command("rpm", "--query", "--package", rpm, "--queryformat", "%{size}")), &size); err != nil {
		t.Fatal(err)
	}
	return size / 1e6
}

// The licences of what is linked are shipped with it, of each module and of Go.
func TestTheLicences(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb")
	dist := distribution(t, runtime.GOARCH)
	z, err := gzip.NewReader(strings.NewReader(fileOf(t, pkg(dist, "1.2.3", runtime.GOARCH, "deb"), "/usr/share/doc/usher/licences.gz")))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	linked := command(house, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./agent")
	for _, module := range append(strings.Fields(output(t, linked)), "go") {
		if !strings.Contains(string(text), "\n  "+module+"\n") {
			t.Errorf("the licence of %s is not there", module)
		}
	}
}
