package awsmodel

import (
	"encoding/json"

	"usher/agent/standin"
)

// commonErrors are what every operation of a service may answer beside its own errors, with the HTTP status: the
// "Common Errors" of the API references of Auto Scaling and STS, and what clients of the JSON services were seen to get.
// Throttling is in botocore's own list of what to retry (data/_retry.json). The rest has no source that a program can
// read.
var commonErrors = map[string]map[string]int{
	"query": {
		"AccessDenied": 403, "ExpiredToken": 403, "InvalidClientTokenId": 403, "MissingAuthenticationToken": 403, "SignatureDoesNotMatch": 403,
		"IncompleteSignature": 400, "InvalidAction": 400, "MalformedQueryString": 400, "MissingAction": 400, "NoSuchVersion": 400,
		"InternalFailure": 500, "ServiceUnavailable": 503, "Throttling": 400, "ValidationError": 400,
	},
	"json": {
		"AccessDeniedException": 400, "ExpiredTokenException": 400, "InvalidSignatureException": 400, "MissingAuthenticationTokenException": 400,
		"UnrecognizedClientException": 400, "SerializationException": 400, "UnknownOperationException": 400, "ThrottlingException": 400,
		"InternalFailure": 500, "ServiceUnavailable": 503, "ValidationException": 400,
	},
}

// failure checks an error: its form, its code, its status.
func (c *check) failure(e standin.Exchange, op Operation) {
	protocol, code := "query", ""
	if c.Service == "codedeploy" {
		protocol = "json"
		var body map[string]string
		if err := json.Unmarshal(e.Body, &body); err != nil {
			c.say(e.Op, "the error is not JSON: %v", err)
			return
		}
		code = body["__type"]
		for name := range body {
			if name != "__type" && name != "message" {
				c.say(e.Op, "an error has no member %s", name)
			}
		}
	} else {
		root, err := parse(e.Body)
		if err != nil || root.name != "ErrorResponse" || root.space != namespaces[c.Service] || root.child("RequestId") == nil || root.child("Error") == nil {
			c.say(e.Op, "the error is not an ErrorResponse with an Error and a RequestId (%v)", err)
			return
		}
		for _, name := range []string{"Type", "Code", "Message"} {
			if root.child("Error").child(name) == nil {
				c.say(e.Op, "the error has no %s", name)
				return
			}
		}
		code = root.child("Error").child("Code").text
	}
	if code != e.ErrorCode {
		c.say(e.Op, "the code on the wire is %q", code)
	}
	want, ok := commonErrors[protocol][code]
	for _, ref := range op.Errors {
		if its, status := c.codeOf(ref.Shape); its == code {
			want, ok = status, true
		}
	}
	switch {
	case !ok && !c.sdk.errors[e.Op+" "+code]:
		c.say(e.Op, "the operation has no error %s", code)
	case ok && e.Status != want:
		c.say(e.Op, "%s has the status %d, and was answered with %d", code, want, e.Status)
	}
}
