package acceptance

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// usher of a developer whose machine is not Linux. The build tag developer makes the very same code for Linux, so here it is
// typed beside servers that run the agent.
func TestDeveloperElsewhere(t *testing.T) {
	h := newShop(t, 1, production())
	h.typed = binaries.other()
	h.ended(h.usher("check ."), 0, "ok: ")
	h.ended(h.usher("deploy production"), 0, "production runs")
	h.commit("2", edition("2"))
	h.ended(h.usher("deploy production"), 0, "production runs")
	h.expect("live", h.live(), "2")
	h.ended(h.usher("deploy status"), 0, "Version 2")
	h.ended(h.usher("rollback production"), 0)
	h.expect("live", h.live(), "1")
	h.ended(h.usher("doctor production"), 0, "arn:aws:iam::123456789012:user/operator")
	h.ended(h.usher("doctor"), 2, "ENV")
	h.commit("3", edition("3").with(files{"scripts/render.sh": "#!/bin/sh\nset -eu\nif true\n"}))
	h.ended(h.usher("deploy production"), 2, "nothing was uploaded", "scripts/render.sh:3:1: ")
}

// Its help lists what it has, and whatever else usher has is said to be a server's.
func TestDeveloperElsewhereCommands(t *testing.T) {
	t.Parallel()
	listed := regexp.MustCompile(`(?m)^  usher (\S+)`)
	all := func(binary string) (names []string) {
		for _, m := range listed.FindAllStringSubmatch(usherAs(t, -1, binary, t.TempDir(), []string{"help"}).stdout, -1) {
			names = append(names, m[1])
		}
		return slices.Compact(names) // a command that has others is listed for each
	}
	has := all(binaries.other())
	if got := strings.Join(has, " "); got != "init migrate check deploy rollback servers lock unlock doctor attach iam-policy version completion" {
		t.Errorf("it lists: %s", got)
	}
	for _, name := range all(binaries.usher) {
		got := usherAs(t, -1, binaries.other(), t.TempDir(), []string{name, "--help"})
		want, code := "usher "+name, 0
		if !slices.Contains(has, name) {
			want, code = "usher: "+name+" runs on a server (Linux)", 2
		}
		if got.code != code || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("usher %s --help: exit code %d, and it said:\n%s%s", name, got.code, got.stdout, got.stderr)
		}
	}
}
