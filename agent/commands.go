//go:build linux && !developer

package main

import (
	"io"

	"go.uber.org/zap"

	"usher/agent/cli"
	"usher/agent/config"
	"usher/agent/developer"
	"usher/agent/operator"
	"usher/agent/platform"
	"usher/agent/rehearsal"
)

// commands are usher's commands, in the order of `usher help`.
func commands() cli.Program {
	return cli.Program{
		About:  "usher brings an Auto Scaling server up with the latest code, or not at all.",
		Footer: "usher help COMMAND explains a command. The configuration is " + config.DefaultFile + "; the journal is `journalctl -u usher`.",
		Commands: []cli.Command{
			runCommand(),
			operator.StatusCommand(), operator.HistoryCommand(), operator.BlameCommand(), operator.PlotCommand(), operator.HoldCommand(), operator.UnholdCommand(),
			developer.InitCommand(), developer.MigrateCommand(), developer.CheckCommand(), rehearsal.Command(func(out io.Writer) *zap.Logger { return newLogger(out, 0) }), developer.DeployCommand(), developer.RollbackCommand(rollbackHere), developer.ServersCommand(), developer.LockCommand(), developer.UnlockCommand(),
			platform.DoctorCommand(platform.Examine), platform.BakeCommand(), platform.AttachCommand(), platform.IAMPolicyCommand(),
			cli.VersionCommand(), applyFilesCommand(), runWithLinkCommand(),
		},
	}
}
