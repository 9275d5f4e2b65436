package packaging_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The policy of an instance is written down in usher, once. The recipes have it again, because that is where it is
// used: here they are held to it.

// builtUsher builds usher, once.
var builtUsher = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(work, "usher-of-recipes")
	build := exec.Command("go", "build", "-o", binary, "./agent")
	build.Dir = house
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build usher: %w\n%s", err, out)
	}
	return binary, nil
})

// runUsher runs a command of usher's.
func runUsher(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary, err := builtUsher()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, args...).CombinedOutput()
	return string(out), err
}

// policyNames are names for everything in a policy.
var policyNames = map[string]string{
	"partition": "aws", "suffix": "amazonaws.com", "region": "eu-west-1", "account": "123456789012", "application": "shop", "deployment_group": "production",
	"group": "shop-production-app", "bucket": "acme-revisions", "folder": "revisions/shop", "key": "arn:aws:kms:eu-west-1:123456789012:key/0f1e2d3c",
}

// ushersPolicy is what usher prints for them.
func ushersPolicy(t *testing.T, key bool) []string {
	t.Helper()
	n := policyNames
	args := []string{"iam-policy", "-group", n["group"], "-application", n["application"], "-deployment-group", n["deployment_group"],
		"-bucket", n["bucket"], "-prefix", n["folder"], "-region", n["region"], "-account", n["account"]}
	if key {
		args = append(args, "-kms", n["key"])
	}
	out, err := runUsher(t, args...)
	if err != nil {
		t.Fatalf("usher iam-policy: %v\n%s", err, out)
	}
	return statements(t, out)
}

// statements are those of policies, as text that is the same for the same meaning.
func statements(t *testing.T, policies ...string) (all []string) {
	t.Helper()
	for _, text := range policies {
		var policy struct {
			Version   string
			Statement []map[string]any
		}
		if err := json.Unmarshal([]byte(text), &policy); err != nil {
			t.Fatalf("no policy: %v\n%s", err, text)
		}
		if policy.Version != "2012-10-17" {
			t.Errorf("the policy's version is %q", policy.Version)
		}
		for _, s := range policy.Statement {
			for _, key := range []string{"Action", "Resource"} {
				if one, ok := s[key].(string); ok {
					s[key] = []any{one}
				}
			}
			line, err := json.Marshal(s) // with sorted keys
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(line))
		}
	}
	slices.Sort(all)
	return all
}

func expectPolicy(t *testing.T, whose string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the policy of %s:\n%s\nwhat usher iam-policy prints:\n%s", whose, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// filled is a text with names for its placeholders.
func filled(t *testing.T, text string, names map[string]string) string {
	t.Helper()
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		value, ok := names[placeholder.FindStringSubmatch(p)[1]]
		if !ok {
			t.Errorf("%s is no name that the template is given", p)
		}
		return value
	})
}

func TestRecipesTerraformPolicy(t *testing.T) {
	t.Parallel()
	least := filled(t, recipe(t, "terraform/instance-policy.json.tftpl"), policyNames)
	key := filled(t, recipe(t, "terraform/instance-policy-key.json.tftpl"), policyNames)
	expectPolicy(t, "the Terraform module", statements(t, least), ushersPolicy(t, false))
	expectPolicy(t, "the Terraform module, with a key", statements(t, least, key), ushersPolicy(t, true))
}

func TestRecipesCloudFormationPolicy(t *testing.T) {
	t.Parallel()
	policies := dig(t, decoded(t, "cloudformation/role.yml"), "Resources", "InstanceRole", "Properties", "Policies")
	n := policyNames
	names := map[string]string{"AWS::Partition": n["partition"], "AWS::Region": n["region"], "AWS::AccountId": n["account"], "AWS::URLSuffix": n["suffix"],
		"Application": n["application"], "DeploymentGroup": n["deployment_group"], "Role": "app", "Bucket": n["bucket"], "Prefix": "revisions/"}
	document := func(policy any) string {
		text, err := json.Marshal(dig(t, policy, "PolicyDocument"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(filled(t, string(text), names), `"KeyArn"`, `"`+n["key"]+`"`) // !Ref
	}
	least, key := document(dig(t, policies, 0)), document(dig(t, policies, 1, 1)) // !If [HasKey, this, nothing]
	expectPolicy(t, "the CloudFormation template", statements(t, least), ushersPolicy(t, false))
	expectPolicy(t, "the CloudFormation template, with a key", statements(t, least, key), ushersPolicy(t, true))
}
