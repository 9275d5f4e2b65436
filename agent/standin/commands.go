package standin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// The statuses of a host command.
const (
	commandPending    = "Pending"
	commandInProgress = "InProgress"
	commandSucceeded  = "Succeeded"
	commandFailed     = "Failed"
)

// hostCommand is one lifecycle event that an instance is told to carry out.
type hostCommand struct {
	id        string // HostCommandIdentifier
	host      string // the instance's ARN
	execution string // DeploymentExecutionId
	name      string // of the event
	nonce     int64
	status    string

	instance, deployment string // ids
	specification        []byte // of the deployment, as JSON
	variant              string // VariantId: the specification has a variant of this name too; "": none
	sent                 time.Time
	acknowledged         time.Time
	ended                time.Time
	noop                 bool
	polls                int // how often it was handed out
	completions          int
	diagnosis            diagnosis
}

// diagnosis is what an agent says of an event that has ended.
type diagnosis struct {
	Code    int    `json:"error_code"`
	Script  string `json:"script_name"`
	Message string `json:"message"`
	Log     string `json:"log"`
}

// hasEnded tells whether the command has its result.
func (h *hostCommand) hasEnded() bool {
	return h.status == commandSucceeded || h.status == commandFailed
}

// end gives the command its result.
func (h *hostCommand) end(status string, diag diagnosis) {
	h.status, h.diagnosis, h.ended = status, diag, time.Now()
}

// instanceARN is how the host commands name an instance.
func instanceARN(id string) string {
	return "arn:aws:ec2:" + region + ":" + Account + ":instance/" + id
}

// executionOf is the DeploymentExecutionId of a deployment.
func executionOf(deploymentID string) string {
	return "CodeDeploy/" + region + "/Prod/arn:aws:sds:" + region + ":" + Account + ":deployment/" + deploymentID
}

// firstPosition is the commandPosition of a deployment's first event: in the one log that is known of a real deployment
// (issue 135 of AWS's agent), ApplicationStop has 1 and DownloadBundle 2.
const firstPosition = 1

// commandID is a HostCommandIdentifier: opaque to the agent, but this is what the service's are made of.
func commandID(deploymentID, instanceID, event string, position int) string {
	type identifier struct {
		DeploymentID string `json:"deploymentId"`
		HostID       string `json:"hostId"`
		Name         string `json:"commandName"`
		Position     int    `json:"commandPosition"`
		Attempt      int    `json:"commandAttempt"`
	}
	text, err := json.Marshal([]any{"com.amazon.apollo.deploycontrol.domain.HostCommandIdentifier",
		identifier{executionOf(deploymentID), instanceARN(instanceID), event, position, 1}})
	if err != nil {
		panic("standin: cannot write a command's identifier: " + err.Error())
	}
	return base64.StdEncoding.EncodeToString(text)
}

// send gives an instance a command; mu is held.
func (d *deployments) send(instanceID, deploymentID, execution, event string, position int, specification []byte) *hostCommand {
	h := &hostCommand{
		id: commandID(deploymentID, instanceID, event, position), host: instanceARN(instanceID),
		execution: execution, name: event, nonce: int64(len(d.commands) + 1), status: commandPending,
		instance: instanceID, deployment: deploymentID, specification: specification, sent: time.Now(),
	}
	d.commands = append(d.commands, h)
	return h
}

// next is the command that waits for an instance, nil when none does, and a channel that is closed at the
// next change. A command is handed out until it is acknowledged, as the service does it: a lost
// answer must not lose the command.
func (d *deployments) next(instanceID string) (*hostCommand, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.commands {
		if h.instance == instanceID && h.status == commandPending {
			h.polls++
			handed := *h // the caller holds no lock
			return &handed, d.changed
		}
	}
	return nil, d.changed
}

// specification is the JSON of a deployment's specification, for an instance that was sent a command of it.
func (d *deployments) specification(execution, instanceID string) (spec []byte, variant string, failed *apiError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range slices.Backward(d.commands) {
		if h.instance == instanceID && h.execution == execution {
			return h.specification, h.variant, nil
		}
	}
	return nil, "", &apiError{400, "ClientException", "No deployment specification found for " + execution}
}

