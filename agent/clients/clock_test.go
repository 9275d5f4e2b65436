package clients

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// What the Date of an answer says of this server's clock, and of AWS's times on it.
func TestClock(t *testing.T) {
	for _, test := range []struct {
		name    string
		off     time.Duration // of AWS's clock
		ahead   time.Duration
		problem string
	}{
		{"right", 0, 0, ""},
		{"near", 59 * time.Second, 0, ""},
		{"some minutes behind", 4 * time.Minute, 4 * time.Minute, ""},
		{"hours behind", 2 * time.Hour, 2 * time.Hour, "the clock of this server is 2h0m0s behind AWS's"},
		{"hours ahead", -2 * time.Hour, -2 * time.Hour, "the clock of this server is 2h0m0s ahead of AWS's"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c Clock
				launched := time.Now().Add(test.off) // by AWS's clock, now
				c.observe(http.Header{"Date": {launched.UTC().Format(http.TimeFormat)}})
				if c.Ahead() != test.ahead || c.Problem() != test.problem {
					t.Errorf("ahead by %s, %q", c.Ahead(), c.Problem())
				}
				if since := time.Since(c.Here(launched)); since != test.ahead-test.off {
					t.Errorf("what AWS dates now was %s ago", since)
				}
				c.observe(http.Header{}) // says nothing
				if c.Ahead() != test.ahead {
					t.Errorf("an answer without a Date made it %s", c.Ahead())
				}
			})
		})
	}
	var none *Clock
	if none.observe(http.Header{"Date": {"Thu, 01 Jan 1970 00:00:00 GMT"}}); none.Ahead() != 0 || none.Problem() != "" {
		t.Error("a nil clock knows something")
	}
}
