package packaging_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The Image Builder component and the CloudFormation templates: they parse, have what AWS demands, and every name that
// is referred to is there.

// templates are CloudFormation's.
var templates = []string{"cloudformation/environment.yml", "cloudformation/role.yml"}

type mapping = map[string]any

// decoded is a YAML file. A tag of CloudFormation's is passed over: what is tagged stays.
func decoded(t *testing.T, name string) (document mapping) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(recipe(t, name)), &document); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return document
}

// dig is what is in a document at the end of a path, or the end of the test. A number is a place in a list.
func dig(t *testing.T, document any, path ...any) any {
	t.Helper()
	for n, step := range path {
		switch at := document.(type) {
		case mapping:
			document = at[fmt.Sprint(step)]
		case []any:
			if i, ok := step.(int); ok && i < len(at) {
				document = at[i]
				continue
			}
			document = nil
		}
		if document == nil {
			t.Fatalf("there is no %v", path[:n+1])
		}
	}
	return document
}

// tagged are the nodes of a YAML file that have a tag, by the tag.
type tagged map[string][]ast.Node

// Visit is ast.Visitor's.
func (all tagged) Visit(n ast.Node) ast.Visitor {
	if n, ok := n.(*ast.TagNode); ok {
		all[n.Start.Value] = append(all[n.Start.Value], n.Value)
	}
	return all
}

// scalar is the text of a node.
func scalar(t *testing.T, n ast.Node) string {
	t.Helper()
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	t.Fatalf("%s: a name is wanted and not %s", n.GetPath(), n.Type())
	return ""
}

func TestRecipesCloudFormation(t *testing.T) {
	t.Parallel()
	for _, name := range templates {
		template := decoded(t, name)
		if dig(t, template, "AWSTemplateFormatVersion") != "2010-09-09" {
			t.Errorf("%s says nothing of its format", name)
		}
		parameters, conditions := dig(t, template, "Parameters").(mapping), dig(t, template, "Conditions").(mapping)
		resources, outputs := dig(t, template, "Resources").(mapping), dig(t, template, "Outputs").(mapping)
		file, err := parser.ParseBytes([]byte(recipe(t, name)), 0)
		if err != nil {
			t.Fatal(err)
		}
		all := tagged{}
		ast.Walk(all, file.Docs[0].Body)

		used := map[string]bool{}
		refer := func(reference string) {
			thing, _, attribute := strings.Cut(reference, ".")
			switch {
			case slices.Contains([]string{"AWS::AccountId", "AWS::Region", "AWS::Partition", "AWS::URLSuffix", "AWS::NoValue"}, reference):
			case parameters[thing] != nil && !attribute:
				used[thing] = true
			case resources[thing] == nil:
				t.Errorf("%s refers to %s, which is not there", name, reference)
			}
		}
		for _, n := range all["!Ref"] {
			refer(scalar(t, n))
		}
		for _, n := range all["!GetAtt"] {
			if refer(scalar(t, n)); !strings.Contains(scalar(t, n), ".") {
				t.Errorf("%s: !GetAtt %s names no attribute", name, scalar(t, n))
			}
		}
		for _, n := range all["!Sub"] {
			found := placeholder.FindAllStringSubmatch(scalar(t, n), -1)
			if len(found) == 0 {
				t.Errorf("%s: !Sub has nothing to substitute in %q", name, scalar(t, n))
			}
			for _, reference := range found {
				refer(reference[1])
			}
		}
		asked := map[string]bool{}
		for _, n := range all["!If"] {
			asked[scalar(t, n.(*ast.SequenceNode).Values[0])] = true
		}
		for id := range resources {
			if !strings.HasPrefix(dig(t, resources, id, "Type").(string), "AWS::") || len(dig(t, resources, id, "Properties").(mapping)) == 0 {
				t.Errorf("%s: resource %s has no type or no properties", name, id)
			}
			if condition, ok := resources[id].(mapping)["Condition"].(string); ok {
				asked[condition] = true
			}
		}
		for condition := range asked {
			if conditions[condition] == nil {
				t.Errorf("%s asks for condition %s, which is not there", name, condition)
			}
		}
		for condition := range conditions {
			if !asked[condition] {
				t.Errorf("%s has condition %s, which nothing asks for", name, condition)
			}
		}
		for id := range parameters {
			if dig(t, parameters, id, "Type"); dig(t, parameters, id, "Description") == "" || !used[id] {
				t.Errorf("%s: parameter %s is not described, or nothing refers to it", name, id)
			}
			if pattern, ok := parameters[id].(mapping)["AllowedPattern"].(string); ok {
				regexp.MustCompile(pattern)
			}
		}
		for id := range outputs {
			if dig(t, outputs, id, "Value"); dig(t, outputs, id, "Description") == "" {
				t.Errorf("%s: output %s is not described", name, id)
			}
		}
		for tag := range all {
			if !slices.Contains([]string{"!Ref", "!GetAtt", "!Sub", "!If", "!Equals", "!Not"}, tag) {
				t.Errorf("%s: this test does not know %s", name, tag)
			}
		}
	}
}

