package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

// testLimit bounds a whole demo, build included.
const testLimit = 30 * time.Minute

// here is this package's directory. The S3 server moves the process into a directory of its own, which is
// gone when a demo has ended; the next must start in usher's source again.
var here, _ = os.Getwd()

func atHome(t *testing.T) {
	t.Helper()
	if err := os.Chdir(here); err != nil {
		t.Fatal(err)
	}
}

// play runs the demo and returns what a newcomer gets.
func play(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	atHome(t)
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	var out, bad bytes.Buffer
	code = run(ctx, args, &out, &bad)
	return code, out.String(), bad.String()
}

// scratch keeps what the demo makes in a directory of the test, and returns it.
func scratch(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

// The page a newcomer reads, line by line in this order. Numbers and ids differ every time.
func TestDemo(t *testing.T) {
	dir := scratch(t)
	code, out, bad := play(t)
	if code != 0 || bad != "" {
		t.Errorf("exit code %d, standard error %q", code, bad)
	}
	rest := out
	for _, want := range []string{
		`^usher: an instance enters service with the right code, or not at all\n`,
		`\nSet-up: .*-\n`,
		`  usher       go build \./agent \.\.\. \d+\.\d MB in \d+\.\d\ds\n`,
		`\nLaunch 1: the sample revision hooks/example, from Pending:Wait to InService -`,
		`  instance    i-[0-9a-f]{17} is launched in group web: Pending:Wait\n`,
		`    readlink     /opt/app -> /opt/app-base\n`,
		`    GET          http://127\.0\.0\.1:\d+/ 200 shop, from the base image\n`,
		`    \d\d:\d\d:\d\d\.\d{3} usher \S+ on i-`,
		`    \d\d:\d\d:\d\d\.\d{3} DownloadBundle finished in .* \(.* verified by \S+; \d+ files, .* unpacked\)\n`,
		`                 \| rendered www/index\.html of shop-1\.0\.0-`,
		`    \d\d:\d\d:\d\d\.\d{3} Flip finished in .* \(/opt/app -> /opt/app-releases/shop-1\.0\.0-`,
		`    \d\d:\d\d:\d\d\.\d{3} ValidateService finished in .* \(1 script\)\n`,
		`    \d\d:\d\d:\d\d\.\d{3} completed the lifecycle action of hook usher-launch with CONTINUE`,
		`    readlink     /opt/app -> /opt/app-releases/shop-1\.0\.0-[0-9a-f]{8}\n`,
		`    GET          http://127\.0\.0\.1:\d+/ 200 shop 1\.0\.0\n`,
		`    \+\d\.\d\ds   Pending:Wait     the hook holds it`,
		`    \+\d+\.\d\ds +Pending:Proceed  usher completed the action with CONTINUE\n`,
		`    \+\d+\.\d\ds +InService        `,
		`    1x       codedeploy       GetDeploymentGroup\n`,
		`    1x       autoscaling      CompleteLifecycleAction\n`,
		`  6 calls, 0 heartbeats, and \d+ requests to the instance's own metadata\.\n`,
		`\nLaunch 2: a revision whose AfterInstall script fails in the middle -`,
		`    4  cat migrations/0042-add-orders\.sql >orders\.sql +<- fails: the bundle has no such file\n`,
		`                 \| cat: migrations/0042-add-orders\.sql: No such file or directory\n`,
		`error: AfterInstall failed after .* scripts/render\.sh failed with exit code 1`,
		`completed the lifecycle action of hook usher-launch with ABANDON`,
		`    readlink     /opt/app -> /opt/app-base\n`,
		`    GET          http://127\.0\.0\.1:\d+/ 200 shop, from the base image\n`,
		`\nSummary: .*-\n`,
		`    launch 1  InService    CONTINUE   \d+\.\d\ds +shop, from the base image \d+x, then shop 1\.0\.0 \d+x\n`,
		`    launch 2  Terminated   ABANDON    \d+\.\d\ds +shop, from the base image \d+x\n`,
		`AfterInstall script scripts/render\.sh failed with exit code 1`,

		`\nDeploy 1: three servers in service on the base get the first release -`,
		`  server 3    i-[0-9a-f]{17} is in service on the base after \d+\.\d\ds; its page is asked for every 2ms\n`,
		`  \$ usher deploy production origin/master `,
		`    production runs [0-9a-f]{10} The shop opens: 3 servers in `,

		`\nDeploy 2: the second release, and a fourth server launches in the middle -`,
		`      running    [0-9a-f]{10} The shop opens `,
		`      deploying  [0-9a-f]{10} The shop sells more \(origin/master, by Ann, just now\)\n`,
		`      adds       1 commit\n                 [0-9a-f]{10} The shop sells more\n`,
		`    \d\d:\d\d:\d\d uploaded \S+ kB in \S+ to s3://\S+/shop/[0-9a-f]{40}\.tgz\n`,
		`    \d\d:\d\d:\d\d i-[0-9a-f]{17} ApplicationStart began\n`,
		`  server 4    i-[0-9a-f]{17} is launched now, and in service after \d+\.\d\ds\. The servers answer:\n`,
		`    server 1  i-[0-9a-f]{17}  shop 2\.0\.0    /opt/app -> /opt/app-releases/[0-9a-f]{10}\.\.\.-[0-9a-f]{8}\n`,
		`(    server [234]  i-[0-9a-f]{17}  shop 1\.0\.0    /opt/app -> /opt/app-releases/[0-9a-f]{10}\.\.\.-[0-9a-f]{8}\n){3}`,
		`i-[0-9a-f]{17} ApplicationStart succeeded in `,
		`(    \d\d:\d\d:\d\d i-[0-9a-f]{17} succeeded in \S+( \S+ of it \w+)?\n){3}    \d\d:\d\d:\d\d d-[0-9A-Z]{9} succeeded\n`,
		`    production runs [0-9a-f]{10} The shop sells more: 3 servers in `,
		`warning: this server missed a deployment: deploying s3://\S+ .*\n`,
		`release [0-9a-f]{40}-[0-9a-f]{8} of deployment d-[0-9A-Z]{9} is live and good\n`,

		`\nDeploy 3: a release whose ValidateService script fails on the first server -`,
		`    4  cat "\$USHER_RELEASE_DIR/www/orders\.html" +<- fails: there is no such page\n`,
		`i-[0-9a-f]{17} ValidateService failed after \S+: script scripts/validate\.sh failed with exit code 1 after `,
		`        \| asking release \S+ for its page of orders\n        \| cat: .*/www/orders\.html: No such file or directory\n        rolled back: [0-9a-f]{40}-[0-9a-f]{8} is live again\n`,
		`    \d\d:\d\d:\d\d i-[0-9a-f]{17} failed after \S+( \S+ of it \w+)?\n(    \d\d:\d\d:\d\d i-[0-9a-f]{17} skipped\n){3}`,
		`\n    Rollback: CodeDeploy rolls d-[0-9A-Z]{9} back with d-[0-9A-Z]{9}\n\n`,
		`(    \d\d:\d\d:\d\d i-[0-9a-f]{17} succeeded in \S+( \S+ of it \w+)?\n){4}    \d\d:\d\d:\d\d d-[0-9A-Z]{9} succeeded\n`,
		`    usher deploy: deployment d-[0-9A-Z]{9} failed on i-[0-9a-f]{17}\n`,
		`    deployment d-[0-9A-Z]{9} rolled it back\n    ValidateService: script scripts/validate\.sh failed with exit code 1 after \S+ errexit \(-e\) ended it at scripts/validate\.sh:4, .*; its last line: cat: `,
		`    \d\d:\d\d:\d\d\.\d{3} Rollback finished in .*/opt/app -> /opt/app-releases/`,
		`    \d\d:\d\d:\d\d\.\d{3} deployment d-[0-9A-Z]{9} needs nothing: release `,

		`\nSummary of the deploys: what users saw -`,
		`    server 1  shop, from the base image \d+x, then shop 1\.0\.0 \d+x, then shop 2\.0\.0 \d+x`,
		`(    server [234]  shop, from the base image \d+x, then shop 1\.0\.0 \d+x, then shop 2\.0\.0 \d+x\n){3}`,
		`  No request failed\. A new server gets [0-9a-f]{10} The shop sells more \(d-[0-9A-Z]{9}, just now\)\.\n`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("no line %s after what was found so far, in:\n%s", want, out)
		}
		rest = rest[at[1]:]
	}
	if strings.Contains(out, "\x1b") {
		t.Error("colours, although this is no terminal")
	}
	if strings.Contains(out, "| migrated") || strings.Contains(out, "| the orders are there") {
		t.Error("a failing script went on after its failing command")
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// shipped is an usher as it ships.
func shipped(t *testing.T) string {
	t.Helper()
	usher := filepath.Join(t.TempDir(), "usher")
	if err := build(t.Context(), filepath.Join(here, "..", ".."), usher); err != nil {
		t.Fatal(err)
	}
	return usher
}

func TestDemoOnly(t *testing.T) {
	scratch(t)
	code, out, bad := play(t, "-only", "launch", "-usher", shipped(t))
	if code != 0 || bad != "" || !strings.Contains(out, "\nSummary: ") || strings.Contains(out, "\nDeploy ") {
		t.Errorf("exit code %d, standard error %q, and:\n%s", code, bad, out)
	}
}

// An usher that does not do its work makes the demo fail, and the demo says what is wrong.
func TestDemoFails(t *testing.T) {
	scratch(t)
	usher := shipped(t)
	script := func(text string) string {
		file := filepath.Join(t.TempDir(), "usher")
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\nexec "+usher+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"usher ends at once", []string{"-usher", script("exit 1")}, 1,
			"launch 1 did not go as it must: usher ended without saying \"completed the lifecycle action\""},
		{"usher is not there", []string{"-usher", "/nowhere/usher"}, 1, "launch 1 did not go as it must: cannot start usher: "},
		{"a server does not launch", []string{"-only", "deploy", "-usher", script(`[ "$1" = deploy ] || exit 1`)}, 1,
			"deploy 1 did not go as it must: usher ended without saying \"completed the lifecycle action\""},
		{"nothing is deployed", []string{"-only", "deploy", "-usher", script(`[ "$1" = run ] || exit 0`)}, 1,
			"deploy 1 did not go as it must: server 1 should answer with \"shop 1.0.0\", and does with \"shop, from the base image\""},
		{"the first release is deployed again", []string{"-only", "deploy", "-usher", script(`[ "$1" = run ] || set -- deploy production $(git rev-list --max-parents=0 HEAD)`)}, 1,
			"deploy 2 did not go as it must: "},
		{"an argument", []string{"everything"}, 2, "demo: takes no arguments, got [\"everything\"]"},
		{"a flag that is not there", []string{"-server"}, 2, "flag provided but not defined: -server"},
		{"a part that is not there", []string{"-only", "deploys"}, 2, "demo: there is no part \"deploys\": -only takes launch or deploy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, bad := play(t, c.args...)
			if code != c.code || !strings.Contains(bad, c.want) {
				t.Errorf("exit code %d, standard error:\n%s\nwant %d and: %s", code, bad, c.code, c.want)
			}
		})
	}
	t.Run("there is no git", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if code, _, bad := play(t); code != 1 || !strings.Contains(bad, "cannot find git") {
			t.Errorf("exit code %d, standard error:\n%s", code, bad)
		}
	})
}

