package acceptance

import "testing"

// An environment says which account it is in: credentials of another one begin nothing there.
func TestDeployToAnotherAccount(t *testing.T) {
	h := newShop(t, 1, production())
	h.environments("    account: \"123456789012\"\n    profile: acme\n")
	h.ended(h.usher("deploy production"), 0, "by credentials in the environment, which win over profile acme", "production runs")
	h.environments("    account: \"012345678901\"\n    profile: acme\n")
	begun := len(h.cloud.CallsOf("CreateDeployment"))
	for _, line := range []string{"deploy production", "deploy --dry-run production", "rollback production " + h.commits[0], "lock production because"} {
		h.ended(h.usher(line), 2, "production is in AWS account 012345678901 (account in usher.yml), and you are arn:aws:iam::123456789012:user/operator, of account 123456789012",
			"credentials in the environment win over profile acme of usher.yml")
	}
	h.expect("deployments", itoa(len(h.cloud.CallsOf("CreateDeployment"))), itoa(begun))
	h.environments("    account: acme\n")
	h.ended(h.usher("deploy production"), 2, `account of production is "acme": it must be the 12 digits of an AWS account, in quotes`)
}
