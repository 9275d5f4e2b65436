package runner

import (
	"encoding/json"
	"testing"

	"usher/agent/release"
)

// What a unit is told of a file operation can be written down, whatever else there is to know where it is not a unit's.
func TestAFileRequestIsJSON(t *testing.T) {
	q := FileRequest{Step: Install, Layout: release.Layout{Link: "/opt/app", NotInstalled: func(string) bool { return true }}, How: release.After(release.Release{})}
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	var read FileRequest
	if err := json.Unmarshal(text, &read); err != nil || read.Layout.Link != "/opt/app" || read.Layout.NotInstalled != nil {
		t.Errorf("%v: %+v", err, read)
	}
}
