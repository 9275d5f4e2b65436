package acceptance

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/rollout"
	"usher/agent/standin"
)

// `usher deploy`, from a commit in a real repository to real agents.

// A whole deployment, as it prints where there is no terminal.
func TestDeploy(t *testing.T) {
	h := newShop(t, 3, production())
	h.ended(h.usher("deploy production"), 0, "nothing: no deployment to production has succeeded yet", "production runs", "3 servers")
	h.expect("live", h.live(), "1 1 1")
	h.commit("2", edition("2"))
	h.write("shop/notes.txt", "not committed")

	got := h.usher("deploy -m because production")
	h.ended(got, 0)
	h.expect("live", h.live(), "2 2 2")
	h.expect("stderr", got.stderr, "")
	h.expect("it printed", h.picture(got.stdout), `Deploy to production of shop (eu-west-1, account 123456789012)

  as         arn:aws:iam::123456789012:user/operator
  servers    Auto Scaling group web: 3 in service; OneAtATime
  running    commit1 Version 1 (deployment1, AGO)
  deploying  commit2 Version 2 (origin/main, by Ann, AGO)
  adds       1 commit
             commit2 Version 2
  bundle     SIZE, 5 files, valid
  warning    1 file is changed and not committed: not deployed: notes.txt

TIME uploaded SIZE in SOON to s3://BUCKET/shop/SHA2.tgz
TIME server1 succeeded in SOON
TIME server2 succeeded in SOON
TIME server3 succeeded in SOON
TIME deployment2 succeeded
production runs commit2 Version 2: 3 servers in SOON.
`)

	uploads := len(h.cloud.CallsOf("PutObject"))
	h.ended(h.usher("deploy production "+h.commits[0][:12]), 0, "reverts    1 commit", "uploaded before, compared with the commit now", "nothing to upload")
	h.expect("live", h.live(), "1 1 1")
	h.expect("uploads of a commit that was there", itoa(len(h.cloud.CallsOf("PutObject"))-uploads), "0")
	left, err := filepath.Glob(h.path("usher-*"))
	h.must(err)
	h.expect("left behind", strings.Join(left, " "), "")
}

// --json is a stream of events on standard output, and nothing else.
func TestDeployJSON(t *testing.T) {
	h := newShop(t, 1, production())
	got := h.usher("deploy --json production")
	h.ended(got, 0)
	h.expect("stderr", got.stderr, "")
	var all []string
	for line := range strings.Lines(got.stdout) {
		var e rollout.Event
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		h.must(decoder.Decode(&e))
		if e.Time.IsZero() {
			t.Errorf("an event without a time: %s", line)
		}
		if e.Status == rollout.InProgress || e.Status == rollout.Pending || e.Status == rollout.Created {
			continue // what a look happens to see
		}
		text := strings.Join(strings.Fields(strings.Join([]string{string(e.Type), e.Instance, e.Event, e.Status, e.Commit}, " ")), " ")
		if e.ExitCode != nil {
			text += " " + itoa(*e.ExitCode)
		}
		all = append(all, text)
	}
	h.expect("events", h.picture(strings.Join(all, "\n")), `plan SHA1
upload Succeeded
event server1 ApplicationStop Succeeded
event server1 DownloadBundle Succeeded
event server1 BeforeInstall Succeeded
event server1 Install Succeeded
event server1 AfterInstall Succeeded
event server1 ApplicationStart Succeeded
event server1 ValidateService Succeeded
instance server1 Succeeded
deployment Succeeded
end succeeded 0`)
}

// The upload of a large commit is seen while it goes on.
func TestDeployLarge(t *testing.T) {
	h := newShop(t, 1, production())
	const size = 20 << 20 // three parts; the race detector makes seconds of each MiB
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(noise)
	h.commit("2", edition("2").with(files{"assets.bin": string(noise)}))
	got := h.usher("deploy --json --no-wait production")
	h.ended(got, 0)
	last, steps := int64(0), 0
	for line := range strings.Lines(got.stdout) {
		var e rollout.Event
		h.must(json.Unmarshal([]byte(line), &e))
		if e.Type != rollout.UploadProgress {
			continue
		}
		if e.Done < last || e.Done > e.Total || e.Total < size {
			t.Errorf("the upload goes from %d to %d of %d", last, e.Done, e.Total)
		}
		last, steps = e.Done, steps+1
	}
	if steps < 2 || len(h.cloud.CallsOf("CreateMultipartUpload")) != 1 {
		t.Errorf("%d steps of an upload in %d requests", steps, len(h.cloud.CallsOf("UploadPart")))
	}
}

