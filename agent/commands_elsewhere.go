//go:build !linux || developer

package main

import (
	"usher/agent/cli"
	"usher/agent/developer"
	"usher/agent/platform"
)

// commands are those of usher for developers, who may have any system: what needs no server. With the build tag developer it
// is made for Linux too, where tests drive it.
func commands() cli.Program {
	return cli.Program{
		About:  "usher brings an Auto Scaling server up with the latest code, or not at all.",
		Footer: "usher help COMMAND explains a command. This is usher for developers: the agent runs on Linux only.",
		Commands: []cli.Command{
			developer.InitCommand(), developer.MigrateCommand(), developer.CheckCommand(), developer.DeployCommand(), developer.RollbackCommand(nil), developer.ServersCommand(), developer.LockCommand(), developer.UnlockCommand(),
			platform.DoctorCommand(nil), platform.AttachCommand(), platform.IAMPolicyCommand(),
			cli.VersionCommand(),
		},
		Servers: []string{"run", "status", "history", "blame", "plot", "hold", "unhold", "rehearse", "bake"},
	}
}