// command finds the command with an id, the latest of that id; mu is held.
func (d *deployments) command(instanceID, id string) (*hostCommand, *apiError) {
	for _, h := range slices.Backward(d.commands) {
		if h.instance == instanceID && h.id == id {
			return h, nil
		}
	}
	return nil, &apiError{400, "ClientException", "No host command found for the identifier " + id}
}

// acknowledge returns the status of a command that the instance has taken. A noop command has
// succeeded by that; a command that has ended keeps its status.
func (d *deployments) acknowledge(instanceID, commandID string, noop bool) (status string, failed *apiError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, bad := d.command(instanceID, commandID)
	if bad != nil {
		return "", bad
	}
	if h.hasEnded() {
		return h.status, nil
	}
	if h.status == commandPending {
		h.status, h.acknowledged = commandInProgress, time.Now()
	}
	if noop {
		h.noop = true
		h.end(commandSucceeded, diagnosis{})
	}
	status = h.status
	d.advance()
	return status, nil
}

// complete records a command's result. A command that has ended keeps its first result: the second is
// counted and tolerated, as the service does. A command may fail without being acknowledged: that is how an agent
// says that it cannot read the specification.
func (d *deployments) complete(instanceID, commandID, status string, diag diagnosis) *apiError {
	if status != commandSucceeded && status != commandFailed {
		return &apiError{400, "ClientException", "A host command cannot be completed as " + status}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h, bad := d.command(instanceID, commandID)
	if bad != nil {
		return bad
	}
	h.completions++
	if !h.hasEnded() {
		h.end(status, diag)
	}
	d.advance()
	return nil
}

// HostCommand is a command that CodeDeploy sent to an instance, and what became of it.
type HostCommand struct {
	ID           string // HostCommandIdentifier
	InstanceID   string
	DeploymentID string
	Name         string // of the lifecycle event
	Status       string // Pending, InProgress, Succeeded or Failed
	Noop         bool   // acknowledged as having nothing to do

	// Diagnostics is what the agent said at the end, or CodeDeploy when nothing came from the agent in time.
	Diagnostics Diagnostics

	Polled    int // how often it was handed out
	Completed int // how often PutHostCommandComplete named it; the first time counts

	Sent, Acknowledged, Ended time.Time // zero: not yet
}

// Diagnostics are an agent's words on an event: CodeDeploy's error code, and the script that was the reason.
type Diagnostics struct {
	Code                 int
	Script, Message, Log string
}

// HostCommands returns every host command so far, in the order in which they were sent.
func (c *Cloud) HostCommands() []HostCommand {
	c.deploys.mu.Lock()
	defer c.deploys.mu.Unlock()
	var list []HostCommand
	for _, h := range c.deploys.commands {
		list = append(list, h.public())
	}
	return list
}

func (h *hostCommand) public() HostCommand {
	return HostCommand{
		ID: h.id, InstanceID: h.instance, DeploymentID: h.deployment, Name: h.name, Status: h.status, Noop: h.noop,
		Diagnostics: Diagnostics{h.diagnosis.Code, h.diagnosis.Script, h.diagnosis.Message, h.diagnosis.Log},
		Polled:      h.polls, Completed: h.completions,
		Sent: h.sent, Acknowledged: h.acknowledged, Ended: h.ended,
	}
}

// WaitForHostCommand returns when the command of that id, the latest when it was sent more than once, has ended.
func (c *Cloud) WaitForHostCommand(ctx context.Context, inst *Instance, id string) (HostCommand, error) {
	for {
		c.deploys.mu.Lock()
		h, bad := c.deploys.command(inst.ID, id)
		if bad != nil {
			c.deploys.mu.Unlock()
			return HostCommand{}, fmt.Errorf("cannot wait for a host command of %s: %s", inst.ID, bad.message)
		}
		got, changed := h.public(), c.deploys.changed
		over := h.hasEnded()
		c.deploys.mu.Unlock()
		if over {
			return got, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return got, fmt.Errorf("cannot see %s end on %s, it is %s: %w", got.Name, inst.ID, got.Status, ctx.Err())
		}
	}
}
