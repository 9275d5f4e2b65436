//go:build linux && !developer

package hooks_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"usher/hooks"
)

// The example is what a team copies from: nothing may be said about it, and its scripts do what their
// comments say, in order, from the unpacked revision, without root.
func TestExample(t *testing.T) {
	revision, release := t.TempDir(), filepath.Join(t.TempDir(), "example-0a1b2c3d")
	if err := os.CopyFS(revision, os.DirFS("example")); err != nil {
		t.Fatal(err)
	}
	events := []string{hooks.ApplicationStop, hooks.BeforeInstall, hooks.AfterInstall, hooks.ApplicationStart, hooks.ValidateService}
	appspec, err := os.ReadFile("example/appspec.yml")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []hooks.Script
	for _, m := range regexp.MustCompile(`(?m)^  (\w+):\n    - location: (\S+)$`).FindAllStringSubmatch(string(appspec), -1) {
		if m[1] != events[len(scripts)] {
			t.Errorf("%s comes when %s should", m[1], events[len(scripts)])
		}
		e := hooks.Environment{ApplicationName: "shop", DeploymentID: "d-ABC", InstanceID: "i-0abc", ReleaseDir: release}
		scripts = append(scripts, hooks.Script{
			ID: unique(t), Event: m[1], Location: m[2], File: filepath.Join(revision, m[2]), Dir: revision, Env: e.Environ(m[1])})
	}
	if len(scripts) != len(events) {
		t.Fatalf("the appspec names %d scripts", len(scripts))
	}
	if problems := hooks.Check(scripts, hooks.Require); len(problems) > 0 {
		t.Error(problems)
	}

	stop, prepare, render, start, validate := scripts[0], scripts[1], scripts[2], scripts[3], scripts[4]
	steps := []struct {
		script hooks.Script
		says   string
		fails  bool
	}{
		{prepare, "preparing version 1.0.0 for shop", false},
		{render, "rendered www/index.html of example-0a1b2c3d", false},
		{validate, "the application was not started", true},
		{start, "started", false},
		{validate, "the page shows release example-0a1b2c3d", false},
		{stop, "stopped", false},
		{stop, "stopped", false},
		{validate, "the application was not started", true},
	}
	for _, step := range steps {
		if step.script.Event == hooks.AfterInstall { // Install
			if err := os.CopyFS(filepath.Join(release, "www"), os.DirFS("example/www")); err != nil {
				t.Fatal(err)
			}
		}
		r, err := hooks.Run(t.Context(), groups(t), step.script, hooks.Require, nil)
		if (err != nil) != step.fails || strings.Join(r.Tail, "\n") != step.says {
			t.Errorf("%s says %q, want %q (%v)", step.script, r.Tail, step.says, err)
		}
	}
	page, err := os.ReadFile(filepath.Join(release, "www", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<h1>shop 1.0.0</h1>", "<dd>example-0a1b2c3d</dd>", "<dd>d-ABC</dd>", "<dd>i-0abc</dd>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not show %s:\n%s", want, page)
		}
	}
	// A middle command that fails ends the script: the page is not rendered without a version.
	if err := os.Remove(filepath.Join(revision, "VERSION")); err != nil {
		t.Fatal(err)
	}
	_, err = hooks.Run(t.Context(), groups(t), render, hooks.Off, nil)
	if f, ok := errors.AsType[*hooks.Failure](err); !ok || f.Code != hooks.ScriptFailed {
		t.Errorf("without VERSION: %v", err)
	}
}

// The package page names every event, every variable, and every number it has a constant for.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	all := hooks.Environment{
		ApplicationName: "x", DeploymentID: "x", DeploymentGroupName: "x", DeploymentGroupID: "x",
		BundleBucket: "x", BundleKey: "x", BundleVersion: "x", BundleETag: "x", BundleCommit: "x",
		InstanceID: "x", Region: "x", AutoScalingGroupName: "x", ReleaseDir: "x", PreviousRelease: "x",
	}.Environ("x")
	words := append([]string{hooks.Tag, string(hooks.Enforce), string(hooks.Require), string(hooks.Off),
		hooks.DefaultPath, fmt.Sprintf("%.0f seconds", hooks.KillGrace.Seconds()), fmt.Sprintf("%.0f seconds", hooks.DefaultTimeout.Seconds()),
		fmt.Sprintf("%d KiB", hooks.MaxLine>>10), fmt.Sprintf("%d lines", hooks.MaxLines), fmt.Sprintf("%d MiB", hooks.MaxOutput>>20),
		fmt.Sprintf("last %d", hooks.TailLines), hooks.DownloadBundle, hooks.Install, hooks.BlockTraffic, hooks.AllowTraffic}, hooks.Events...)
	for _, kv := range all {
		name, _, _ := strings.Cut(kv, "=")
		words = append(words, name)
	}
	for _, w := range words {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(strings.TrimLeft(w, "/")) + `\b`).Match(page) {
			t.Errorf("the package page does not mention %q", w)
		}
	}
}
