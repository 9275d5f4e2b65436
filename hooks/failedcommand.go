package hooks

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// maxCommand is how many bytes of a command are shown.
const maxCommand = 120

// FailedCommand is a command at which errexit ended a script, or would have.
type FailedCommand struct {
	File    string // the script, or what it has sourced: relative to the revision where it is in there
	Line    int
	Command string // as it is written, on one line
	Status  int
}

// String is how messages say it.
func (c FailedCommand) String() string {
	return fmt.Sprintf("%s:%d, where `%s` had status %d", c.File, c.Line, c.Command, c.Status)
}

func briefCommand(raw []byte) string {
	line, _, more := bytes.Cut(bytes.TrimSpace(raw), []byte("\n"))
	text := Clean(line)
	if len(text) > maxCommand {
		cut := maxCommand
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text, more = text[:cut], true
	}
	if more {
		text += " ..."
	}
	return text
}
