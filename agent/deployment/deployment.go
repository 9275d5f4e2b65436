// Package deployment is one deployment on one server: its lifecycle events in order, the flip of the link among them, and
// how it ends.
//
//	on := &deployment.Deployer{Server: server, Record: rec, Runner: r, Log: log, Notify: notify}
//	d, err := on.Begin(ctx, deployment.Request{ID: "d-ABCDEF123", Source: revision})
//	err = d.Deploy(ctx)                        // all events: a launch, a repair, a rollback by hand
//	err = d.Event(ctx, hooks.ApplicationStart) // or one: a host command of CodeDeploy's
//
// The contract:
//
//   - Whatever fails, what was live before is live again when Deploy or Event returns, or the error says that it is not. The
//     deployment has failed then, however well it was put back.
//   - A deployment unpacks its bundle each time. What is on the disk already is taken only when no script of it has ever run,
//     or when an operator goes back to it.
//   - A success is looked at before it is recorded: the link leads to the release, it is whole, and ValidateService passed in
//     this boot. [Deployer.Confirm] looks again, for who tells it on.
//   - Every step is said, timed and recorded in the same way, and in one place. One that the record has as finished is not
//     run again, nor is a script that finished in this boot: an agent that was restarted begins again with the
//     same Request, and goes on where the record ends.
//   - A deployment begins from what was good: one that was left unfinished, and is not the one asked for, is rolled back first.
//   - A deployment is good, and an event that CodeDeploy commands is finished, when all that was written for it survives a power
//     cut. Any other deployment that the server was restarted in begins again, from a bundle that is unpacked anew: nothing is
//     run on files that a restart may have torn. So does one by commands, when the server was restarted in the midst of an event:
//     the events before it are done again with it, although CodeDeploy has their results. To fail it would be simpler, and a
//     reboot for another reason would fail deployments over a fleet; to check the tree against the bundle would tell nothing of what
//     scripts have made in it.
//   - The error of an agent that is being stopped ([retry.Stopped]) is no failure: nothing was rolled back.
//   - What has failed is in the journal when the caller learns of it: see [IsLogged].
//   - What can be checked of a revision is checked before the first of its scripts runs; the link is flipped when all of the
//     release would survive a power cut.
//   - The AWS API is nobody's here: a revision comes as a [Source].
//
// One deployment at a time: the caller sees to it. Between two events the record alone knows where a deployment is.
package deployment

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"

	"usher/agent/instance"
	"usher/agent/record"
	"usher/agent/release"
	"usher/agent/runner"
	"usher/hooks"
	"usher/systemd"
)

// Server is what a deployment has to know of the server that it is on.
type Server struct {
	Identity           instance.Identity
	Application, Group string // whose deployments these are: CodeDeploy's application and deployment group
	Layout             release.Layout
	RoleHooks          string       // directory of the role hooks
	Errexit            hooks.Policy // for scripts without `set -e`
	KeepReleases       int          // how many Prune leaves, besides those that are needed
	Unprivileged       bool         // not root, and meant to do without: what only root can do is left out and told
	WithoutUsers       bool         // meant to do without the users and groups that are not on this machine, which is told
}

// Deployer makes the deployments of a server.
type Deployer struct {
	Server
	Record *record.Record
	Runner *runner.Runner
	Log    *zap.Logger
	Notify *systemd.Notifier
}

// Source is a revision as something to fetch.
type Source interface {
	ID() string                     // of its release on the disk; the same revision has the same
	String() string                 // as a person reads it
	Pinned() bool                   // a release on the disk with this id has this content
	Environment() hooks.Environment // what scripts are told of it: the bundle, and the deployment group's id
	// Fetch fills dir, which is empty, with the revision, verified.
	Fetch(ctx context.Context, dir string) (Fetched, error)
}

// Fetched is what came of a fetch.
type Fetched struct {
	Files  int    // regular files
	ETag   string // of an object in S3
	Detail string // for a person: how large it was, how long it took
}

// Deployment is one deployment under way.
type Deployment struct {
	on         *Deployer
	log        *zap.Logger        // its lines carry the deployment
	entry      *record.Deployment // what the record has of it
	source     Source
	release    release.Release // from DownloadBundle on
	fallback   string          // where the link goes back to
	env        hooks.Environment
	fileExists string         // file_exists_behavior of the deployment; the appspec's own wins
	syncing    sync.WaitGroup // of the new release to the disk
	syncErr    error          // of syncing
	wouldEnd   int            // commands at which errexit would have ended scripts, with `errexit: report`
}

// Logged is err as an error that is in the journal already, for callers that would put it there once more: see [IsLogged].
func Logged(err error) error { return logged{err} }

// IsLogged says whether an error, or one that it wraps, is in the journal already.
func IsLogged(err error) bool { return errors.As(err, new(logged)) }

type logged struct{ error }

func (l logged) Unwrap() error { return l.error }

// logError puts an error into the journal where it stops nothing.
func (s *Deployer) logError(err error) { s.Log.Error(err.Error()) }

func (d *Deployment) logError(err error) { d.log.Error(err.Error()) }
