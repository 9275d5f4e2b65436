// Package developer is the commands of the people who write the application: begin with one, check a revision, deploy it, follow a
// deployment, roll one back, see what was deployed and which server runs what.
//
//	cli.Program{Commands: []cli.Command{developer.CheckCommand(), developer.DeployCommand(), ...}}
//
// A command is a [Session]: Begin reads usher.yml and makes the clients, the command does its work, and End says how it
// ended and which exit code that is. The platform's commands that work on one environment (attach, doctor ENV) are
// sessions too. What is asked of AWS, and what is uploaded, is package rollout's.
//
// The contract:
//
//   - Nothing here needs a server, root, or Linux: the program of a developer's laptop has these commands and no agent.
//   - Whatever is printed for people has no control characters but newlines; with --json it is one JSON object a line.
//   - A wrong word or file is a cli.UsageError (exit code 2), and nothing was asked of AWS that changes anything.
//   - An interrupt does not stop a deployment at CodeDeploy: the last line says that it goes on, and how to follow it.
package developer
