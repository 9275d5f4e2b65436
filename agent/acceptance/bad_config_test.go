package acceptance

import (
	"os"
	"path/filepath"
	"testing"
)

// A configuration that cannot be used ends the agent with exit code 2 before it asks anybody anything, and
// with one line that says where the mistake is.
func TestBadConfiguration(t *testing.T) {
	for _, c := range []struct {
		name, text string
		says       string
	}{
		{"a key that is nearly right", "application: shop\ndeployment_groop: production\n", `2:1: unknown key "deployment_groop": did you mean deployment_group?`},
		{"a key that is nothing like it", "application: shop\nproxy: none\n", `2:1: unknown key "proxy": the keys here are application, deployment_group, bucket, lifecycle_hook, link, base, releases, keep_releases, errexit, role_hooks, on_failure, hold_timeout, on_terminate, retry_timeout, host_commands, enable_auth_policy, signer_ca_file, drift_check_interval, max_files, max_bytes, github_api, state_dir`},
		{"a key twice", "link: /opt/app\nlink: /srv/app\n", `2:1: "link" is given twice`},
		{"not YAML", "application: [shop\n", "1:14: this [ is never closed with ]"},
		{"a tab", "application: shop\n\tdeployment_group: production\n", "2:1: a tab stands in the indentation, which YAML does not allow: use spaces"},
		{"a list", "- application: shop\n", "1:1: this must be lines `key: value`"},
		{"a text", "shop\n", "1:1: this must be lines `key: value`"},
		{"a number that is none", "application: shop\nkeep_releases: three\n", "2:16: keep_releases is three: it must be a whole number"},
		{"a duration without a unit", "retry_timeout: 30\n", "1:16: retry_timeout is 30: it must be a duration such as 90s, 30m or 1h30m"},
		{"a duration that is none", "hold_timeout: half an hour\n", "1:15: hold_timeout is half an hour: it must be a duration such as 90s, 30m or 1h30m"},
		{"a size with a unit", "max_bytes: 1GB\n", "1:12: max_bytes is 1GB: it must be a whole number"},
		{"a list for a text", "application: [shop]\n", "1:14: application must be text"},
		{"an errexit that is none", "application: shop\nerrexit: strict\n", `2:10: errexit is "strict": it must be enforce, require, report or off`},
		{"an on_failure that is none", "application: shop\non_failure: retry\n", `2:13: on_failure is "retry": it must be abandon, continue or hold`},
		{"an on_terminate that is none", "on_terminate: drain\n", `1:15: on_terminate is "drain": it must be ignore or stop`},
		{"to keep nothing", "keep_releases: 0\n", "1:16: keep_releases is 0: it must be 1 to 100"},
		{"to keep it for ever", "keep_releases: 1000\n", "1:16: keep_releases is 1000: it must be 1 to 100"},
		{"to hold for no time", "hold_timeout: 0s\n", "1:15: hold_timeout is 0s: it must be more than 0"},
		{"a retry timeout that is negative", "retry_timeout: -1s\n", "1:16: retry_timeout is -1s: it must not be less than 0"},
		{"no files", "max_files: 0\n", "1:12: max_files is 0: it must be at least 1"},
		{"no bytes", "max_bytes: -1\n", "1:12: max_bytes is -1: it must be at least 1"},
		{"a relative path", "application: shop\nlink: opt/app\n", `2:7: link is "opt/app": it must be an absolute path without . or .. or a slash at the end`},
		{"a path with a slash at its end", "releases: /opt/app-releases/\n", `1:11: releases is "/opt/app-releases/": it must be an absolute path without . or .. or a slash at the end`},
		{"a path with ..", "state_dir: /var/lib/../usher\n", `1:12: state_dir is "/var/lib/../usher": it must be an absolute path without . or .. or a slash at the end`},
		{"the root of the server", "base: /\n", `1:7: base is "/": it must be an absolute path without . or .. or a slash at the end`},
		{"an empty path", "state_dir: \"\"\n", `1:12: state_dir is "": it must be an absolute path without . or .. or a slash at the end`},
		{"the link inside the folder of releases", "link: /srv/releases/current\nreleases: /srv/releases\n", "2:11: link (/srv/releases/current) and releases (/srv/releases) must not be in one another"},
		{"the folder of releases inside the link", "releases: /opt/app/releases\n", "1:11: link (/opt/app) and releases (/opt/app/releases) must not be in one another"},
		{"the base for the link", "base: /opt/app\n", "1:7: link (/opt/app) and base (/opt/app) must not be in one another"},
		{"the base inside the folder of releases", "base: /opt/app-releases/base\n", "1:7: base (/opt/app-releases/base) and releases (/opt/app-releases) must not be in one another"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "agent.yml"), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := usher(t, dir, []string{"run", "-once", "-config", "agent.yml"})
			want := "error: cannot use the configuration: agent.yml:" + c.says + "\n"
			if said := clock.ReplaceAllString(got.stderr, ""); got.code != 2 || got.stdout != "" || said != want {
				t.Errorf("exit %d, %q\n said: %s want: %s", got.code, got.stdout, said, want)
			}
		})
	}
}

// A file that was asked for must be there.
func TestMissingConfiguration(t *testing.T) {
	t.Parallel()
	got := usher(t, t.TempDir(), []string{"run", "-once", "-config", "agent.yml"})
	want := "error: cannot read the configuration: open agent.yml: no such file or directory\n"
	if said := clock.ReplaceAllString(got.stderr, ""); got.code != 2 || got.stdout != "" || said != want {
		t.Errorf("exit %d, %q\n said: %s want: %s", got.code, got.stdout, said, want)
	}
}
