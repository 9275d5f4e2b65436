package instance

import (
	"context"
	"errors"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const document = `{
  "accountId" : "123456789012",
  "architecture" : "arm64",
  "availabilityZone" : "eu-west-1b",
  "imageId" : "ami-0f00ba4",
  "instanceId" : "i-0abc",
  "instanceType" : "m7g.large",
  "pendingTime" : "2026-03-01T04:05:06Z",
  "privateIp" : "10.0.0.7",
  "region" : "eu-west-1",
  "version" : "2017-09-30"
}`

// instance is the metadata of an instance, with more or other items.
func metadataWith(more map[string]string) map[string]string {
	items := map[string]string{
		"dynamic/instance-identity/document": document,
		"meta-data/services/partition":       "aws",
	}
	maps.Copy(items, more)
	return items
}

func identityWith(change func(*Identity)) Identity {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		panic(err)
	}
	me := Identity{
		InstanceID: "i-0abc", Region: "eu-west-1", AccountID: "123456789012", AvailabilityZone: "eu-west-1b",
		ImageID: "ami-0f00ba4", InstanceType: "m7g.large", Partition: "aws",
		PendingTime: time.Date(2026, 3, 1, 4, 5, 6, 0, time.UTC),
		Tags:        map[string]string{}, BootID: strings.TrimSpace(string(boot)),
	}
	change(&me)
	return me
}

func TestDiscover(t *testing.T) {
	for _, c := range []struct {
		name  string
		items map[string]string
		want  func(*Identity) // what differs from the plain identity
	}{
		{"tags are not shown", nil, func(*Identity) {}},
		{"no tags", map[string]string{"meta-data/tags/instance": ""}, func(*Identity) {}},
		{"usher's tags and the group's", map[string]string{
			"meta-data/tags/instance":                           "Name\naws:autoscaling:groupName\nusher:application\nusher:deployment-group",
			"meta-data/tags/instance/Name":                      "web-1",
			"meta-data/tags/instance/aws:autoscaling:groupName": "web staging",
			"meta-data/tags/instance/usher:application":         "web",
			"meta-data/tags/instance/usher:deployment-group":    "staging\n",
		}, func(me *Identity) {
			me.AutoScalingGroup = "web staging"
			me.Tags = map[string]string{"usher:application": "web", "usher:deployment-group": "staging"}
		}},
		{"a tag that was removed after the list was read", map[string]string{
			"meta-data/tags/instance": "usher:application",
		}, func(*Identity) {}},
		{"a tag without a value", map[string]string{
			"meta-data/tags/instance":                   "usher:application",
			"meta-data/tags/instance/usher:application": "",
		}, func(me *Identity) { me.Tags = map[string]string{"usher:application": ""} }},
		{"another partition", map[string]string{"meta-data/services/partition": "aws-cn\n"},
			func(me *Identity) { me.Partition = "aws-cn" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &service{items: metadataWith(c.items)}
			m := s.start(t)
			got, err := m.Discover(t.Context(), func(err error, _ time.Duration) { t.Error(err) })
			if err != nil {
				t.Fatal(err)
			}
			if want := identityWith(c.want); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if s.tokens > 0 {
				t.Errorf("%d requests without a session token: that is IMDSv1", s.tokens)
			}
			// A tag that is not ours is not read, and all questions share one session.
			for i, r := range s.requests {
				if strings.HasSuffix(r, "/Name") || strings.HasPrefix(r, "PUT") && i > 0 {
					t.Errorf("needless request %s", r)
				}
			}
		})
	}
}

func TestDiscoverSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name    string
		service *service
		want    []string // parts of the error
	}{
		{"not ready", &service{statuses: map[string]int{"api/token": 503}},
			[]string{"cannot read dynamic/instance-identity/document", "503"}},
		{"switched off", &service{statuses: map[string]int{"api/token": 403}},
			[]string{"switched off for this instance", "HttpEndpoint=enabled"}},
		{"speaks IMDSv1 only", &service{statuses: map[string]int{"api/token": 404}},
			[]string{"does not speak IMDSv2"}},
		{"no document", &service{},
			[]string{"cannot read dynamic/instance-identity/document", "404"}},
		{"the document is refused", &service{statuses: map[string]int{"dynamic/instance-identity/document": 403}},
			[]string{"refuses the request (403)"}},
		{"a page instead of the document", &service{items: map[string]string{"dynamic/instance-identity/document": "<html>"}},
			[]string{"cannot read dynamic/instance-identity/document", "invalid character '<'"}},
		{"half a document", &service{items: map[string]string{"dynamic/instance-identity/document": document[:80]}},
			[]string{"cannot read dynamic/instance-identity/document", "EOF"}},
		{"an incomplete document", &service{items: map[string]string{"dynamic/instance-identity/document": `{"instanceId":"i-1","region":" ","accountId":"1","imageId":"ami-1"}`}},
			[]string{"it has no region, availabilityZone, instanceType, pendingTime"}},
		{"the list of tags fails", &service{items: metadataWith(nil), statuses: map[string]int{"meta-data/tags/instance": 500}},
			[]string{"cannot read meta-data/tags/instance", "500"}},
		{"one tag fails", &service{items: metadataWith(map[string]string{"meta-data/tags/instance": "usher:application"}),
			statuses: map[string]int{"meta-data/tags/instance/usher:application": 500}},
			[]string{"cannot read meta-data/tags/instance/usher:application", "500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, stop := c.service.startInside(t)
				defer stop()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var told error
				_, err := m.Discover(ctx, func(err error, _ time.Duration) { told = err })
				if err == nil || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("after a minute, got %v", err)
				}
				for _, part := range c.want {
					if !strings.Contains(told.Error(), part) {
						t.Errorf("waiting was told %q, without %q", told, part)
					}
				}
				if !strings.Contains(err.Error(), "cannot learn from metadata which instance this is: context deadline exceeded") {
					t.Errorf("the error is %q", err)
				}
				if c.service.tokens > 0 {
					t.Error("fell back to IMDSv1")
				}
			})
		})
	}
}

// Metadata comes up half a minute after the agent: the waits grow and stay under their bound, and the agent
// notices within the last of them.
func TestDiscoverWaitsForMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{items: metadataWith(nil), statuses: map[string]int{"api/token": 503}}
		m, stop := s.startInside(t)
		defer stop()
		const ready = 30 * time.Second
		time.AfterFunc(ready, func() { s.set(func() { s.statuses = nil }) })

		start, bound, tries := time.Now(), 200*time.Millisecond, 0
		me, err := m.Discover(t.Context(), func(_ error, next time.Duration) {
			tries++
			if next < 0 || next >= bound {
				t.Errorf("try %d: waits %s, want less than %s", tries, next, bound)
			}
			bound = min(2*bound, 5*time.Second)
		})
		if err != nil {
			t.Fatal(err)
		}
		if me.InstanceID != "i-0abc" {
			t.Errorf("got %+v", me)
		}
		if took := time.Since(start); took < ready || took > ready+2*maxWait {
			t.Errorf("noticed after %s", took)
		}
		if tries < 5 || tries > 100 {
			t.Errorf("%d tries", tries)
		}
	})
}

// An answer that starts and never ends costs one question's time, whatever the caller's deadline is.
func TestDiscoverDoesNotHangOnOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{items: metadataWith(nil), stuck: map[string]bool{"dynamic/instance-identity/document": true}}
		m, stop := s.startInside(t)
		defer stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := m.Discover(ctx, func(error, time.Duration) {
			if took := time.Since(start); took != callTimeout {
				t.Errorf("one question took %s", took)
			}
			s.set(func() { s.stuck = nil })
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestDiscoverEndsWithItsContext(t *testing.T) {
	s := &service{statuses: map[string]int{"api/token": 503}}
	m := s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Discover(ctx, func(error, time.Duration) { cancel() })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
}

func TestDiscoverSwitchedOffInTheEnvironment(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	m := (&service{items: metadataWith(nil)}).start(t)
	if _, err := m.Discover(t.Context(), nil); !errors.Is(err, ErrSwitchedOff) {
		t.Errorf("got %v", err)
	}
}
