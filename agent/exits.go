package main

import "usher/agent/cli"

// The names by which package main's files know the exit codes. They go when the files move into their rooms.
const (
	exitDone        = cli.ExitDone
	exitFailed      = cli.ExitFailed
	exitUsage       = cli.ExitUsage
	exitNothing     = cli.ExitNothing
	exitRolledBack  = cli.ExitRolledBack
	exitRunning     = cli.ExitRunning
	exitBusy        = cli.ExitBusy
	exitInterrupted = cli.ExitInterrupted
)

var version = cli.Version
