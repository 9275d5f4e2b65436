package main

import "usher/agent/format"

// The names by which the agent's own files know the formatter. Each goes when its files move into their room.
var (
	took      = format.Duration
	sentence  = format.Summary
	size      = format.Bytes
	count     = format.Plural
	list      = format.Limited
	firstLine = format.FirstLine
	when      = format.Local
)
