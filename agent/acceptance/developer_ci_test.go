package acceptance

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/goccy/go-yaml"

	"usher/agent/standin"
)

// The recipes for CI of agent/README.md, as they stand there: read as their systems read them, and their lines typed in a shell with
// the environment that the system documents.

// recipe is the block of that language behind a text of the document.
func recipe(t *testing.T, behind, language string) string {
	t.Helper()
	for _, d := range documents(t) {
		if d.name != "agent/README.md" {
			continue
		}
		blocks, _ := d.blocks()
		at := slices.IndexFunc(d.lines, func(line string) bool { return strings.HasPrefix(line, behind) })
		for _, b := range blocks {
			if at >= 0 && b.line > at && b.language == language {
				return b.text
			}
		}
	}
	t.Fatalf("agent/README.md has no block of %s behind %q", language, behind)
	return ""
}

// job is a clone of the repository's remote at a commit, as CI systems check it out: no branch is.
func (h *shop) job(sha string) string {
	h.Helper()
	dir := h.path("job-" + sha[:10])
	h.must(os.RemoveAll(dir))
	h.git("clone", "--quiet", h.path("origin.git"), dir)
	h.git("-C", dir, "checkout", "--quiet", "--detach", sha)
	return dir
}

// shell runs lines in a shell in a job's directory; the later of two variables of a name counts.
func (h *shop) shell(dir string, environ []string, shell ...string) typed {
	h.Helper()
	bin := h.path("bin")
	h.must(os.MkdirAll(bin, 0o755))
	_ = os.Symlink(binaries.usher, filepath.Join(bin, "usher")) // the second time it is there
	cmd := exec.CommandContext(h.ctx, shell[0], shell[1:]...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(h.cloud.CLIEnviron(), []string{"AWS_ENDPOINT_URL_STS=" + h.cloud.Endpoint, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_REGION=", "AWS_DEFAULT_REGION=",
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + h.dir, "TMPDIR=" + h.dir, "GIT_CONFIG_NOSYSTEM=1", "TZ=UTC", "CI=true"}, environ)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code is looked at
	return typed{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// GitHub's jobs: two of them, of which the older one ends last and is refused.
func TestRecipeForGitHub(t *testing.T) {
	var flow struct {
		Concurrency struct {
			Group  string
			Cancel bool `yaml:"cancel-in-progress"`
		}
		Permissions map[string]string
		Jobs        map[string]struct {
			Steps []struct {
				Uses, Run string
				With      map[string]any
			}
		}
	}
	if err := yaml.Unmarshal([]byte(recipe(t, "GitHub Actions", "yaml")), &flow); err != nil {
		t.Fatal(err)
	}
	if flow.Concurrency.Group == "" || flow.Concurrency.Cancel || flow.Permissions["id-token"] != "write" || flow.Permissions["contents"] != "read" || len(flow.Jobs) != 1 {
		t.Errorf("%+v", flow)
	}
	h := newShop(t, 1, production())
	h.commit("2", edition("2"))
	const token = "header.of-a-job.signature"
	h.cloud.PutRole(standin.Role{Name: "deploy-shop", Token: token})
	run := func(sha string) (got typed) {
		dir, environ, commands := "", []string{"GITHUB_ACTIONS=true", "GITHUB_SHA=" + sha, "GITHUB_RUN_ID=19876543210", "GITHUB_ACTOR=ann", "GITHUB_REPOSITORY=acme/shop"}, 0
		for _, step := range flow.Jobs["deploy"].Steps {
			action, _, _ := strings.Cut(step.Uses, "@")
			switch {
			case action == "actions/checkout":
				h.expect("depth of the clone", itoa(int(step.With["fetch-depth"].(uint64))), "0")
				dir = h.job(sha)
			case action == "aws-actions/configure-aws-credentials":
				cfg := aws.Config{Region: step.With["aws-region"].(string), BaseEndpoint: &h.cloud.Endpoint, Credentials: aws.AnonymousCredentials{}}
				out, err := sts.NewFromConfig(cfg).AssumeRoleWithWebIdentity(h.ctx, &sts.AssumeRoleWithWebIdentityInput{
					RoleArn: aws.String(step.With["role-to-assume"].(string)), RoleSessionName: aws.String("GitHubActions"), WebIdentityToken: aws.String(token)})
				h.must(err)
				environ = append(environ, "AWS_REGION="+cfg.Region, "AWS_DEFAULT_REGION="+cfg.Region, "AWS_ACCESS_KEY_ID="+*out.Credentials.AccessKeyId,
					"AWS_SECRET_ACCESS_KEY="+*out.Credentials.SecretAccessKey, "AWS_SESSION_TOKEN="+*out.Credentials.SessionToken)
			case strings.HasPrefix(step.Run, "usher "):
				commands++
				got = h.shell(dir, environ, "bash", "-e", "-c", step.Run)
				if got.code != 0 {
					return got
				}
			case !strings.Contains(step.Run, "dpkg --install usher_"): // where usher itself comes from
				t.Errorf("a step that nobody runs here: %+v", step)
			}
		}
		h.expect("commands of usher", itoa(commands), "2")
		return got
	}
	h.commit("3", edition("3"))
	h.ended(run(h.commits[1]), 0, "assumed-role/deploy-shop/GitHubActions", "production runs "+h.commits[1][:10])
	h.expect("live", h.live(), "2")
	h.ended(run(h.commits[2]), 0, "production runs "+h.commits[2][:10])
	h.ended(run(h.commits[1]), 2, "lacks 1 of its commits (--forward-only)")
	h.expect("live", h.live(), "3")
	h.ended(h.usher("deploy list production"), 0, "ann, github run 19876543210")
}

// GitLab's job, with nothing but a token of its own.
func TestRecipeForGitLab(t *testing.T) {
	var jobs map[string]struct {
		ResourceGroup string `yaml:"resource_group"`
		Interruptible bool
		Variables     map[string]any
		IDTokens      map[string]map[string]string `yaml:"id_tokens"`
		Script        []string
	}
	if err := yaml.Unmarshal([]byte(recipe(t, "GitLab", "yaml")), &jobs); err != nil {
		t.Fatal(err)
	}
	job := jobs["deploy"]
	if job.ResourceGroup == "" || job.Interruptible || len(job.IDTokens) != 1 {
		t.Errorf("%+v", job)
	}
	h := newShop(t, 1, production())
	const token = "header.of-a-job.signature"
	h.cloud.PutRole(standin.Role{Name: "deploy-shop", Token: token})
	run := func(sha, token string) typed {
		environ := []string{"GITLAB_CI=true", "CI_COMMIT_SHA=" + sha, "CI_COMMIT_BRANCH=main", "CI_JOB_ID=77", "GITLAB_USER_LOGIN=bob", "CI_JOB_URL=https://gitlab.example.com/acme/shop/-/jobs/77"}
		for name, value := range job.Variables {
			text, ok := value.(string)
			if ok && strings.HasPrefix(text, "/tmp/") { // of the job's own container
				text = h.path(filepath.Base(text))
			}
			environ = append(environ, name+"="+cmp.Or(text, "0"))
		}
		for name := range job.IDTokens {
			environ = append(environ, name+"="+token)
		}
		return h.shell(h.job(sha), environ, "bash", "-c", "set -eo pipefail\n"+strings.Join(job.Script, "\n"))
	}
	h.ended(run(h.commits[0], token), 0, "assumed-role/deploy-shop/", "production runs "+h.commits[0][:10])
	h.expect("live", h.live(), "1")
	h.ended(h.usher("deploy list production"), 0, "bob, gitlab job 77")
	h.ended(run(h.commits[0], "of.another.project"), 1, "role arn:aws:iam::123456789012:role/deploy-shop does not take the job's token: correct the subject and the audience in its trust policy, and its identity provider: "+
		"AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity")
}

// A plain script, which tells the outcomes apart.
func TestRecipeForAShell(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 1, group)
	text := recipe(t, "Plain shell", "sh")
	if !strings.Contains(text, "/var/lock/") {
		t.Error("the script has another lock than this test knows")
	}
	h.write("deploy.sh", strings.ReplaceAll(text, "/var/lock/", h.dir+"/"))
	environ := []string{"AWS_ACCESS_KEY_ID=" + h.cloud.AccessKey, "AWS_SECRET_ACCESS_KEY=" + h.cloud.SecretKey, "CI="}
	run := func(sha string) typed { return h.shell(h.job(sha), environ, "sh", h.path("deploy.sh")) }
	h.ended(run(h.commits[0]), 0, "production runs "+h.commits[0][:10])
	h.commit("2", broken("2"))
	h.ended(run(h.commits[1]), 3, "it failed, and was rolled back\n")
	h.expect("live", h.live(), "1")
}