// What makes the group usher's: were one of these lost, a launch would go wrong and no test here would see it.
func TestRecipesCloudFormationGroup(t *testing.T) {
	t.Parallel()
	role, environment := decoded(t, "cloudformation/role.yml"), decoded(t, "cloudformation/environment.yml")
	is := func(want, got any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("it is %v, not %v", got, want)
		}
	}
	is("ABANDON", dig(t, role, "Parameters", "DefaultResult", "Default"))
	is(300, dig(t, role, "Parameters", "HeartbeatTimeout", "Default"))
	metadata := dig(t, role, "Resources", "LaunchTemplate", "Properties", "LaunchTemplateData", "MetadataOptions")
	is("required", dig(t, metadata, "HttpTokens"))
	is(1, dig(t, metadata, "HttpPutResponseHopLimit"))
	is("enabled", dig(t, metadata, "InstanceMetadataTags"))
	group := dig(t, role, "Resources", "Group", "Properties")
	is("autoscaling:EC2_INSTANCE_LAUNCHING", dig(t, group, "LifecycleHookSpecificationList", 0, "LifecycleTransition"))
	is("DefaultResult", dig(t, group, "LifecycleHookSpecificationList", 0, "DefaultResult")) // !Ref
	for n, key := range []string{"usher:application", "usher:deployment-group"} {
		is(key, dig(t, group, "Tags", n, "Key"))
		is(true, dig(t, group, "Tags", n, "PropagateAtLaunch"))
		is(key, dig(t, environment, "Resources", "CodeDeployGroup", "Properties", "Ec2TagSet", "Ec2TagSetList", n, "Ec2TagGroup", 0, "Key"))
	}
	if dig(t, environment, "Resources", "CodeDeployGroup", "Properties").(mapping)["AutoScalingGroups"] != nil {
		t.Error("the deployment group is given Auto Scaling groups: CodeDeploy would put its own launch hook on them")
	}
}

var parameterUse = regexp.MustCompile(`\{\{ ([A-Za-z]+) \}\}`)

func TestRecipesImageBuilder(t *testing.T) {
	t.Parallel()
	const name = "image/imagebuilder.yml"
	component := decoded(t, name)
	if fmt.Sprint(dig(t, component, "schemaVersion")) != "1" && fmt.Sprint(dig(t, component, "schemaVersion")) != "1.0" {
		t.Errorf("its schema is %v", dig(t, component, "schemaVersion"))
	}
	dig(t, component, "name")
	dig(t, component, "description")
	given := map[string]bool{}
	for _, p := range dig(t, component, "parameters").([]any) {
		for id := range p.(mapping) {
			given[id] = true
			if dig(t, p, id, "type") != "string" || dig(t, p, id, "description") == "" {
				t.Errorf("parameter %s is not described, or no string", id)
			}
		}
	}
	used := map[string]bool{}
	for _, use := range parameterUse.FindAllStringSubmatch(recipe(t, name), -1) {
		if used[use[1]] = true; !given[use[1]] {
			t.Errorf("%s is used, and no parameter", use[1])
		}
	}
	if len(used) != len(given) {
		t.Errorf("of the parameters %v only %v are used", given, used)
	}

	var phases []string
	for _, p := range dig(t, component, "phases").([]any) {
		phases = append(phases, dig(t, p, "name").(string))
		for _, step := range dig(t, p, "steps").([]any) {
			if dig(t, step, "onFailure") != "Abort" {
				t.Errorf("step %v goes on after a failure", dig(t, step, "name"))
			}
			dig(t, step, "timeoutSeconds")
			switch dig(t, step, "action") {
			case "S3Download":
				for n := range dig(t, step, "inputs").([]any) {
					dig(t, step, "inputs", n, "source")
					dig(t, step, "inputs", n, "destination")
				}
			case "ExecuteBash":
				for _, command := range dig(t, step, "inputs", "commands").([]any) {
					shellIsClean(t, parameterUse.ReplaceAllString(command.(string), "x"))
				}
			default:
				t.Errorf("this test does not know the action %v", dig(t, step, "action"))
			}
		}
	}
	if !slices.Equal(phases, []string{"build", "validate", "test"}) {
		t.Errorf("its phases are %v", phases)
	}
}

// shellIsClean runs shellcheck over a script that is part of another file.
func shellIsClean(t *testing.T, script string) {
	t.Helper()
	check := exec.Command(recipeTool(t, "shellcheck", "apt-get install shellcheck"), "--shell=bash", "-")
	check.Dir, check.Stdin = filepath.Join(house, "packaging"), strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, out)
	}
}
