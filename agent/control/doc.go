// Package control is the control socket: how root, on a server, reaches the agent that is at work on it.
//
//	s, err := control.Listen(ctx, stateDir, log, answer)                // the agent
//	last, err := control.Do(ctx, stateDir, control.Ask{...}, printLine) // usher hold, rollback, status
//
// A client of STATE/control writes one line, a JSON [Ask], and reads lines, each a JSON [Answer]: any number that tell what
// goes on, and a last one that is Done.
//
// The contract:
//
//   - Both ends are of one binary: the form may change with any version. An agent of another version says so.
//   - The socket has mode 0600 from the moment it exists. The one a dead agent left is replaced: whoever holds
//     the record's lock is the agent, so nobody can be behind it.
//   - A client that says nothing, too much, or does not read, costs the agent one place for [AskTime]; there are [MaxClients].
//   - What is asked is done by the agent: this package carries it, and does none of it.
package control
