package standin

import (
	"encoding/json"
	"unicode/utf8"
)

// The limits of diagnostics, in characters.
const (
	maxFormat    = 64
	maxPayload   = 8192
	maxScriptLog = 2048
)

// diagnostics is the payload of a request's Diagnostics, held against the limits of the service's model; nil when the
// request has none, which the model allows.
func diagnostics(in object) (object, *apiError) {
	raw, ok := in["Diagnostics"]
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var envelope object
	if json.Unmarshal(raw, &envelope) != nil {
		return nil, &apiError{400, "SerializationException", "Diagnostics is not an object"}
	}
	format, bad := envelope.required("Format")
	if bad != nil {
		return nil, bad
	}
	payload, bad := envelope.text("Payload")
	if bad != nil {
		return nil, bad
	}
	var parsed object
	switch {
	case utf8.RuneCountInString(format) > maxFormat:
		return nil, clientException("Format has more than %d characters.", maxFormat)
	case format != "JSON":
		return nil, clientException("Format of diagnostics is JSON: %s", format)
	case utf8.RuneCountInString(payload) > maxPayload:
		return nil, clientException("Payload has %d characters, and at most %d are allowed.", utf8.RuneCountInString(payload), maxPayload)
	case json.Unmarshal([]byte(payload), &parsed) != nil || parsed == nil:
		return nil, clientException("Payload is not a JSON object.")
	}
	return parsed, nil
}

// unknownCode is an error code in words: AWS's agents say it of what they have no number for.
const unknownCode = `"Unknown"`

// diagnosticsCode reads an error code, which is a number, or "Unknown".
func diagnosticsCode(raw json.RawMessage) (int, *apiError) {
	if string(raw) == unknownCode {
		return unknownError, nil
	}
	var code *int
	if json.Unmarshal(raw, &code) != nil || code == nil {
		return 0, clientException("error_code of the diagnostics is absent, or neither a number nor \"Unknown\".")
	}
	return *code, nil
}

// diagnose reads how a command went.
func diagnose(payload object) (d diagnosis, bad *apiError) {
	code, bad := diagnosticsCode(payload["error_code"])
	if bad != nil {
		return d, bad
	}
	d.Code = code
	for _, part := range []struct {
		name string
		into *string
	}{{"script_name", &d.Script}, {"message", &d.Message}, {"log", &d.Log}} {
		if _, ok := payload[part.name]; !ok {
			return d, clientException("%s of the diagnostics is absent.", part.name)
		}
		if *part.into, bad = payload.text(part.name); bad != nil {
			return d, bad
		}
	}
	if n := utf8.RuneCountInString(d.Log); n > maxScriptLog {
		return d, clientException("log of the diagnostics has %d characters, and at most %d are allowed.", n, maxScriptLog)
	}
	return d, nil
}