// With -serve, what is printed is all a client needs: one that has nothing else lets the instance into
// service. Then Ctrl-C ends the demo, with 0.
func TestDemoServes(t *testing.T) {
	atHome(t)
	dir := scratch(t)
	ctx, interrupt := context.WithTimeout(t.Context(), testLimit)
	defer interrupt()
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"-serve"}, writer, writer)
		writer.Close()
	}()

	exported, instance, all := map[string]string{}, "", ""
	waiting := regexp.MustCompile(`(i-[0-9a-f]{17}) is Pending:Wait in group web`)
	in := bufio.NewScanner(reader)
	for in.Scan() {
		line := in.Text()
		all += line + "\n"
		if v, ok := strings.CutPrefix(line, "    export "); ok {
			name, value, _ := strings.Cut(v, "=")
			exported[name] = value
		}
		if m := waiting.FindStringSubmatch(line); m != nil {
			instance = m[1]
		}
		if strings.Contains(line, "Ctrl-C ends AWS") {
			break
		}
	}
	if instance == "" || exported["AWS_ENDPOINT_URL"] == "" {
		t.Fatalf("nothing is served:\n%s", all)
	}
	api := autoscaling.New(autoscaling.Options{
		Region:       exported["AWS_REGION"],
		BaseEndpoint: aws.String(exported["AWS_ENDPOINT_URL"]),
		Credentials:  credentials.NewStaticCredentialsProvider(exported["AWS_ACCESS_KEY_ID"], exported["AWS_SECRET_ACCESS_KEY"], ""),
	})
	found, err := api.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{instance}})
	if err != nil || len(found.AutoScalingInstances) != 1 || aws.ToString(found.AutoScalingInstances[0].LifecycleState) != "Pending:Wait" {
		t.Fatalf("got %v, %v", found, err)
	}
	if _, err := api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("usher-launch"),
		InstanceId: &instance, LifecycleActionResult: aws.String("CONTINUE"),
	}); err != nil {
		t.Fatal(err)
	}
	for in.Scan() {
		if strings.Contains(in.Text(), instance+" is InService") {
			interrupt()
		}
	}
	if got := <-code; got != 0 {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
