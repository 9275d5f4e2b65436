package rollout

import "time"

// Event is one thing that happened while a revision was brought to its servers. Follow emits them, `--json`
// prints them, one JSON object to a line, and the views for people are made of nothing else.
//
// A field that does not apply is left out. Fields are added in later versions and never change their
// meaning: a reader ignores what it does not know, also types and statuses.
type Event struct {
	// Time is when it happened: by CodeDeploy's clock for what CodeDeploy tells, in UTC.
	Time time.Time `json:"time"`

	// Type is what happened to what: plan, fetch, upload, deployment, instance, event, notice or end. What a command of `on:` reads
	// has the type on, and the fields of plan and end.
	Type Type `json:"type"`

	// Deployment is CodeDeploy's id, d-...; none before the deployment was created.
	Deployment string `json:"deployment_id,omitempty"`

	// Instance is the server's id, i-..., in instance and event.
	Instance string `json:"instance_id,omitempty"`

	// Event is the lifecycle event, such as AfterInstall, in event. In on it is started, succeeded or failed.
	Event string `json:"event,omitempty"`

	// Status is CodeDeploy's own word in deployment (Created, Queued, InProgress, Baking, Ready, Succeeded,
	// Failed, Stopped), instance (Pending, InProgress, Succeeded, Failed, Skipped, Unknown) and event
	// (InProgress, Succeeded, Failed). In upload and fetch it is InProgress, Succeeded, or Skipped when the bundle was
	// there already. In end and on it is one of the Ended constants.
	Status string `json:"status,omitempty"`

	// Seconds is how long an event, or all events of an instance, took; on their ends only.
	Seconds float64 `json:"seconds,omitempty"`

	// Script is the script that failed, Code CodeDeploy's word for how (ScriptFailed, ScriptTimedOut, ...) or
	// for why a deployment failed (HEALTH_CONSTRAINTS, ...), Message a sentence about it, and Log the last
	// lines of the script's output, 4 KB at most.
	Script  string `json:"script,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	Log     string `json:"log,omitempty"`

	// Done and Total are bytes in upload and fetch, instances in deployment, and in event those of its instance. Done counts
	// what failed or was skipped as well.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`

	// RollbackOf is the deployment that this one rolls back, in deployment.
	RollbackOf string `json:"undoes,omitempty"`

	// Commit is the full hash of what is being deployed, Subject the first line of its message, and From the hash of what
	// runs now, in plan.
	Commit  string `json:"commit,omitempty"`
	Subject string `json:"subject,omitempty"`
	From    string `json:"from,omitempty"`

	// Command is which of usher's commands it is, deploy or rollback, and By who gave it, in plan.
	Command string `json:"command,omitempty"`
	By      string `json:"by,omitempty"`

	// Environment is in all events of a command for several environments. Environment, Application, Account and Region are where to, Bundle where the bundle is in S3, Adds and Reverts the full
	// hashes of the commits between From and Commit, newest first, Warnings what the plan warns of, and Version usher's: in plan.
	Environment string   `json:"environment,omitempty"`
	Application string   `json:"application,omitempty"`
	Account     string   `json:"account,omitempty"`
	Region      string   `json:"region,omitempty"`
	Bundle      string   `json:"bundle,omitempty"`
	Adds        []string `json:"adds,omitempty"`
	Reverts     []string `json:"reverts,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
	Version     string   `json:"version,omitempty"`

	// URL is the page of the deployment in AWS's console, in end.
	URL string `json:"url,omitempty"`

	// ExitCode is how the command ends, in end, which is the last one.
	ExitCode *int `json:"exit_code,omitempty"`
}

// Type is the type of an Event.
type Type string

// The types of events. A plan comes first, but for fetch, of files in Git LFS that it is made of, and end last; notice is about
// following itself, as when CodeDeploy does not answer for a while, or says that the environment is locked.
const (
	Planned           Type = "plan"
	FetchProgress     Type = "fetch"
	UploadProgress    Type = "upload"
	DeploymentChanged Type = "deployment"
	InstanceChanged   Type = "instance"
	LifecycleEvent    Type = "event"
	Notice            Type = "notice"
	Finished          Type = "end"
	OnInput           Type = "on" // no view has it
)

// Statuses, as CodeDeploy writes them.
const (
	Created    = "Created"
	Queued     = "Queued"
	InProgress = "InProgress"
	Baking     = "Baking"
	Ready      = "Ready"
	Pending    = "Pending"
	Succeeded  = "Succeeded"
	Failed     = "Failed"
	Stopped    = "Stopped"
	Skipped    = "Skipped"
)

// Ended is how a command that deploys ended, in an Event of type Finished.
const (
	EndedSucceeded   = "succeeded"
	EndedStarted     = "started"   // --no-wait: it was created, and nobody looked how it ends
	EndedUnchanged   = "unchanged" // --skip-unchanged: it runs there already
	EndedFailed      = "failed"
	EndedRolledBack  = "rolled back"
	EndedRefused     = "refused"
	EndedRunning     = "still running" // the deployment goes on; nobody follows it any longer
	EndedDryRun      = "dry run"
	EndedInterrupted = "interrupted" // nothing was started
	EndedNotBegun    = "not begun"   // of several environments: another one failed, or was refused
)

// HasEnded tells whether a deployment with this status has ended.
func HasEnded(status string) bool {
	return status == Succeeded || status == Failed || status == Stopped
}

// terminal tells whether nothing more happens to an instance or an event with this status.
func terminal(status string) bool {
	return status == Succeeded || status == Failed || status == Skipped
}

// Short is a commit's id as people write it: long enough to be unique in a repository, short enough to be
// read out.
func Short(sha string) string { return sha[:min(len(sha), 10)] }
