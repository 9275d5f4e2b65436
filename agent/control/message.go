package control

import (
	"fmt"
	"time"
)

// What can be asked, as the value of Ask.Do.
const (
	Status   = "status"
	Hold     = "hold"
	Unhold   = "unhold"
	Rollback = "rollback"
)

// Request is what a client wants.
type Request struct {
	Do      string        `json:"do"`
	For     time.Duration `json:"for,omitempty"`     // of hold: how long; 0 for the configuration's hold_timeout
	Release string        `json:"release,omitempty"` // of rollback: to which; "" for the newest good one of another revision than the live one
	Force   bool          `json:"force,omitempty"`   // of rollback: also to one that is not good, also over a deployment that was left unfinished
}

// Response is one line of what the client is told.
type Response struct {
	Line string `json:"line,omitempty"` // what goes on, as a person reads it in the journal

	Done  bool         `json:"done,omitempty"`  // the last one: what follows is set
	Code  int          `json:"code,omitempty"`  // exit code of the command
	Text  string       `json:"text,omitempty"`  // for standard output
	Error string       `json:"error,omitempty"` // for standard error
	Agent *AgentStatus `json:"agent,omitempty"` // of status
}

// Declined is an answer that nothing was done for.
func Declined(code int, format string, args ...any) Response {
	return Response{Code: code, Error: fmt.Sprintf(format, args...)}
}

// AgentStatus is what only a running agent knows.
type AgentStatus struct {
	Version         string      `json:"version"`
	Application     string      `json:"application"`
	DeploymentGroup string      `json:"deployment_group"`
	Doing           string      `json:"doing,omitempty"` // what a rollback would have to wait for
	Hold            *HoldStatus `json:"hold,omitempty"`
}

// HoldStatus is a launch that is kept for a person to look, or will be if it fails.
type HoldStatus struct {
	Failed     bool      `json:"failed"`         // it has failed, and is kept now
	ByOperator bool      `json:"by_operator"`    // `usher hold`; else on_failure: hold
	For        string    `json:"for,omitempty"`  // how long from the failure, while there is none
	Until      time.Time `json:"until,omitzero"` // then it is abandoned
}
