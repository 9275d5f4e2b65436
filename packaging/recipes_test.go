package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"usher/hooks"
)

// The recipes: what makes an image of a role, and the group that launches it. There is no AWS here. What each file
// refers to is looked up, the policies are compared with usher's own, and the script runs for real: see the other
// recipes_*_test.go.

// recipes are the folders of recipes.
var recipes = []string{"image", "terraform", "cloudformation"}

// recipeTool is a program, or the end of the test.
func recipeTool(t *testing.T, program, how string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing (%s)", program, how)
		}
		t.Skipf("%s is missing (%s); CI has it", program, how)
	}
	return path
}

// recipe is a file of this folder, or the end of the test.
func recipe(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(house, "packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recipeFiles are the files below the folders of recipes for which ok is true, relative to this folder.
func recipeFiles(t *testing.T, ok func(name, text string) bool) (names []string) {
	t.Helper()
	for _, folder := range recipes {
		err := filepath.WalkDir(filepath.Join(house, "packaging", folder), func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			name := strings.TrimPrefix(path, filepath.Join(house, "packaging")+"/")
			text, err := os.ReadFile(path)
			if err == nil && ok(name, string(text)) {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) == 0 {
		t.Fatal("no such file: this test looks in the wrong place")
	}
	return names
}

func isShell(_, text string) bool { return strings.HasPrefix(text, "#!/bin/bash\n") }

// Every shell script is clean, executable, and ends at the first command that fails.
func TestRecipesShell(t *testing.T) {
	t.Parallel()
	scripts := recipeFiles(t, isShell)
	var checked []hooks.Script
	for _, name := range scripts {
		event := filepath.Base(filepath.Dir(name)) // of a role hook, its folder
		if !slices.Contains(hooks.Events, event) {
			event = hooks.AfterInstall
		}
		checked = append(checked, hooks.Script{Event: event, Location: name, File: filepath.Join(house, "packaging", name)})
	}
	for _, problem := range hooks.CheckSource(checked, hooks.Require) {
		t.Error(problem) // warnings, too: who copies a recipe begins without any
	}
	check := exec.Command(recipeTool(t, "shellcheck", "apt-get install shellcheck"), scripts...)
	check.Dir = filepath.Join(house, "packaging")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}

// The role hooks are ones: usher finds them all, and finds nothing wrong.
func TestRecipesRoleHooks(t *testing.T) {
	t.Parallel()
	for role, want := range map[string][]string{
		"app": {"ApplicationStart/50-app-web", "ValidateService/50-app-web"},
		"job": {"ApplicationStart/50-app-worker", "ApplicationStop/50-app-worker", "ValidateService/50-app-worker"},
	} {
		dir := filepath.Join(house, "packaging/image/roles", role)
		var found []string
		for _, event := range hooks.Events {
			scripts, problems := hooks.RoleHooks(dir, event)
			for _, s := range scripts {
				found = append(found, strings.TrimPrefix(s.File, dir+"/"))
			}
			for _, p := range append(problems, hooks.CheckSource(scripts, hooks.Require)...) {
				t.Error(p)
			}
		}
		if slices.Sort(found); !slices.Equal(found, want) {
			t.Errorf("the hooks of role %s are %v, not %v", role, found, want)
		}
		// What provision.sh does not take for an event.
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if known := slices.Contains(hooks.Events, e.Name()); e.IsDir() && !known || !e.IsDir() && e.Name() != "setup.sh" && e.Name() != "agent.yml" {
				t.Errorf("role %s has %s, which nobody would look at", role, e.Name())
			}
		}
	}
}

// The sample is a revision as an instance demands it.
func TestRecipesSample(t *testing.T) {
	t.Parallel()
	if out, err := runUsher(t, "check", "-errexit", "require", filepath.Join(house, "packaging/image/sample")); err != nil {
		t.Errorf("usher check: %v\n%s", err, out)
	}
}

// What provision.sh is called with is looked at before anything is done.
func TestRecipesProvisionRefuses(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("an image is made as root; CI is root")
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "usage: provision.sh ROLE PACKAGE BASE"},
		{[]string{"app", nothing}, 2, "usage: provision.sh ROLE PACKAGE BASE"},
		{[]string{"web", nothing, nothing}, 1, "there is no role web: make a folder of that name in"},
		{[]string{"web", nothing, nothing}, 1, "beside app, job"},
		{[]string{"../roles/app", nothing, nothing}, 1, `"../roles/app" is no name of a role`},
		{[]string{"", nothing, nothing}, 1, `"" is no name of a role`},
		{[]string{"app", nothing, nothing}, 1, "there is no package " + nothing},
		{[]string{"app", os.DevNull, nothing}, 1, "there is no package " + os.DevNull},
		{[]string{"app", filepath.Join(house, "go.mod"), nothing}, 1, "there is no archive " + nothing},
	} {
		run := exec.Command("bash", append([]string{filepath.Join(house, "packaging/image/provision.sh")}, test.args...)...)
		out, _ := run.CombinedOutput()
		if code := run.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.says) {
			t.Errorf("provision.sh %q: exit %d, not %d with %q:\n%s", test.args, code, test.code, test.says, out)
		}
	}
}
