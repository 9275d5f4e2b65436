package packaging_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Terraform and Packer. Their providers cannot be had everywhere, so nobody validates against AWS here: the files parse,
// are formatted, and everything that one part refers to is there.

func isHCL(name, _ string) bool {
	return strings.HasSuffix(name, ".tf") || strings.HasSuffix(name, ".hcl")
}

func TestRecipesHCLFormat(t *testing.T) {
	t.Parallel()
	hclfmt := recipeTool(t, "hclfmt", "go install github.com/hashicorp/hcl/v2/cmd/hclfmt@v2.24.0")
	for _, name := range recipeFiles(t, isHCL) {
		check := exec.Command(hclfmt, "-check", "-require-no-change", filepath.Join(house, "packaging", name))
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s does not parse, or is not as hclfmt has it: %v\n%s", name, err, out)
		}
	}
}

// module is a folder of HCL files, as one text without comments.
type module struct {
	dir  string // relative to this folder
	text string
}

func hclModule(t *testing.T, dir string) module {
	t.Helper()
	m := module{dir: dir}
	for _, name := range recipeFiles(t, isHCL) {
		if filepath.Dir(name) == dir {
			for line := range strings.Lines(recipe(t, name)) {
				if !strings.HasPrefix(strings.TrimSpace(line), "#") {
					m.text += line
				}
			}
		}
	}
	return m
}

var (
	hclBlock     = regexp.MustCompile(`(?m)^(variable|resource|data|module|output|source|provider)((?: "[^"]+")+) \{`)
	hclLocals    = regexp.MustCompile(`(?ms)^locals \{\n(.*?)^\}`)
	hclAttribute = regexp.MustCompile(`(?m)^  ([a-z_]+) +=`)
	hclReference = regexp.MustCompile(`\b(var|local|module|data|source|aws_[a-z0-9_]+)\.([a-z][A-Za-z0-9_-]*)(?:\.([A-Za-z][A-Za-z0-9_-]*))?`)
	hclQuoted    = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	hclTemplate  = regexp.MustCompile(`\$\{[^}]*\}`)
)

// declared are the names that a module's parts can refer to: var.x, local.x, data.t.x, aws_t.x, module.x, source.t.x.
func (m module) declared() map[string]bool {
	all := map[string]bool{}
	for _, b := range hclBlock.FindAllStringSubmatch(m.text, -1) {
		name := strings.ReplaceAll(strings.Trim(b[2], ` "`), `" "`, ".")
		switch b[1] {
		case "variable":
			name = "var." + name
		case "data", "module", "output", "source":
			name = b[1] + "." + name
		case "provider":
			continue
		}
		all[name] = true
	}
	for _, block := range hclLocals.FindAllStringSubmatch(m.text, -1) {
		for _, name := range hclAttribute.FindAllStringSubmatch(block[1], -1) {
			all["local."+name[1]] = true
		}
	}
	return all
}

// referred are the names that a module's parts do refer to. Of what is quoted, only the templates count, and all of
// source.t.x, which Packer quotes.
func (m module) referred() map[string]bool {
	text := hclQuoted.ReplaceAllStringFunc(m.text, func(quoted string) string {
		if strings.HasPrefix(quoted, `"source.`) {
			return quoted
		}
		return strings.Join(hclTemplate.FindAllString(quoted, -1), " ")
	})
	all := map[string]bool{}
	for _, r := range hclReference.FindAllStringSubmatch(text, -1) {
		name := r[1] + "." + r[2]
		if r[1] == "data" || r[1] == "source" {
			name += "." + r[3]
		}
		all[name] = true
	}
	return all
}