// What a script that fails said last is printed, and CodeDeploy's own rollback is followed to its end.
func TestDeployFails(t *testing.T) {
	group := production()
	group.AutoRollback = true
	h := newShop(t, 2, group)
	h.ended(h.usher("deploy production"), 0)
	h.commit("2", broken("2"))
	got := h.usher("deploy production")
	h.ended(got, 3)
	h.expect("live", h.live(), "1 1")
	picture := h.picture(got.stdout)
	for _, want := range []string{
		"TIME server1 AfterInstall failed after SOON: script scripts/render.sh failed with exit code 1 after SOON\n" +
			"    | migrating the database to 2\n" +
			"    | cat: migrations/0042-add-orders.sql: No such file or directory\n" +
			"    rolled back: SHA1-ETAG is live again\n" +
			"TIME server1 failed after SOON\nTIME server2 skipped\nTIME deployment2 failed (HEALTH_CONSTRAINTS)\n",
		"TIME server1 succeeded in SOON\n",
		"TIME deployment3 succeeded\n",
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("it does not print\n%s\nbut\n%s", want, picture)
		}
	}
	if !strings.Contains(picture, "\nRollback: CodeDeploy rolls deployment2 back with deployment3\n\nTIME ") {
		t.Errorf("the rollback has no heading:\n%s", picture)
	}
	const reason = `usher deploy: deployment deployment1 failed on server1
deployment deployment2 rolled it back
AfterInstall: script scripts/render.sh failed with exit code 1 after SOON; its last line: cat: migrations/0042-add-orders.sql: No such file or directory
`
	h.expect("stderr", h.picture(got.stderr), reason)
	h.ended(h.usher("deploy status production"), 0, "by codeDeployRollback")
	h.ended(h.usher("deploy status "+h.deploymentIn(got.stderr)), 3, "rolled it back")
	h.ended(h.usher("deploy status --no-wait --json "+h.deploymentIn(got.stderr)), 3, `"status":"rolled back"`, `"undoes":`)
}

// A deployment that takes long: nobody follows it any longer, and then somebody does again.
func TestDeployTakesLong(t *testing.T) {
	h := newShop(t, 1, production())
	h.fifos()
	h.commit("2", h.waiting("2"))
	got := h.usher("deploy production --timeout 1s")
	h.ended(got, 4, "is still running after 1s: `usher deploy status d-")
	h.hasBegun()
	id := h.deploymentIn(got.stderr)
	h.ended(h.usher("deploy status --no-wait "+id), 4, "AfterInstall began", "is still running: `usher deploy status "+id+"` follows it")
	h.ended(h.usher("deploy production"), 5, "deployment "+id+" to production is in progress: `usher deploy status "+id+"` follows it")
	h.ended(h.usher("rollback production"), 5, id, "--stop stops it first")

	again := h.types("deploy status")
	again.says("AfterInstall began")
	again.interrupt()
	h.ended(again.ends(), 130, "interrupted, but deployment "+id+" goes on: `usher deploy status "+id+"` follows it again")
	again = h.types("deploy status " + id)
	again.says("AfterInstall began")
	h.goOn()
	h.ended(again.ends(), 0, "AfterInstall succeeded", "Deployment "+id+" succeeded: 1 server")
	h.expect("live", h.live(), "2")
}

// Where nobody reads what it prints any more, as behind `| head -1`, the deployment is carried out, and nothing is left behind.
func TestDeployThatNobodyReads(t *testing.T) {
	h := newShop(t, 1, production())
	for _, line := range []string{"deploy production", "deploy --json production"} {
		closed, pipe, err := os.Pipe()
		h.must(err)
		h.must(closed.Close())
		typed := h.types(line, func(c *exec.Cmd) { c.Stdout = pipe })
		h.must(pipe.Close())
		h.ended(typed.ends(), 0)
	}
	h.expect("live", h.live(), "1")
	h.expect("begun", itoa(h.begun()), "2")
	left, err := filepath.Glob(h.path("usher-*"))
	h.must(err)
	h.expect("left behind", strings.Join(left, " "), "")
}

