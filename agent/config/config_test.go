package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// packaged is the configuration file that lands on the image, readme the page with the table of its keys.
const packaged, readme = "../../packaging/agent.yml", "../../packaging/README.md"

// setting is a line of it: a key with its default, behind a #. Prose has a space there.
var setting = regexp.MustCompile(`(?m)^#([a-z_]+):(.*)$`)

// The packaged file says what the program does: nothing as it is, the defaults when every line is used,
// each key once.
func TestPackagedConfiguration(t *testing.T) {
	text, err := os.ReadFile(packaged)
	if err != nil {
		t.Fatal(err)
	}
	used := setting.ReplaceAll(text, []byte("$1:$2"))
	for name, content := range map[string][]byte{"as it is": text, "with every line used": used} {
		file := filepath.Join(t.TempDir(), "agent.yml")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Load(file)
		if err != nil {
			t.Errorf("%s %s: %v", packaged, name, err)
		}
		if want := Default(); got != want {
			t.Errorf("%s %s:\n got: %+v\nwant: %+v", packaged, name, got, want)
		}
	}

	var keys []string
	for _, m := range setting.FindAllSubmatch(text, -1) {
		keys = append(keys, string(m[1]))
	}
	want := Keys()
	slices.Sort(keys)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		t.Errorf("keys of %s:\n got: %v\nwant: %v", packaged, keys, want)
	}
}

// The table in the README has every key.
func TestConfigurationInTheReadme(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range Keys() {
		if !regexp.MustCompile("(?m)^\\|.*`" + key + "`.*\\|.*\\|.*\\|$").Match(text) {
			t.Errorf("%s has no line for the key %s", readme, key)
		}
	}
}

// A file that sets nothing is no mistake, however it does that.
func TestConfigurationThatSetsNothing(t *testing.T) {
	for _, content := range []string{"", "\n", "# only a comment\n", "---\n", "---\n# nothing\n...\n", "{}\n"} {
		file := filepath.Join(t.TempDir(), "agent.yml")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(file); err != nil || got != Default() {
			t.Errorf("%q: got %+v, %v", content, got, err)
		}
	}
}

// A value behind a key reaches the key that it stands behind.
func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yml")
	text := "application: shop\ndeployment_group: production\nlifecycle_hook: deploy\nlink: /srv/app\nbase: /srv/base\nreleases: /srv/releases\n" +
		"keep_releases: 5\nerrexit: require\nrole_hooks: /srv/hooks\non_failure: hold\nhold_timeout: 1h30m\non_terminate: stop\nretry_timeout: 90s\n" +
		"max_files: 7\nmax_bytes: 8\ngithub_api: https://github.example/api/v3\nstate_dir: /srv/state\n" +
		"host_commands: false\nsigner_ca_file: /srv/ca.pem\ndrift_check_interval: 0s\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	want := Config{
		Application: "shop", DeploymentGroup: "production", LifecycleHook: "deploy", Link: "/srv/app", Base: "/srv/base", Releases: "/srv/releases",
		KeepReleases: 5, Errexit: "require", RoleHooks: "/srv/hooks", OnFailure: "hold", HoldTimeout: 90 * time.Minute, OnTerminate: "stop", RetryTimeout: 90 * time.Second,
		MaxFiles: 7, MaxBytes: 8, GitHubAPI: "https://github.example/api/v3", StateDir: "/srv/state", SignerCA: "/srv/ca.pem",
	}
	if err != nil || got != want {
		t.Errorf("got: %+v, %v\nwant: %+v", got, err, want)
	}
}

// What CodeDeploy allows in a name: anything but control characters, counted in characters.
func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"shop": true, "the shop's öffentliche app": true, strings.Repeat("ö", 100): true, "\xff\x7f": true,
		"": false, strings.Repeat("x", 101): false, "shop\n": false, "\x00": false, "tab\tbed": false,
	} {
		if got := IsName(name); got != want {
			t.Errorf("%q is a name: %v, want %v", name, got, want)
		}
	}
}
