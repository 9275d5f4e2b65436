package packaging_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The manual page, and what checkers of packages and of scripts say.

// The manual page has the commands of `usher help` in their order, and of each the flags of its own help.
func TestTheManualPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(house, "packaging", "usher.8"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n.Sh COMMANDS\n")
	text, _, _ = strings.Cut(text, "\n.Sh ")
	// The subsections, and the command whose help each is compared with. Three are no commands of `usher help`.
	subsections := map[string][]string{
		"deploy status":        {"deploy", "status"},
		"deploy list":          {"deploy", "list"},
		"deploy stop":          {"deploy", "stop"},
		"rollback on a server": {"rollback", "--config", "/etc/usher/agent.yml"},
	}
	var explained []string
	flags := map[string][]string{}
	item := regexp.MustCompile(`(?m)^\.It Fl (\S+)`)
	for _, section := range strings.Split(text, "\n.Ss ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		for _, found := range item.FindAllStringSubmatch(rest, -1) {
			flags[name] = append(flags[name], found[1])
		}
		if subsections[name] == nil {
			explained = append(explained, name)
			subsections[name] = []string{name}
		}
	}

	usher := filepath.Join(t.TempDir(), "usher")
	output(t, command(house, "go", "build", "-o", usher, "./agent"))
	help := func(args ...string) string { return output(t, exec.Command(usher, args...)) }
	var commands []string
	for _, found := range regexp.MustCompile(`(?m)^  usher (\S+)`).FindAllStringSubmatch(help("help"), -1) {
		commands = append(commands, found[1])
	}
	expect(t, "commands of the manual page", strings.Join(explained, " "), strings.Join(slices.Compact(commands), " ")) // a command's own stand behind it
	for _, name := range slices.Sorted(maps.Keys(subsections)) {
		var want []string
		for _, found := range regexp.MustCompile(`(?m)^  -(\S+)`).FindAllStringSubmatch(help(append(subsections[name], "-h")...), -1) {
			want = append(want, found[1])
		}
		slices.Sort(flags[name])
		slices.Sort(want)
		expect(t, "flags of usher "+name+" in the manual page", strings.Join(flags[name], " "), strings.Join(want, " "))
	}
}

// It is correct for those who format it: groff, with all its warnings.
func TestTheManualPageIsFormatted(t *testing.T) {
	t.Parallel()
	need(t, "man", "groff")
	c := command(house, "man", "--local-file", "--warnings", "packaging/usher.8")
	c.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANPAGER=cat")
	var warnings bytes.Buffer
	c.Stderr = &warnings
	page, err := c.Output()
	if err != nil || !strings.Contains(string(page), "bring an EC2 Auto Scaling server up") {
		t.Fatalf("man: %v\n%s%s", err, page, &warnings)
	}
	for line := range strings.Lines(warnings.String()) {
		if strings.Contains(line, "warning:") || strings.Contains(line, "error:") || strings.HasPrefix(line, "mdoc") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

// Debian's checker finds nothing but what packaging/lintian.overrides gives a reason for; and all that is still there.
func TestLintian(t *testing.T) {
	t.Parallel()
	need(t, "lintian")
	deb := pkg(distribution(t, runtime.GOARCH), "1.2.3", runtime.GOARCH, "deb")
	c := exec.Command("lintian", "--no-cfg", "--allow-root", "--display-info", "--pedantic", deb)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	said, err := c.CombinedOutput()
	if err != nil || len(said) > 0 {
		t.Errorf("lintian: %v\n%s", err, said)
	}
}

func TestShellcheck(t *testing.T) {
	t.Parallel()
	need(t, "shellcheck")
	scripts, err := filepath.Glob(filepath.Join(house, "packaging", "*.sh"))
	if err != nil || len(scripts) != 3 {
		t.Fatalf("scripts of the packages: %v, %v", scripts, err)
	}
	if said, err := exec.Command("shellcheck", append(scripts, filepath.Join(house, "packaging", "build"))...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, said)
	}
}

// The completions that are installed are taken by their shells.
func TestTheCompletionsAreInstalled(t *testing.T) {
	t.Parallel()
	need(t, "dpkg-deb", "bash")
	dir := t.TempDir()
	output(t, exec.Command("dpkg-deb", "--extract", pkg(distribution(t, runtime.GOARCH), "1.2.3", runtime.GOARCH, "deb"), dir))
	c := exec.Command("bash", "--norc", "-c", `set -eu
. "$1/usr/share/bash-completion/completions/usher"
PATH=$1/usr/bin:$PATH
COMP_WORDS=(usher reh) COMP_CWORD=1
_usher
echo "${COMPREPLY[@]}"`, "bash", dir)
	expect(t, "usher reh<TAB>", output(t, c), "rehearse")
}
