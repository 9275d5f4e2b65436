//go:build linux && !developer

// Package rehearsal is `usher rehearse`: the deployment of a launch below a scratch root, without AWS, on a developer's machine or in
// a container of CI. It is deployment's own code, with a local revision for a source.
//
// The contract:
//
//   - Scripts run for real, as processes of this machine; nothing shuts them in. So what they would change of it, as far as
//     their text tells, is shown and asked about first. Where nobody can be asked it ends there, unless --yes is given.
//   - Nothing of usher's own is written outside the root. A scratch root is removed again, when it has failed too, and the
//     processes that scripts have left running are ended; with a root that stays they are named.
//   - Without root, what only root can do is left out and told. With root, a user who is not on this machine is done without and
//     told, because a container of CI does not have the server's users: the script runs as root.
//   - With --root / all that is as on a server: nothing is asked, left out or ended.
package rehearsal