func TestDeployNoWait(t *testing.T) {
	h := newShop(t, 1, production())
	got := h.usher("deploy --no-wait production")
	h.ended(got, 0, "has begun: `usher deploy status d-")
	h.ended(h.usher("deploy status production"), 0)
	h.expect("live", h.live(), "1")
}

// --dry-run goes as far as it can without changing anything.
func TestDeployDryRun(t *testing.T) {
	h := newShop(t, 0, production())
	h.environments("    confirm: true\n")
	h.ended(h.usher("deploy --dry-run production"), 0, "files, valid", "A dry run: nothing was uploaded, and no deployment created.")
	for _, op := range []string{"PutObject", "CreateMultipartUpload", "RegisterApplicationRevision", "CreateDeployment"} {
		h.expect(op, itoa(len(h.cloud.CallsOf(op))), "0")
	}
}

// A commit that servers would refuse is refused here, with the place of what is wrong.
func TestDeployRefusesACommit(t *testing.T) {
	h := newShop(t, 0, production())
	h.commit("2", edition("2").with(files{"appspec.yml": "version: 0.0\nos: linux\nhooks:\n  AfterInstal: [{location: scripts/render.sh}]\n", "scripts/render.sh": "#!/bin/sh\nset -e\nfi\n"}))
	got := h.usher("deploy --dry-run production") // without: that there is no server comes first
	h.ended(got, 2, "servers would reject this commit: 1 problem; nothing was uploaded:\nappspec.yml:4:3: unknown lifecycle event \"AfterInstal\": did you mean AfterInstall?\n")
	// What scripts may do to the link depends on where it is.
	h.commit("2b", edition("2").with(files{"scripts/render.sh": "#!/bin/sh\nset -e\nrm -rf /srv/shop\n"}))
	h.ended(h.usher("deploy --dry-run production"), 0)
	h.environments("    link: /srv/shop\n")
	h.ended(h.usher("deploy --dry-run production"), 2, "scripts/render.sh:3:1: `rm -rf /srv/shop` fails: /srv/shop is a link")
	h.in("rm", "--quiet", "appspec.yml")
	h.commit("3", nil)
	h.ended(h.usher("deploy production"), 2, "has no appspec.yml at its top")
	h.ended(h.usher("deploy production nowhere"), 2, "cannot resolve nowhere")
	h.expect("uploads", itoa(len(h.cloud.CallsOf("PutObject"))), "0")
}

// An environment that wants a person asks for its name on a terminal, and nowhere else.
func TestDeployConfirm(t *testing.T) {
	h := newShop(t, 1, production())
	h.environments("    confirm: true\n")
	h.environ = []string{"TERM=xterm", "LANG=C.UTF-8"}
	h.ended(h.usher("deploy production"), 2, "production must be confirmed by a person (confirm in usher.yml), and this is not a terminal: use --yes to go ahead")

	screen, tty := terminal(t)
	asked := func(answer string) int {
		d := h.types("deploy production", func(c *exec.Cmd) { c.Stdin, c.Stdout, c.Stderr = tty, tty, tty })
		screen.says("Type production to go ahead: ")
		if answer == "" {
			d.interrupt()
		}
		screen.types(answer)
		return d.ends().code
	}
	h.expect("y", itoa(asked("y\n")), "2")
	screen.says("not confirmed: nothing was started")
	h.expect("Ctrl-C", itoa(asked("")), "130")
	screen.says("interrupted: nothing was started")
	h.expect("Ctrl-D", itoa(asked("\x04")), "2")
	screen.says("\nusher deploy: not confirmed: nothing was started")
	h.expect("deployments", itoa(len(h.cloud.CallsOf("CreateDeployment"))), "0")
	h.expect("its name", itoa(asked("production\n")), "0")
	screen.says("✓ " + h.ids[0] + " succeeded in ")
	screen.says("production runs " + h.commits[0][:10] + " Version 1: 1 server in ")
	if strings.Contains(screen.text(), "\x1b[3") { // a colour
		t.Error("there are colours")
	}
	h.ended(h.usher("deploy --yes production"), 0)
}

