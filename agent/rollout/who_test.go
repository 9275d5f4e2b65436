package rollout

import (
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

func TestWho(t *testing.T) {
	for _, c := range []struct {
		arn       string
		set       map[string]string
		want, url string
	}{
		{arn: "arn:aws:iam::123456789012:user/ann", want: "ann"},
		{arn: "arn:aws:iam::123456789012:user/people/ann", want: "ann"},
		{arn: "arn:aws:iam::123456789012:root", want: "root"},
		{arn: "arn:aws:sts::123456789012:assumed-role/deploy-shop/i-0123456789abcdef0", want: "deploy-shop/i-0123456789abcdef0"},
		{arn: "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Deploy_0123456789abcdef/ann@example.com", want: "ann@example.com"},
		{arn: "arn:aws:sts::123456789012:assumed-role/deploy-shop/GitHubActions",
			set:  map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "1658821493", "GITHUB_ACTOR": "ann", "GITHUB_REPOSITORY": "acme/shop", "GITHUB_SERVER_URL": "https://github.com"},
			want: "ann, github run 1658821493", url: "https://github.com/acme/shop/actions/runs/1658821493"},
		{arn: "arn:aws:sts::123456789012:assumed-role/deploy-shop/job",
			set:  map[string]string{"GITLAB_CI": "true", "CI_JOB_ID": "42", "CI_JOB_URL": "https://gitlab.example.com/acme/shop/-/jobs/42"},
			want: "deploy-shop/job, gitlab job 42", url: "https://gitlab.example.com/acme/shop/-/jobs/42"},
	} {
		getenv := func(name string) string { return c.set[name] }
		if got := Who(c.arn, getenv); got != c.want {
			t.Errorf("%s with %v: %q, and not %q", c.arn, c.set, got, c.want)
		}
		if got := JobURL(getenv); got != c.url {
			t.Errorf("%v: %q, and not %q", c.set, got, c.url)
		}
	}
}

func TestDescribed(t *testing.T) {
	for _, c := range []struct{ description, message, by string }{
		{"The shop sells more (usher 1a2b3c4d, by ann, github run 7)", "The shop sells more", "ann, github run 7"},
		{"The shop sells more (usher 1a2b3c4d)", "The shop sells more", ""},
		{"Revert \"x (usher 1a2b3c4d, by bob)\" (usher 1a2b3c4e, by ann)", "Revert \"x (usher 1a2b3c4d, by bob)\"", "ann"},
		{"Deployed by hand (usher is down)", "Deployed by hand (usher is down)", ""},
		{"", "", ""},
	} {
		if message, by := described(c.description); message != c.message || by != c.by {
			t.Errorf("%q: %q by %q", c.description, message, by)
		}
	}
}

// Whatever is said and whoever it was: CodeDeploy takes it, and both are read out of it again.
func TestMarkAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, by := rapid.String().Draw(t, "text"), rapid.String().Draw(t, "by")
		whole := withMark(text, "1a2b3c4d", by)
		if n := len(utf16.Encode([]rune(whole))); n > longestDescription {
			t.Fatalf("%q has %d units", whole, n)
		}
		if message, who := described(whole); len(who) > 0 != (len(shortened(by, longestBy)) > 0) || len(message) >= len(whole) {
			t.Fatalf("%q: %q by %q", whole, message, who)
		}
	})
}
