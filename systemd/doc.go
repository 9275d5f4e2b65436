// Package systemd is everything usher says to systemd, and nothing else says it: the journal
// ([NewCore]), the service manager ([Notifier], and [Manager] for commands that run as units of their own)
// and the unit file (usher.service, beside this file).
//
// Where the log goes. Started by systemd, usher writes to the journal over its native protocol, so
// that every line carries fields an operator can query; anywhere else a line is for a person and goes
// to a terminal or a pipe ([NewConsole]). [StderrIsJournal] tells which of the two it is:
//
//	core := systemd.NewConsole(os.Stderr, level)
//	if systemd.StderrIsJournal() {
//		core = systemd.NewCore(level)
//	}
//
// Stable for operators: the MESSAGE_ID constants in messages.go and the names of the journal fields.
// The text of a message is not stable.
//
// Caveats. Nothing here fails its caller because journald or the service manager is gone: a deployment
// is worth more than its log line. Such a line goes to standard error instead. Like every client of the
// journal, a write waits while journald's queue is full.
package systemd