// What is wrong before anything is begun, and what to do about it.
func TestDeployMistakes(t *testing.T) {
	h := newShop(t, 0, production())
	other := "  staging:\n    deployment_group: staging\n    bucket: " + h.cloud.Bucket + "\n    region: eu-west-1\n"
	for _, c := range []struct {
		name, line string
		more       string // of usher.yml
		fail       string // an operation
		fault      standin.Fault
		code       int
		want       string
	}{
		{name: "an environment that is not there", line: "deploy prodution", code: 2, want: "there is no environment \"prodution\": did you mean production?"},
		{name: "no branch", line: "deploy staging", more: other, code: 2, want: "environment staging has no branch in usher.yml: name what to deploy: usher deploy staging REF"},
		{name: "no group", line: "deploy staging origin/main", more: other, code: 1, want: "application shop has no deployment group staging: correct deployment_group in usher.yml"},
		{name: "a wrong usher.yml", line: "deploy production", more: "    buket: x\n", code: 2, want: "usher.yml:8:5: unknown key \"buket\""},
		{name: "no profile", line: "deploy production", more: "    profile: acme\n", code: 0, want: "A dry run"}, // the environment's own credentials win
		{name: "access denied", line: "deploy production", fail: "GetDeploymentGroup", fault: standin.Fault{Code: "AccessDeniedException"}, code: 1,
			want: "your AWS identity is not authorized: allow codedeploy:GetDeploymentGroup in its policy"},
		{name: "credentials that have expired", line: "deploy production", fail: "GetCallerIdentity", fault: standin.Fault{Code: "ExpiredToken"}, code: 1,
			want: "your AWS credentials have expired: run `aws sso login` or `aws configure`"},
		{name: "which deployment", line: "deploy status", more: other, code: 2, want: "which deployment? Name an environment of usher.yml, or a deployment by its id"},
		{name: "a deployment that is not there", line: "deploy status d-ABCDEFGHI", code: 2, want: "there is no such deployment: d-ABCDEFGHI in eu-west-1: `usher deploy list ENV` lists those there are"},
		{name: "nothing was deployed", line: "deploy status production", code: 1, want: "nothing was deployed to production yet: `usher deploy production` does"},
		{name: "too much", line: "deploy production main now", code: 2, want: "too many arguments: expected ENV [REF], got"},
		{name: "nothing", line: "deploy", code: 2, want: "missing ENV: name an environment from usher.yml"},
	} {
		h.environments(c.more)
		h.cloud.Fail(c.fail, -1, c.fault)
		if c.code == 0 {
			c.line += " --dry-run"
		}
		got := h.usher(c.line)
		h.cloud.Heal(c.fail)
		if got.code != c.code || !strings.Contains(got.stdout+got.stderr, c.want) {
			t.Errorf("%s: exit %d, and not %d; stdout:\n%s\nstderr:\n%s\nwant: %s", c.name, got.code, c.code, got.stdout, got.stderr, c.want)
		}
	}
	h.repo = h.path("elsewhere")
	h.write("elsewhere/README", "")
	h.ended(h.usher("deploy production"), 2, "there is no usher.yml in "+h.repo+", nor above it in its repository: `usher init` writes one, such as:\n\n", "    deployment_group: production")
}

// CodeDeploy that does not answer for a while, and answers that are lost.
func TestDeployThroughFaults(t *testing.T) {
	h := newShop(t, 1, production())
	h.cloud.Fail("CreateDeployment", 1, standin.Fault{AfterEffect: true, DropConnection: true})
	h.cloud.Fail("ListDeploymentTargets", 4, standin.Fault{Code: "ThrottlingException"})
	h.cloud.Fail("BatchGetDeploymentTargets", 3, standin.Fault{DropConnection: true})
	h.ended(h.usher("deploy production"), 0, "CodeDeploy is not responding; retrying", "production runs")
	h.expect("live", h.live(), "1")
	ids := map[string]bool{}
	for _, c := range h.cloud.HostCommands() {
		ids[c.DeploymentID] = true
	}
	h.expect("deployments", itoa(len(ids)), "1")

	h.cloud.Fail("BatchGetDeploymentTargets", -1, standin.Fault{Code: "AccessDeniedException"})
	h.ended(h.usher("deploy production"), 4, "allow codedeploy:BatchGetDeploymentTargets in its policy", "goes on: `usher deploy status d-")
	h.cloud.Heal("BatchGetDeploymentTargets")
	h.ended(h.usher("deploy status"), 0)
}
