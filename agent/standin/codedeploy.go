package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// codeDeployTarget begins X-Amz-Target of CodeDeploy's public API.
const codeDeployTarget = "CodeDeploy_20141006."

// maxName is the longest name of an application or a deployment group.
const maxName = 100

// validName is what CodeDeploy accepts as a name.
var validName = regexp.MustCompile(`^[a-zA-Z0-9._+=,@-]+$`)

// codeDeployWire is JSON 1.1.
var codeDeployWire = wire{
	name:        "codedeploy",
	contentType: "application/x-amz-json-1.1",
	parse:       parseJSON,
	result:      jsonResult,
	failure:     jsonFailure,
	refused: map[refusal]apiError{
		unsigned:       {status: 400, code: "MissingAuthenticationTokenException"},
		unknownKey:     {status: 400, code: "UnrecognizedClientException"},
		expiredKey:     {status: 400, code: "ExpiredTokenException"},
		wrongSignature: {status: 400, code: "InvalidSignatureException"},
	},
	throttled: apiError{400, "ThrottlingException", "Rate exceeded"},
	operations: map[string]operation{
		"BatchGetDeploymentGroups":    batchGetDeploymentGroups,
		"BatchGetDeploymentTargets":   batchGetDeploymentTargets,
		"BatchGetDeployments":         batchGetDeployments,
		"CreateApplication":           createApplication,
		"CreateDeployment":            createDeployment,
		"CreateDeploymentGroup":       createDeploymentGroup,
		"GetApplication":              getApplication,
		"GetApplicationRevision":      getApplicationRevision,
		"GetDeployment":               getDeployment,
		"GetDeploymentConfig":         getDeploymentConfig,
		"GetDeploymentGroup":          getDeploymentGroup,
		"GetDeploymentTarget":         getDeploymentTarget,
		"ListApplicationRevisions":    listApplicationRevisions,
		"ListApplications":            listApplications,
		"ListDeploymentGroups":        listDeploymentGroups,
		"ListDeploymentTargets":       listDeploymentTargets,
		"ListDeployments":             listDeployments,
		"RegisterApplicationRevision": registerApplicationRevision,
		"StopDeployment":              stopDeployment,
	},
	unknown: func(op string) apiError { return apiError{400, "UnknownOperationException", ""} },
}

func parseJSON(r *http.Request, body []byte) (request, *apiError) {
	req := request{op: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), codeDeployTarget), params: map[string]string{}, body: body}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return req, &apiError{400, "SerializationException", ""}
	}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		req.params[name] = text
	}
	return req, nil
}

func jsonResult(op, _ string, v any) []byte {
	if v == nil {
		v = struct{}{}
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic("standin: cannot write an answer of " + op + ": " + err.Error())
	}
	return out
}

func jsonFailure(_ string, e apiError) []byte {
	out, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message,omitempty"`
	}{e.code, e.message})
	if err != nil {
		panic("standin: cannot write an error: " + err.Error())
	}
	return out
}

// decode reads a request's parameters into the fields of in.
func decode(r request, in any) *apiError {
	if err := json.Unmarshal(r.body, in); err != nil {
		return &apiError{400, "SerializationException", ""}
	}
	return nil
}

// pageSize is how many items a page of a List call has at most.
const pageSize = 100

// pageOf cuts one page out of a list, by the token of the page before.
func pageOf[T any](items []T, token string) (part []T, next string, bad *apiError) {
	from := 0
	if token != "" {
		n, err := strconv.Atoi(token)
		if err != nil || n < 0 || n > len(items) {
			return nil, "", &apiError{400, "InvalidNextTokenException", "The next token is not valid: " + token}
		}
		from = n
	}
	to := min(from+pageSize, len(items))
	if to < len(items) {
		next = strconv.Itoa(to)
	}
	return items[from:to:to], next, nil
}

// listed is the answer of a List call.
func listed[T any](field string, items []T, token string) (any, *apiError) {
	part, next, bad := pageOf(items, token)
	if bad != nil {
		return nil, bad
	}
	if part == nil {
		part = []T{}
	}
	out := map[string]any{field: part}
	if next != "" {
		out["nextToken"] = next
	}
	return out, nil
}

// epoch is a time as JSON 1.1 writes it.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// checkName answers as the service does when a name is absent or not one.
func checkName(v, kind string) *apiError {
	switch {
	case v == "":
		return &apiError{400, kind + "NameRequiredException", kind + " name is required."}
	case len(v) > maxName || !validName.MatchString(v):
		return &apiError{400, "Invalid" + kind + "NameException", fmt.Sprintf("%s name must be 1 to %d letters, digits and ._+=,@- : %s", kind, maxName, v)}
	}
	return nil
}
