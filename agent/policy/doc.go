// Package policy says which IAM permission each call of usher's to AWS needs, and puts the least policy for
// one side of usher together from that.
//
//	text, err := policy.For(policy.Instance, policy.Names{Groups: []string{"web"}, Application: "shop", …}).JSON()
//
// The table in calls.go is the one place where a permission is written down: `usher iam-policy` prints what comes of
// it, `usher doctor` names from it what is missing, and the tests replay the calls of whole launches and
// deployments against it, in both directions.
//
// Caveats. A call that IAM cannot limit to a name has "*" for its resource: the Describe calls of Auto
// Scaling, and those of CodeDeploy that are about a deployment's id. Auto Scaling has no condition for an
// instance or a hook, so an instance may complete the action of a sibling in its group. What a bucket policy, a
// key policy or a service control policy forbids is not seen here.
package policy
