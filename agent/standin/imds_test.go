package standin_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"usher/agent/standin"
)

// ask makes one request of a metadata service.
func ask(t *testing.T, method, url string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
)

func TestMetadataPaths(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web", Role: "web-role", MetadataTags: true, Tags: map[string]string{"usher:application": "shop"}})
	server := cloud.Launch("web", standin.LaunchOptions{Tags: map[string]string{"Name": "one"}})
	bare := cloud.Standalone(standin.LaunchOptions{Tags: map[string]string{"Name": "two"}})
	const latest = "/latest/"
	for _, c := range []struct {
		inst   *standin.Instance
		path   string
		status int
		body   string
	}{
		{server, latest + "meta-data/instance-id", 200, server.ID},
		{server, latest + "meta-data/placement/region", 200, "eu-west-1"},
		{server, latest + "meta-data/placement/", 200, "availability-zone\nregion"},
		{server, latest + "meta-data/placement/availability-zone", 200, "eu-west-1a"},
		{server, latest + "meta-data/autoscaling/target-lifecycle-state", 200, "InService"},
		{bare, latest + "meta-data/autoscaling/target-lifecycle-state", 404, ""},
		{server, latest + "meta-data/iam/security-credentials/", 200, "web-role"},
		{bare, latest + "meta-data/iam/security-credentials/", 200, "usher-instance"},
		{server, latest + "meta-data/tags/instance", 200, "Name\naws:autoscaling:groupName\nusher:application"},
		{server, latest + "meta-data/tags/instance/usher:application", 200, "shop"},
		{server, latest + "meta-data/tags/instance/aws:autoscaling:groupName", 200, "web"},
		{server, latest + "meta-data/tags/instance/other", 404, ""},
		{bare, latest + "meta-data/tags/instance", 200, ""},
		{bare, latest + "meta-data/tags/instance/Name", 404, ""},
		{server, latest + "meta-data/services/domain", 200, "amazonaws.com"},
		{server, latest + "meta-data/services/partition", 200, "aws"},
		{server, latest + "meta-data/nothing", 404, ""},
		{server, "/2021-03-23/meta-data/instance-id", 404, ""},
	} {
		t.Run(c.path, func(t *testing.T) {
			_, token := ask(t, "PUT", c.inst.MetadataEndpoint+"/latest/api/token", ttlHeader, "60")
			status, body := ask(t, "GET", c.inst.MetadataEndpoint+c.path, tokenHeader, token)
			if status != c.status || (status == 200 && body != c.body) {
				t.Errorf("%d %q, want %d %q", status, body, c.status, c.body)
			}
			if status == 404 && !strings.Contains(body, "<title>404 - Not Found</title>") {
				t.Errorf("404 without EC2's page: %q", body)
			}
		})
	}
}

func TestMetadataTokens(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	server := cloud.Standalone(standin.LaunchOptions{})
	id, put := server.MetadataEndpoint+"/latest/meta-data/instance-id", server.MetadataEndpoint+"/latest/api/token"
	_, token := ask(t, "PUT", put, ttlHeader, "21600")
	_, brief := ask(t, "PUT", put, ttlHeader, "1")
	for _, c := range []struct {
		name, method, url string
		headers           []string
		status            int
	}{
		{"no lifetime", "PUT", put, nil, 400},
		{"a lifetime of nothing", "PUT", put, []string{ttlHeader, "0"}, 400},
		{"a lifetime over six hours", "PUT", put, []string{ttlHeader, "21601"}, 400},
		{"through a proxy", "PUT", put, []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"a versioned path", "PUT", server.MetadataEndpoint + "/2021-03-23/api/token", []string{ttlHeader, "60"}, 403},
		{"without a token", "GET", id, nil, 401},
		{"with another's token", "GET", id, []string{tokenHeader, "x"}, 401},
		{"with a token", "GET", id, []string{tokenHeader, token}, 200},
		{"a POST", "POST", id, []string{tokenHeader, token}, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, _ := ask(t, c.method, c.url, c.headers...); status != c.status {
				t.Errorf("%d, want %d", status, c.status)
			}
		})
	}
	for status := 200; status != 401; { // the token of one second ends, within the test's deadline
		select {
		case <-time.After(100 * time.Millisecond):
			status, _ = ask(t, "GET", id, tokenHeader, brief)
		case <-testContext(t).Done():
			t.Fatal("the token never ended")
		}
	}
}

