// Package operator is the commands of a person who stands before a server: status, history, blame and plot read the
// record; hold, unhold and rollback ask the running agent.
//
//	cli.Program{Commands: []cli.Command{operator.StatusCommand(), operator.HistoryCommand(), ...}}
//
// The contract:
//
//   - Nothing here changes a server: what changes it is done by its agent, which is asked over the control socket.
//   - What reads the record needs no agent and no AWS, also in the middle of a deployment; only root may.
//   - With --json each command prints what its exported types document, one JSON object, and nothing else.
//   - A record that is damaged is shown as far as it can be read, and the damage is said.
package operator
