package hostcommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"usher/agent/retry"
)

// completeTimeout is how long a result is tried to be delivered. The service waits an hour for it, but the
// agent has other things to do.
const completeTimeout = 10 * time.Minute

// Limits of a result, in characters of its JSON. The service takes 8192 in all; the parts add up to less.
const (
	maxPayload = 8192
	maxScript  = 512
	maxMessage = 2048
	maxLogJSON = maxPayload - maxScript - maxMessage - 128 // the rest is names and punctuation
	// maxLog bounds the log once more, in characters before they are escaped: it must be below 2048.
	maxLog = 2047
)

// Code is why an event failed, as CodeDeploy's console shows it.
type Code int

// The codes that the service knows.
const (
	Success             Code = iota // it did not fail
	ScriptMissing                   // the appspec names a script that the revision has not
	ScriptNotExecutable             // it could not be made executable
	ScriptTimedOut                  // it did not end within its timeout
	ScriptFailed                    // it ended with a status that is not 0
	UnknownError                    // what no other code is for
	OutputsLeftOpen                 // it ended, and left a process that keeps its output open
	FailedAfterRestart              // the agent was restarted while the event ran
)

// Result is what became of a command. Whatever its parts hold, it is sent within the service's limits: of
// the log the newest lines that fit, whole, or the end of the newest if that alone is too long; of the
// others the beginning. What is not UTF-8 becomes U+FFFD.
type Result struct {
	Code    Code     // Success, or why not
	Script  string   // the script that failed, as the appspec names it; "" when none did
	Message string   // one sentence for a person; "" is "Succeeded" for a success
	Log     []string // lines of output, oldest first
}

// diagnostics are how the protocol carries JSON inside JSON.
type diagnostics struct{ Format, Payload string }

// diagnosticsOf is v as diagnostics, with as little escaped as JSON allows.
func diagnosticsOf(v any) diagnostics {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("hostcommand: cannot write diagnostics: " + err.Error()) // only of this package's own flat structs
	}
	return diagnostics{"JSON", strings.TrimSuffix(text.String(), "\n")}
}

// payload is the result within the limits.
func (r Result) payload() diagnostics {
	if r.Code == Success && r.Message == "" {
		r.Message = "Succeeded"
	}
	return diagnosticsOf(struct {
		Code    Code   `json:"error_code"`
		Script  string `json:"script_name"`
		Message string `json:"message"`
		Log     string `json:"log"`
	}{r.Code, beginning(r.Script, maxScript), beginning(r.Message, maxMessage), newest(r.Log)})
}

// Complete delivers the result of a command. It goes on trying for ten minutes, or until ctx ends, while
// the service cannot be reached, is throttling or fails; and stops at the first answer, which may be a
// refusal. When an answer got lost the service is told twice, and keeps the first result.
func (c *Client) Complete(ctx context.Context, commandID string, r Result) error {
	in := struct {
		HostCommandIdentifier string
		CommandStatus         Status
		Diagnostics           diagnostics
	}{commandID, Succeeded, r.payload()}
	if r.Code != Success {
		in.CommandStatus = Failed
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	const op = "PutHostCommandComplete"
	var log failureLog
	for failures := 1; ; failures++ {
		err := c.call(ctx, op, in, new(struct{})) // the answer has no members
		if err == nil {
			if since, was := log.recovered(); was {
				c.notify(Event{Kind: Recovered, Op: op, Failed: since})
			}
			return nil
		}
		if !retryable(err) {
			return fmt.Errorf("cannot tell CodeDeploy the result of a command: %w", err)
		}
		wait := c.backoff(failures, retry.Throttled(err))
		if log.failed(err) {
			c.notify(Event{Kind: Retrying, Op: op, Err: err, Next: wait})
		}
		if !retry.Pause(ctx, wait) {
			return fmt.Errorf("cannot tell CodeDeploy the result of a command, gave up (%v): %w", context.Cause(ctx), err)
		}
	}
}

// Retryable tells whether a call may succeed when it is made again later: false for an answer of the service about
// this very request, and for a specification that is not to be accepted.
func Retryable(err error) bool { return !errors.Is(err, ErrUnacceptable) && retryable(err) }

// retryable: what an answer says of credentials or the clock passes. A role that was just attached is not known everywhere.
func retryable(err error) bool {
	return retry.NotRefused(err, append(clockCodes, "ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId")...)
}

// cut stands for what was left out of a line.
const cut = "…"

// newest are the newest lines that fit, whole; the end of the newest when not even that does.
func newest(lines []string) string {
	count, size, first := 0, 0, len(lines)
	for first > 0 {
		line := strings.ToValidUTF8(lines[first-1], "\uFFFD")
		count += utf8.RuneCountInString(line)
		size += escaped(line)
		if first < len(lines) {
			count, size = count+1, size+escaped("\n")
		}
		if count > maxLog || size > maxLogJSON {
			break
		}
		first--
	}
	if first == len(lines) && first > 0 {
		return ending(strings.ToValidUTF8(lines[first-1], "\uFFFD"))
	}
	return strings.ToValidUTF8(strings.Join(lines[first:], "\n"), "\uFFFD")
}

// ending is the end of a line that is too long for a log.
func ending(line string) string {
	count, size, from := utf8.RuneCountInString(cut), escaped(cut), len(line)
	for from > 0 {
		r, width := utf8.DecodeLastRuneInString(line[:from])
		if count, size = count+1, size+cost(r); count > maxLog || size > maxLogJSON {
			break
		}
		from -= width
	}
	return cut + line[from:]
}

// beginning is as much of the text as takes limit characters of JSON.
func beginning(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if escaped(text) <= limit {
		return text
	}
	size := escaped(cut)
	for at, r := range text {
		if size += cost(r); size > limit {
			return text[:at] + cut
		}
	}
	return text
}

// escaped is how many bytes the text takes in JSON. The service counts characters, of which there are
// never more.
func escaped(text string) (n int) {
	for _, r := range text {
		n += cost(r)
	}
	return n
}

// cost is how many bytes a character takes in JSON, at most.
func cost(r rune) int {
	switch {
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t':
		return 2
	case r < ' ', r == '\u2028', r == '\u2029':
		return len(`\u0000`)
	}
	return utf8.RuneLen(r)
}
