package rollout_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"usher/agent/rollout"
)

// write makes a file, and the directories above it.
func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoad(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "usher.yml"), `# where the shop runs
application: shop
environments:
  staging:
    deployment_group: staging
    bucket: acme-revisions
    region: eu-west-1
  production:
    application: shop-eu
    deployment_group: "1"
    bucket: acme-revisions
    prefix: deploy/shops
    region: us-gov-west-1
    profile: acme
    branch: origin/master
    confirm: true
  apart: {deployment_group: a, bucket: "123", region: eu-west-1, prefix: x/}
`)
	all, err := rollout.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []rollout.Environment{
		{Name: "staging", Application: "shop", DeploymentGroup: "staging", Bucket: "acme-revisions", Region: "eu-west-1"},
		{Name: "production", Application: "shop-eu", DeploymentGroup: "1", Bucket: "acme-revisions", Prefix: "deploy/shops/",
			Region: "us-gov-west-1", Profile: "acme", Branch: "origin/master", Confirm: true},
		{Name: "apart", Application: "shop", DeploymentGroup: "a", Bucket: "123", Region: "eu-west-1", Prefix: "x/"},
	}
	if len(all) != len(want) {
		t.Fatalf("%d environments, want %d: %+v", len(all), len(want), all)
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("environment %d\n got %+v\nwant %+v", i, all[i], want[i])
		}
	}
	if key := all[1].Key("abc"); key != "deploy/shops/shop-eu/abc.tgz" {
		t.Errorf("key %s", key)
	}
	if key := all[0].Key("abc"); key != "shop/abc.tgz" {
		t.Errorf("key %s", key)
	}
}