func TestMetadataDocuments(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	server := cloud.Standalone(standin.LaunchOptions{InstanceType: "m5.large", ImageID: "ami-1", CredentialLifetime: time.Hour})
	get := func(path string, v any) {
		t.Helper()
		_, token := ask(t, "PUT", server.MetadataEndpoint+"/latest/api/token", ttlHeader, "60")
		_, body := ask(t, "GET", server.MetadataEndpoint+"/latest/"+path, tokenHeader, token)
		if err := json.Unmarshal([]byte(body), v); err != nil {
			t.Fatalf("%s: %v in %q", path, err, body)
		}
	}
	var doc struct{ AccountID, ImageID, InstanceID, InstanceType, Region, PendingTime string }
	get("dynamic/instance-identity/document", &doc)
	pending := doc.PendingTime
	doc.PendingTime = ""
	if want := (struct{ AccountID, ImageID, InstanceID, InstanceType, Region, PendingTime string }{standin.Account, "ami-1", server.ID, "m5.large", "eu-west-1", ""}); doc != want {
		t.Errorf("document %+v, want %+v", doc, want)
	}
	if _, err := time.Parse(time.RFC3339, pending); err != nil {
		t.Error(err)
	}
	var cred struct{ Code, AccessKeyID, SecretAccessKey, Token, Expiration string }
	get("meta-data/iam/security-credentials/usher-instance", &cred)
	ends, err := time.Parse(time.RFC3339, cred.Expiration)
	if cred.Code != "Success" || !strings.HasPrefix(cred.AccessKeyID, "ASIA") || cred.Token == "" || err != nil || time.Until(ends) > time.Hour {
		t.Errorf("credentials %+v, %v", cred, err)
	}
	had := cred.AccessKeyID
	get("meta-data/iam/security-credentials/usher-instance", &cred)
	if cred.AccessKeyID != had {
		t.Error("credentials changed though they are fresh")
	}
	server.ExpireCredentials()
	get("meta-data/iam/security-credentials/usher-instance", &cred)
	if cred.AccessKeyID == had {
		t.Error("expired credentials are still handed out")
	}
}

func TestMetadataModes(t *testing.T) {
	t.Parallel()
	cloud := start(t, standin.Options{})
	cloud.CreateGroup(standin.Group{Name: "web"})
	server := cloud.Launch("web", standin.LaunchOptions{MetadataRefused: true})
	put := server.MetadataEndpoint + "/latest/api/token"
	refused := func() {
		t.Helper()
		if _, err := http.Get(put); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v, want connection refused", err)
		}
	}
	refused()
	server.SetMetadata(standin.Answering)
	_, token := ask(t, "PUT", put, ttlHeader, "60")
	for mode, want := range map[standin.MetadataMode]int{standin.Unavailable: 503, standin.Disabled: 403} {
		server.SetMetadata(mode)
		if status, _ := ask(t, "PUT", put, ttlHeader, "60"); status != want {
			t.Errorf("mode %d: %d, want %d", mode, status, want)
		}
	}
	server.SetMetadata(standin.Refusing)
	refused()
	server.SetMetadata(standin.Answering)

	const tag = "/latest/meta-data/tags/instance/usher:deployment-group"
	tagged := cloud.Launch("web", standin.LaunchOptions{MetadataTags: true})
	_, tagToken := ask(t, "PUT", tagged.MetadataEndpoint+"/latest/api/token", ttlHeader, "60")
	tagged.SetTag("usher:deployment-group", "staging")
	if _, body := ask(t, "GET", tagged.MetadataEndpoint+tag, tokenHeader, tagToken); body != "staging" {
		t.Errorf("a tag that was set later is %q", body)
	}

	const target = "meta-data/autoscaling/target-lifecycle-state"
	server.FailMetadata(target, 1, standin.Fault{Status: 404})
	server.FailMetadata(target, 1, standin.Fault{Body: []byte{}})
	var got []string
	for range 3 {
		status, body := ask(t, "GET", server.MetadataEndpoint+"/latest/"+target, tokenHeader, token)
		if status != 200 {
			body = http.StatusText(status)
		}
		got = append(got, body)
	}
	if want := []string{"Not Found", "", "InService"}; !slices.Equal(got, want) {
		t.Errorf("a new instance answered %q, want %q", got, want)
	}
	server.FailMetadata("*", -1, standin.Fault{DropConnection: true})
	if _, err := http.Get(put); err == nil {
		t.Error("the connection was not dropped")
	}
	if calls := server.MetadataCalls(); calls[0].Op != "api/token" || calls[0].Status != 200 || calls[len(calls)-1].ErrorCode != "ConnectionDropped" {
		t.Errorf("log %+v", calls)
	}
	if len(cloud.Calls()) != 0 {
		t.Errorf("metadata calls are in the log of the services: %+v", cloud.Calls())
	}
}
