package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// What X-Amz-Target of the host commands begins with: the service every agent is told of, and the one that looks at
// the instance's IAM policy (enable_auth_policy).
const (
	hostCommandTarget   = "CodeDeployCommandService_v20141006."
	secureCommandTarget = "CodeDeployCommandService."
)

// jsonType is the Content-Type of JSON 1.1.
const jsonType = "application/x-amz-json-1.1"

// agentVersionHeader tells the service which agent asks; it has to be signed.
const agentVersionHeader = "x-amz-codedeploy-agent-version"

// defaultLongPoll is how long the service has been seen to keep a poll.
const defaultLongPoll = 45 * time.Second

// maxExecutionID is how many characters a DeploymentExecutionId may have.
const maxExecutionID = 129

// validExecutionID is what a DeploymentExecutionId looks like.
var validExecutionID = regexp.MustCompile(`^[^/]+/[^/]+/[^/]+/.+$`)

// hostCommandWire is JSON 1.1, asked by agents only.
var hostCommandWire = wire{
	name:        "codedeploy-commands",
	contentType: jsonType,
	parse:       parseHostCommand,
	result:      hostCommandResult,
	failure:     jsonFailure,
	refused:     codeDeployWire.refused,
	throttled:   codeDeployWire.throttled,
	operations: map[string]operation{
		"GetDeploymentSpecification":    ofHost(getDeploymentSpecification),
		"PollHostCommand":               ofHost(pollHostCommand),
		"PostHostCommandUpdate":         ofHost(postHostCommandUpdate),
		"PutHostCommandAcknowledgement": ofHost(putHostCommandAcknowledgement),
		"PutHostCommandComplete":        ofHost(putHostCommandComplete),
	},
	unknown: codeDeployWire.unknown,
}

// secureCommandWire is the same under another name.
var secureCommandWire = func() wire {
	w := hostCommandWire
	w.name = "codedeploy-commands-secure"
	return w
}()

// parseHostCommand checks what the service asks of the HTTP request as well: its one client is hand-written.
func parseHostCommand(r *http.Request, body []byte) (request, *apiError) {
	req, bad := parseJSON(r, body)
	_, req.op, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	switch {
	case bad != nil:
		return req, bad
	case r.Method != http.MethodPost, r.URL.Path != "/", r.Header.Get("Content-Type") != jsonType:
		return req, &apiError{404, "UnknownOperationException", ""}
	case r.Header.Get(agentVersionHeader) == "" || !slices.Contains(auth.headers, agentVersionHeader):
		return req, clientException("The header %s is absent or not signed.", agentVersionHeader)
	}
	return req, nil
}

// hostCommandResult writes nothing at all for an operation without output.
func hostCommandResult(op, id string, v any) []byte {
	if v == nil {
		return nil
	}
	return jsonResult(op, id, v)
}

// clientException is the service's error for all that a client does wrong.
func clientException(format string, args ...any) *apiError {
	return &apiError{400, "ClientException", fmt.Sprintf(format, args...)}
}

// ofHost serves an operation to instances only, each asking for itself.
func ofHost(do func(c *Cloud, r request, in object) (any, *apiError)) operation {
	return func(c *Cloud, r request) (any, *apiError) {
		var in object
		if err := json.Unmarshal(r.body, &in); err != nil {
			return nil, &apiError{400, "SerializationException", ""}
		}
		if r.instance == "" {
			return nil, notAuthorized(r, "a user's credentials are not an instance's")
		}
		return do(c, r, in)
	}
}

func notAuthorized(r request, why string) *apiError {
	return &apiError{400, "AccessDeniedException", "User is not authorized to perform: codedeploy-commands:" + r.op + ": " + why}
}

// object is a JSON object by the exact names of its members: decoded into a struct, "hostIdentifier" would pass for
// HostIdentifier, and to the service it is not.
type object map[string]json.RawMessage

// text is a member that is a string; "" when it is absent.
func (o object) text(name string) (string, *apiError) {
	var v *string
	if raw, ok := o[name]; ok && json.Unmarshal(raw, &v) != nil {
		return "", &apiError{400, "SerializationException", name + " is not a string"}
	}
	if v == nil {
		return "", nil
	}
	return *v, nil
}

// required is a member that is a string and not empty.
func (o object) required(name string) (string, *apiError) {
	v, bad := o.text(name)
	if bad == nil && v == "" {
		bad = clientException("%s is required.", name)
	}
	return v, bad
}

// hostIdentifier checks that the instance asks for itself.
func hostIdentifier(r request, in object) *apiError {
	host, bad := in.required("HostIdentifier")
	if bad != nil {
		return bad
	}
	if own := instanceARN(r.instance); host != own {
		return notAuthorized(r, "the credentials are those of "+own+", not of "+host)
	}
	return nil
}

