//go:build linux && !developer

package hooks_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/hooks"
)

// TestRoleHooks: a directory as an AMI has it, what is run at which event, and what is said.
func TestRoleHooks(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{
		{"AfterInstall/20-cache", 0o755},
		{"AfterInstall/10-database", 0o644},
		{"AfterInstall/9-late", 0o755}, // "9" after "1" and "2": names, not numbers
		{"AfterInstall/.10-database.swp", 0o644},
		{"AfterInstall/10-database~", 0o755},
		{"AfterInstall/10-database.dpkg-old", 0o755},
		{"AfterInstall/10-database.ucf-dist", 0o755},
		{"AfterInstall/10-database.rpmsave", 0o755},
		{"AfterInstall/10-database.rpmnew", 0o755},
		{"ValidateService/10-open", 0o777},
		{"ValidateService/20-folder/x", 0o755},
		{"AfterInstal/x", 0o755},
		{"afterinstall/x", 0o755},
		{"Instal/x", 0o755},
		{"Boot/x", 0o755},
		{"Install/x", 0o755},
		{"README", 0o644},
		{".git/x", 0o644},
	} {
		write(t, filepath.Join(dir, f.name), "#!/bin/sh\nset -e\n", f.mode)
	}
	for link, target := range map[string]string{"AfterInstall/30-link": "20-cache", "ValidateService/40-gone": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}

	tests := []struct {
		event          string
		runs, problems []string
	}{
		{hooks.AfterInstall, []string{"10-database", "20-cache", "30-link", "9-late"}, nil},
		{hooks.ValidateService, nil, []string{
			"DIR/ValidateService/10-open: can be changed by every user and would run as the agent: chmod o-w",
			"DIR/ValidateService/20-folder: is not a regular file; a role hook is a script",
			"DIR/ValidateService/40-gone: cannot read this role hook: no such file or directory"}},
		{hooks.ApplicationStop, nil, nil},
		{"README", nil, []string{"DIR/README: cannot read the folder of role hooks: not a directory"}},
	}
	for _, test := range tests {
		scripts, problems := hooks.RoleHooks(dir, test.event)
		var runs []string
		for _, s := range scripts {
			runs = append(runs, filepath.Base(s.File))
			if s.Event != test.event || !s.Role || s.Location != s.File || !filepath.IsAbs(s.File) {
				t.Errorf("%+v", s)
			}
		}
		if diff := differ(runs, test.runs); diff != "" {
			t.Errorf("%s runs: %s", test.event, diff)
		}
		if diff := differ(shown(dir, problems), test.problems); diff != "" {
			t.Errorf("%s: %s", test.event, diff)
		}
	}

	want := []string{
		"DIR/AfterInstal: is not named after a lifecycle event: did you mean AfterInstall?",
		"DIR/Boot: is not named after a lifecycle event; those that run scripts are " + strings.Join(hooks.Events, ", "),
		"DIR/Instal: is not named after a lifecycle event; those that run scripts are " + strings.Join(hooks.Events, ", "),
		"DIR/Install: the event Install runs no scripts",
		"DIR/README: warning: nothing runs this file: role hooks are in a folder named after their event",
		"DIR/afterinstall: is not named after a lifecycle event: did you mean AfterInstall?",
	}
	if diff := differ(shown(dir, hooks.CheckRoleDir(dir)), want); diff != "" {
		t.Error(diff)
	}
	none := filepath.Join(dir, "none")
	if scripts, problems := hooks.RoleHooks(none, hooks.AfterInstall); len(scripts)+len(problems)+len(hooks.CheckRoleDir(none)) > 0 {
		t.Errorf("a missing directory: %v %v", scripts, problems)
	}
}

func shown(dir string, problems []hooks.Problem) []string {
	var got []string
	for _, p := range problems {
		got = append(got, strings.ReplaceAll(p.String(), dir, "DIR"))
	}
	return got
}

func TestEnviron(t *testing.T) {
	tests := []struct {
		name string
		e    hooks.Environment
		want []string
	}{
		{"an S3 revision, on a launch", hooks.Environment{
			ApplicationName: "shop", DeploymentID: "d-ABC", DeploymentGroupName: "web", DeploymentGroupID: "0f5c",
			BundleBucket: "releases", BundleKey: "shop.tgz", BundleVersion: "v1", BundleETag: "9a0b",
			InstanceID: "i-0abc", Region: "eu-west-1", AutoScalingGroupName: "shop-web",
			ReleaseDir: "/opt/app-releases/shop-1", PreviousRelease: "/opt/app-releases/shop-0",
		}, []string{
			"PATH=" + hooks.DefaultPath, "LANG=C.UTF-8", "LIFECYCLE_EVENT=AfterInstall",
			"APPLICATION_NAME=shop", "DEPLOYMENT_ID=d-ABC", "DEPLOYMENT_GROUP_NAME=web", "DEPLOYMENT_GROUP_ID=0f5c",
			"BUNDLE_BUCKET=releases", "BUNDLE_KEY=shop.tgz", "BUNDLE_VERSION=v1", "BUNDLE_ETAG=9a0b",
			"INSTANCE_ID=i-0abc", "AWS_REGION=eu-west-1", "AUTO_SCALING_GROUP_NAME=shop-web",
			"USHER_RELEASE_DIR=/opt/app-releases/shop-1", "USHER_PREVIOUS_RELEASE=/opt/app-releases/shop-0"}},
		{"a GitHub revision, the first one, no group", hooks.Environment{ApplicationName: "shop", BundleCommit: "4f2a"}, []string{
			"PATH=" + hooks.DefaultPath, "LANG=C.UTF-8", "LIFECYCLE_EVENT=AfterInstall",
			"APPLICATION_NAME=shop", "BUNDLE_COMMIT=4f2a"}},
	}
	for _, test := range tests {
		if diff := differ(test.e.Environ(hooks.AfterInstall), test.want); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for in, want := range map[string]hooks.Policy{"": hooks.Enforce, "enforce": hooks.Enforce, "require": hooks.Require, "off": hooks.Off} {
		if got, err := hooks.ParsePolicy(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := hooks.ParsePolicy("on"); err == nil || err.Error() != `cannot use errexit "on": it is one of enforce, require, report, off` {
		t.Errorf("got %v", err)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"AfterInstal": "AfterInstall", "afterinstall": "AfterInstall", "AfetrInstall": "AfterInstall", "ApplicationStrat": "ApplicationStart",
		"ApplicationSto": "ApplicationStop", "": "", "x": "", "Install": "", "SomethingElse": "",
	} {
		if got := hooks.Closest(word, hooks.Events); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
