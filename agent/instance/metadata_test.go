package instance

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

func TestTargetLifecycleState(t *testing.T) {
	const path = "meta-data/autoscaling/target-lifecycle-state"
	for _, c := range []struct {
		name    string
		service *service
		want    string
		fails   string // part of the error
	}{
		{"in a group", &service{items: map[string]string{path: "InService"}}, "InService", ""},
		{"a warm pool", &service{items: map[string]string{path: "Warmed:Stopped\n"}}, "Warmed:Stopped", ""},
		{"a state nobody knew", &service{items: map[string]string{path: "Polished"}}, "Polished", ""},
		{"in no group, or not yet", &service{}, "", ""},
		{"an empty answer", &service{items: map[string]string{path: ""}}, "", ""},
		{"a failure is not an empty answer", &service{statuses: map[string]int{path: 500}}, "",
			"cannot read meta-data/autoscaling/target-lifecycle-state"},
		{"no session tokens is not an absent item", &service{statuses: map[string]int{"api/token": 404}}, "",
			"does not speak IMDSv2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.service.start(t)
			got, err := m.TargetLifecycleState(t.Context())
			checkAnswer(t, got, err, c.want, c.fails)
		})
	}
}

func TestTag(t *testing.T) {
	items := map[string]string{
		"meta-data/tags/instance":                   "usher:application\nempty",
		"meta-data/tags/instance/usher:application": "web",
		"meta-data/tags/instance/empty":             "",
	}
	for _, c := range []struct {
		key, want string
		ok        bool
		fails     string
	}{
		{"usher:application", "web", true, ""},
		{"empty", "", true, ""},
		{"usher:deployment-group", "", false, ""},
		{"", "", false, `cannot read tag ""`},
		{"..", "", false, `cannot read tag ".."`},
		{"a/b", "", false, `cannot read tag "a/b"`},
		{"two words", "", false, `cannot read tag "two words"`},
	} {
		t.Run(c.key, func(t *testing.T) {
			m := (&service{items: items}).start(t)
			got, ok, err := m.Tag(t.Context(), c.key)
			checkAnswer(t, got, err, c.want, c.fails)
			if ok != c.ok {
				t.Errorf("ok is %v", ok)
			}
		})
	}
}

func checkAnswer(t *testing.T, got string, err error, want, fails string) {
	t.Helper()
	switch {
	case fails == "" && err != nil:
		t.Error(err)
	case fails != "" && (err == nil || !strings.Contains(err.Error(), fails)):
		t.Errorf("the error is %v, want %q in it", err, fails)
	case got != want:
		t.Errorf("got %q, want %q", got, want)
	}
}

// A session token can end before its time: after a stop and start the metadata service knows none of
// the old ones. Then a new one is asked for, within the same question.
func TestAStaleSessionTokenIsReplaced(t *testing.T) {
	s := &service{items: map[string]string{"meta-data/autoscaling/target-lifecycle-state": "InService"}}
	m := s.start(t)
	for range 2 {
		got, err := m.TargetLifecycleState(t.Context())
		checkAnswer(t, got, err, "InService", "")
		s.set(func() { s.token++ })
	}
	want := "PUT api/token, GET meta-data/autoscaling/target-lifecycle-state, " +
		"GET meta-data/autoscaling/target-lifecycle-state, PUT api/token, GET meta-data/autoscaling/target-lifecycle-state"
	if got := strings.Join(s.requests, ", "); got != want {
		t.Errorf("requests:\n%s\nwant:\n%s", got, want)
	}
}

func TestNobodyAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+listener.Addr().String())
	listener.Close()
	start := time.Now()
	_, err = NewMetadata().TargetLifecycleState(t.Context())
	checkAnswer(t, "", err, "", "the metadata service does not answer")
	if took := time.Since(start); took > 2*callTimeout {
		t.Errorf("gave up after %s", took)
	}
}

func TestProxiesAreForTheWayOut(t *testing.T) {
	if httpClient().GetTransport().Proxy != nil {
		t.Error("requests for metadata would go through HTTP_PROXY")
	}
}

// hostOf is an HTTP client that notes which host is asked, and fails.
type hostOf struct{ host string }

func (h *hostOf) Do(r *http.Request) (*http.Response, error) {
	h.host = r.URL.Host
	return nil, errors.New("not in this test")
}

// EC2 answers at two addresses; in a subnet with IPv6 alone only the second is there. The variables are the SDKs' own:
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-client.html.
func TestWhereMetadataIs(t *testing.T) {
	for _, c := range []struct{ mode, endpoint, host string }{
		{"", "", "169.254.169.254"},
		{"IPv4", "", "169.254.169.254"},
		{"IPv6", "", "[fd00:ec2::254]"},
		{"ipv6", "", "[fd00:ec2::254]"},
		{"IPv6", "http://metadata.example:81", "metadata.example:81"},
	} {
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", c.mode)
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", c.endpoint)
		var asked hostOf
		_, _ = NewMetadata(func(o *imds.Options) { o.HTTPClient = &asked }).TargetLifecycleState(t.Context())
		if asked.host != c.host {
			t.Errorf("mode %q, endpoint %q: %q is asked, want %q", c.mode, c.endpoint, asked.host, c.host)
		}
	}
}
