package main

import "usher/agent/format"

// The names by which the agent's own files know the formatter. Each goes when its files move into their room.
var (
	took      = format.Duration
	firstLine = format.FirstLine
	when      = format.Local
)