func TestRecipesHCLReferences(t *testing.T) {
	t.Parallel()
	for dir, few := range map[string]int{"image": 15, "terraform": 35, "terraform/examples/two-roles": 8} {
		m := hclModule(t, dir)
		declared, referred := m.declared(), m.referred()
		if len(referred) < few {
			t.Errorf("%s refers to %v only: this test does not see what there is", dir, slices.Sorted(maps.Keys(referred)))
		}
		for _, name := range slices.Sorted(maps.Keys(referred)) {
			if !declared[name] {
				t.Errorf("%s refers to %s, which is not there", dir, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(declared)) {
			if kind, _, _ := strings.Cut(name, "."); slices.Contains([]string{"var", "local", "data"}, kind) && !referred[name] {
				t.Errorf("%s has %s, which nothing refers to", dir, name)
			}
		}
	}
}

// block is the text of a block of a module, without its braces.
func (m module) block(t *testing.T, head string) string {
	t.Helper()
	_, text, found := strings.Cut(m.text, "\n"+head+" {\n")
	text, _, end := strings.Cut(text, "\n}\n")
	if !found || !end {
		t.Fatalf("%s has no %s", m.dir, head)
	}
	return text
}

// Who uses the module must know what each variable and output is.
func TestRecipesTerraformDocumented(t *testing.T) {
	t.Parallel()
	page := recipe(t, "terraform/README.md")
	for _, dir := range []string{"image", "terraform", "terraform/examples/two-roles"} {
		m := hclModule(t, dir)
		for name := range m.declared() {
			kind, name, _ := strings.Cut(name, ".")
			wants := map[string][]string{"var": {"type", "description"}, "output": {"value", "description"}}[kind]
			if wants == nil {
				continue
			}
			if kind == "var" {
				kind = "variable"
			}
			block := m.block(t, fmt.Sprintf("%s %q", kind, name))
			for _, want := range wants {
				if !regexp.MustCompile(`(?m)^  ` + want + ` +=`).MatchString(block) {
					t.Errorf("%s: %s %s has no %s", dir, kind, name, want)
				}
			}
			if dir == "terraform" && !strings.Contains(page, "| `"+name+"` |") {
				t.Errorf("terraform/README.md has no line about %s %s", kind, name)
			}
		}
	}
}

// roleAttributes are those of a role in the module's variable roles, and whether each must be given.
func roleAttributes(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	object, _, _ := strings.Cut(hclModule(t, "terraform").block(t, `variable "roles"`), "\n  }))\n")
	for _, a := range regexp.MustCompile(`(?m)^    ([a-z_]+) += (optional)?`).FindAllStringSubmatch(object, -1) {
		all[a[1]] = a[2] == ""
	}
	return all
}

// An attribute of a role that the module does not know is dropped by Terraform without a word.
func TestRecipesTerraformRoles(t *testing.T) {
	t.Parallel()
	known := roleAttributes(t)
	if !known["image_id"] || known["warm_pool"] {
		t.Fatalf("the attributes of a role are %v: this test does not see what there is", known)
	}
	m := hclModule(t, "terraform")
	for _, a := range regexp.MustCompile(`\b(?:each\.value|r)\.([a-z_]+)`).FindAllStringSubmatch(m.text, -1) {
		if _, ok := known[a[1]]; !ok && a[1] != "role" && a[1] != "arn" { // of local.attachments
			t.Errorf("the module uses %s of a role, which a role has not", a[1])
		}
	}
	for name := range known {
		if !strings.Contains(m.text, "each.value."+name) && !strings.Contains(m.text, "r."+name) {
			t.Errorf("the module does nothing with %s of a role", name)
		}
		if !regexp.MustCompile(`(?m)^      ([a-z_]+, )?` + name + `\b`).MatchString(m.block(t, `variable "roles"`)) {
			t.Errorf("the description of roles does not tell of %s", name)
		}
	}

	example := hclModule(t, "terraform/examples/two-roles").block(t, `module "shop"`)
	for _, role := range []string{"app", "job"} {
		_, text, found := strings.Cut(example, "\n    "+role+" = {\n")
		text, _, _ = strings.Cut(text, "\n    }\n")
		if !found {
			t.Fatalf("the example has no role %s", role)
		}
		given := map[string]bool{}
		for _, a := range regexp.MustCompile(`(?m)^      ([a-z_]+) +=`).FindAllStringSubmatch(text, -1) {
			given[a[1]] = true
			if _, ok := known[a[1]]; !ok {
				t.Errorf("the example gives role %s %s, which the module drops", role, a[1])
			}
		}
		for name, must := range known {
			if must && !given[name] {
				t.Errorf("the example does not give role %s %s", role, name)
			}
		}
	}
	outputs := m.declared()
	for _, o := range regexp.MustCompile(`module\.shop\.([a-z_]+)`).FindAllStringSubmatch(hclModule(t, "terraform/examples/two-roles").text, -1) {
		if !outputs["output."+o[1]] {
			t.Errorf("the example uses the module's output %s, which it has not", o[1])
		}
	}
}

// What makes the group usher's: were one of these lost, a launch would go wrong and no test here would see it.
func TestRecipesTerraformGroup(t *testing.T) {
	t.Parallel()
	m := hclModule(t, "terraform")
	group := m.block(t, `resource "aws_autoscaling_group" "role"`)
	template := m.block(t, `resource "aws_launch_template" "role"`)
	deployment := m.block(t, `resource "aws_codedeploy_deployment_group" "environment"`)
	for _, want := range []struct{ in, what string }{
		{group, `initial_lifecycle_hook \{\n\s+name\s+= var\.launch_hook\.name\n\s+lifecycle_transition\s+= "autoscaling:EC2_INSTANCE_LAUNCHING"`},
		{group, `propagate_at_launch = true`},
		{template, `http_tokens\s+= "required"\n\s+http_put_response_hop_limit = 1\n\s+instance_metadata_tags\s+= "enabled"`},
		{deployment, `dynamic "ec2_tag_set"`},
		{m.block(t, `variable "launch_hook"`), `default_result\s+= optional\(string, "ABANDON"\)`},
	} {
		if !regexp.MustCompile(want.what).MatchString(want.in) {
			t.Errorf("no %s in:\n%s", want.what, want.in)
		}
	}
	if strings.Contains(deployment, "autoscaling_groups") {
		t.Error("the deployment group is given Auto Scaling groups: CodeDeploy would put its own launch hook on them")
	}
}

// The module's variables, judged by Terraform itself: without resources it needs no provider.
func TestRecipesTerraformVariables(t *testing.T) {
	t.Parallel()
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		// Not in the distribution's archive: CI compiles it, 1.5.7, where its modules can be had. The rest was checked without it.
		t.Skip("terraform is not installed: what the module's variables refuse is not tried")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "variables.tf"), []byte(recipe(t, "terraform/variables.tf")), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		c := exec.Command(terraform, args...)
		c.Dir, c.Env = dir, append(os.Environ(), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
		out, err := c.CombinedOutput()
		return strings.Join(strings.Fields(strings.ReplaceAll(string(out), "│", "")), " "), err
	}
	if out, err := run("init", "-input=false", "-no-color"); err != nil {
		t.Fatalf("terraform init: %v: %s", err, out)
	}
	type values = map[string]any
	role := func(more values) values {
		all := values{"image_id": "ami-1", "instance_type": "t3.small", "subnet_ids": []string{"subnet-1"}, "security_group_ids": []string{"sg-1"}, "min_size": 1, "max_size": 2}
		maps.Copy(all, more)
		return all
	}
	for _, test := range []struct {
		name  string
		given values
		says  string // "" when it is good
	}{
		{"the least", values{}, ""},
		{"all of a role", values{"roles": values{"app": role(values{"desired_capacity": 2, "drain_timeout": 60, "warm_pool": values{}, "instance_refresh": values{"warmup": 0}})}}, ""},
		{"tags", values{"tags": values{"cost-center": "shop", "team:name": "a"}}, ""},
		{"a tag that metadata cannot show", values{"tags": values{"cost center": "shop"}}, "launches nothing with others"},
		{"a tag of usher's", values{"tags": values{"usher:application": "other"}}, "not yours to set"},
		{"no role", values{"roles": values{}}, "There must be a role"},
		{"a role's name", values{"roles": values{"App": role(nil)}}, "be named with lower case letters"},
		{"sizes", values{"roles": values{"app": role(values{"min_size": 3})}}, "min_size <= desired_capacity <= max_size"},
		{"desired", values{"roles": values{"app": role(values{"desired_capacity": 3})}}, "min_size <= desired_capacity <= max_size"},
		{"no subnet", values{"roles": values{"app": role(values{"subnet_ids": []string{}})}}, "needs a subnet"},
		{"a short drain", values{"roles": values{"app": role(values{"drain_timeout": 5})}}, "30 to 7200"},
		{"a pool's state", values{"roles": values{"app": role(values{"warm_pool": values{"state": "Cold"}})}}, "Stopped, Running or Hibernated"},
		{"a heartbeat", values{"launch_hook": values{"heartbeat_timeout": 10}}, "30 to 7200 seconds"},
		{"CodeDeploy's hook", values{"launch_hook": values{"name": "CodeDeploy-managed-x"}}, "must not begin with CodeDeploy-managed-"},
		{"a result", values{"launch_hook": values{"default_result": "IGNORE"}}, "must be ABANDON or CONTINUE"},
		{"a prefix", values{"prefix": "revisions"}, "a folder that ends with a slash"},
		{"an alias of a key", values{"kms_key_arn": "alias/shop"}, "an alias is not enough"},
		{"an application's name", values{"application": "my shop"}, "letters, digits and ._-"},
		{"days", values{"old_versions_days": 0}, "whole number of days"},
	} {
		given := values{"application": "shop", "deployment_group": "production", "roles": values{"app": role(nil)}}
		maps.Copy(given, test.given)
		text, err := json.Marshal(given)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "given.tfvars.json"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := run("plan", "-input=false", "-no-color", "-var-file=given.tfvars.json")
		if good := test.says == ""; good != (err == nil) || !strings.Contains(out, test.says) {
			t.Errorf("%s: %v, and not %q: %s", test.name, err, test.says, out)
		}
	}
}
