package rollout

import (
	"strings"
	"unicode/utf16"

	"github.com/rivo/uniseg"
)

// longestDescription is the longest description of a deployment, all of it: CodeDeploy refuses a longer one with
// DescriptionTooLongException ("Maximum number of characters in a deployment description: 100", AWS CodeDeploy User
// Guide, CodeDeploy limits; the API's models give no length). Nothing is documented for a revision's, which is held to
// the same. Counted in UTF-16 units: whatever the service takes for a character, there are not more of them.
const longestDescription = 100

// shortened is text on one line, in at most room UTF-16 units: whole when it fits, else cut between two characters as
// a reader sees them, never inside an accented letter or an emoji, and ended by "…".
func shortened(text string, room int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	const end = "…"
	fits, at := 0, 0 // how much of text fits with end after it, in bytes; and how much was looked at
	units := 0       // of text[:at]
	for state, rest := -1, text; rest != ""; {
		var one string
		one, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		units, at = units+len(utf16.Encode([]rune(one))), at+len(one)
		if units > room {
			return strings.TrimRight(text[:fits], " ") + end
		}
		if units <= room-1 {
			fits = at
		}
	}
	return text
}
