package appspec

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

const tab = "a tab stands in the indentation, which YAML does not allow: use spaces"

// plainer says what to do about the mistakes that are made in real appspecs, in place of the YAML
// library's words, which name its own states. The first that is part of the library's message counts.
var plainer = []struct{ theirs, ours string }{
	{"found character '\t'", tab},
	{"tab character", tab},
	{"map key-value is pre-defined", "text follows a value that has ended: put quotes around the whole value"},
	{"mapping value is not allowed", "a second `key: value` begins within this value: check the indentation here and on the next line, or put quotes around the value"},
	{"value is not allowed in this context", "this does not fit here: check its indentation against the lines above"},
	{"non-map value is specified", "this line is not `key: value`: is the colon, or the space after it, missing?"},
	{"sequence end token", "this [ is never closed with ]"},
	{"flow mapping end token", "this { is never closed with }"},
	{"end character of double-quoted", "this text in double quotes is never closed"},
	{"end character of single-quoted", "this text in single quotes is never closed"},
	{"block sequence entries are not allowed", "a list begins here, and its first `- ` must be on a line of its own"},
	{"is a reserved character", "a value cannot begin with this character: put quotes around it"},
	{"unexpected directive value", "a value cannot begin with %: put quotes around it"},
	{"corresponding to ']'", "this ] closes nothing"},
	{"corresponding to '}'", "this } closes nothing"},
	{"found unknown escape character", "this backslash is no escape that YAML knows: use single quotes around the value, or write \\\\"},
	{"undefined anchor", "an anchor (&) begins here, and no value follows it: put quotes around text that begins with &"},
	{"invalid header option", "| or > begins a block of text here: put quotes around text that begins so"},
	{errTooDeep.Error(), "is nested too deeply for an appspec"},
}

// yamlError notes an error of the YAML library about src as one problem of one line.
func (r *reader) yamlError(err error, src string) {
	var at interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &at) {
		r.add(0, 0, false, "%s", oneLine(err.Error()))
		return
	}
	line, col, text := 0, 0, ""
	if tk := at.GetToken(); tk != nil && tk.Position != nil {
		line, col, text = tk.Position.Line, tk.Position.Column, tk.Value
	}
	message := oneLine(at.GetMessage())
	if strings.HasPrefix(text, "*") || strings.Contains(message, "alias") {
		r.add(line, col, false, "an asterisk begins a YAML alias here: put quotes around the pattern, as in \"**\"")
		return
	}
	for _, p := range plainer {
		if strings.Contains(at.GetMessage(), p.theirs) {
			message = p.ours
			break
		}
	}
	if message == tab { // the library gives the column where its token began
		if lines := strings.Split(src, "\n"); line > 0 && line <= len(lines) {
			if i := strings.IndexByte(lines[line-1], '\t'); i >= 0 {
				col = utf8.RuneCountInString(lines[line-1][:i]) + 1
			}
		}
	}
	r.add(line, col, false, "%s", message)
}

// oneLine keeps a message to one printable line.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Trim(strings.ToValidUTF8(s, "?"), ".")
}
