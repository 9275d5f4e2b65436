// Command usher brings a new EC2 Auto Scaling server up with the latest code, or not at all.
//
// It is baked into the base image and started by systemd on every boot. A boot goes like this:
//
// The agent asks instance metadata who it is, and opens its record: what was done on this server before,
// and where an earlier run was cut off. It looks for the launch lifecycle action of its own instance and,
// as soon as Auto Scaling waits for it, keeps the wait alive with heartbeats. Meanwhile it asks CodeDeploy
// for the revision of its one deployment group, fetches the bundle and runs the lifecycle events of a
// deployment: the revision's hook scripts under `set -e`, and between AfterInstall and ApplicationStart
// the flip of /opt/app, in one rename, from the base baked into the image to the new release. When
// ValidateService has passed, it completes the action with CONTINUE and the server goes into service.
// When anything failed, it puts back what was live, and completes the action with ABANDON: Auto Scaling
// replaces the server.
//
// boot.go and deployment/deploy.go are that story in code, each on one screen.
//
// Then the server is in service, and serve.go keeps it current. CodeDeploy deploys to it with host commands, one
// for each lifecycle event, which package executor carries out with the same steps; when one fails, what was live is
// live again before CodeDeploy is told. A server that missed a deployment because it was launching notices, and
// catches up (repair.go). All of it is done by one loop, one thing at a time, and between two commands the
// record alone knows where a deployment is.
//
// The other end is packages developer and rollout: `usher deploy`, typed by a developer, makes a bundle of a
// commit, creates the deployment and follows it. `usher status`, `history`, `rollback`, `hold` and `unhold` are
// for who stands before a server; they reach the agent by a socket beside its record (package control, requests.go).
// Packages platform and doctor are for who makes the image and the groups. On another system than Linux the program is what
// needs no server (commands_elsewhere.go); with the build tag developer it is so on Linux too, for tests.
//
// # Exit codes
//
//	0  done
//	1  failed: the last line on standard error, or in the journal, says what and what to do
//	2  wrong usage, or a configuration that cannot be used
//	3  nothing to do (run --once: no launch action, and a release is live already)
//
// usher deploy, deploy status and rollback ENV have their own: 3 rolled back, 4 still running, 5 another
// deployment is in progress, 130 interrupted (the deployment goes on).
//
// # What it never does
//
//   - Complete an action twice, or one of another hook, instance or CodeDeploy's own.
//   - Write into a release that is live, into the base, or through a link or a mount at a destination.
//   - Delete across a mount, or anything that is not its own.
//   - Follow a link that somebody other than root made, or run as root a script that somebody else can write to.
//   - Run a script of an event that is recorded as finished, unless the server was restarted in the deployment: then it
//     begins again, from the bundle. Events that CodeDeploy commands are on the disk before it is told; they are done again
//     when the server was restarted in the midst of a later one.
//   - Call a deployment good, or complete its action, before all that its scripts wrote is on the disk.
//   - Say CONTINUE without having read, right before, that the link leads to the release it validated in this boot.
//   - Move anything into place that was not verified, or run any script of a revision before all are checked.
//   - Pass its own environment or credentials to a script, or ask metadata without a session token.
//   - Phone home, update itself, or read root's AWS configuration files.
package main