// pollHostCommand waits until there is a command. An answer that is lost costs nothing: a command is handed out until it
// is acknowledged.
func pollHostCommand(c *Cloud, r request, in object) (any, *apiError) {
	if bad := hostIdentifier(r, in); bad != nil {
		return nil, bad
	}
	signing() // made once per process: while an agent waits for work, not in the middle of its deployment
	patience := time.NewTimer(c.options.LongPoll)
	defer patience.Stop()
	for {
		command, changed := c.deploys.next(r.instance)
		if command != nil {
			return map[string]any{"HostCommand": map[string]any{
				"HostCommandIdentifier": command.id, "HostIdentifier": command.host,
				"DeploymentExecutionId": command.execution, "CommandName": command.name, "Nonce": command.nonce,
			}}, nil
		}
		select {
		case <-changed:
		case <-patience.C:
			return struct{}{}, nil
		case <-r.gone:
			return nil, &clientGone
		case <-c.stopped.Done():
			return nil, &clientGone
		}
	}
}

func getDeploymentSpecification(c *Cloud, r request, in object) (any, *apiError) {
	execution, bad := in.required("DeploymentExecutionId")
	if bad != nil {
		return nil, bad
	}
	if utf8.RuneCountInString(execution) > maxExecutionID || !validExecutionID.MatchString(execution) {
		return nil, clientException("DeploymentExecutionId must match %s and have at most %d characters: %s", validExecutionID, maxExecutionID, execution)
	}
	if bad := hostIdentifier(r, in); bad != nil {
		return nil, bad
	}
	spec, variant, failed := c.deploys.specification(execution, r.instance)
	if failed != nil {
		return nil, failed
	}
	enveloped := func(spec []byte) map[string]string {
		format, payload := c.envelope(spec)
		return map[string]string{"Format": format, "Payload": payload}
	}
	all := map[string]any{"GenericEnvelope": enveloped(spec)}
	if variant != "" {
		all["VariantId"], all["VariantEnvelope"] = variant, enveloped([]byte("{}"))
	}
	return map[string]any{"DeploymentSystem": "CodeDeploy", "DeploymentSpecification": all}, nil
}

func putHostCommandAcknowledgement(c *Cloud, r request, in object) (any, *apiError) {
	id, bad := in.required("HostCommandIdentifier")
	if bad != nil {
		return nil, bad
	}
	payload, bad := diagnostics(in)
	if bad != nil {
		return nil, bad
	}
	noop := false
	if payload != nil {
		var v *bool
		if json.Unmarshal(payload["IsCommandNoop"], &v) != nil || v == nil {
			return nil, clientException("The diagnostics of an acknowledgement tell IsCommandNoop, true or false.")
		}
		noop = *v
	}
	return commandStatus(c, r, id, noop)
}

// postHostCommandUpdate answers as an acknowledgement does: an agent that tells of its progress is at work.
func postHostCommandUpdate(c *Cloud, r request, in object) (any, *apiError) {
	id, bad := in.required("HostCommandIdentifier")
	if bad != nil {
		return nil, bad
	}
	if _, bad := diagnostics(in); bad != nil {
		return nil, bad
	}
	var until *float64
	if raw, ok := in["EstimatedCompletionTime"]; ok && json.Unmarshal(raw, &until) != nil {
		return nil, &apiError{400, "SerializationException", "EstimatedCompletionTime is not a time in seconds"}
	}
	return commandStatus(c, r, id, false)
}

func commandStatus(c *Cloud, r request, id string, noop bool) (any, *apiError) {
	status, failed := c.deploys.acknowledge(r.instance, id, noop)
	if failed != nil {
		return nil, failed
	}
	return map[string]string{"CommandStatus": status}, nil
}

func putHostCommandComplete(c *Cloud, r request, in object) (any, *apiError) {
	id, bad := in.required("HostCommandIdentifier")
	if bad != nil {
		return nil, bad
	}
	status, bad := in.required("CommandStatus")
	if bad != nil {
		return nil, bad
	}
	if status != "Succeeded" && status != "Failed" {
		return nil, clientException("CommandStatus of a completed command is Succeeded or Failed: %s", status)
	}
	payload, bad := diagnostics(in)
	if bad != nil {
		return nil, bad
	}
	var diag diagnosis
	if payload != nil {
		if diag, bad = diagnose(payload); bad != nil {
			return nil, bad
		}
	}
	if failed := c.deploys.complete(r.instance, id, status, diag); failed != nil {
		return nil, failed
	}
	return nil, nil
}
