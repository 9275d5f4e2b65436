package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The completion script, in a real bash: what TAB would offer.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash") // which the sample revision needs too
	if err != nil {
		t.Fatal(err)
	}
	h := newShop(t, 0, production())
	h.environments("  staging:\n    deployment_group: staging\n    bucket: " + h.cloud.Bucket + "\n    region: eu-west-1\n")
	h.in("tag", "v1.0")
	h.in("tag", "z$(id)")
	for _, c := range []struct {
		typed string
		want  string
	}{
		{"usher de", "deploy"},
		{"usher r", "run rehearse rollback"},
		{"usher deploy ", "production staging status list stop"},
		{"usher deploy prod", "production"},
		{"usher deploy --yes --timeout 5m st", "staging status stop"},
		{"usher deploy --timeout ", ""},
		{"usher deploy production ", "main origin/main v1.0 z\\$\\(id\\)"},
		{"usher deploy production or", "origin/main"},
		{"usher deploy production main ", ""},
		{"usher deploy -d", "--despite-lock --dry-run"},
		{"usher deploy status ", "production staging"},
		{"usher deploy status -no", "--no-wait"},
		{"usher help un", "unhold unlock"},
		{"usher rollback st", "staging"},
		{"usher rollback staging ma", "main"},
		{"usher completion z", "zsh"},
		{"usher check sh", ""},
		{"usher mi", "migrate"},
		{"usher migrate --l", "--link"},
		{"usher nothing -", ""},
	} {
		// As readline does: the words, the last of them what is typed now.
		words := strings.Split(c.typed, " ")
		script := "source <(usher completion bash)\nCOMP_WORDS=(\"$@\")\nCOMP_CWORD=$(($# - 1))\n_usher\n" +
			"printf '%s\\n' \"${COMPREPLY[@]}\"\ncomplete -p usher >&2"
		cmd := exec.CommandContext(h.ctx, bash, append([]string{"--norc", "-c", script, "bash"}, words...)...)
		var stdout, stderr bytes.Buffer
		cmd.Dir, cmd.Stdout, cmd.Stderr = h.repo, &stdout, &stderr
		cmd.Env = []string{"PATH=" + filepath.Dir(binaries.usher) + ":" + os.Getenv("PATH"), "HOME=" + h.dir}
		h.must(cmd.Run())
		h.expect("TAB behind "+c.typed, strings.Join(strings.Fields(stdout.String()), " "), c.want)
		h.expect("bash has", stderr.String(), "complete -o default -F _usher usher\n")
	}
}

func TestCompletion(t *testing.T) {
	h := newShop(t, 0, production())
	h.expect("environments", h.usher("completion --environments").stdout, "production\n")
	h.ended(h.usher("completion bahs"), 2, "there is no script for shell \"bahs\": did you mean bash?")
	for _, shell := range []string{"zsh", "fish"} {
		h.ended(h.usher("completion "+shell), 0, "usher completion --words -- ")
		if path, err := exec.LookPath(shell); err == nil { // its own judgement of the script
			check := exec.CommandContext(h.ctx, path, "-n")
			check.Stdin = strings.NewReader(h.usher("completion " + shell).stdout)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", shell, err, out)
			}
		}
	}
	h.repo = h.path("elsewhere")
	h.write("elsewhere/README", "")
	h.ended(h.usher("completion -words -- deploy "), 0)
	h.expect("where there is no usher.yml", h.usher("completion --environments").stdout, "")
}