// The file that somebody without one is told to begin with is one that works.
func TestExample(t *testing.T) {
	t.Parallel()
	all, err := rollout.Load(write(t, filepath.Join(t.TempDir(), "usher.yml"), rollout.Example))
	if err != nil || len(all) != 1 || all[0].Name != "production" || !all[0].Confirm {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	const good = "application: shop\nenvironments:\n  production:\n    deployment_group: p\n    bucket: acme\n    region: eu-west-1\n"
	for name, test := range map[string]struct{ text, want string }{
		"nothing":             {"", "usher.yml: environments is empty: name at least one, such as production, with its deployment_group, bucket and region"},
		"comments":            {"# soon\n", "usher.yml: environments is empty: name at least one, such as production, with its deployment_group, bucket and region"},
		"no environments":     {"application: shop\n", "usher.yml: environments is empty: name at least one, such as production, with its deployment_group, bucket and region"},
		"empty environments":  {"environments:\n", "usher.yml:1:1: environments is empty: name at least one, such as production, with its deployment_group, bucket and region"},
		"a key misspelt":      {strings.Replace(good, "bucket", "buckt", 1), `usher.yml:5:5: unknown key "buckt": did you mean bucket?`},
		"a key of old":        {good + "    strategy: fast\n", `usher.yml:7:5: unknown key "strategy": the keys here are application, deployment_group, bucket, prefix, region, profile, account, branch, link, confirm, path, bundle, build, submodules, lfs, on`},
		"a key on top":        {"enviroments: {}\n", `usher.yml:1:1: unknown key "enviroments": did you mean environments?`},
		"a key on top of old": {"name: x\n" + good, `usher.yml:1:1: unknown key "name": the keys here are application, path, bundle, build, submodules, lfs, on, environments`},
		"a key of on":         {good + "    on:\n      strted: echo\n", `usher.yml:8:7: unknown key "strted": did you mean started?`},
		"a key of on in line": {"on: {started: echo, nver: echo}\n" + good, `usher.yml:1:21: unknown key "nver": the keys here are started, succeeded, failed`},
		"a key below on":      {"on:\n  started: echo\n" + good + "    strategy: fast\n", `usher.yml:9:5: unknown key "strategy": the keys here are application, deployment_group, bucket, prefix, region, profile, account, branch, link, confirm, path, bundle, build, submodules, lfs, on`},
		"lfs maybe":           {good + "    lfs: maybe\n", "usher.yml:7:10: lfs is maybe: it must be true or false"},
		"a key twice":         {good + "    region: eu-west-1\n", `usher.yml:7:5: "region" is given twice`},
		"a tab":               {"environments:\n\tproduction: {}\n", "usher.yml:2:1: a tab stands in the indentation, which YAML does not allow: use spaces"},
		"a list":              {"- a\n", "usher.yml:1:1: this must be lines `key: value`"},
		"environments a list": {"environments:\n  - production\n", "usher.yml:2:3: this must be lines `key: value`"},
		"environment a word":  {"environments:\n  production: yes\n", "usher.yml:2:15: this must be lines `key: value`"},
		"confirm maybe":       {good + "    confirm: maybe\n", "usher.yml:7:14: confirm is maybe: it must be true or false"},
		"bucket a list":       {strings.Replace(good, "acme", "[acme]", 1), "usher.yml:5:13: bucket must be text"},
		"no application":      {strings.Replace(good, "application: shop\n", "", 1), "usher.yml:2:3: application of production is missing: give the CodeDeploy application, here or at the top of the file for all environments"},
		"no group":            {strings.Replace(good, "    deployment_group: p\n", "", 1), "usher.yml:3:3: deployment_group of production is missing: give the CodeDeploy deployment group that has the servers"},
		"no bucket":           {strings.Replace(good, "    bucket: acme\n", "", 1), "usher.yml:3:3: bucket of production is missing: give the S3 bucket for the revisions"},
		"no region":           {strings.Replace(good, "    region: eu-west-1\n", "", 1), "usher.yml:3:3: region of production is missing: give the AWS Region of the deployment group, such as eu-west-1"},
		"nothing at all":      {"application: shop\nenvironments:\n  production:\n", "usher.yml:3:3: deployment_group of production is missing: give the CodeDeploy deployment group that has the servers"},
		"a bucket's URL":      {strings.Replace(good, "acme", "s3://acme", 1), `usher.yml:5:13: bucket of production is "s3://acme": it must be the bucket's name alone, such as acme-revisions`},
		"a zone":              {strings.Replace(good, "eu-west-1", "eu-west-1a", 1), `usher.yml:6:13: region of production is "eu-west-1a": it must be a Region such as eu-west-1`},
		"a slash before":      {good + "    prefix: /x\n", `usher.yml:7:13: prefix of production is "/x/": it must be a folder such as revisions/, of letters, digits and !_.*'()-, without a slash before it`},
		"an option":           {good + "    branch: --upload-pack=x\n", `usher.yml:7:13: branch of production is "--upload-pack=x": it must be a ref such as origin/main`},
		"a link in a folder":  {good + "    link: srv/shop\n", `usher.yml:7:11: link of production cannot be used: link is "srv/shop": it must be an absolute path without . or .. or a slash at the end`},
		"a name with a space": {strings.Replace(good, "production", "the shop", 1), `usher.yml:3:3: environment "the shop": a name is letters, digits, - and _`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, err := rollout.Load(write(t, filepath.Join(dir, "usher.yml"), test.text))
			if err == nil {
				t.Fatal("loaded")
			}
			if got := strings.TrimPrefix(err.Error(), dir+"/"); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
	if _, err := rollout.Load(filepath.Join(t.TempDir(), "usher.yml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	all := []rollout.Environment{{Name: "staging"}, {Name: "production"}}
	if e, err := rollout.ByName(all, "production"); err != nil || e.Name != "production" {
		t.Errorf("%+v, %v", e, err)
	}
	for name, want := range map[string]string{
		"prodution": `there is no environment "prodution": did you mean production? The environments in usher.yml are staging, production`,
		"qa":        `there is no environment "qa": the environments in usher.yml are staging, production`,
	} {
		if _, err := rollout.ByName(all, name); err == nil || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

// The nearest file counts, and none from outside the repository.
func TestFind(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	write(t, filepath.Join(top, "usher.yml"), "")
	write(t, filepath.Join(top, "shop/.git/HEAD"), "")
	write(t, filepath.Join(top, "shop/app/models/x"), "")
	write(t, filepath.Join(top, "linked/.git"), "gitdir: elsewhere\n")
	if file, err := rollout.Find(filepath.Join(top, "shop/app/models")); !errors.Is(err, rollout.ErrNoFile) {
		t.Errorf("found %q above the repository, %v", file, err)
	}
	if file, err := rollout.Find(filepath.Join(top, "linked")); !errors.Is(err, rollout.ErrNoFile) {
		t.Errorf("found %q above the linked working tree, %v", file, err)
	}
	mine := write(t, filepath.Join(top, "shop/usher.yml"), "")
	if file, err := rollout.Find(filepath.Join(top, "shop/app/models")); err != nil || file != mine {
		t.Errorf("found %q, %v, want %s", file, err, mine)
	}
	nearer := write(t, filepath.Join(top, "shop/app/usher.yml"), "")
	if file, err := rollout.Find(filepath.Join(top, "shop/app/models")); err != nil || file != nearer {
		t.Errorf("found %q, %v, want %s", file, err, nearer)
	}
}
