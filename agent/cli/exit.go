package cli

import "runtime/debug"

// Exit codes of all commands, and of those that deploy.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2   // the command line, or a file that it needs, cannot be used; or a rule refuses it
	ExitNothing     = 3   // there is nothing to do, or to show
	ExitRolledBack  = 3   // usher deploy: it failed, and CodeDeploy put the last good revision back
	ExitRunning     = 4   // usher deploy: the deployment continues, and nobody follows it any longer
	ExitBusy        = 5   // usher deploy: another deployment is in progress
	ExitInterrupted = 130 // Ctrl-C
)

// UsageError is an error of the one who typed the command, or a rule that it breaks: ExitUsage.
type UsageError struct{ Err error }

func (u UsageError) Error() string { return u.Err.Error() }
func (u UsageError) Unwrap() error { return u.Err }

// released is set by the packages' build: -ldflags "-X usher/agent/cli.released=1.2.3".
var released string

// Version is the released version, or the commit that the binary was built from.
func Version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return "devel-" + s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	return "devel"
}
